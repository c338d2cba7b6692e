"""Uploads: files are brought here, and archived later."""

import os
import time
from typing import Annotated
from urllib.parse import quote, unquote_to_bytes

import msgspec
from litestar import Response, Router, delete, get, put
from litestar.params import HeaderParameter, QueryParameter

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.bootstrap.service import Service
from muniment.decimal_time import TIME_PATTERN, parse_time
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.intake import Sender, bring, in_thread
from muniment.entrypoints.http.openapi import accepts, fails, field, takes
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    page_response,
)
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.uploads.digests import Announced
from muniment.uploads.digests import announced as announced_digests
from muniment.uploads.ports import Selection
from muniment.uploads.upload import PATH_BYTES_MAX, SMALL_BYTES, Upload, UploadState

LIFETIME_S = 7 * 86_400
"""How long an upload may take."""

_NS = 1_000_000_000
_DIGITS_MAX = 18  # of a number that every database holds
_MTIME_FIELD = field(
    "x-mtime",
    "When the file was changed last: decimal seconds since 1970, of the years 1677 to 2262.",
    f"^({TIME_PATTERN})?$",
    is_required=False,
)


class UploadView(msgspec.Struct):
    """An upload.

    Attributes:
        path: The path that the client gave it; bytes that are no UTF-8 are shown as U+FFFD.
        path_bytes: The same, percent-encoded, byte for byte.
        modified_at: When the client's file was changed last, as it said; seconds since 1970. Null if it did not.
    """

    upload_id: str
    path: str
    path_bytes: str
    size_bytes: int
    state: UploadState
    sha256: str
    created_at: int
    expires_at: int
    modified_at: int | None


@get("/uploads", opt=needs(Permission.FILES_LIST), sync_to_thread=True)
def list_uploads(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: str = "",
    in_state: Annotated[UploadState | None, QueryParameter(name="state")] = None,
    prefix: Annotated[str, QueryParameter(max_length=PATH_BYTES_MAX)] = "",
) -> Response[Page[UploadView]]:
    """List the uploads, newest first; those of a state, or whose path begins with a prefix, if wished."""
    after = decode_cursor(cursor, tuple[int, str]) if cursor else None
    selection = Selection(in_state, prefix.encode("utf-8", "surrogateescape"))
    found = service.receiver.store.page(principal.organization_id, after, limit + 1, selection)
    views = [upload_view(upload) for upload in found]
    return page_response(request, views, limit, lambda view: (view.created_at, view.upload_id))


@get("/uploads/{upload_id:str}", opt=needs(Permission.FILES_WRITE), sync_to_thread=True)
def show_upload(service: Service, principal: Principal, upload_id: str) -> UploadView:
    """Show an upload."""
    return upload_view(service.receiver.store.get(principal.organization_id, upload_id))


@delete("/uploads/{upload_id:str}", opt=needs(Permission.FILES_WRITE), sync_to_thread=True)
def remove_upload(
    request: HttpRequest, service: Service, principal: Principal, upload_id: str
) -> None:
    """Give up an upload that has not arrived, or delete one that is not archived yet."""
    upload = service.receiver.store.get(principal.organization_id, upload_id)
    service.receiver.remove(act_of(request, principal), upload)


