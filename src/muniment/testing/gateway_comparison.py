"""Two gateways side by side: ask both the same, exactly as it stands, and say in what the answers differ.

Compared are the status, the headers in `HEADERS`, and the body: byte by byte where it is data, the blocks of a CAR and the members of
a TAR in their order, the parts of a multipart body without its boundary, and only the kind where a gateway speaks for itself
(listings, previews, error texts).
"""

import hashlib
import http.client
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from muniment.content.car import CarReader
from muniment.errors import FormatError

TIMEOUT_S = 60

HEADERS = (
    "accept-ranges",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "etag",
    "ipfs-uri",
    "last-modified",
    "location",
    "referrer-policy",
    "vary",
    "x-content-type-options",
    "x-ipfs-path",
    "x-ipfs-roots",
)
"""The headers that are compared."""

ERROR_HEADERS = ("allow", "cache-control", "content-range", "etag", "location")
"""Those that are compared where the answer is an error."""

_LISTS = ("allow", "vary")  # and all of CORS: their items have no order
_OWN_WORDS = {
    "redirect": ("content-length", "content-type", "x-content-type-options"),
    "page": ("content-length",),
}
_AGE_TOLERANCE_S = 60
_GENERATED_ETAG = re.compile(r'("(?:DirIndex|DagIndex)-)[^"]*(_CID-)')
_CAR_ETAG = re.compile(r'(\.car\.)[^"]*"')
_CAR = "application/vnd.ipld.car"
_MAX_AGE = re.compile(r"max-age=(\d+)")
_BOUNDARY = re.compile(r"(multipart/byteranges; boundary=)(\S+)")


@dataclass(frozen=True, slots=True)
class Question:
    """A request.

    Attributes:
        target: Path and query, sent as they are. In headers, `{etag}` stands for the entity tag of the same target.
        host: The value of `Host`.
        method: `GET`, `HEAD`, ...
        headers: The other headers.
    """

    target: str
    host: str = "127.0.0.1"
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        host = "" if self.host == "127.0.0.1" else f" Host: {self.host}"
        more = "".join(f" {name}: {value}" for name, value in self.headers.items())
        return f"{self.method} {self.target}{host}{more}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a gateway answered. Repeated headers are joined by commas; `is_whole` is false if the body was cut off."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool = True


class Difference(NamedTuple):
    """In what two replies differ: `status`, the name of a header, `body`, or the `car roots` in the head of a CAR."""

    what: str
    one: str
    other: str


