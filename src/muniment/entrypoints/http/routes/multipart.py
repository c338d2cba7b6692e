"""Uploads from forms: many files in one request, each one acknowledged or refused for itself."""

import re

import msgspec
from litestar import Response, Router, post
from litestar.openapi.datastructures import ResponseSpec

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.intake import bring, in_thread
from muniment.entrypoints.http.multipart_stream import FilePart, MultipartStream, boundary_of
from muniment.entrypoints.http.openapi import accepts, fails
from muniment.entrypoints.http.problems import Problem, ProblemError, problem_of
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.entrypoints.http.routes.uploads import (
    UploadView,
    length_of,
    new_upload,
    sender_of,
    upload_view,
)
from muniment.uploads.metadata import mtime_of
from muniment.uploads.upload import Upload

_SHA256 = re.compile(rb"([0-9a-f]{64})?")
_CREATED, _MULTI_STATUS = 201, 207
_FORM = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "sha256": {"type": "string"},
        "mtime": {"type": "string"},
        "file": {"type": "string", "format": "binary"},
    },
}


class ReceivedFile(msgspec.Struct, omit_defaults=True):
    """What became of one file.

    Attributes:
        path: The path that it was sent with.
        upload: The upload, if it was received.
        problem: Why it was not, otherwise.
    """

    path: str
    upload: UploadView | None = None
    problem: Problem | None = None


class ReceivedFiles(msgspec.Struct):
    """What became of the files of a form, in its order."""

    items: list[ReceivedFile]


@post(
    ["/uploads", "/upload"],
    opt=needs(Permission.FILES_WRITE)
    | accepts("multipart/form-data", _FORM)
    | fails("length-required"),
    request_max_body_size=None,  # every file has the limit of uploads, and the quota
    responses={
        _MULTI_STATUS: ResponseSpec(
            ReceivedFiles, generate_examples=False, description="Some files were received."
        )
    },
)
async def post_files(
    request: HttpRequest, service: Service, principal: Principal
) -> Response[ReceivedFiles]:
    """Upload the files of a form (`multipart/form-data`), of any number and size.

    A file's path is its file name, folders included. Fields before a file are meant for it: `path` is its path instead (or its folder,
    if it ends in a slash), `sha256` the digest that it must have, `mtime` when it was changed last (decimal seconds since 1970). A file that is refused keeps no other one out: the answer is 201
    if all were received, 207 if some were, and the first one's problem if none was.
    """
    form = _Form(request, service, principal)
    await form.receive()
    received = [file for file in form.files if file.upload]
    status = _CREATED if len(received) == len(form.files) else _MULTI_STATUS
    return Response(ReceivedFiles(form.files), status_code=status)


router = Router("/", route_handlers=[post_files], tags=["uploads"])


class _Form:
    """A form on its way in.

    Attributes:
        files: What became of its files, so far.
    """

    def __init__(self, request: HttpRequest, service: Service, principal: Principal) -> None:
        self.files: list[ReceivedFile] = []
        self._request, self._service, self._principal = request, service, principal
        self._size_bytes = length_of(request)
        boundary = boundary_of(request.headers.get("content-type", ""))
        self._stream = MultipartStream(sender_of(request, service), boundary)
        self._first_error: Exception | None = None

    async def receive(self) -> None:
        """Receive all files.

        Raises:
            ProblemError: There is none, or the body broke off before one was received.
            Exception: What the first one was refused for, if all were.
        """
        try:
            async for part in self._stream.files():
                await self._receive_or_tell(part)
        except ProblemError as error:
            self._tell(ReceivedFile(""), error)
        if not any(file.upload for file in self.files):
            raise self._first_error or ProblemError("bad-request", "expected a form with files")

    async def _receive_or_tell(self, part: FilePart) -> None:
        path = _path_of(part)
        file = ReceivedFile(path.decode("utf-8", "replace"))
        try:
            file.upload = upload_view(await self._receive(part, path))
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one file is told of that one
            self._tell(file, error)
        else:
            self.files.append(file)

    async def _receive(self, part: FilePart, path: bytes) -> Upload:
        # A part does not say how long it is: at most as long as all that is still to come.
        most_bytes = self._size_bytes - self._stream.parsed_bytes
        most_bytes = max(0, min(most_bytes, self._service.settings.upload_bytes))
        upload = new_upload(
            self._service,
            self._principal,
            path,
            most_bytes,
            sha256=_sha256_of(part),
            mtime=mtime_of(part.fields),
        )
        receiver, act = self._service.receiver, act_of(self._request, self._principal)
        incoming = await in_thread(receiver.begin, upload, is_exact=False)
        try:
            await bring(part, incoming, most_bytes)
            return await in_thread(receiver.finish_shorter, act, upload, incoming)
        except BaseException:
            await in_thread(receiver.give_up, act, upload)
            raise
        finally:
            await in_thread(incoming.close)

    def _tell(self, file: ReceivedFile, error: Exception) -> None:
        file.problem, _headers = problem_of(error)
        self.files.append(file)
        self._first_error = self._first_error or error


def _path_of(part: FilePart) -> bytes:
    path = part.fields.get("path", b"")
    return path + part.filename if path.endswith(b"/") else path or part.filename


def _sha256_of(part: FilePart) -> str:
    digest = part.fields.get("sha256", b"").lower()
    if not _SHA256.fullmatch(digest):
        raise ProblemError("bad-request", "expected 64 hexadecimal digits in the field sha256")
    return digest.decode()
