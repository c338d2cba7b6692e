"""Resumable uploads: the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload).

Core, and the extensions in `EXTENSIONS`. An offset that was told is of bytes
that are on the disk: what was acknowledged never has to be sent again, whatever happens to the service.
"""

import os
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from litestar import (
    HttpMethod,
    MediaType,
    Request,
    Response,
    Router,
    delete,
    head,
    patch,
    post,
    route,
)
from litestar.openapi.datastructures import ResponseSpec

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import PUBLIC, needs
from muniment.entrypoints.http.intake import bring, in_thread
from muniment.entrypoints.http.openapi import accepts, fails, field, takes
from muniment.entrypoints.http.problems import ProblemError, respond
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.entrypoints.http.routes.uploads import length_of, new_upload, sender_of
from muniment.uploads.digests import Announced, ChecksumError, parse_digest
from muniment.uploads.metadata import mtime_of, parse_metadata, path_of, sha256_of
from muniment.uploads.parts import join, parse_concat
from muniment.uploads.ports import Incoming
from muniment.uploads.upload import Upload, UploadState

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "expiration",
    "checksum",
    "termination",
    "concatenation",
)
_ALGORITHMS = {"sha1": "sha", "sha256": "sha-256", "sha512": "sha-512", "md5": "md5"}
_MEDIA_TYPE = "application/offset+octet-stream"
_TUS = {"tus-resumable": VERSION}
_DIGITS_MAX = 18
_NUMBER = "^[0-9]{1,18}$"
_VERSION_FIELD = field("tus-resumable", "The version of the protocol.", r"^1\.0\.0$")
_LENGTH_FIELD = field(
    "upload-length", "Bytes of the file; of one that is joined, none.", _NUMBER, is_required=False
)
_OFFSET_FIELD = field("upload-offset", "How many bytes of it are there already.", _NUMBER)
_METADATA_FIELD = field(
    "upload-metadata",
    "Its path as `path`, `relativePath`, `filename` or `name`, `sha256`, and `mtime` in seconds since 1970; each with its value in base64.",
    is_required=False,
)
_CHECKSUM_FIELD = field(
    "upload-checksum",
    "Algorithm and digest of this chunk in base64, as in `sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=`.",
    "^(sha1|sha256|sha512|md5) [A-Za-z0-9+/=]{1,128}$",
    is_required=False,
)
_CONCAT_FIELD = field(
    "upload-concat",
    "`partial` for a part of a file; `final;` and the addresses of all parts, with spaces between them, to join them.",
    is_required=False,
)
_METHOD_FIELD = field(
    "x-http-method-override", "The method that is meant.", "^(PATCH|HEAD|DELETE)$"
)
_ENDED = fails("gone", "precondition-failed")
_GONE = (UploadState.CANCELLED, UploadState.DELETING, UploadState.DELETED)


@route(
    ["/", "/{upload_id:str}"],
    http_method=[HttpMethod.OPTIONS],
    opt=PUBLIC,
    status_code=204,
    sync_to_thread=False,
)
def describe(service: Service) -> Response[None]:
    """Tell what of the protocol is understood."""
    return _answer(
        204,
        {
            "tus-version": VERSION,
            "tus-extension": ",".join(EXTENSIONS),
            "tus-max-size": str(service.settings.upload_bytes),
            "tus-checksum-algorithm": ",".join(_ALGORITHMS),
        },
    )


@post(
    "/",
    opt=needs(Permission.FILES_WRITE)
    | accepts(_MEDIA_TYPE)
    | takes(_VERSION_FIELD, _LENGTH_FIELD, _METADATA_FIELD, _CONCAT_FIELD)
    | fails("not-found", "gone", "locked", "length-required", "chunk-mismatch"),
    request_max_body_size=None,
)
async def create(request: HttpRequest, service: Service, principal: Principal) -> Response[None]:
    """Begin an upload of `Upload-Length` bytes, maybe with the first of them; or join parts that have arrived to a file."""
    _check_version(request)
    text = request.headers.get("upload-metadata", "")
    metadata, concat = parse_metadata(text), request.headers.get("upload-concat", "")
    parts = await _parts(service, principal, parse_concat(concat))
    upload = new_upload(
        service,
        principal,
        path_of(metadata) or os.urandom(8).hex().encode(),
        sum(part.size_bytes for part in parts) if parts else _number(request, "upload-length"),
        sha256=sha256_of(metadata),
        mtime=mtime_of(metadata),
        is_resumable=not parts,
        metadata=text,
    )
    upload = replace(upload, concat=concat)
    if parts:
        await in_thread(join, service.receiver, act_of(request, principal), upload, parts)
        return _created(request, upload, upload.size_bytes)
    has_content = request.headers.get("content-type") == _MEDIA_TYPE
    chunk = _Chunk(request, service, principal) if has_content else None
    file = await in_thread(service.receiver.begin, upload)
    try:
        if chunk is None:
            await in_thread(file.sync)
            offset = file.size_bytes
            if upload.size_bytes == 0 and not upload.is_part:
                await in_thread(service.receiver.finish, act_of(request, principal), upload, file)
        else:
            offset = await chunk.bring(upload, file)
    finally:
        await in_thread(file.close)
    return _created(request, upload, offset)


