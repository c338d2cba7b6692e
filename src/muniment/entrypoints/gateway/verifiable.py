"""What a client can verify by itself: raw blocks, CARs and IPNS records (trustless gateway), and TAR archives beside them."""

import hashlib
from collections.abc import Iterator

from muniment.content.car import car_pieces
from muniment.content.dag_scope import SCOPES, EntityBytes, Scope, parse_entity_bytes, select_blocks
from muniment.content.tar_stream import tar_stream
from muniment.entrypoints.gateway.contents import (
    Found,
    content_disposition,
    is_unixfs,
    not_acceptable,
    ranged_response,
)
from muniment.entrypoints.gateway.messages import Headers, HttpError, Response
from muniment.entrypoints.gateway.negotiation import (
    MEDIA_TYPES,
    CarOptions,
    Format,
    Span,
    car_options,
    matches_etag,
)
from muniment.errors import FormatError


def raw_response(found: Found) -> Response:
    """Answer with the last block of the path, as it is."""
    etag = f'"{found.cid}.raw"'
    headers = found.cache_headers(etag)
    if found.is_not_modified(etag):
        return Response(304, headers)
    data = found.get(found.cid)
    headers.append(_attachment(found, f"{found.cid}.bin"))

    def read(span: Span) -> Iterator[bytes]:
        return iter((data[span.offset : span.end],))

    return ranged_response(found, headers, MEDIA_TYPES[Format.RAW], len(data), etag, read)


def car_response(found: Found) -> Response:
    """Answer with a CAR of the blocks on the way, and those below its end that `dag-scope` and `entity-bytes` ask for."""
    options = car_options(found.request, found.wanted)
    scope, span = _scope(found)
    etag = _car_etag(found, options, scope, span)
    headers = found.cache_headers(etag)
    if found.is_not_modified(etag):
        return Response(304, headers)
    root = found.resolution.roots[0]
    headers += [
        ("content-type", options.content_type),
        ("accept-ranges", "none"),
        ("x-content-type-options", "nosniff"),
        _attachment(found, f"{found.cid}.car"),
    ]
    blocks = select_blocks(
        found.resolution.passed, found.cid, found.get, scope, span, duplicates=options.duplicates
    )
    return Response(200, headers, car_pieces([root], blocks))


def _scope(found: Found) -> tuple[Scope, EntityBytes | None]:
    """Read `dag-scope` and `entity-bytes`.

    Raises:
        HttpError: 400: one of them has no such value.
    """
    fields = found.request.fields
    asked = fields.get("entity-bytes")
    try:
        span = parse_entity_bytes(asked) if asked is not None else None
    except FormatError as error:
        raise HttpError(400, str(error)) from None
    name = fields.get("dag-scope", "entity" if span else "all")
    for scope in SCOPES:
        if scope == name:
            return ("entity" if span and scope == "all" else scope), span
    raise HttpError(400, f"unknown dag-scope {name[:20]!r}: expected block, entity or all")


def _car_etag(found: Found, options: CarOptions, scope: Scope, span: EntityBytes | None) -> str:
    content = found.mount.content
    what = f"{content.namespace} {content.segments!r} {options} {scope} {span}"
    root = found.resolution.roots[0]
    return f'W/"{root}.car.{hashlib.sha256(what.encode()).hexdigest()[:16]}"'


def tar_response(found: Found) -> Response:
    """Answer with a TAR of a file or directory."""
    if not is_unixfs(found.cid):
        raise not_acceptable(found)
    etag = f'W/"{found.cid}.x-tar"'
    headers = found.cache_headers(etag)
    if found.is_not_modified(etag):
        return Response(304, headers)
    headers += [
        ("content-type", MEDIA_TYPES[Format.TAR]),
        ("accept-ranges", "none"),
        ("x-content-type-options", "nosniff"),
        _attachment(found, f"{found.cid}.tar"),
    ]
    return Response(200, headers, tar_stream(found.cid, str(found.cid), found.get))


def record_response(
    record: bytes, name: str, filename: str, ttl_s: int, headers: Headers, if_none_match: str = ""
) -> Response:
    """Answer with a signed IPNS record."""
    etag = f'"{hashlib.sha256(record).hexdigest()[:32]}.ipns-record"'
    headers = [*headers, ("etag", etag), ("cache-control", f"public, max-age={ttl_s}")]
    if if_none_match and matches_etag(if_none_match, etag):
        return Response(304, headers)
    return Response(
        200,
        [
            *headers,
            ("content-type", MEDIA_TYPES[Format.IPNS_RECORD]),
            ("content-length", str(len(record))),
            (
                "content-disposition",
                content_disposition("attachment", filename or f"{name}.ipns-record"),
            ),
            ("x-content-type-options", "nosniff"),
        ],
        (record,),
    )


def _attachment(found: Found, default_name: str) -> tuple[str, str]:
    name = found.request.fields.get("filename") or default_name
    return ("content-disposition", content_disposition("attachment", name))
