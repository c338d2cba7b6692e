"""The sockets in front of the application: HTTP/1.1 and HTTP/2, with or without TLS (`docs/decisions/0012-http-server.md`)."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from muniment.entrypoints.serving.active import Active, ActiveCounts
from muniment.entrypoints.serving.memory import keep_freed_memory
from muniment.entrypoints.serving.tunnel import Tunnel
from muniment.entrypoints.serving.workers import STOP_TIMEOUT_S, Workers
from muniment.errors import UsageError

HEADER_TIMEOUT_MS = 15_000
MAX_HEADER_BYTES = 64 * 1024
_READY_POLL_S = 0.02
_READY_TIMEOUT_S = 30.0
_FINISH_TIMEOUT_S = 10.0
"""What a request has to end in when the server does."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen.

    Attributes:
        host: Address.
        port: Port; 0 for any that is free.
        certificate: PEM file of the TLS certificates; None for no TLS.
        key: PEM file of its private key.
        is_proxy: Also be an HTTP proxy to the gateway's own hosts (CONNECT).
        buffer_bytes: What one read brings of a request at most; a head that is longer is refused.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None
    is_proxy: bool = False
    buffer_bytes: int = MAX_HEADER_BYTES


class App(Protocol):
    """An ASGI 3 application for HTTP.

    Attributes:
        scheme: How clients reach it, if something in front of the server knows better than it does.
    """

    scheme: str

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401  # as ASGI has it
        """Answer one request."""

    def stop(self) -> None:
        """End what would go on without end: the server is about to stop."""


OpenApp = Callable[[Active], AbstractContextManager[App]]
"""Opens the application in the process that serves it; what it opens must not be open already, since a fork may lie between."""


def serve(
    open_app: OpenApp,
    listen: Listen,
    on_ready: Callable[[str], None],
    workers: int = 1,
    stop_timeout_s: float = STOP_TIMEOUT_S,
) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called with the URL once connections are accepted.

    Args:
        open_app: What to serve.
        listen: Where.
        on_ready: Called in this process.
        workers: How many processes serve; 1 for this one.
        stop_timeout_s: Seconds that several processes have to end by themselves.

    Raises:
        UsageError: The address cannot be listened on, or the certificate cannot be used.
    """
    tls = _tls_context(listen)
    listen = replace(listen, port=_free_port(listen.host, listen.port))
    url = f"{'https' if tls else 'http'}://{_shown(listen.host)}:{listen.port}"
    counts = ActiveCounts(workers)
    keep_freed_memory()

    def work(process: int, on_worker_ready: Callable[[], None], parent: int | None) -> None:
        with open_app(Active(counts, process)) as app:
            app.scheme = "https" if tls else ""
            _serve_here(app, listen, tls, on_worker_ready, parent)

    if workers == 1:
        work(0, lambda: on_ready(url), None)
    else:
        Workers(workers, work, counts, stop_timeout_s).run(lambda: on_ready(url))


def _serve_here(
    app: App,
    listen: Listen,
    tls: ssl.SSLContext | None,
    on_ready: Callable[[], None],
    parent: int | None,
) -> None:
    with contextlib.ExitStack() as stack:
        inner = None
        if listen.is_proxy or tls:
            folder = tempfile.TemporaryDirectory(prefix="muniment-")
            inner = Path(stack.enter_context(folder)) / "socket"
        server = _server(app, listen, inner)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(server, app, listen, inner, tls, on_ready, parent))


def _server(app: App, listen: Listen, inner: Path | None) -> Server:
    return Server(
        app,
        address=listen.host,
        port=listen.port,
        uds=inner,
        interface=Interfaces.ASGINL,
        # A connection that may be HTTP/2 can be silent for ever: only behind the tunnel, which sees to that.
        http=HTTPModes.auto if inner else HTTPModes.http1,
        websockets=False,
        backlog=1024,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=listen.buffer_bytes
        ),
        http2_settings=HTTP2Settings(max_headers_size=MAX_HEADER_BYTES, keep_alive_interval=30_000),
        log_enabled=False,
    )


def _tls_context(listen: Listen) -> ssl.SSLContext | None:
    if listen.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(listen.certificate, listen.key)
    except (OSError, ValueError) as error:
        raise UsageError(f"the certificate {listen.certificate} cannot be used: {error}") from error
    return context


async def _run(
    server: Server,
    app: App,
    listen: Listen,
    inner: Path | None,
    tls: ssl.SSLContext | None,
    on_ready: Callable[[], None],
    parent: int | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if parent is not None:
        loop.add_reader(parent, stop.set)
    serving = asyncio.ensure_future(server.serve())
    waiting = asyncio.ensure_future(stop.wait())
    with contextlib.ExitStack() as stack:
        await _wait_until_ready(serving, listen, inner)
        if inner is not None:
            tunnel = Tunnel(str(inner))
            outer = await tunnel.start(listen.host, listen.port, tls)
            stack.callback(tunnel.close)
            stack.callback(outer.close)
        on_ready()
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    app.stop()
    server.stop()  # type: ignore[no-untyped-call]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(serving, _FINISH_TIMEOUT_S)


async def _wait_until_ready(
    serving: "asyncio.Future[None]", listen: Listen, inner: Path | None
) -> None:
    for _ in range(int(_READY_TIMEOUT_S / _READY_POLL_S)):
        if serving.done():
            serving.result()
            break
        with contextlib.suppress(OSError):
            opening = (
                asyncio.open_unix_connection(str(inner))
                if inner
                else asyncio.open_connection(listen.host, listen.port)
            )
            _, writer = await opening
            writer.close()
            return
        await asyncio.sleep(_READY_POLL_S)
    raise UsageError(f"nothing can be served at {listen.host}:{listen.port}")


def _free_port(host: str, port: int) -> int:
    """Check that an address can be listened on, and choose a port if any will do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise UsageError(f"cannot listen on {host}:{port}: {reason}") from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