@head("/{upload_id:str}", opt=needs(Permission.FILES_WRITE) | takes(_VERSION_FIELD) | _ENDED)
async def show(
    request: HttpRequest, service: Service, principal: Principal, upload_id: str
) -> Response[None]:
    """Tell how much of an upload is there for good."""
    _check_version(request)
    upload = await _found(service, principal, upload_id)
    offset = await in_thread(service.receiver.complete, act_of(request, principal), upload)
    headers = _progress(upload, offset) | {"upload-length": str(upload.size_bytes)}
    if upload.metadata:
        headers["upload-metadata"] = upload.metadata
    if upload.concat:
        headers["upload-concat"] = upload.concat
    return _answer(200, headers)


@patch(
    "/{upload_id:str}",
    opt=needs(Permission.FILES_WRITE)
    | accepts(_MEDIA_TYPE)
    | takes(_VERSION_FIELD, _OFFSET_FIELD, _CHECKSUM_FIELD)
    | fails("gone", "locked", "length-required", "chunk-mismatch"),
    request_max_body_size=None,
    status_code=204,
)
async def append(
    request: HttpRequest, service: Service, principal: Principal, upload_id: str
) -> Response[None]:
    """Bring the bytes of an upload from `Upload-Offset` on."""
    _check_version(request)
    if request.headers.get("content-type") != _MEDIA_TYPE:
        raise ProblemError("unsupported-media-type", f"expected {_MEDIA_TYPE}")
    chunk, offset = _Chunk(request, service, principal), _number(request, "upload-offset")
    upload = await _found(service, principal, upload_id)
    if upload.concat and not upload.is_part:
        raise ProblemError("forbidden", "nothing can be added to a file that was joined")
    if upload.state is not UploadState.RECEIVING and offset == upload.size_bytes:
        return _answer(204, _progress(upload, offset))
    file = await in_thread(service.receiver.resume, upload)
    try:
        if file.size_bytes != offset:
            raise ProblemError(
                "conflict", f"expected Upload-Offset {file.size_bytes}, got {offset}"
            )
        offset = await chunk.bring(upload, file)
    finally:
        await in_thread(file.close)
    return _answer(204, _progress(upload, offset))


@delete("/{upload_id:str}", opt=needs(Permission.FILES_WRITE) | takes(_VERSION_FIELD) | _ENDED)
async def terminate(
    request: HttpRequest, service: Service, principal: Principal, upload_id: str
) -> Response[None]:
    """Give an upload up, or delete its file if that is not archived yet."""
    _check_version(request)
    upload = await _found(service, principal, upload_id)
    await in_thread(service.receiver.remove, act_of(request, principal), upload)
    return _answer(204, {})


@post(
    "/{upload_id:str}",
    opt=needs(Permission.FILES_WRITE)
    | accepts(_MEDIA_TYPE)
    | takes(_METHOD_FIELD, _VERSION_FIELD, _OFFSET_FIELD | {"required": False}, _CHECKSUM_FIELD)
    | fails("gone", "locked", "length-required", "chunk-mismatch", "method-not-allowed"),
    request_max_body_size=None,
    status_code=204,
    responses={200: ResponseSpec(None, description="What HEAD tells, in the fields of the answer")},
)
async def override(
    request: HttpRequest, service: Service, principal: Principal, upload_id: str
) -> Response[None]:
    """Do what `X-HTTP-Method-Override` says, for clients that cannot send other methods."""
    method = request.headers.get("x-http-method-override", "")
    handlers = {"PATCH": append, "DELETE": terminate, "HEAD": show}
    if method not in handlers:
        raise ProblemError("method-not-allowed", "expected PATCH, HEAD or DELETE")
    answered: Response[None] = await handlers[method].fn(request, service, principal, upload_id)
    return answered


