"""Files, directories and data, as people and browsers want them: the deserialized responses of a path gateway."""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from urllib.parse import quote

from muniment.archive.media_type import HEAD_BYTES, media_type
from muniment.content import codecs
from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.path_resolution import NoSuchPathError, Resolution, resolve_path
from muniment.content.unixfs import DirectoryEntry, describe, list_directory, read_file
from muniment.content.unixfs.node import Kind
from muniment.entrypoints.gateway import pages
from muniment.entrypoints.gateway.blocks import RequestBlocks
from muniment.entrypoints.gateway.hosts import Mount
from muniment.entrypoints.gateway.messages import (
    Headers,
    HttpError,
    Request,
    Response,
    peek,
    redirect,
)
from muniment.entrypoints.gateway.negotiation import (
    MEDIA_TYPES,
    Format,
    Span,
    Wanted,
    matches_etag,
    parse_ranges,
)
from muniment.errors import FormatError, NotFoundError

IMMUTABLE = "public, max-age=29030400, immutable"
GENERATED = "public, max-age=604800, stale-while-revalidate=2678400"
_UNKNOWN = "application/octet-stream"
_CURRENT = {  # RFC 9239, section 6; RFC 6713
    "application/javascript": "text/javascript",
    "application/x-gzip": "application/gzip",
}
MAX_JSON_BYTES = 1 << 20
"""Files up to this size are looked at to say whether they are JSON."""

SANDBOX = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"
"""Policy of content that shares its origin with other content: its scripts run in an origin of nobody."""

_TREE_FORMATS = {
    codecs.DAG_JSON: Format.DAG_JSON,
    codecs.DAG_CBOR: Format.DAG_CBOR,
    codecs.JSON: Format.JSON,
    codecs.CBOR: Format.CBOR,
}
# The formats that a block of each codec can be had in: its own, and the plain one that it also is.
_TREE_ACCEPTED = {
    codecs.DAG_JSON: (Format.DAG_JSON, Format.JSON),
    codecs.DAG_CBOR: (Format.DAG_CBOR, Format.CBOR),
    codecs.JSON: (Format.JSON,),
    codecs.CBOR: (Format.CBOR,),
}


@dataclass(frozen=True, slots=True)
class Found:
    """What a request's path led to, and everything that an answer to it depends on.

    Attributes:
        request: The request.
        mount: Where its content is mounted.
        wanted: The format.
        resolution: The blocks that the path led to.
        blocks: Where more of them can be read.
        ttl_s: How long the path leads there; None if unknown. Not for immutable paths.
        headers: `X-Ipfs-Path` and whatever else every answer has.
    """

    request: Request
    mount: Mount
    wanted: Wanted
    resolution: Resolution
    blocks: RequestBlocks
    ttl_s: int | None
    headers: tuple[tuple[str, str], ...]

    @property
    def cid(self) -> CID:
        """The last block of the path."""
        return self.resolution.cid

    def get(self, cid: CID) -> bytes:
        """Read a block; see `RequestBlocks.get`."""
        return self.blocks.get(cid)

    def cache_headers(self, etag: str, *, is_generated: bool = False) -> Headers:
        """Return entity tag and `Cache-Control`: for ever, as long as the name's record says, or nothing that is a guess."""
        headers = [*self.headers, ("etag", etag)]
        if self.mount.content.namespace == "ipns":
            if self.ttl_s is not None:
                headers.append(("cache-control", f"public, max-age={self.ttl_s}"))
        else:
            headers.append(("cache-control", GENERATED if is_generated else IMMUTABLE))
        return headers

    def is_not_modified(self, etag: str) -> bool:
        """Tell whether the client has this already."""
        condition = self.request.header("if-none-match")
        return bool(condition) and matches_etag(condition, etag)


def unixfs_response(found: Found) -> Response:
    """Answer with a file, a symbolic link's target, a directory's `index.html`, or its listing."""
    info = describe(found.cid, found.get)
    if info.kind is Kind.DIRECTORY:
        return _directory_response(found)
    if info.kind is Kind.SYMLINK:
        if found.wanted.format is not None:
            raise not_acceptable(found)
        return _bytes_response(found, _etag(found.cid), "inode/symlink", info.target, None)
    name = found.mount.content.segments[-1] if found.mount.content.segments else b""
    return file_response(found, found.cid, info.size, name, _etag(found.cid))


def _etag(cid: CID, suffix: str = "") -> str:
    return f'"{cid}{suffix}"'


def _directory_response(found: Found) -> Response:
    if found.wanted.format is not None:
        raise not_acceptable(found)
    content = found.mount.content
    if not content.has_final_slash and not (found.mount.is_isolated and not content.segments):
        location = found.mount.url(content.segments) + "/"
        query = found.request.query
        return redirect(301, f"{location}?{query}" if query else location, found.headers)
    try:
        index = resolve_path(found.cid, (b"index.html",), found.get).cid
    except NoSuchPathError:
        return _listing_response(found)
    info = describe(index, found.get)
    if info.kind is not Kind.FILE:
        return _listing_response(found)
    return file_response(found, index, info.size, b"index.html", _etag(found.cid))


