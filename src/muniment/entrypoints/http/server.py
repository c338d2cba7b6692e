"""The processes of a service: those that answer requests, with workers beside them, and those that only work."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from muniment.bootstrap_service import Service
from muniment.entrypoints.http.app import create_app
from muniment.entrypoints.serving.active import Active
from muniment.entrypoints.serving.server import Listen, serve

__all__ = ["Listen", "ServiceProcesses"]


class _App:
    """The application as the server wants it."""

    def __init__(self, service: Service) -> None:
        self.scheme = ""
        self._app = create_app(service)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # as ASGI has it
        await self._app(scope, receive, send)


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
        serve(self._open, listen, on_ready, self._processes)  # type: ignore[arg-type]

    def work(self, on_ready: Callable[[], None]) -> None:
        """Work, and answer nothing, until SIGINT or SIGTERM."""
        signals = {signal.SIGINT, signal.SIGTERM}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            with self._service() as service, service.worker(self._workers or None):
                on_ready()
                signal.sigwait(signals)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @contextlib.contextmanager
    def _open(self, _active: Active) -> Iterator[_App]:
        with self._service() as service, contextlib.ExitStack() as working:
            threads = service.settings.workers if self._workers is None else self._workers
            if threads:
                working.enter_context(service.worker(threads))
            yield _App(service)

    @contextlib.contextmanager
    def _service(self) -> Iterator[Service]:
        service = Service(self._home)
        try:
            yield service
        finally:
            service.close()
