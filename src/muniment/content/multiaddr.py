"""Multiaddrs, as far as HTTP needs them: `/dns/example.org/tcp/443/tls/http` is `https://example.org`.

Source: the multiaddr specification (https://multiformats.io/multiaddr/) and its protocol table. Only the text form, and only the
protocols that may stand in an address of something that can be reached; addresses with others are refused, and other records are not.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from muniment.errors import FormatError

MAX_CHARS = 1024
MAX_PARTS = 32

_WITH_VALUE = frozenset(
    [
        "ip4",
        "ip6",
        "ip6zone",
        "ipcidr",
        "dns",
        "dns4",
        "dns6",
        "dnsaddr",
        "tcp",
        "udp",
        "sni",
        "p2p",
        "ipfs",
        "certhash",
        "http-path",
        "onion3",
        "garlic64",
        "garlic32",
        "memory",
    ]
)
_WITHOUT_VALUE = frozenset(
    [
        "tls",
        "http",
        "https",
        "ws",
        "wss",
        "quic",
        "quic-v1",
        "webtransport",
        "noise",
        "utp",
        "udt",
        "webrtc",
        "webrtc-direct",
        "p2p-circuit",
        "p2p-webrtc-direct",
    ]
)
PROTOCOLS = _WITH_VALUE | _WITHOUT_VALUE
_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"(?:^|\.)[0-9]+$")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse(text: str) -> list[tuple[str, str]]:
    """Take a multiaddr apart into protocols and their values (empty if a protocol has none).

    Raises:
        FormatError: It is malformed, or has a protocol that is not known here.
    """
    if len(text) > MAX_CHARS or not text.startswith("/"):
        raise FormatError(f"expected a multiaddr, got {text[:80]!r}")
    words = text[1:].rstrip("/").split("/")
    if len(words) > MAX_PARTS:
        raise FormatError(f"expected a multiaddr of at most {MAX_PARTS} parts, got {len(words)}")
    parts = []
    rest = iter(words)
    for name in rest:
        if name not in PROTOCOLS:
            raise FormatError(f"expected the name of a multiaddr protocol, got {name[:80]!r}")
        value = next(rest, "") if name in _WITH_VALUE else ""
        if name in _WITH_VALUE and not value:
            raise FormatError(f"multiaddr is cut off behind {name}: {text[:80]!r}")
        parts.append((name, value))
    return parts


def protocols(text: str) -> frozenset[str]:
    """Return the names of the protocols in a multiaddr.

    Raises:
        FormatError: It is malformed, or has a protocol that is not known here.
    """
    return frozenset(name for name, _ in parse(text))


def from_url(url: str) -> str:
    """Return the multiaddr of the server at an HTTP(S) address.

    Raises:
        FormatError: It is no such address, or has more than host and port: a multiaddr that other nodes use has no room for it.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise FormatError(f"expected an HTTP address, got {url[:80]!r}: {error}") from None
    if parts.scheme not in _DEFAULT_PORTS or "@" in parts.netloc or not host:
        raise FormatError(f"expected http:// or https:// and a host, got {url[:80]!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise FormatError(f"expected an address without a path, got {url[:80]!r}")
    if port == 0:
        raise FormatError(f"expected a port from 1 to 65535, got {url[:80]!r}")
    secured = "/tls/http" if parts.scheme == "https" else "/http"
    return f"{_host(host)}/tcp/{port or _DEFAULT_PORTS[parts.scheme]}{secured}"


def to_url(text: str) -> str | None:
    """Return the HTTP(S) address that a multiaddr stands for, without a slash at the end; None if it is another kind of address.

    Raises:
        FormatError: It is malformed, or has a protocol that is not known here.
    """
    parts = parse(text)
    if parts and parts[-1][0] == "p2p":
        parts.pop()
    names = [name for name, _ in parts]
    if not names or names[0] not in _HOSTS:
        return None
    kind, host = parts[0]
    rest = parts[1:]
    port = None
    if rest and rest[0][0] == "tcp":
        port = _port(rest.pop(0)[1])
    scheme = _scheme([name for name, _ in rest])
    if scheme is None:
        return None
    host = _checked_host(kind, host)
    shown = "" if port in (None, _DEFAULT_PORTS[scheme]) else f":{port}"
    return f"{scheme}://{host}{shown}"


def _scheme(names: list[str]) -> str | None:
    if names == ["http"]:
        return "http"
    if names in (["https"], ["tls", "http"], ["tls", "sni", "http"]):
        return "https"
    return None


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise FormatError(f"expected a port from 1 to 65535, got {text[:20]!r}")
    return int(text)


def _host(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"/dns/{_host_name(host)}"
    if "%" in host:
        raise FormatError(f"expected an IP address without a zone, got {host[:80]!r}")
    return f"/ip{address.version}/{address}"


def _checked_host(kind: str, host: str) -> str:
    if kind.startswith("dns"):
        return _host_name(host)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise FormatError(f"expected an IP address, got {host[:80]!r}") from None
    if "%" in host:  # a zone means something on one machine only
        raise FormatError(f"expected an IP address without a zone, got {host[:80]!r}")
    if f"ip{address.version}" != kind:
        raise FormatError(f"expected an address of {kind}, got {host[:80]!r}")
    return f"[{address}]" if kind == "ip6" else str(address)


def _host_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, name.split("."))) or _NUMBER.search(name):
        raise FormatError(f"expected a host name or IP address, got {text[:80]!r}")
    return name
