"""HTTP connections to machines that nobody vouches for.

Where an address comes from a stranger (a routing answer, a redirect), it must not lead into this machine or its network: names are
resolved here, the result is checked, and the connection goes to the very address that was checked. Only what the user named is exempt.
No proxy, cookie or credential of the environment is ever used.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from urllib.parse import urljoin, urlsplit

import httpcore

from muniment.adapters.bounded_http import USER_AGENT
from muniment.adapters.retrieval.ports import MisbehaviorError, UnavailableError

MAX_REDIRECTS = 4
MAX_URL_CHARS = 4096
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_FAILURES = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    OSError,
)

Origin = tuple[str, str, int]
"""Scheme, host and port."""


class ForbiddenAddressError(httpcore.ConnectError):
    """A stranger's address leads where strangers must not send us."""


@dataclass(frozen=True, slots=True)
class Response:
    """The beginning of an answer; the rest is read from `pieces`."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


def origin_of(url: str) -> Origin:
    """Return the origin of an HTTP address.

    Raises:
        ValueError: It is none, or holds credentials.
    """
    parts = urlsplit(url)
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("it is too long, or has characters that must be escaped")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("expected http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("expected no user and password in it")
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet, also where it wraps another."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(ip.packed[-4:])
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None:
            return False
    return ip.is_global and not ip.is_multicast


class Connections:
    """A pool of connections, for one event loop.

    Args:
        trusted: Origins that the user named: they may be on this machine or its network.
        timeout_s: How long connecting, and each wait for bytes, may take.
        max_connections: Connections at once.
    """

    def __init__(
        self,
        trusted: Iterable[Origin] = (),
        *,
        timeout_s: float,
        max_connections: int,
    ) -> None:
        self._timeout_s = timeout_s
        exempt = frozenset((host, port) for _scheme, host, port in trusted)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_tls(),
            max_connections=max_connections,
            keepalive_expiry=30.0,
            network_backend=_GuardedBackend(exempt),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Response]:
        """Ask for `url`, following a few redirects; the answer must begin within the timeout.

        Raises:
            UnavailableError: There is no answer, or it breaks off while it is read.
            MisbehaviorError: The server redirects without end, to nowhere, or to where it must not.
        """
        for _ in range(MAX_REDIRECTS + 1):
            async with self._get(url, headers) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                url = _redirected(url, response.headers.get("location", ""))
        raise MisbehaviorError(f"redirects more than {MAX_REDIRECTS} times")

    @asynccontextmanager
    async def _get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Response]:
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
        request = httpcore.Request(
            "GET",
            url,
            headers=[
                ("host", urlsplit(url).netloc),
                ("user-agent", USER_AGENT),
                ("accept-encoding", "identity"),
                *headers.items(),
            ],
            extensions={"timeout": timeouts},
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._pool.handle_async_request(request)
            try:
                lines = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in answer.headers
                }
                pieces = answer.aiter_stream().__aiter__()
                yield Response(answer.status, lines, pieces)
            finally:
                await answer.aclose()
        except ForbiddenAddressError as error:
            raise MisbehaviorError(str(error)) from None
        except _FAILURES as error:
            raise UnavailableError(_reason(error)) from error


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to public addresses, unless the host and port are exempt."""

    def __init__(self, exempt: frozenset[tuple[str, int]]) -> None:
        self._exempt = exempt
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve the host, check all its addresses, and connect to the first that answers."""
        if (host.strip("[]"), port) in self._exempt:
            return await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await _resolve(host, port):
            if not is_public(address):
                raise ForbiddenAddressError(f"leads to {address}, which is no public address")
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
    return [str(address[0]) for *_, address in found]


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads.

    Raises:
        MisbehaviorError: Nowhere, or from HTTPS to HTTP.
    """
    try:
        target = urljoin(url, location).partition("#")[0]
        scheme, _, _ = origin_of(target)
    except ValueError as error:
        raise MisbehaviorError(f"redirects to an address that cannot be used: {error}") from None
    if not location or (url.startswith("https:") and scheme == "http"):
        raise MisbehaviorError(f"redirects to {location[:80]!r}")
    return target


def _reason(error: Exception) -> str:
    if isinstance(error, (TimeoutError, httpcore.TimeoutException)):
        return "gave no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has no valid certificate: {error.verify_message}"
    return str(error) or type(error).__name__


@cache
def _tls() -> ssl.SSLContext:
    """Return the one TLS context: loading the root certificates takes longer than most exchanges."""
    return httpcore.default_ssl_context()