class GatewayClient:
    """Asks one gateway over one connection, which is made again when it was closed."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            str(address.hostname), address.port, timeout=TIMEOUT_S
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, question: Question) -> Reply:
        """Send a request and read the whole reply."""
        headers = dict(question.headers)
        for name, value in question.headers.items():
            if "{etag}" in value:
                plain = Question(question.target, question.host)
                etag = self.ask(plain).headers.get("etag", '""')
                headers[name] = value.replace("{etag}", etag).replace("W/W/", "W/")
        try:
            return self._send(question, headers)
        except (http.client.BadStatusLine, ConnectionError):
            self._connection.close()  # closed by the other side since the last reply
            return self._send(question, headers)

    def _send(self, question: Question, headers: dict[str, str]) -> Reply:
        connection = self._connection
        connection.putrequest(
            question.method, question.target, skip_host=True, skip_accept_encoding=True
        )
        connection.putheader("Host", question.host)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        is_whole = True
        try:
            body = response.read()
        except (http.client.IncompleteRead, ConnectionError) as error:
            is_whole, body = False, getattr(error, "partial", b"")
            connection.close()
        named: dict[str, str] = {}
        for name, value in response.getheaders():
            key = name.lower()
            named[key] = f"{named[key]}, {value}" if key in named else value
        return Reply(response.status, named, body, is_whole)


def compare(one: Reply, other: Reply) -> list[Difference]:
    """Return in what two replies to the same question differ."""
    return list(_differences(one, other))


def _differences(one: Reply, other: Reply) -> Iterator[Difference]:
    if one.status != other.status:
        yield Difference("status", str(one.status), str(other.status))
        return  # what the rest says follows from that
    names: tuple[str, ...] = HEADERS if one.status < 400 else ERROR_HEADERS
    own = _OWN_WORDS.get(_kind(one), ()) if _kind(one) == _kind(other) else ()
    for name in names:
        pair = _header(one, name), _header(other, name)
        if pair[0] != pair[1] and name not in own and not _same_age(*pair):
            yield Difference(name, *pair)
    if {_kind(one), _kind(other)} == {_CAR}:
        roots = _car_roots(one), _car_roots(other)
        if roots[0] != roots[1]:
            yield Difference("car roots", *roots)
    bodies = _body(one), _body(other)
    if bodies[0] != bodies[1]:
        yield Difference("body", *bodies)


def _header(reply: Reply, name: str) -> str:
    value = reply.headers.get(name, "")
    if name.startswith("access-control-") or name in _LISTS:
        items = {item.strip().lower() for item in value.split(",")}
        return ", ".join(sorted(items - {""}))
    value = _GENERATED_ETAG.sub(r"\1*\2", value)
    return _BOUNDARY.sub(r"\1*", _CAR_ETAG.sub(r'\1*"', value))


def _same_age(one: str, other: str) -> bool:
    """Tell whether two values of `Cache-Control` differ only in the time between two questions."""
    ages = [_MAX_AGE.search(value) for value in (one, other)]
    if ages[0] is None or ages[1] is None:
        return False
    rest = {_MAX_AGE.sub("", value) for value in (one, other)}
    return len(rest) == 1 and abs(int(ages[0][1]) - int(ages[1][1])) <= _AGE_TOLERANCE_S


def _kind(reply: Reply) -> str:
    """Return what the body is: an error text, a redirect, a page of the gateway's own, or the media type of content."""
    if reply.status >= 400:
        return "error"
    if reply.status >= 300:
        return "redirect"
    if "Index-" in reply.headers.get("etag", ""):
        return "page"
    return reply.headers.get("content-type", "").partition(";")[0]


def _body(reply: Reply) -> str:
    """Return what is compared of a body, in words."""
    kind = _kind(reply)
    cut = "" if reply.is_whole else ", then cut off"
    if not reply.body:
        return "empty" + cut
    if kind in ("error", "page", "redirect"):
        return kind + cut
    try:
        match kind:
            case "application/vnd.ipld.car":
                return _car_blocks(reply.body) + cut
            case "application/x-tar":
                return _tar(reply.body) + cut
            case "multipart/byteranges":
                return _parts(reply) + cut
    except (FormatError, tarfile.TarError) as error:
        return f"unreadable after {len(reply.body)} bytes: {error}{cut}"
    return _data(reply.body) + cut


def _data(body: bytes) -> str:
    return f"{len(body)} bytes, {hashlib.sha256(body).hexdigest()[:16]}"


def _car_blocks(body: bytes) -> str:
    cids = [str(cid) for cid, _ in CarReader(io.BytesIO(body))]
    return f"{len(cids)} blocks {' '.join(cids)}"


def _car_roots(reply: Reply) -> str:
    if not reply.body:
        return "none"
    return " ".join(map(str, CarReader(io.BytesIO(reply.body)).roots))


def _tar(body: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(body), errorlevel=2) as archive:
        members = [_member(archive, member) for member in archive]
    return "; ".join(members)


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member) if member.isfile() else None
    data = _data(file.read()) if file else member.linkname
    return f"{member.name} {member.type!r} {data}"


def _parts(reply: Reply) -> str:
    found = _BOUNDARY.search(reply.headers["content-type"])
    if found is None:
        return "no boundary"
    pieces = (b"\r\n" + reply.body).split(b"\r\n--" + found[2].encode())
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        return "no parts"
    shown = []
    for piece in pieces[1:-1]:
        head, _, data = piece.partition(b"\r\n\r\n")
        lines = sorted(line.lower() for line in head.decode("latin-1").split("\r\n") if line)
        shown.append(f"{' '.join(lines)} {_data(data)}")
    return "; ".join(shown)
