"""Uploads: files of any size, streamed, their digests compared with what the service received."""

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec

from muniment.client.calls import Caller, call, decode, quoted, segment, stream
from muniment.client.flows import Emitting, Flow
from muniment.errors import IntegrityError, UsageError

Progress = Callable[[int], object]
"""Called with bytes that were sent or received, since it was called last."""

_PORTION_BYTES = 1 << 20


class Upload(msgspec.Struct, frozen=True):
    """An upload.

    Attributes:
        path: The path that it was given; bytes that are no UTF-8 are shown as U+FFFD.
        path_bytes: The same, percent-encoded, byte for byte.
        state: `receiving`, `moving`, `received`, `archived` or `cancelled`.
        sha256: Digest of the content, hexadecimal; empty until it is known.
        created_at: Seconds since 1970.
        expires_at: Until when it may be finished.
    """

    upload_id: str
    path: str
    path_bytes: str
    size_bytes: int
    state: str
    sha256: str
    created_at: int
    expires_at: int


class FileBody:
    """An open file, from where it stands to its end, as the body of a request; see `flows.Body`.

    Args:
        file: The file.
        progress: Told of bytes that were sent.
    """

    def __init__(self, file: BinaryIO, progress: Progress | None = None) -> None:
        self._file, self._progress = file, progress
        self._sha256 = hashlib.sha256()
        self._told_bytes = 0
        self.is_repeatable = file.seekable()
        self.size_bytes: int | None = None
        if self.is_repeatable:
            self._start = file.tell()
            self.size_bytes = file.seek(0, os.SEEK_END) - self._start
            file.seek(self._start)

    @property
    def sha256(self) -> str:
        """Digest of what was sent last, hexadecimal."""
        return self._sha256.hexdigest()

    def portions(self) -> Iterator[bytes]:
        """Return the file from where it stood; the digest begins anew."""
        self._sha256 = hashlib.sha256()
        if self.is_repeatable:
            self._file.seek(self._start)
        sent_bytes = 0
        while portion := self._file.read(_PORTION_BYTES):
            self._sha256.update(portion)
            sent_bytes += len(portion)
            yield portion
            if self._progress is not None and sent_bytes > self._told_bytes:
                self._progress(sent_bytes - self._told_bytes)
                self._told_bytes = sent_bytes


class UploadCalls(Caller):
    """Calls about uploads."""

    @stream
    def list_uploads(self) -> Emitting[Upload]:
        """Iterate over the uploads, newest first."""
        return self.pages("/v1/uploads", Upload)

    @call
    def show_upload(self, upload_id: str) -> Flow[Upload]:
        """Show an upload."""
        return self.get(f"/v1/uploads/{segment(upload_id)}", Upload)

    @call
    def cancel_upload(self, upload_id: str) -> Flow[None]:
        """Give up an upload that has not arrived."""
        yield from self.change("DELETE", f"/v1/uploads/{segment(upload_id)}")

    @call
    def upload(
        self,
        source: str | bytes | os.PathLike[str] | BinaryIO,
        path: str | bytes | None = None,
        *,
        sha256: str = "",
        progress: Progress | None = None,
    ) -> Flow[Upload]:
        """Upload one file.

        Args:
            source: Its path here, or an open binary file.
            path: Its path there; the name of the file if left out.
            sha256: Its digest, hexadecimal, if it is known: the service refuses anything else.
            progress: Told of bytes that were sent.

        Raises:
            IntegrityError: The service received something else than what was read here.
            UsageError: The file has no name to take as a path.
        """
        if isinstance(source, str | bytes | os.PathLike):
            with open(source, "rb") as file:
                name = os.path.basename(os.fsencode(source)) if path is None else path
                return (yield from self._put(file, name, sha256, progress))
        if path is None:
            raise UsageError("an open file has no path: name the one that it gets there")
        return (yield from self._put(source, path, sha256, progress))

    def _put(
        self, file: BinaryIO, path: str | bytes, sha256: str, progress: Progress | None
    ) -> Flow[Upload]:
        body = FileBody(file, progress)
        if body.size_bytes is None:
            raise UsageError("expected a file that says how long it is, got a stream")
        headers = {"content-type": "application/octet-stream"}
        if sha256:
            headers["x-sha256"] = sha256
        address = f"/v1/files/{quoted(path)}"
        answer = yield from self.send("PUT", address, body=body, headers=headers)
        upload = decode(answer.body, Upload)
        if upload.sha256 != body.sha256:
            raise IntegrityError(
                f"{upload.path}: the service received something else than what was read here (upload {upload.upload_id})"
            )
        return upload
