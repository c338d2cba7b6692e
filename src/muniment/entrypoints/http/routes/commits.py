"""Commits: what is in them, what proves them, and whether they are still whole."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.params import Parameter

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.adapters.sql.stored_commits import StoredCommit
from muniment.archive import manifest
from muniment.archive.catalog import CommitRow, CommitState, TimestampState
from muniment.archive.commit_source import read_whole
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    page_response,
)
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.entrypoints.http.routes.operations import OperationView, accepted
from muniment.entrypoints.http.streaming import SAFE, attachment
from muniment.errors import NotFoundError
from muniment.service_jobs.registering import VERIFY, new_archive_job
from muniment.tasks.timestamp_checks import check_timestamp

_DOCUMENTS = {
    manifest.MANIFEST_NAME: ("application/json", manifest.MANIFEST_BYTES_MAX),
    manifest.TIMESTAMP_NAME: ("application/vnd.opentimestamps.v1", 1 << 20),
    manifest.RFC3161_NAME: ("application/timestamp-reply", 1 << 20),
}
"""The files of a commit that are handed out as they are: nothing in them is secret. Keys never are."""


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
    tokens: dict[str, Any] | None


@get("/commits", opt=needs(Permission.ARCHIVE_READ), sync_to_thread=True)
def list_commits(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    limit: Annotated[int, Parameter(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[CommitView]]:
    """List the commits, newest first; those that are not finished as well."""
    before = decode_cursor(cursor, tuple[int, str]) if cursor else None
    catalog = service.archives.get(principal.organization_id).catalog
    views = commit_views(service, principal, catalog.commits_page(before, limit + 1))
    return page_response(request, views, limit, lambda view: (view.created_at, view.commit_id))


@get("/commits/{commit_id:str}", opt=needs(Permission.ARCHIVE_READ), sync_to_thread=True)
def show_commit(service: Service, principal: Principal, commit_id: str) -> CommitView:
    """Show a commit."""
    return show(service, principal, commit_id)


@get(
    "/commits/{commit_id:str}/documents/{name:str}",
    opt=needs(Permission.ARCHIVE_READ),
    sync_to_thread=True,
    media_type="*/*",
)
def show_document(
    service: Service, principal: Principal, commit_id: str, name: str
) -> Response[bytes]:
    """Get the signed manifest (`manifest.json`), its OpenTimestamps proof (`manifest.json.ots`) or its RFC 3161 tokens (`manifest.json.tsr`)."""
    row = find_commit(service, principal, commit_id)
    media_type, size_max = _DOCUMENTS.get(name, ("", 0))
    archive = service.archives.get(principal.organization_id)
    if row.state is not CommitState.STORED or not media_type:
        raise NotFoundError(f"commit {commit_id} has no {name!r}")
    with archive.store.open(commit_id) as folder:
        if name not in folder.names():
            raise NotFoundError(f"commit {commit_id} has no {name!r}")
        data = read_whole(folder, name, size_max)
    headers = SAFE | {"content-disposition": attachment(name.encode())}
    return Response(data, media_type=media_type, headers=headers)


@get("/commits/{commit_id:str}/timestamp", opt=needs(Permission.ARCHIVE_READ), sync_to_thread=True)
def show_timestamp(service: Service, principal: Principal, commit_id: str) -> TimestampView:
    """Check a commit's timestamp, and say what it proves."""
    row = find_commit(service, principal, commit_id)
    if row.state is not CommitState.STORED:
        raise NotFoundError(f"commit {commit_id} is not stored yet")
    archive = service.archives.get(principal.organization_id)
    with archive.store.open(commit_id) as folder:
        check = check_timestamp(folder, archive.header_source(), archive.timestamp_roots())
    tokens = check.tokens.view() if check.tokens else None
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
    route_handlers=[list_commits, show_commit, show_document, show_timestamp, verify_commit],
    tags=["commits"],
)


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
