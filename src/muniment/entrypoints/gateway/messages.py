"""Requests and responses of the gateway: bounded, decoded, and independent of any server."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from muniment.errors import MunimentError

PORTION_BYTES = 256 * 1024
"""Small pieces of a body are gathered to this size; larger ones are sent as they come."""

MAX_QUERY_BYTES = 4096
MAX_QUERY_FIELDS = 64
MAX_HEADERS = 128
MAX_HEADER_BYTES = 8192

HEADERS_READ = frozenset(
    (
        "accept",
        "cache-control",
        "content-type",
        "host",
        "if-match",
        "if-none-match",
        "if-range",
        "range",
        "service-worker",
        "x-forwarded-host",
        "x-forwarded-proto",
    )
)
"""The headers that an answer can depend on: a gateway is shown no others."""

TEXT = "text/plain; charset=utf-8"

CORS_HEADERS = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, HEAD, OPTIONS"),
    ("access-control-allow-headers", "Content-Type, Range, User-Agent, X-Requested-With"),
    (
        "access-control-expose-headers",
        "Content-Length, Content-Range, Ipfs-Uri, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output",
    ),
)

Headers = list[tuple[str, str]]


class HttpError(MunimentError):
    """A request that is answered with an error status.

    Attributes:
        status: The status code.
        headers: More headers of the answer.
    """

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Request:
    """A request, as far as a gateway looks at it.

    Attributes:
        method: `GET`, `HEAD`, ...
        path: The path as it was sent, still escaped.
        query: The query as it was sent, without the question mark.
        headers: Those in `HEADERS_READ`, by lower-case name; of repeated ones the values are joined with commas (RFC 9110, section 5.3).
        scheme: `http` or `https`, as the client sees it.
        body: What was sent behind the headers; read for the few requests that are to have one.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    scheme: str = "http"
    body: bytes = b""
    fields: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", _parse_query(self.query))

    def header(self, name: str) -> str:
        """Return a header's value, empty if there is none."""
        return self.headers.get(name, "")

    @property
    def target(self) -> str:
        """Path and query, as they were sent."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(slots=True)
class Response:
    """A response; `body` is iterated in other threads than the one that made it, never in two at once."""

    status: int
    headers: Headers = field(default_factory=list)
    body: Iterable[bytes] = ()

    def header(self, name: str) -> str:
        """Return a header's value, empty if there is none."""
        return next((value for key, value in self.headers if key == name), "")


@dataclass(slots=True)
class Answer:
    """A response whose body has begun: what fails early has failed already.

    Attributes:
        status: The status code.
        headers: The headers.
        first: The first portion of the body.
        rest: Where more of it comes from, in portions; None if that was all.
    """

    status: int
    headers: Headers
    first: bytes
    rest: Iterator[bytes] | None = None


def begin(response: Response) -> Answer:
    """Read the first portion of a response's body.

    Raises:
        MunimentError: It cannot be read.
    """
    body = iter(response.body)
    taken, is_all = peek(body, PORTION_BYTES)
    if not is_all and response.header("content-length") == str(sum(map(len, taken))):
        is_all = next(body, None) is None  # what checks its length may still object
    rest = None if is_all else portions(body)
    return Answer(response.status, response.headers, b"".join(taken), rest)


def read_scope(scope: Mapping[str, Any]) -> Request:
    """Read the request from an ASGI scope.

    Raises:
        HttpError: It is larger than is looked at.
    """
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    raw_path = raw_path.partition(b"?")[0]
    query: bytes = scope["query_string"]
    if len(query) > MAX_QUERY_BYTES:
        raise HttpError(
            414, f"expected a query of at most {MAX_QUERY_BYTES} bytes, got {len(query)}"
        )
    headers = _read_headers(scope["headers"])
    forwarded = headers.get("x-forwarded-proto", "").lower()
    scheme = forwarded if forwarded in ("http", "https") else scope.get("scheme", "http")
    return Request(scope["method"], _ascii(raw_path), _ascii(query), headers, scheme)


def _ascii(raw: bytes) -> str:
    """Return text whose bytes outside of ASCII, and blanks, are escaped."""
    if raw.isascii() and raw.decode("ascii").isprintable() and b" " not in raw:
        return raw.decode("ascii")
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"%{byte:02X}" for byte in raw)


def _read_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    size = 0
    for count, (name, value) in enumerate(pairs):
        size += len(name) + len(value)
        if count >= MAX_HEADERS or size > MAX_HEADER_BYTES:
            raise HttpError(431, "the request's headers are too large")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key not in HEADERS_READ:
            continue
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _parse_query(query: str) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise HttpError(400, f"expected at most {MAX_QUERY_FIELDS} query parameters") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields


def text_response(status: int, message: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return a short message for people, one line of plain text."""
    body = (message + "\n").encode("utf-8", "replace")
    return Response(
        status,
        [
            *headers,
            ("content-type", TEXT),
            ("content-length", str(len(body))),
            ("x-content-type-options", "nosniff"),
        ],
        (body,),
    )


def redirect(status: int, location: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return a redirect to `location`, which must be ASCII."""
    return text_response(status, f"see {location}", [*headers, ("location", location)])


def peek(pieces: Iterator[bytes], wanted_bytes: int) -> tuple[list[bytes], bool]:
    """Take pieces until they have `wanted_bytes`; return them, and whether that was all."""
    taken: list[bytes] = []
    size = 0
    while size < wanted_bytes:
        piece = next(pieces, None)
        if piece is None:
            return taken, True
        if piece:
            taken.append(piece)
            size += len(piece)
    return taken, False


def portions(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Gather small pieces of a body, and pass on large ones."""
    is_all = False
    while not is_all:
        taken, is_all = peek(pieces, PORTION_BYTES)
        if taken:
            yield taken[0] if len(taken) == 1 else b"".join(taken)
