"""Run one command and say what it cost: wall clock, processor time and memory of its whole tree of processes (Linux).

Processor time is exact, not sampled: it is what the kernel reports for every process at its end, and a process whose
parent ended first is adopted by us and counted too. Memory is sampled every 20 ms. A tree of several processes is counted by
its proportional set size (PSS), which divides shared pages among those who share them; reading it costs the kernel
a walk of the page tables, so it is read at most every 100 ms, and only when it could be a new peak.
"""

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage, struct_rusage
from typing import Self

MB = 1_000_000
SAMPLE_INTERVAL_S = 0.02
PSS_INTERVAL_S = 0.1
ORPHANS_TIMEOUT_S = 10
LOG_TAIL_CHARACTERS = 1_500
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class CommandFailedError(Exception):
    """A measured command could not be started, or ended with another exit code than 0."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command cost."""

    wall_s: float
    """From its start until its end."""
    cpu_s: float
    """User and system time of it and all of its descendants."""
    peak_mb: float
    """Peak of the memory of all processes together, shared pages counted once; in units of 1,000,000 bytes."""
    largest_mb: float
    """Peak of the resident memory of the largest single process."""


def measure(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    output: Path | None = None,
) -> Cost:
    """Run `command` to its end and measure it; what it prints goes to `log`, or its standard output to `output`.

    Raises:
        CommandFailedError: It could not be started, or its exit code is not 0.
    """
    with ExitStack() as stack:
        stack.enter_context(_adopting_orphans())
        logged = stack.enter_context(log.open("wb"))
        printed = stack.enter_context(output.open("wb")) if output else logged
        others = frozenset(
            children(os.getpid())
        )  # servers that were here before, which are nobody's to count or reap
        memory = stack.enter_context(_MemorySampler(others))
        started_s = time.perf_counter()
        try:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=logged,
            )
        except OSError as error:
            raise CommandFailedError(f"cannot start {command[0]}: {error.strerror}") from error
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        wall_s = time.perf_counter() - started_s
        process.returncode = os.waitstatus_to_exitcode(status)
        usages = [usage, *_reap_orphans(others)]
    if process.returncode != 0:
        tail = log.read_text("utf-8", "replace")[-LOG_TAIL_CHARACTERS:].strip()
        raise CommandFailedError(f"{' '.join(command)}: exit code {process.returncode}\n{tail}")
    largest_bytes = max(usage.ru_maxrss for usage in usages) * 1024
    # The sampler can miss a short command; of a single process the kernel knows the true peak, unless it is below our own,
    # which a child has from its first moment, before it becomes the command.
    own_bytes = getrusage(RUSAGE_SELF).ru_maxrss * 1024
    is_known = memory.most_processes <= 1 and largest_bytes > own_bytes
    peak_bytes = largest_bytes if is_known else memory.peak_bytes
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return Cost(wall_s, cpu_s, peak_bytes / MB, largest_bytes / MB)


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _reap_orphans(others: frozenset[int]) -> Iterator[struct_rusage]:
    """The usage of processes that outlived the command, which end by themselves soon after it."""
    deadline_s = time.monotonic() + ORPHANS_TIMEOUT_S
    while orphans := set(children(os.getpid())) - others:
        for orphan in orphans:
            pid, _, usage = os.wait4(orphan, os.WNOHANG)
            if pid:
                yield usage
        if time.monotonic() > deadline_s:
            raise CommandFailedError(f"processes {sorted(orphans)} outlive their command")
        time.sleep(SAMPLE_INTERVAL_S)


class _MemorySampler:
    """Samples the memory of this process' descendants, but for `others` and theirs, while the context lasts."""

    def __init__(self, others: frozenset[int]) -> None:
        self.peak_bytes = 0
        self._others = others
        self.most_processes = 0
        self._next_pss_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        own = set(children(os.getpid())) - self._others
        pids = [pid for child in own for pid in (child, *descendants(child))]
        self.most_processes = max(self.most_processes, len(pids))
        total_bytes = sum(map(_resident_bytes, pids))
        if total_bytes <= self.peak_bytes:
            return
        if len(pids) > 1:
            if time.monotonic() < self._next_pss_s:
                return
            total_bytes = sum(map(proportional_bytes, pids))
            self._next_pss_s = time.monotonic() + PSS_INTERVAL_S
        self.peak_bytes = max(self.peak_bytes, total_bytes)


def descendants(pid: int) -> Iterator[int]:
    """The process ids of all living descendants of `pid`, as far as they last while we look."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def children(pid: int) -> Iterator[int]:
    """The process ids of the living children of `pid`."""
    for found in _read_each(f"/proc/{pid}/task", "children"):
        yield from map(int, found.split())


def _read_each(folder: str, name: str) -> Iterator[str]:
    try:
        entries = os.listdir(folder)
    except OSError:
        return
    for entry in entries:
        yield read_proc(f"{folder}/{entry}/{name}")


def read_proc(path: str) -> str:
    """A file of /proc, or nothing when its process has ended meanwhile."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def _resident_bytes(pid: int) -> int:
    fields = read_proc(f"/proc/{pid}/statm").split()
    return int(fields[1]) * PAGE_BYTES if fields else 0


def proportional_bytes(pid: int) -> int:
    """The proportional set size of a process; 0 when it has ended."""
    for line in read_proc(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
