"""Several processes that serve one port: Python runs in one thread of a process at a time, and machines have more.

A process is forked for each worker, so that they share the memory of what was loaded before; each binds the port for itself
(SO_REUSEPORT), and the kernel deals connections out. This process serves nothing: it waits, puts a worker in the place of one that
died, and ends all with the first signal. A worker whose parent is gone ends itself.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from muniment.entrypoints.serving.active import ActiveCounts
from muniment.errors import MunimentError, UsageError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
_HURRY_S = 1.0
"""A worker that ends sooner is put in place no more often than this: whatever kills it must not keep the machine busy."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
_END = b"\n"
_MAX_ERROR_BYTES = 4096

_log = logging.getLogger(__name__)


Work = Callable[[int, Callable[[], None], int], None]
"""What a worker does: given its number (from 0), what to call once connections are accepted, and a descriptor that becomes readable
when the parent is gone, it serves until then, SIGTERM or SIGINT."""


@dataclass(slots=True)
class _Worker:
    pid: int
    started_at: float


class Workers:
    """The parent of the workers.

    Args:
        count: How many there are to be.
        work: What each does, in a process of its own.
        counts: The numbers that a worker who died may have left.
        stop_timeout_s: Seconds that they have to end by themselves.
    """

    def __init__(
        self,
        count: int,
        work: Work,
        counts: ActiveCounts,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        self._work = work
        self._stop_timeout_s = stop_timeout_s
        self._counts = counts
        self._slots: list[_Worker | None] = [None] * count
        self._alive_read, self._alive_write = os.pipe()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM; `on_ready` is called once all workers accept connections.

        Raises:
            MunimentError: A worker could not begin to serve.
        """
        before = signal.getsignal(signal.SIGCHLD)
        # A signal that is ignored cannot be waited for everywhere.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        gc.freeze()  # what the collector does not touch stays shared
        try:
            for slot in range(len(self._slots)):
                _wait_until_ready(self._start(slot))
            on_ready()
            self._watch()
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            signal.signal(signal.SIGCHLD, before)

    def _start(self, slot: int) -> int:
        """Fork a worker; return the descriptor on which it says that it is ready, or why not."""
        sys.stdout.flush()
        sys.stderr.flush()
        ready_read, ready_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(self._alive_write)
            self._be_worker(slot, ready_write)
        os.close(ready_write)
        self._slots[slot] = _Worker(pid, time.monotonic())
        return ready_read

    def _be_worker(self, slot: int, ready: int) -> None:
        """Work, and end this process without what its parent would do at its end."""
        status = 1
        to_parent = _ToParent(ready)
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._work(slot, lambda: to_parent.say(b""), self._alive_read)
            status = 0
        except MunimentError as error:
            _log.debug("a worker cannot go on: %s", error)
            to_parent.say(str(error).encode("utf-8", "replace")[:_MAX_ERROR_BYTES])
        except BaseException:  # noqa: BLE001  # whatever it is, this process must not go on as its parent
            _log.exception("a worker failed, which is a defect in Muniment")
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _watch(self) -> None:
        while signal.sigwait(_SIGNALS) == signal.SIGCHLD:
            for slot, worker in enumerate(self._slots):
                if worker and os.waitpid(worker.pid, os.WNOHANG)[0]:
                    self._counts.clear(slot)
                    lived_s = time.monotonic() - worker.started_at
                    _log.warning("a process ended; another one takes its place")
                    time.sleep(max(_HURRY_S - lived_s, 0.0))
                    os.close(self._start(slot))

    def _stop(self) -> None:
        """End all workers, by force if they take too long."""
        os.close(self._alive_write)
        os.close(self._alive_read)
        deadline = time.monotonic() + self._stop_timeout_s
        pids = [worker.pid for worker in self._slots if worker]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while pids and (time.monotonic() < deadline or number == signal.SIGKILL):
                pids = [pid for pid in pids if not _has_ended(pid)]
                time.sleep(0.01 if pids else 0)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


class _ToParent:
    """Where a worker says, once, that it is ready, or why it cannot be."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._has_spoken = False

    def say(self, message: bytes) -> None:
        if self._has_spoken:
            return
        self._has_spoken = True
        with contextlib.suppress(OSError):  # nobody waits for those that come later
            os.write(self._fd, message + _END)
        os.close(self._fd)


def _wait_until_ready(ready: int) -> None:
    """Wait for a worker.

    Raises:
        UsageError: It cannot serve.
    """
    said = b""
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while not said.endswith(_END):
            left_s = max(deadline - time.monotonic(), 0.0)
            piece = os.read(ready, 4096) if select.select([ready], [], [], left_s)[0] else b""
            if not piece:
                raise UsageError("a process ended, or did not begin to serve")
            said += piece
    finally:
        os.close(ready)
    if said != _END:
        raise UsageError(said.decode("utf-8", "replace").strip())
