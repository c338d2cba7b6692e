"""Archived files: listed, searched, proven, and handed out again."""

import asyncio
from typing import Annotated, Any

from litestar import Response, Router, get, head
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.adapters.sql.catalog import SqlCatalog
from muniment.archive.catalog import ArchivedFile, Kind
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.contract.shapes import ProofView
from muniment.entrypoints.http.openapi import answers, fails, field, takes
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    linked_page,
)
from muniment.entrypoints.http.paths import Paths, PathView, query_bytes
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.ranges import is_known, wanted_range
from muniment.entrypoints.http.requests import HttpRequest
from muniment.entrypoints.http.routes.commits import find_commit
from muniment.entrypoints.http.streaming import SAFE, attachment, safe_media_type, stream
from muniment.errors import KeyUnavailableError, NotFoundError
from muniment.tasks.browsing import FileState, Listed, Wanted, browse
from muniment.tasks.downloads import content
from muniment.tasks.proofs import prove

_NS = 1_000_000_000
_ANY = "*/*"
_DIGEST = "^(blake3:[0-9a-f]{64})?$"
_RANGE = field(
    "range",
    "One range of bytes, as in `bytes=0-99` (RFC 9110, section 14.2); what is none is ignored.",
    is_required=False,
)

Limit = Annotated[int, Parameter(ge=1, le=PAGE_MAX)]
Leaf = Annotated[int, Parameter(ge=0, le=2**40)]


class FileView(PathView):
    """A version of a file, folder or link.

    Attributes:
        state: `archived`, or `pending` while it waits.
        modified_at: By its file system; seconds since 1970.
        mode: Permission bits, octal.
        commit_id: The commit that holds it; with `leaf` its name for ever. Null while it waits.
        leaf: Its number there.
        digest: BLAKE3 of the content; null for folders, links and what waits.
        media_type: What it looks like; empty for folders, links and what waits.
        address: Where it is shown here, `<address>/content` handed out and `<address>/proof` proven; null while it waits.
    """

    kind: Kind
    state: FileState
    size_bytes: int
    modified_at: int
    mode: str
    commit_id: str | None
    leaf: int | None
    digest: str | None
    media_type: str
    address: str | None


@get("/files", opt=needs(Permission.FILES_LIST) | fails("not-found"), sync_to_thread=True)
def list_files(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    path: Annotated[str, Parameter(max_length=4_096)] = "",  # noqa: ARG001  # read byte for byte
    name: Annotated[str, Parameter(max_length=1_024)] = "",  # noqa: ARG001  # likewise
    in_state: Annotated[FileState | None, QueryParameter(name="state")] = None,
    kind: Kind | None = None,
    media_type: Annotated[str, Parameter(max_length=255)] = "",
    commit_id: str | None = None,
    digest: Annotated[str, Parameter(pattern=_DIGEST)] = "",
    limit: Limit = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[FileView]]:
    """List the newest version of every file, in order of path; or all that has a digest.

    `path` is a file, or a folder with all below it; `name` a pattern (`*.pdf`) of the last name of the path; `media_type` may end in `/`. Where few
    files of many are wanted, a page is shorter than its limit, even empty, and still names the next.
    """
    paths, catalog = Paths(service, principal), _catalog(service, principal)
    if digest:
        last = decode_cursor(cursor, tuple[str, int]) if cursor else ("", 0)
        found = catalog.digest_page(bytes.fromhex(digest[7:]), last, limit + 1)
        views = [_archived_view(paths, file) for file in found[:limit]]
        end = (found[limit - 1].commit_id, found[limit - 1].leaf) if len(found) > limit else None
        return linked_page(request, views, end)
    prefix = query_bytes(request, "path")
    wanted = Wanted(
        paths.catalogued(prefix) if prefix else b"",
        in_state,
        kind,
        media_type,
        query_bytes(request, "name"),
        find_commit(service, principal, commit_id).commit_id if commit_id else None,
    )
    listed, key = browse(catalog, wanted, _key(cursor), limit)
    views = [_view(paths, item) for item in listed]
    return linked_page(request, views, (key[0].hex(), key[1]) if key else None)


@get(
    "/commits/{commit_id:str}/files/{leaf:int}",
    opt=needs(Permission.FILES_LIST),
    sync_to_thread=True,
)
def show_file(service: Service, principal: Principal, commit_id: str, leaf: Leaf) -> FileView:
    """Show one archived version."""
    file = _catalog(service, principal).archived_file(commit_id, leaf)
    return _archived_view(Paths(service, principal), file)


