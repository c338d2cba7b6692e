"""The processes of a service: those that answer requests, with workers beside them, and those that only work."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app
from muniment.entrypoints.http.front import Front
from muniment.entrypoints.serving.active import Active
from muniment.entrypoints.serving.server import Listen, serve

__all__ = ["Listen", "ServiceProcesses"]


STOP_TIMEOUT_S = 45.0
"""What a process has to end in: its requests first, then the jobs that it works on, which give themselves back."""


BUFFER_BYTES = 512 << 10
"""What one read brings of an upload at most. `Front` refuses heads far shorter than that."""


class ServiceProcesses:
    """Runs a service.

    Args:
        home: The service's home.
        processes: How many processes answer requests.
        workers: Jobs that each process works on at once; None for what the settings say.
    """

    def __init__(self, home: Path, processes: int = 1, workers: int | None = None) -> None:
        self._home = home
        self._processes = processes
        self._workers = workers

    def serve(self, listen: Listen, on_ready: Callable[[str], None]) -> None:
        """Answer requests, and work, until SIGINT or SIGTERM; `on_ready` is called with the URL.

        Raises:
            UsageError: The address cannot be listened on, or the settings make no sense.
        """
        with (
            self._service() as service
        ):  # settings, schema and what a killed run left, once for all
            service.recover_uploads()
        listen = replace(listen, buffer_bytes=BUFFER_BYTES)
        serve(self._open, listen, on_ready, self._processes, STOP_TIMEOUT_S)

    def work(self, on_ready: Callable[[], None]) -> None:
        """Work, and answer nothing, until SIGINT or SIGTERM."""
        signals = {signal.SIGINT, signal.SIGTERM}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            with self._service() as service, service.working(self._workers or None):
                on_ready()
                signal.sigwait(signals)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @contextlib.contextmanager
    def _open(self, _active: Active) -> Iterator[Front]:
        with self._service() as service, contextlib.ExitStack() as working:
            threads = service.settings.workers if self._workers is None else self._workers
            if threads:
                working.enter_context(service.working(threads))
            yield create_app(service, self._processes)

    @contextlib.contextmanager
    def _service(self) -> Iterator[Service]:
        service = Service(self._home)
        try:
            yield service
        finally:
            service.close()
