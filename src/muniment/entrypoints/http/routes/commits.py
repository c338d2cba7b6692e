"""Commits: what is in them, what proves them, and whether they are still whole."""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple

import msgspec
from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.adapters.sql.listing import UNFINISHED, CommitPlace
from muniment.adapters.sql.stored_commits import StoredCommit
from muniment.archive import manifest
from muniment.archive.catalog import CommitRow, CommitState, TimestampState
from muniment.archive.commit_source import read_manifest, read_whole
from muniment.bootstrap.archive import Archive
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.contract.shapes import TokensView
from muniment.entrypoints.http.openapi import fails
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    page_response,
)
from muniment.entrypoints.http.ranges import wanted_range
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.entrypoints.http.routes.operations import OperationView, accepted
from muniment.entrypoints.http.streaming import SAFE, attachment, stream
from muniment.errors import NotFoundError
from muniment.service_jobs.registering import VERIFY, new_archive_job
from muniment.tasks.timestamp_checks import check_timestamp

_MEDIA_TYPES = {
    manifest.MANIFEST_NAME: "application/json",
    manifest.TIMESTAMP_NAME: "application/vnd.opentimestamps.v1",
    manifest.RFC3161_NAME: "application/timestamp-reply",
}
"""The files beside the sealed ones that are handed out. Keys never are."""

_SEALED_TYPE = "application/octet-stream"
_PIECE_BYTES = 1 << 20
_ANY = "*/*"


class CommitView(msgspec.Struct):
    """A commit.

    Attributes:
        state: How far it has come; `stored` when it is finished.
        sequence: Its place in the organisation's chain; null until it is signed.
        created_at: Seconds since 1970.
        files: Files, folders and links in it.
        source_bytes: Bytes of the files.
        sealed_bytes: Bytes of the commit.
        merkle_root: Root of the tree over its files.
        manifest_sha256: What is signed and timestamped.
        commit_cid: CID of its sealed part.
        timestamp: What is known of its timestamp.
        bitcoin_height: The block that proves it.
        backed_up_at: When its backup was last verified; null for never.
        verified_at: When the service last read every byte of it; null for never.
        problem: What was wrong with it then; null for nothing.
    """

    commit_id: str
    state: CommitState
    sequence: int | None
    created_at: int
    files: int
    source_bytes: int
    sealed_bytes: int
    merkle_root: str | None
    manifest_sha256: str | None
    commit_cid: str | None
    timestamp: TimestampState
    bitcoin_height: int | None
    bitcoin_time: int | None
    backed_up_at: int | None
    verified_at: int | None
    problem: str | None


class TimestampView(msgspec.Struct):
    """What is known of a commit's time.

    Attributes:
        state: `verified`, `pending`, `queued` or `inconclusive`.
        detail: In words.
        bitcoin_height: The block that proves it, where a source of headers is configured.
        tokens: What is known of its RFC 3161 tokens; null where there are none.
    """

    state: str
    detail: str
    bitcoin_height: int | None
    bitcoin_time: int | None
    tokens: TokensView | None


