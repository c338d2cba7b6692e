"""A real HTTP server on a loopback port, for as long as a test needs it."""

import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_MAX_REQUEST_BYTES = 1 << 20

Response = tuple[int, dict[str, str], Iterable[bytes]]
"""Status, headers, and body in the pieces in which it is sent; the connection's end ends it."""

Respond = Callable[[str, str, bytes], Response]
"""Called with method, path and body of a request, in a thread of its own."""


class LoopbackServer:
    """Answers every request by `respond` while the server is open as a context manager."""

    def __init__(self, respond: Respond) -> None:
        handler = type("_BoundHandler", (_Handler,), {"respond": staticmethod(respond)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    respond: Respond

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # the base class's signature
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer(self.rfile.read(min(int(self.headers["content-length"]), _MAX_REQUEST_BYTES)))

    def _answer(self, body: bytes) -> None:
        status, headers, pieces = self.respond(self.command, self.path, body)
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
        except ConnectionError:  # the client had enough
            self.close_connection = True
