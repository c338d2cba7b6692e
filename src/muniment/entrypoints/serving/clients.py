"""Limits per client, so that one cannot have what is meant for all: requests at once, and requests in a second.

A client is an address; of IPv6 a network of 64 bits, which is what one customer gets. Behind a proxy all requests come from the
proxy's address: those that are named as trusted are believed what they say in `X-Forwarded-For`, and nobody else is.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import ceil
from typing import Any

from muniment.errors import FormatError, MunimentError

MAX_CLIENTS = 65_536
"""Clients that are remembered at once, some 20 MB."""
PEER_END = "~"
"""What stands behind the client's address in the name of the socket through which `tunnel` passes a connection on."""
_IPV6_CLIENT_BITS = 64
_MAX_FORWARDED = 16


class TooManyRequestsError(MunimentError):
    """One client asks for too much.

    Attributes:
        retry_after_s: Seconds after which it may come again.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many requests from one client")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What one client may do.

    Attributes:
        requests: Requests that are answered at once.
        rate_per_s: Requests in a second, on average; 0 for any number.
        burst: Requests that may come at once after a pause, beyond the average.
    """

    requests: int = 128
    rate_per_s: float = 0.0
    burst: int = 100


@dataclass(slots=True)
class _Client:
    """What is known of a client: requests that are being answered, and how many more may come, as of a time."""

    active: int
    tokens: float
    at_s: float


class Clients:
    """Counts what every client does; for one event loop.

    Args:
        limits: What one may do.
        trusted_proxies: Addresses whose `X-Forwarded-For` is believed.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        limits: ClientLimits | None = None,
        trusted_proxies: Iterable[IPv4Network | IPv6Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or ClientLimits()
        self._trusted = tuple(trusted_proxies)
        self._clock = clock
        self._clients: dict[str, _Client] = {}

    def of(self, scope: Mapping[str, Any]) -> str:
        """Return by what the client of an ASGI scope is known."""
        peer: str = (scope.get("client") or ("",))[0]
        if peer.startswith("/"):
            peer = peer.rpartition("/")[2].partition(PEER_END)[0]
        forwarded = b""
        if self._trusted:
            values = (value for name, value in scope["headers"] if name == b"x-forwarded-for")
            forwarded = b",".join(values)
        return self.name(peer, forwarded.decode("latin-1"))

    def name(self, peer: str, forwarded_for: str = "") -> str:
        """Return by what a request's client is known.

        Args:
            peer: The address that the connection comes from.
            forwarded_for: The header `X-Forwarded-For`: each proxy adds the address that it was asked from at the end.
        """
        if not self._trusted or not forwarded_for:
            return client_of(peer)
        address = peer
        for hop in reversed(forwarded_for.split(",")[-_MAX_FORWARDED:]):
            if not self._is_trusted(address):
                break
            address = hop.strip()
        return client_of(address)

    def admit(self, client: str) -> None:
        """Let a request begin; every one that was let in must be released. A client without a name is not limited.

        Raises:
            TooManyRequestsError: 429: the client does too much already; says when to come again.
        """
        if not client:
            return
        limits, now_s = self._limits, self._clock()
        known = self._clients.pop(client, None) or _Client(0, float(limits.burst), now_s)
        self._clients[client] = (
            known  # at the end: the first ones were not heard of for the longest time
        )
        if len(self._clients) > MAX_CLIENTS:
            self._forget_one()
        if limits.rate_per_s:
            known.tokens += (now_s - known.at_s) * limits.rate_per_s
            known.tokens, known.at_s = min(known.tokens, limits.burst), now_s
            if known.tokens < 1:
                raise _too_many((1 - known.tokens) / limits.rate_per_s)
        if known.active >= limits.requests:
            raise _too_many(1)
        known.tokens -= 1
        known.active += 1

    def release(self, client: str) -> None:
        """Count a request as answered."""
        if not client:
            return
        known = self._clients[client]
        known.active -= 1
        if not known.active and not self._limits.rate_per_s:
            del self._clients[client]

    @property
    def known(self) -> int:
        """How many clients are remembered."""
        return len(self._clients)

    def _forget_one(self) -> None:
        idle = next((name for name, known in self._clients.items() if not known.active), None)
        if idle is not None:
            del self._clients[idle]

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """Return by what the client at an address is known: the address, or its network of 64 bits if it is IPv6."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, _IPV6_CLIENT_BITS), strict=False))


def parse_networks(texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """Read addresses, and networks as in `10.0.0.0/8`.

    Raises:
        FormatError: One is neither.
    """
    try:
        return [ip_network(text) for text in texts]
    except ValueError as error:
        raise FormatError(f"expected an address or network: {error}") from None


def _too_many(seconds: float) -> TooManyRequestsError:
    return TooManyRequestsError(max(1, ceil(seconds)))