def respond_tus(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a request that failed, with what the protocol wants in every answer."""
    response = respond(request, error)
    response.headers.update(_TUS | {"tus-version": VERSION})
    return response


router = Router(
    "/tus",
    route_handlers=[describe, create, show, append, terminate, override],
    exception_handlers={Exception: respond_tus},
    tags=["uploads"],
)


class _Chunk:
    """The bytes that one request brings.

    Raises:
        ProblemError: The request does not say how many they are, or its checksum is of no known kind.
    """

    def __init__(self, request: HttpRequest, service: Service, principal: Principal) -> None:
        self._size_bytes = length_of(request)
        self._sender = sender_of(request, service)
        self._receiver = service.receiver
        self._act = act_of(request, principal)
        checksum = _checksum(request)
        self._announced = Announced([checksum]) if checksum else None

    async def bring(self, upload: Upload, file: Incoming) -> int:
        """Write them, finish the upload if they are its last, and return the new offset.

        What came before a failure stays, unless there is a checksum: then all stay or none.

        Raises:
            ProblemError: They are too many, or too slow, or not those that were announced.
        """
        if self._size_bytes > upload.size_bytes - file.size_bytes:
            raise ProblemError("too-large", f"expected {upload.size_bytes} bytes in all, got more")
        if self._announced is None:
            try:
                await bring(self._sender, file, self._size_bytes)
            finally:
                await in_thread(file.sync)
        else:
            await self._bring_checked(self._announced, file)
        if file.size_bytes == upload.size_bytes and not upload.is_part:
            await in_thread(self._receiver.finish, self._act, upload, file)
        return file.size_bytes

    async def _bring_checked(self, announced: Announced, file: Incoming) -> None:
        await in_thread(file.hold)
        try:
            await bring(self._sender, file, self._size_bytes, announced)
            announced.verify()
            await in_thread(file.keep)
        except ChecksumError as error:
            raise ProblemError("chunk-mismatch", str(error)) from None
        finally:
            await in_thread(file.drop)  # nothing, if it was kept


def _check_version(request: HttpRequest) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise ProblemError("precondition-failed", f"expected Tus-Resumable: {VERSION}")


async def _found(service: Service, principal: Principal, upload_id: str) -> Upload:
    """Return a resumable upload.

    Raises:
        NotFoundError: There is none.
        ProblemError: It was there, and is no more.
    """
    upload = await in_thread(service.receiver.store.get, principal.organization_id, upload_id)
    if upload.state in _GONE:
        raise ProblemError("gone", f"the upload {upload_id} was given up")
    return upload


async def _parts(service: Service, principal: Principal, upload_ids: list[str]) -> list[Upload]:
    return [await _found(service, principal, upload_id) for upload_id in upload_ids]


def _created(request: HttpRequest, upload: Upload, offset: int) -> Response[None]:
    location = f"{request.url.path.rstrip('/')}/{upload.upload_id}"
    return _answer(201, _progress(upload, offset) | {"location": location})


def _number(request: HttpRequest, name: str) -> int:
    value = request.headers.get(name, "")
    if not (value.isascii() and value.isdecimal() and len(value) <= _DIGITS_MAX):
        raise ProblemError("bad-request", f"expected {name} with a number of bytes")
    return int(value)


def _checksum(request: HttpRequest) -> tuple[str, bytes] | None:
    value = request.headers.get("upload-checksum")
    if value is None:
        return None
    name, _space, digest = value.partition(" ")
    if name not in _ALGORITHMS:
        raise ProblemError("bad-request", f"expected a checksum of {', '.join(_ALGORITHMS)}")
    return parse_digest(_ALGORITHMS[name], digest.strip())


def _progress(upload: Upload, offset: int) -> dict[str, str]:
    return {
        "upload-offset": str(offset),
        "upload-expires": formatdate(upload.expires_at, usegmt=True),
    }


def _answer(status: int, headers: dict[str, str]) -> Response[None]:
    fields = _TUS | {"cache-control": "no-store"} | headers
    return Response(None, status_code=status, headers=fields, media_type=MediaType.TEXT)
