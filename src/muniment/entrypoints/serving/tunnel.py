"""What stands in front of the HTTP server where it cannot do something itself: TLS, and HTTP proxy mode.

The embedded server speaks no TLS, knows no CONNECT (RFC 9110, section 9.3.6), and waits for ever for the first bytes of a connection
that may be HTTP/2. So this listens in front of it, ends TLS, answers a CONNECT if the connection begins with one, and passes on
everything else as it is. A tunnel leads to the gateway itself, whatever host was asked for: nothing outside is ever reached.
"""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import cast

from muniment.entrypoints.serving.clients import (
    PEER_END,
    ClientLimits,
    Clients,
    TooManyRequestsError,
    client_of,
)

MAX_HEAD_BYTES = 8192
HEAD_TIMEOUT_S = 15.0
MAX_CONNECTIONS = 1024
MAX_CLIENT_CONNECTIONS = 128
"""Connections of one client: so that it takes several to keep all others out by being slow."""

_METHOD = b"CONNECT "
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_END = b"\r\n\r\n"
_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n"
_BUSY_S = 5
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: %d\r\ncontent-length: 0\r\n\r\n" % _BUSY_S
)


class Tunnel:
    """Listens on an address and passes connections on to the server at a UNIX socket."""

    def __init__(self, server_path: str) -> None:
        self.server_path = server_path
        self.clients = Clients(ClientLimits(MAX_CLIENT_CONNECTIONS))
        self._count = 0
        self.connections: set[asyncio.Transport] = set()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> asyncio.Server:
        """Begin to listen; the server is closed by the caller."""
        loop = asyncio.get_running_loop()
        timeout_s = HEAD_TIMEOUT_S if tls else None
        return await loop.create_server(
            lambda: _Client(self),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=timeout_s,
            reuse_port=True,  # with the other processes
        )

    def enter(self, transport: asyncio.Transport, peer: str) -> None:
        """Count a connection.

        Raises:
            TooManyRequestsError: There are too many, of this client or of all.
        """
        if len(self.connections) >= MAX_CONNECTIONS:
            raise TooManyRequestsError(_BUSY_S)
        self.clients.admit(client_of(peer))
        self.connections.add(transport)

    def leave(self, transport: asyncio.Transport, peer: str) -> None:
        """Forget a connection, if it was counted."""
        if transport in self.connections:
            self.connections.discard(transport)
            self.clients.release(client_of(peer))

    def connect(self, peer: str) -> socket.socket:
        """Connect to the server from a socket whose name tells the server who the client is.

        Raises:
            OSError: The server does not listen, or has too many connections.
        """
        self._count += 1
        link = socket.socket(socket.AF_UNIX)
        name = Path(self.server_path).with_name(f"{peer}{PEER_END}{self._count}")
        try:
            link.settimeout(0)
            with contextlib.suppress(OSError):  # a name too long for a socket: then nobody is told
                link.bind(str(name))
            link.connect(self.server_path)
        except OSError:
            link.close()
            raise
        finally:
            name.unlink(missing_ok=True)
        return link

    def close(self) -> None:
        """Close all connections."""
        for transport in tuple(self.connections):
            transport.abort()


class _Half(asyncio.Protocol):
    """One side of a relayed connection; what it receives goes to the other side, no faster than that takes it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Half | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        if self.other and self.other.transport and self.other.transport.can_write_eof():
            self.other.transport.write_eof()
            # The other side may still have something to say; but TLS ends both ways at once.
            return self.transport is not None and self.transport.can_write_eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.transport = None
        if self.other and self.other.transport:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()


class _Client(_Half):
    """The side of the client, which may begin with a CONNECT."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__()
        self._tunnel = tunnel
        self._begin = b""
        self._peer = ""
        self._is_tunnel = False
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self._peer = str(self.transport.get_extra_info("peername", ("",))[0])
        try:
            self._tunnel.enter(self.transport, self._peer)
        except TooManyRequestsError:
            self._refuse(_BUSY)
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport:
            self._tunnel.leave(self.transport, self._peer)
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.other:
            super().data_received(data)
            return
        self._begin += data
        if self._opening is None:
            self._look_at_begin()

    def _look_at_begin(self) -> None:
        """Decide what to do once there are bytes enough to tell."""
        assert self.transport is not None
        if len(self._begin) < len(_PREFACE) and _PREFACE.startswith(self._begin):
            return  # the server would wait for the rest without end
        if not self._is_tunnel and _METHOD.startswith(self._begin[: len(_METHOD)]):
            head, end, rest = self._begin.partition(_END)
            if end:
                self._is_tunnel, self._begin = True, rest
                self.transport.write(_OPEN)
            elif len(head) > MAX_HEAD_BYTES:
                self._refuse(_TOO_LARGE)
            if not self._is_tunnel or not rest:
                return
        self.transport.pause_reading()
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        """Connect to the server, and pass on what has come so far."""
        loop = asyncio.get_running_loop()
        try:
            link = self._tunnel.connect(self._peer)
            _, server = await loop.create_unix_connection(_Half, sock=link)
        except OSError:
            self._refuse(_BUSY)
            return
        if self._timer:
            self._timer.cancel()
        if self.transport is None or server.transport is None:
            if server.transport:
                server.transport.close()
            return
        self.other, server.other = server, self
        server.transport.write(self._begin)
        self._begin = b""
        self.transport.resume_reading()

    def _refuse(self, answer: bytes) -> None:
        if self.transport:
            self.transport.write(answer)
            self.transport.close()
