"""The servers of the gateway benchmark, each a process (or several) on a free loopback port, ended when the block ends."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.measure import MB, CommandFailedError, descendants, proportional_bytes, read_proc

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOP_TIMEOUT_S = 15
MEMORY_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it answers, and the processes that it consists of (their descendants belong to it)."""

    name: str
    url: str
    roots: tuple[int, ...]

    def pids(self) -> list[int]:
        """All of its living processes."""
        return [pid for root in self.roots for pid in (root, *descendants(root))]

    def cpu_s(self) -> float:
        """User and system time so far of all of its processes, and of those that they have waited for."""
        return sum(map(_cpu_ticks, self.pids())) / TICKS_PER_S

    def memory_mb(self) -> float:
        """Proportional set size of all of its processes, in units of 1,000,000 bytes: shared pages count once."""
        return sum(map(proportional_bytes, self.pids())) / MB


def _cpu_ticks(pid: int) -> int:
    fields = read_proc(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: fields 14 to 17 of proc(5)


class Observer:
    """What a server spends while the context lasts: processor time, and memory sampled twice a second."""

    def __init__(self, server: Server) -> None:
        self.cpu_s = 0.0
        self.peak_mb = 0.0
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._started_cpu_s = self._server.cpu_s()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = self._server.cpu_s() - self._started_cpu_s
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(MEMORY_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        self.peak_mb = max(self.peak_mb, self._server.memory_mb())


@contextmanager
def muniment(program: Path, store: Path, *options: str) -> Iterator[Server]:
    """`muniment gateway` over a block store.

    Raises:
        CommandFailedError: It does not start.
    """
    command = [str(program), "gateway", "--store", str(store), "--port", "0", *options]
    # Compiled bytecode and nothing of ours in the environment: as a user runs it.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.search(r"https?://[^/\s]+", line)
        if found is None:
            raise CommandFailedError(f"{' '.join(command)} does not start: {line.strip()}")
        yield Server("muniment", found[0], (process.pid,))
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server that we started: politely, then not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
