"""Processes that work for this one, each answering one request at a time over a pipe.

Python's own pools hand out work and collect results; sealing also needs to talk to *the* worker that holds something in
its memory. The Python code of small files needs one interpreter for each core, so threads would not do.
"""

import contextlib
import gc
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Self

from muniment.errors import MunimentError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 64 << 20
_MAPPED_BYTES_MIN = 32 << 20  # the most that glibc takes

Handler = Callable[[Any], Any]
_STOP = None


class WorkerPool:
    """`count` processes, each with a handler that `make_handler(*arguments)` builds there.

    A handler maps a request to an answer, both picklable; an exception that it raises is raised by `receive`.
    """

    def __init__(
        self, count: int, make_handler: Callable[..., Handler], *arguments: object
    ) -> None:
        # Forking a process with threads can deadlock the child; a fresh interpreter costs 0.2 s more.
        fork = sys.platform == "linux" and threading.active_count() == 1
        context: Any = multiprocessing.get_context("fork" if fork else "spawn")
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(max(1, count)):
            ours, theirs = context.Pipe()
            inherited = [*self._connections, ours] if fork else []
            process = context.Process(
                target=_serve,
                args=(theirs, inherited, make_handler, arguments),
                daemon=True,
                name="muniment-worker",
            )
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        self._busy: set[int] = set()

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self._processes)

    def idle(self) -> list[int]:
        """Return the workers that have nothing to do."""
        return [worker for worker in range(self.count) if worker not in self._busy]

    def send(self, worker: int, request: object) -> None:
        """Give an idle worker something to do."""
        self._busy.add(worker)
        try:
            self._connections[worker].send(request)
        except OSError as error:
            raise self._died(worker) from error

    def receive(self) -> tuple[int, Any]:
        """Wait for the next answer of any worker; returns it behind the worker's number.

        Raises:
            MunimentError: A worker ended, for instance because memory ran out; or what its handler raised.
        """
        ready = wait([self._connections[worker] for worker in self._busy])[0]
        worker = next(w for w in self._busy if self._connections[w] is ready)
        self._busy.discard(worker)
        try:
            failed, answer = self._connections[worker].recv()
        except (EOFError, OSError) as error:
            raise self._died(worker) from error
        if failed:
            raise answer
        return worker, answer

    def map_unordered(self, requests: Iterable[object]) -> Iterator[Any]:
        """Spread requests over all workers; yields answers as they come."""
        waiting = iter(requests)
        exhausted = False
        while True:
            for worker in self.idle():
                request = next(waiting, self) if not exhausted else self
                if request is self:
                    exhausted = True
                    break
                self.send(worker, request)
            if not self._busy:
                return
            yield self.receive()[1]

    def close(self) -> None:
        """Stop all workers, whatever they do."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=0.2)
            if process.is_alive():
                process.terminate()
                process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _died(self, worker: int) -> MunimentError:
        self._processes[worker].join(timeout=1)
        code = self._processes[worker].exitcode
        return MunimentError(
            f"a worker process ended unexpectedly (exit code {code}); nothing acknowledged is lost, run the command again"
        )


def _serve(
    connection: Connection,
    inherited: list[Connection],
    make: Callable[..., Handler],
    arguments: tuple[object, ...],
) -> None:
    # Copies of the parent's ends would keep the pipes open after its death, and the workers alive.
    for other in inherited:
        other.close()
    # What a worker makes is freed by reference counts; looking for cycles took a tenth of its time.
    gc.disable()
    _keep_freed_memory()
    handler = make(*arguments)
    while True:
        try:
            request = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            answer = (False, handler(request))
        except KeyboardInterrupt:
            return
        except Exception as error:  # noqa: BLE001  # the parent raises it again
            answer = (True, _passable(error))
        try:
            connection.send(answer)
        except (OSError, KeyboardInterrupt):
            return


def _passable(error: Exception) -> Exception:
    """Return the error if it survives the way to the parent, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    except Exception:  # noqa: BLE001  # whatever it is, the parent has to hear of the error
        return MunimentError(f"{type(error).__name__}: {error}")
    return error


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory: giving buffers of a MiB back and faulting them in again took a quarter of the kernel's time."""
    import ctypes  # noqa: PLC0415

    with contextlib.suppress(OSError, AttributeError):  # another C library has no such knob
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES_MIN)