def _listing_response(found: Found) -> Response:
    etag = f'"DirIndex-{pages.page_version()}_CID-{found.cid}"'
    headers = found.cache_headers(etag, is_generated=True)
    if found.is_not_modified(etag):
        return Response(304, headers)
    entries = list_directory(found.cid, found.get, unsafe_names=True)
    shown, is_cut = _first_entries(entries)
    shown.sort(key=lambda entry: entry.name)
    page = pages.directory_page(
        found.mount, found.mount.content.segments, found.cid, shown, is_cut=is_cut
    )
    return _page_response(headers, page)


def _first_entries(entries: Iterator[DirectoryEntry]) -> tuple[list[DirectoryEntry], bool]:
    """Return the entries that a listing has room for, and whether there are more."""
    shown: list[DirectoryEntry] = []
    name_bytes = 0
    for entry in entries:
        name_bytes += len(entry.name)
        if len(shown) == pages.MAX_ENTRIES or name_bytes > pages.MAX_NAME_BYTES:
            return shown, True
        shown.append(entry)
    return shown, False


def _page_response(headers: Headers, page: Iterator[bytes]) -> Response:
    body = b"".join(page)
    headers += [
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", str(len(body))),
        ("content-security-policy", pages.policy()),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ]
    return Response(200, headers, (body,))


def file_response(
    found: Found, cid: CID, size: int, name: bytes, etag: str, status: int = 200
) -> Response:
    """Answer with a file's bytes, or the ranges of them that are wanted."""
    if status == 200 and found.is_not_modified(etag):
        return Response(304, found.cache_headers(etag))
    name = found.request.fields.get("filename", "").encode("utf-8", "replace") or name
    content_type = _content_type(found, cid, size, name)
    if found.wanted.format is Format.JSON and content_type != MEDIA_TYPES[Format.JSON]:
        if not found.wanted.anything:
            raise not_acceptable(found)
    elif found.wanted.format not in (None, Format.JSON):
        raise not_acceptable(found)

    def read(span: Span) -> Iterator[bytes]:
        return read_file(cid, found.get, span.offset, span.size)

    headers = found.cache_headers(etag)
    disposition = _disposition(found, default_name="", is_attachment=False)
    if disposition:
        headers.append(("content-disposition", disposition))
    return ranged_response(found, headers, content_type, size, etag, read, status)


def _content_type(found: Found, cid: CID, size: int, name: bytes) -> str:
    named = media_type(name, b"")
    if named == _UNKNOWN:
        named = _sniffed_type(found, cid, size)
    named = _CURRENT.get(named, named)
    return f"{named}; charset=utf-8" if named.startswith("text/") else named


def _sniffed_type(found: Found, cid: CID, size: int) -> str:
    try:
        head = next(read_file(cid, found.get, 0, min(size, HEAD_BYTES)), b"")  # of the first leaf
    except NotFoundError:
        return _UNKNOWN  # the wanted range may be there all the same
    named = media_type(b"", head)
    if named == "text/plain":
        if _is_json(found, cid, size, head):
            return MEDIA_TYPES[Format.JSON]
        start = head.lstrip()[:64].lower()
        if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
            return "text/html"
        if start.startswith(b"<svg"):
            return "image/svg+xml"
    return named


def _is_json(found: Found, cid: CID, size: int, head: bytes) -> bool:
    if head.lstrip()[:1] not in (b"{", b"[") or size > MAX_JSON_BYTES:
        return False
    try:
        json.loads(b"".join(read_file(cid, found.get, 0, size)))
    except (ValueError, RecursionError, NotFoundError):
        return False
    return True


def ranged_response(
    found: Found,
    headers: Headers,
    content_type: str,
    size: int,
    etag: str,
    read: Callable[[Span], Iterator[bytes]],
    status: int = 200,
) -> Response:
    """Answer with a representation of a known size, whole, in part, or in several parts (RFC 9110, section 14)."""
    headers += [("accept-ranges", "bytes"), ("x-content-type-options", "nosniff")]
    spans = parse_ranges(found.request, size, etag) if status == 200 else []
    if len(spans) > 1:
        return _multipart_response(headers, content_type, size, spans, read)
    span = spans[0] if spans else Span(0, size)
    if spans:
        status = 206
        headers.append(("content-range", span.content_range(size)))
    headers += [("content-type", content_type), ("content-length", str(span.size))]
    return Response(status, headers, exactly(span.size, read(span)))