@get(
    "/commits/{commit_id:str}/files/{leaf:int}/content",
    opt=needs(Permission.FILES_READ) | fails("gone", "range-not-satisfiable") | takes(_RANGE),
    media_type=_ANY,
    responses={
        206: ResponseSpec(bytes, description="The range that was asked for", media_type=_ANY),
        304: ResponseSpec(None, description="The client has it already"),
    },
)
async def get_content(
    request: HttpRequest, service: Service, principal: Principal, commit_id: str, leaf: Leaf
) -> Stream | Response[bytes]:
    """Get the content of a file, decrypted and checked.

    `ETag` is its BLAKE3. One range may be asked for. It always comes as a file to be saved: it never acts in the name of this service.
    """
    file = await asyncio.to_thread(_file_with_content, service, principal, commit_id, leaf)
    etag, headers = _content_headers(service, principal, file)
    if is_known(request, etag):
        return Response(
            b"", status_code=304, headers=headers, media_type=safe_media_type(file.media_type)
        )
    size = file.scanned.size
    part = wanted_range(request, size, etag) if size else None
    start, end = part or (0, size)
    headers["content-length"] = str(end - start)
    if part:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    archive = service.archives.get(principal.organization_id)
    pieces = content(archive, service.keyrings, file, start, end)
    try:
        return await stream(
            pieces,
            headers,
            media_type=safe_media_type(file.media_type),
            status_code=206 if part else 200,
        )
    except KeyUnavailableError as error:
        raise ProblemError("gone", str(error)) from error


@head(
    "/commits/{commit_id:str}/files/{leaf:int}/content",
    opt=needs(Permission.FILES_READ),
    sync_to_thread=True,
)
def head_content(
    service: Service, principal: Principal, commit_id: str, leaf: Leaf
) -> Response[None]:
    """Tell what getting the content would say of it."""
    file = _file_with_content(service, principal, commit_id, leaf)
    _etag, headers = _content_headers(service, principal, file)
    headers["content-length"] = str(file.scanned.size)
    headers["content-type"] = safe_media_type(file.media_type)
    return Response(None, headers=headers, media_type="text/plain")  # the header field wins


@get(
    "/commits/{commit_id:str}/files/{leaf:int}/proof",
    opt=needs(Permission.ARCHIVE_READ) | answers(ProofView),
    sync_to_thread=True,
)
def show_proof(
    service: Service, principal: Principal, commit_id: str, leaf: Leaf
) -> dict[str, Any]:
    """Prove that the commit holds a file: its record's and content's digests, and the way to the root that was signed."""
    file = _catalog(service, principal).archived_file(commit_id, leaf)
    archive = service.archives.get(principal.organization_id)
    with archive.store.open(commit_id) as folder:
        return prove(folder, archive, file)


router = Router(
    "/",
    route_handlers=[list_files, show_file, get_content, head_content, show_proof],
    tags=["files"],
)


def _catalog(service: Service, principal: Principal) -> SqlCatalog:
    return service.archives.get(principal.organization_id).catalog


def _key(cursor: str) -> tuple[bytes, int] | None:
    if not cursor:
        return None
    path, rank = decode_cursor(cursor, tuple[str, int])
    try:
        return bytes.fromhex(path), rank
    except ValueError:
        raise ProblemError("bad-request", "the cursor is not one of this list") from None


def _file_with_content(
    service: Service, principal: Principal, commit_id: str, leaf: int
) -> ArchivedFile:
    file = _catalog(service, principal).archived_file(commit_id, leaf)
    if file.scanned.kind is not Kind.FILE or file.digest is None:
        raise NotFoundError(f"leaf {leaf} of commit {commit_id} is no file: it has no content")
    return file


def _content_headers(
    service: Service, principal: Principal, file: ArchivedFile
) -> tuple[str, dict[str, str]]:
    assert file.digest is not None
    etag = f'"blake3:{file.digest.hex()}"'
    disposition = attachment(Paths(service, principal).shown(file.scanned.path))
    own = {"etag": etag, "accept-ranges": "bytes", "content-disposition": disposition}
    return etag, SAFE | own


def _view(paths: Paths, listed: Listed) -> FileView:
    if listed.archived is not None:
        return _archived_view(paths, listed.archived)
    scanned = listed.scanned
    return FileView(
        *paths.names(scanned.path),
        scanned.kind,
        FileState.PENDING,
        scanned.size,
        scanned.mtime_ns // _NS,
        f"{scanned.mode:04o}",
        None,
        None,
        None,
        "",
        None,
    )


def _archived_view(paths: Paths, file: ArchivedFile) -> FileView:
    scanned = file.scanned
    return FileView(
        *paths.names(scanned.path),
        scanned.kind,
        FileState.ARCHIVED,
        scanned.size,
        scanned.mtime_ns // _NS,
        f"{scanned.mode:04o}",
        file.commit_id,
        file.leaf,
        f"blake3:{file.digest.hex()}" if file.digest is not None else None,
        file.media_type,
        f"/v1/commits/{file.commit_id}/files/{file.leaf}",
    )