@get("/commits", opt=needs(Permission.ARCHIVE_READ), sync_to_thread=True)
def list_commits(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    limit: Annotated[int, Parameter(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[CommitView]]:
    """List the commits: those that are not finished, newest first, then the chain from its end."""
    before = decode_cursor(cursor, tuple[int, int, str]) if cursor else None
    catalog = service.archives.get(principal.organization_id).catalog
    views = commit_views(service, principal, catalog.commits_page(before, limit + 1))
    return page_response(request, views, limit, _place)


@get("/commits/{commit_id:str}", opt=needs(Permission.ARCHIVE_READ), sync_to_thread=True)
def show_commit(service: Service, principal: Principal, commit_id: str) -> CommitView:
    """Show a commit."""
    return show(service, principal, commit_id)


@get(
    "/commits/{commit_id:str}/documents/{name:str}",
    opt=needs(Permission.ARCHIVE_READ),
    media_type=_ANY,
    responses={
        206: ResponseSpec(bytes, description="The range that was asked for", media_type=_ANY)
    },
)
async def get_document(
    request: HttpRequest, service: Service, principal: Principal, commit_id: str, name: str
) -> Stream:
    """Get one of a commit's files as it lies on the disk: all that it takes to verify the commit elsewhere.

    `manifest.json` is what was signed, `manifest.json.ots` its OpenTimestamps proof, `manifest.json.tsr` its RFC 3161 tokens; the manifest names the
    sealed files: `records.sealed`, the chunks and their parity, which nobody can read without keys. One range may be asked for.
    """
    document = await asyncio.to_thread(_document, service, principal, commit_id, name)
    headers = SAFE | {
        "content-disposition": attachment(name.encode()),
        "accept-ranges": "bytes",
        "etag": document.etag,
    }
    size = document.size_bytes
    part = wanted_range(request, size, document.etag) if size else None
    start, end = part or (0, size)
    headers["content-length"] = str(end - start)
    if part:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    archive = service.archives.get(principal.organization_id)
    pieces = _pieces(archive, commit_id, name, start, end)
    status_code = 206 if part else 200
    return await stream(pieces, headers, media_type=document.media_type, status_code=status_code)


@get(
    "/commits/{commit_id:str}/timestamp",
    opt=needs(Permission.ARCHIVE_READ) | fails("upstream-failed"),
    sync_to_thread=True,
)
def show_timestamp(service: Service, principal: Principal, commit_id: str) -> TimestampView:
    """Check a commit's timestamp, and say what it proves."""
    row = find_commit(service, principal, commit_id)
    if row.state is not CommitState.STORED:
        raise NotFoundError(f"commit {commit_id} is not stored yet")
    archive = service.archives.get(principal.organization_id)
    with archive.store.open(commit_id) as folder:
        check = check_timestamp(folder, archive.header_source(), archive.timestamp_roots())
    tokens = msgspec.convert(check.tokens.view(), TokensView) if check.tokens else None
    return TimestampView(check.state, check.detail, check.height, check.time_s, tokens)


@post(
    "/commits/{commit_id:str}/verify",
    opt=needs(Permission.ARCHIVE_READ),
    status_code=202,
    sync_to_thread=True,
)
def verify_commit(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    commit_id: str,
    deep: bool = True,  # noqa: FBT001, FBT002  # a parameter of the query
) -> Response[OperationView]:
    """Read every byte of a commit, and compare it with what was signed; unless `deep=false`, open every file as well."""
    row = find_commit(service, principal, commit_id)
    if row.state is not CommitState.STORED:
        raise NotFoundError(f"commit {commit_id} is not stored yet")
    payload = {"commit_id": commit_id, "deep": deep}
    new = new_archive_job(principal.organization_id, VERIFY, payload, principal.actor)
    return accepted(service.operations.start(act_of(request, principal), new))


router = Router(
    "/",
    route_handlers=[list_commits, show_commit, get_document, show_timestamp, verify_commit],
    tags=["commits"],
)


class _Document(NamedTuple):
    """A file of a commit."""

    media_type: str
    size_bytes: int
    etag: str


def _document(service: Service, principal: Principal, commit_id: str, name: str) -> _Document:
    """Find a file of a commit that may be handed out.

    Raises:
        NotFoundError: There is none of that name.
    """
    row = find_commit(service, principal, commit_id)
    archive = service.archives.get(principal.organization_id)
    if row.state is not CommitState.STORED:
        raise NotFoundError(f"commit {commit_id} has no {name!r}")
    with archive.store.open(commit_id) as folder:
        if name in _MEDIA_TYPES and name in folder.names():
            data = read_whole(folder, name)
            tag = f'"sha256:{hashlib.sha256(data).hexdigest()}"'
            return _Document(_MEDIA_TYPES[name], len(data), tag)
        for file in read_manifest(folder).sealed:
            if file.name == name:
                return _Document(_SEALED_TYPE, folder.size(name), f'"{file.blake3}"')
    raise NotFoundError(f"commit {commit_id} has no {name!r}")


def _pieces(archive: Archive, commit_id: str, name: str, start: int, end: int) -> Iterator[bytes]:
    """Yield bytes of a file of a commit."""
    with archive.store.open(commit_id) as folder:
        for offset in range(start, end, _PIECE_BYTES):
            yield folder.read(name, offset, min(_PIECE_BYTES, end - offset))


def find_commit(service: Service, principal: Principal, commit_id: str) -> CommitRow:
    """Return a commit of the principal's organisation by its whole id.

    Raises:
        NotFoundError: There is none.
    """
    row = service.archives.get(principal.organization_id).catalog.commit(commit_id)
    if row.commit_id != commit_id:
        raise NotFoundError(f"no commit {commit_id!r}")
    return row


def show(service: Service, principal: Principal, commit_id: str) -> CommitView:
    """Describe a commit by its id."""
    row = find_commit(service, principal, commit_id)
    return commit_views(service, principal, [row])[0]


def commit_views(
    service: Service, principal: Principal, rows: Iterable[CommitRow]
) -> list[CommitView]:
    """Describe commits, with what the service noted of them."""
    found = list(rows)
    noted = service.stored_commits.find(principal.organization_id, [row.commit_id for row in found])
    return [commit_view(row, noted.get(row.commit_id)) for row in found]


def commit_view(row: CommitRow, noted: StoredCommit | None) -> CommitView:
    """Describe a commit."""
    return CommitView(
        row.commit_id,
        row.state,
        row.sequence,
        row.created_at,
        row.leaf_count,
        row.source_bytes,
        row.sealed_bytes,
        f"blake3:{row.merkle_root.hex()}" if row.merkle_root else None,
        f"sha256:{row.manifest_sha256.hex()}" if row.manifest_sha256 else None,
        row.commit_cid,
        row.timestamp,
        row.bitcoin_height,
        row.bitcoin_time,
        row.backed_up_at,
        noted.verified_at if noted else None,
        noted.problem if noted else None,
    )


def _place(view: CommitView) -> CommitPlace:
    """Return where a commit stands in the list."""
    sequence = UNFINISHED if view.sequence is None else view.sequence
    return sequence, view.created_at, view.commit_id