@put(
    "/files/{path:path}",
    opt=needs(Permission.FILES_WRITE)
    | accepts("application/octet-stream")
    | takes(_MTIME_FIELD)
    | fails("length-required"),
    request_max_body_size=None,  # the upload's own limit holds, and its quota
    status_code=201,
)
async def put_file(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    sha256: Annotated[str, HeaderParameter(name="x-sha256", pattern="^([0-9a-f]{64})?$")] = "",
    if_none_match: Annotated[str, HeaderParameter(name="if-none-match")] = "",
) -> UploadView:
    """Upload one file: its bytes are the body, its path the rest of the address.

    Digests in `Content-Digest`, `Repr-Digest`, `Content-MD5` or `X-Sha256` are checked. `X-Mtime` says when the
    file was changed last, in decimal seconds since 1970, and is kept to the nanosecond. With `If-None-Match: *` no other upload of
    that path may wait to be archived. Nothing of the body is read before there is room for it.
    """
    _check_whole(request)
    size_bytes = length_of(request)
    if if_none_match not in ("", "*"):
        raise ProblemError("bad-request", "expected no If-None-Match, or `*`")
    announced = Announced(announced_digests(request.headers))
    mtime = request.headers.get("x-mtime", "")
    upload = new_upload(
        service, principal, _raw_path(request), size_bytes, sha256=sha256, mtime=mtime
    )
    act, is_new = act_of(request, principal), bool(if_none_match)
    file = await in_thread(service.receiver.begin, upload, is_new_path=is_new)
    try:
        await bring(sender_of(request, service), file, size_bytes, announced)
        announced.verify()
        done = await in_thread(service.receiver.finish, act, upload, file, is_new_path=is_new)
    except BaseException:
        await in_thread(service.receiver.give_up, act, upload)
        raise
    finally:
        await in_thread(file.close)
    return upload_view(done)


router = Router(
    "/",
    route_handlers=[list_uploads, show_upload, remove_upload, put_file],
    tags=["uploads"],
)


def length_of(request: HttpRequest) -> int:
    """Return how long a request says that its body is.

    Raises:
        ProblemError: It does not say.
    """
    value = request.headers.get("content-length", "")
    if not value.isdecimal() or not value.isascii() or len(value) > _DIGITS_MAX:
        raise ProblemError("length-required", "send Content-Length: room is reserved beforehand")
    return int(value)


def sender_of(request: HttpRequest, service: Service) -> Sender:
    """Return the body of a request."""
    return Sender(request.receive, service.settings.stall_timeout_s)


def new_upload(
    service: Service,
    principal: Principal,
    path: bytes,
    size_bytes: int,
    *,
    sha256: str = "",
    mtime: str = "",
    is_resumable: bool = False,
    metadata: str = "",
) -> Upload:
    """Return an upload that is to begin.

    Args:
        service: Who receives it.
        principal: Who brings it.
        path: The path that the client gives it.
        size_bytes: How large it is, or is at most.
        sha256: Its digest, hexadecimal, if the client announces it.
        mtime: When the file was changed last, in decimal seconds since 1970, if the client says so.
        is_resumable: Whether it may come in several requests.
        metadata: What the client wants to have told again.

    Raises:
        UsageError: Its time of modification is none.
        ProblemError: It is larger than this service takes.
    """
    if size_bytes > service.settings.upload_bytes:
        raise ProblemError(
            "too-large",
            f"expected a file of at most {service.settings.upload_bytes} bytes, got {size_bytes}",
        )
    now = int(time.time())
    return Upload(
        principal.organization_id,
        os.urandom(16).hex(),
        path,
        size_bytes,
        now,
        now + LIFETIME_S,
        principal.actor,
        sha256=sha256,
        is_resumable=is_resumable,
        metadata=metadata,
        key_id=principal.key_id,
        is_small=not is_resumable and size_bytes <= SMALL_BYTES,
        modified_at_ns=parse_time(mtime) if mtime else None,
    )


def upload_view(upload: Upload) -> UploadView:
    """Describe an upload."""
    modified_at_ns = upload.modified_at_ns
    return UploadView(
        upload.upload_id,
        upload.path_display,
        quote(upload.path),
        upload.size_bytes,
        upload.state,
        upload.sha256,
        upload.created_at,
        upload.expires_at,
        None if modified_at_ns is None else modified_at_ns // _NS,
    )


def _check_whole(request: HttpRequest) -> None:
    """Check that a body is the file, and neither a part (RFC 9110, 14.5) nor another coding of it.

    Raises:
        ProblemError: It is not.
    """
    if "content-range" in request.headers:
        raise ProblemError("bad-request", "a part of a file cannot be put; use a resumable upload")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError("unsupported-media-type", "send the file itself, without an encoding")


def _raw_path(request: HttpRequest) -> bytes:
    """Return the rest of the address as the bytes that the client meant."""
    raw: bytes = request.scope["raw_path"]
    return unquote_to_bytes(raw.partition(b"/files/")[2].partition(b"?")[0])