def _multipart_response(
    headers: Headers,
    content_type: str,
    size: int,
    spans: list[Span],
    read: Callable[[Span], Iterator[bytes]],
) -> Response:
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
        f"Content-Range: {span.content_range(size)}\r\n\r\n".encode()
        for span in spans
    ]
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, heads)) + sum(span.size for span in spans) + len(tail)
    headers += [
        ("content-type", f"multipart/byteranges; boundary={boundary}"),
        ("content-length", str(length)),
    ]
    parts = (
        chain((head,), exactly(span.size, read(span)))
        for head, span in zip(heads, spans, strict=True)
    )
    return Response(206, headers, chain(chain.from_iterable(parts), (tail,)))


def exactly(size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pass pieces on, and fail if they are not `size` bytes: what was promised in a header must come.

    Raises:
        FormatError: They are more or fewer.
    """
    left = size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise FormatError(f"expected {size} bytes, got {'more' if left < 0 else size - left}")


def at_most(size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pass pieces on, and fail before they are more than `size` bytes.

    Raises:
        HttpError: 413: they are.
    """
    left = size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise HttpError(413, f"more than {size} bytes: ask for a part of it")
        yield piece


def _bytes_response(
    found: Found, etag: str, content_type: str, data: bytes, disposition: str | None
) -> Response:
    headers = found.cache_headers(etag)
    if found.is_not_modified(etag):
        return Response(304, headers)
    if disposition:
        headers.append(("content-disposition", disposition))

    def read(span: Span) -> Iterator[bytes]:
        return iter((data[span.offset : span.end],))

    return ranged_response(found, headers, content_type, len(data), etag, read)


def tree_response(found: Found) -> Response:
    """Answer with a block of JSON, CBOR or their DAG forms: its own bytes, or a page that shows them."""
    if found.resolution.remainder:
        raise HttpError(
            501,
            f"reading a part of a block is not implemented: ask for {found.cid} and look inside",
        )
    codec = found.cid.codec
    native = _TREE_FORMATS[codec]
    wanted = found.wanted.format
    if wanted is None and found.wanted.html and codec in (codecs.DAG_JSON, codecs.DAG_CBOR):
        return _preview_response(found)
    accepted = _TREE_ACCEPTED[codec]
    if wanted is not None and wanted not in accepted:
        raise not_acceptable(found)
    given = wanted or native
    extension = native.removeprefix("dag-")
    is_text = extension == "json"
    disposition = _disposition(
        found, default_name=f"{found.cid}.{extension}", is_attachment=not is_text
    )
    return _bytes_response(
        found, _etag(found.cid, f".{given}"), MEDIA_TYPES[given], found.get(found.cid), disposition
    )


def _preview_response(found: Found) -> Response:
    etag = f'"DagIndex-{pages.page_version()}_CID-{found.cid}"'
    headers = found.cache_headers(etag, is_generated=True)
    if found.is_not_modified(etag):
        return Response(304, headers)
    data = found.get(found.cid)
    value = codecs.decode(found.cid.codec, data, strict=False)
    text = codecs.encode(codecs.DAG_JSON, value).decode("utf-8", "replace")
    links = list(islice(codecs.links(value), pages.MAX_ENTRIES))
    download = f"?format={_TREE_FORMATS[found.cid.codec]}"
    return _page_response(headers, pages.preview_page(str(found.cid), text, links, download))


def _disposition(found: Found, *, default_name: str, is_attachment: bool) -> str:
    """Return the value of `Content-Disposition`; empty if there is nothing to say."""
    name = found.request.fields.get("filename") or default_name
    asked = found.request.fields.get("download", "").lower()
    kind = "attachment" if is_attachment or asked == "true" else "inline"
    if not name:
        return kind if kind == "attachment" else ""
    return content_disposition(kind, name)


def content_disposition(kind: str, name: str) -> str:
    """Return the value of `Content-Disposition`; the name also in UTF-8 where it is not ASCII (RFC 8187)."""
    name = name[:255].replace("/", "_").replace("\\", "_")  # a file's name, never a path
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in name)
    value = f'{kind}; filename="{plain}"'
    if plain == name:
        return value
    return f"{value}; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"


def not_acceptable(found: Found) -> HttpError:
    """Return the error of a format that the content is not in (IPIP-524)."""
    return HttpError(
        406,
        f"{found.cid} is not available as {found.wanted.format}: blocks are not converted, ask for format=raw",
    )


def read_small_file(cid: CID, get: Callable[[CID], bytes], max_bytes: int) -> bytes:
    """Return the beginning of a file, one byte more than `max_bytes` if it is larger."""
    taken, _ = peek(read_file(cid, get, 0, max_bytes + 1), max_bytes + 1)
    return b"".join(taken)


def is_tree(cid: CID) -> bool:
    """Tell whether a block of the CID's codec is data rather than UnixFS."""
    return cid.codec in _TREE_FORMATS


def is_unixfs(cid: CID) -> bool:
    """Tell whether a block of the CID's codec can be a file or directory."""
    return cid.codec in (RAW, DAG_PB)
