"""What the client wants: the format (`?format=` before `Accept`), CAR parameters, conditions and ranges."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from muniment.entrypoints.gateway.messages import HttpError, Request

MAX_ACCEPT_TYPES = 32
MAX_RANGES = 8


class Format(StrEnum):
    """The formats that can be asked for, by their names in `?format=`."""

    RAW = "raw"
    CAR = "car"
    TAR = "tar"
    DAG_JSON = "dag-json"
    DAG_CBOR = "dag-cbor"
    JSON = "json"
    CBOR = "cbor"
    IPNS_RECORD = "ipns-record"


MEDIA_TYPES = {
    Format.RAW: "application/vnd.ipld.raw",
    Format.CAR: "application/vnd.ipld.car",
    Format.TAR: "application/x-tar",
    Format.DAG_JSON: "application/vnd.ipld.dag-json",
    Format.DAG_CBOR: "application/vnd.ipld.dag-cbor",
    Format.JSON: "application/json",
    Format.CBOR: "application/cbor",
    Format.IPNS_RECORD: "application/vnd.ipfs.ipns-record",
}
_FORMATS = {media_type: name for name, media_type in MEDIA_TYPES.items()}
_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The outcome of content negotiation.

    Attributes:
        format: The format, or None for whatever is natural.
        in_url: The URL itself names the format, so that caches can tell it from others.
        car: The parameters of the CAR type in `Accept`.
        html: `Accept` names HTML.
        anything: `Accept` is content with anything, should the format not be available.
    """

    format: Format | None = None
    in_url: bool = False
    car: dict[str, str] = field(default_factory=dict)
    html: bool = False
    anything: bool = False


def negotiate(request: Request) -> Wanted:
    """Say which format a request wants.

    Raises:
        HttpError: 400: `format` names none.
    """
    accepted = _parse_accept(request.header("accept"))
    types = [media_type for media_type, _ in accepted]
    car = next((params for name, params in accepted if name == MEDIA_TYPES[Format.CAR]), {})
    html = any(media_type in _HTML for media_type in types)
    anything = "*/*" in types
    asked = request.fields.get("format")
    if asked:
        if asked not in list(Format):
            raise HttpError(
                400, f"unknown format {asked[:40]!r}: expected one of {', '.join(Format)}"
            )
        return Wanted(Format(asked), in_url=True, car=car, html=html)
    for media_type in types:
        if media_type in _HTML or media_type == "*/*":
            break
        if media_type in _FORMATS:
            return Wanted(_FORMATS[media_type], car=car, html=html, anything=anything)
    return Wanted(html=html, anything=anything)


def _parse_accept(value: str) -> list[tuple[str, dict[str, str]]]:
    """Return the media types with their parameters, best first."""
    ranked = []
    for position, item in enumerate(value.split(",")[:MAX_ACCEPT_TYPES]):
        media_type, *rest = (part.strip() for part in item.split(";"))
        params = {}
        for part in rest:
            name, _, text = part.partition("=")
            params[name.strip().lower()] = text.strip().strip('"').lower()
        quality = _quality(params.pop("q", "1"))
        if media_type and quality > 0:
            ranked.append((-quality, position, media_type.lower(), params))
    return [
        (media_type, params) for _, _, media_type, params in sorted(ranked, key=lambda r: r[:2])
    ]


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.\d{0,3})?", text) else 1.0


@dataclass(frozen=True, slots=True)
class CarOptions:
    """How a CAR is to be written; the order is depth first, always."""

    duplicates: bool

    @property
    def content_type(self) -> str:
        """The media type with all parameters, which tells the client what it gets."""
        dups = "y" if self.duplicates else "n"
        return f"{MEDIA_TYPES[Format.CAR]}; version=1; order=dfs; dups={dups}"


def car_options(request: Request, wanted: Wanted) -> CarOptions:
    """Read version, order and dups, from the query before `Accept` (IPIP-523).

    Raises:
        HttpError: 400: one has a value that is not known.
    """

    def option(name: str, allowed: tuple[str, ...]) -> str:
        value = request.fields.get(f"car-{name}") or wanted.car.get(name, "")
        if value and value not in allowed:
            raise HttpError(
                400, f"unsupported CAR {name} {value[:20]!r}: expected {' or '.join(allowed)}"
            )
        return value

    option("version", ("1",))
    option("order", ("dfs", "unk"))
    return CarOptions(duplicates=option("dups", ("y", "n")) == "y")


_ETAG = re.compile(r'(?:W/)?"([^"]*)"')


def matches_etag(condition: str, etag: str) -> bool:
    """Compare an `If-None-Match` header with an entity tag, weakly (RFC 9110, section 8.8.3.2)."""
    if condition.strip() == "*":
        return True
    opaque = etag.removeprefix("W/").strip('"')
    return any(match[1] == opaque for match in _ETAG.finditer(condition))


def is_version(condition: str, etag: str) -> bool:
    """Compare an `If-Match` header with an entity tag, strongly: a weak tag is no version (RFC 9110, section 13.1.1)."""
    if condition.strip() == "*":
        return True
    return not etag.startswith("W/") and etag in (match[0] for match in _ETAG.finditer(condition))


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `offset` to `end` (excluded) of a representation."""

    offset: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes they are."""
        return self.end - self.offset

    def content_range(self, size: int) -> str:
        """The value of `Content-Range`."""
        return f"bytes {self.offset}-{self.end - 1}/{size}"


_RANGE = re.compile(r"\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")


def parse_ranges(request: Request, size: int, etag: str) -> list[Span]:
    """Return the ranges that a request asks for; none means everything, also where the header cannot be read or is excessive.

    Raises:
        HttpError: 416: no byte of the representation is in them.
    """
    value = request.header("range")
    if_range = request.header("if-range")
    unit, _, ranges = value.partition("=")
    if unit.lower() != "bytes" or not size or (if_range and if_range != etag):
        return []  # nothing can be said of a part of nothing: some clients ask for ranges always
    items = [item for item in ranges.split(",") if item.strip()]
    matches = [_RANGE.fullmatch(item) for item in items]
    if not 0 < len(items) <= MAX_RANGES:
        return []
    spans = []
    for match in matches:
        if match is None or not (match[1] or match[2]):
            return []
        if match[1] and match[2] and int(match[2]) < int(match[1]):
            return []
        span = _span(match[1], match[2], size)
        if span is not None:
            spans.append(span)
    if not spans:
        raise HttpError(416, "no byte is in the range", ("content-range", f"bytes */{size}"))
    ordered = sorted(spans, key=lambda span: span.offset)
    if any(left.end > right.offset for left, right in pairwise(ordered)):
        return []  # overlapping ranges would send more than there is
    return spans


def _span(first: str, last: str, size: int) -> Span | None:
    if not first:
        offset, end = max(size - int(last), 0), size
    else:
        offset, end = int(first), min(int(last) + 1, size) if last else size
    return Span(offset, end) if offset < end else None
