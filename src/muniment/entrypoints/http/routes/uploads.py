"""Uploads: files are brought here, and archived later.

The body is written as it comes, one portion in a thread while the next arrives, so memory does not depend on its size.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Response, Router, delete, get, put
from litestar.params import Parameter

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.bootstrap_service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    page_response,
)
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.uploads.receiving import Incoming
from muniment.uploads.upload import Upload, UploadState

_PORTION_BYTES = 1 << 20
_LIFETIME_S = 7 * 86_400


class UploadView(msgspec.Struct):
    """An upload.

    Attributes:
        path: The path that the client gave it; bytes that are no UTF-8 are shown as U+FFFD.
        path_bytes: The same, percent-encoded, byte for byte.
    """

    upload_id: str
    path: str
    path_bytes: str
    size_bytes: int
    state: UploadState
    sha256: str
    created_at: int
    expires_at: int


@get("/uploads", opt=needs(Permission.FILES_LIST), sync_to_thread=True)
def list_uploads(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    limit: Annotated[int, Parameter(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[UploadView]]:
    """List the uploads, newest first."""
    after = decode_cursor(cursor, tuple[int, str]) if cursor else None
    found = service.receiver.store.page(principal.organization_id, after, limit + 1)
    views = [upload_view(upload) for upload in found]
    return page_response(request, views, limit, lambda view: (view.created_at, view.upload_id))


@get("/uploads/{upload_id:str}", opt=needs(Permission.FILES_WRITE), sync_to_thread=True)
def show_upload(service: Service, principal: Principal, upload_id: str) -> UploadView:
    """Show an upload."""
    return upload_view(service.receiver.store.get(principal.organization_id, upload_id))


@delete("/uploads/{upload_id:str}", opt=needs(Permission.FILES_WRITE), sync_to_thread=True)
def cancel_upload(
    request: HttpRequest, service: Service, principal: Principal, upload_id: str
) -> None:
    """Give up an upload that has not arrived."""
    upload = service.receiver.store.get(principal.organization_id, upload_id)
    service.receiver.cancel(act_of(request, principal), upload)


@put(
    "/files/{path:path}",
    opt=needs(Permission.FILES_WRITE),
    request_max_body_size=None,  # the upload's own limit holds, and its quota
    status_code=201,
)
async def put_file(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    size_bytes: Annotated[int | None, Parameter(header="content-length", ge=0)] = None,
    digest: Annotated[str, Parameter(header="x-sha256", pattern="^([0-9a-f]{64})?$")] = "",
) -> UploadView:
    """Upload one file: its bytes are the body, its path the rest of the address."""
    if size_bytes is None:
        raise ProblemError("length-required", "send Content-Length: room is reserved beforehand")
    path = _raw_path(request, "/files/")
    upload = new_upload(service, principal, path, size_bytes, digest)
    await asyncio.to_thread(service.receiver.begin, upload)
    act = act_of(request, principal)
    try:
        with service.receiver.receiving(upload) as file:
            await write_stream(file, request.stream(), size_bytes)
            return upload_view(await asyncio.to_thread(service.receiver.finish, act, upload, file))
    except BaseException:
        await asyncio.to_thread(service.receiver.give_up, act, upload)
        raise


router = Router(
    "/",
    route_handlers=[list_uploads, show_upload, cancel_upload, put_file],
    tags=["uploads"],
)


def new_upload(
    service: Service, principal: Principal, path: bytes, size_bytes: int, sha256: str
) -> Upload:
    """Return an upload that is to begin.

    Raises:
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
        now + _LIFETIME_S,
        principal.actor,
        sha256=sha256,
    )


async def write_stream(file: Incoming, stream: AsyncIterator[bytes], size_bytes: int) -> None:
    """Write a body as it comes.

    Raises:
        ProblemError: There is more of it than was announced.
    """
    writing: asyncio.Future[None] = asyncio.ensure_future(asyncio.sleep(0))
    portion, left = bytearray(), size_bytes
    try:
        async for data in stream:
            left -= len(data)
            if left < 0:
                raise ProblemError("too-large", f"expected {size_bytes} bytes, got more")
            portion += data
            if len(portion) >= _PORTION_BYTES:
                await writing
                writing = _write(file, portion)
                portion = bytearray()
    finally:
        await writing  # nobody else may touch the file until its thread is done with it
    await _write(file, portion)


def upload_view(upload: Upload) -> UploadView:
    """Describe an upload."""
    return UploadView(
        upload.upload_id,
        upload.path.decode("utf-8", "replace"),
        "".join(
            chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"/-._~" else f"%{byte:02X}"
            for byte in upload.path
        ),
        upload.size_bytes,
        upload.state,
        upload.sha256,
        upload.created_at,
        upload.expires_at,
    )


def _write(file: Incoming, portion: bytearray) -> "asyncio.Future[None]":
    return asyncio.ensure_future(asyncio.to_thread(file.write, portion))


def _raw_path(request: HttpRequest, prefix: str) -> bytes:
    """Return the rest of the address as the bytes that the client meant."""
    raw: bytes = request.scope["raw_path"]
    return unquote_to_bytes(raw.partition(prefix.encode())[2].partition(b"?")[0])
