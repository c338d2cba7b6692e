"""Uploads: files of any size, streamed, their digests compared with what the service received.

Small files go in one request. Large ones go by the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload): when the connection
breaks, the service tells how much it has for good, and the rest follows.
"""

import base64
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from muniment.client.calls import Caller, call, decode, quoted, segment, stream
from muniment.client.errors import ApiConflictError, ApiServiceError, ConnectionFailedError
from muniment.client.flows import Answer, Emitting, Flow, sleep
from muniment.decimal_time import format_time
from muniment.errors import FormatError, IntegrityError, UsageError

Progress = Callable[[int], object]
"""Called with bytes that were sent or received, since it was called last."""

RESUMABLE_BYTES = 32 << 20
"""Files from this size on are sent so that they can be resumed."""

_PORTION_BYTES = 1 << 20
_TUS = {"tus-resumable": "1.0.0"}
_CHUNK = {"content-type": "application/offset+octet-stream"}


class Upload(msgspec.Struct, frozen=True):
    """An upload.

    Attributes:
        path: The path that it was given; bytes that are no UTF-8 are shown as U+FFFD.
        path_bytes: The same, percent-encoded, byte for byte.
        state: `receiving`, `received`, `archived` or `cancelled`.
        sha256: Digest of the content, hexadecimal; empty until it is known.
        created_at: Seconds since 1970.
        expires_at: Until when it may be finished.
        modified_at: When the file was changed last, as its client said; seconds since 1970. None if it did not.
    """

    upload_id: str
    path: str
    path_bytes: str
    size_bytes: int
    state: str
    sha256: str
    created_at: int
    expires_at: int
    modified_at: int | None


class FileBody:
    """An open file, from where it stands to its end, as the body of a request; see `flows.Body`.

    Args:
        file: The file.
        progress: Told of bytes that were sent, once of each.
    """

    def __init__(self, file: BinaryIO, progress: Progress | None = None) -> None:
        self._file, self._progress = file, progress
        self._sha256 = hashlib.sha256()
        self._told_bytes = self._skipped_bytes = 0
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

    def skip(self, size_bytes: int) -> None:
        """Leave out so many bytes at the beginning: the service has them. They belong to the digest all the same."""
        self._skipped_bytes = size_bytes

    @property
    def rest_bytes(self) -> int | None:
        """How many bytes are sent."""
        return None if self.size_bytes is None else self.size_bytes - self._skipped_bytes

    def portions(self) -> Iterator[bytes]:
        """Return the file from where it stood, without what is left out; the digest begins anew."""
        self._sha256 = hashlib.sha256()
        if self.is_repeatable:
            self._file.seek(self._start)
        position = 0
        while position < self._skipped_bytes:
            portion = self._file.read(min(_PORTION_BYTES, self._skipped_bytes - position))
            if not portion:
                return
            position += len(portion)
            self._sha256.update(portion)
        self._tell(position)
        while portion := self._file.read(_PORTION_BYTES):
            self._sha256.update(portion)
            position += len(portion)
            yield portion
            self._tell(position)

    def _tell(self, position: int) -> None:
        if self._progress is not None and position > self._told_bytes:
            self._progress(position - self._told_bytes)
            self._told_bytes = position


class _Rest:
    """What a `FileBody` does not leave out, as the body of one request."""

    is_repeatable = False

    def __init__(self, body: FileBody) -> None:
        self.size_bytes = body.rest_bytes
        self.portions = body.portions


@dataclass(frozen=True)
class _About:
    """What the service is told of a file beside its content."""

    path: str | bytes
    sha256: str
    modified_at_ns: int | None

    @property
    def facts(self) -> dict[str, str]:
        """What is known but the path."""
        facts = {"sha256": self.sha256} if self.sha256 else {}
        if self.modified_at_ns is not None:
            facts["mtime"] = format_time(self.modified_at_ns)
        return facts

    @property
    def metadata(self) -> str:
        """All of it as `Upload-Metadata` of the tus protocol."""
        values = {"path": os.fsencode(self.path)}
        values |= {name: value.encode() for name, value in self.facts.items()}
        return ",".join(f"{name} {_base64(value)}" for name, value in values.items())


class UploadCalls(Caller):
    """Calls about uploads."""

    @stream
    def list_uploads(self, *, state: str | None = None, prefix: str = "") -> Emitting[Upload]:
        """Iterate over the uploads, newest first; those of a state, or whose path begins so, if wished."""
        return self.pages("/v1/uploads", Upload, {"state": state, "prefix": prefix or None})

    @call
    def show_upload(self, upload_id: str) -> Flow[Upload]:
        """Show an upload."""
        return self.get(f"/v1/uploads/{segment(upload_id)}", Upload)

    @call
    def remove_upload(self, upload_id: str) -> Flow[None]:
        """Give up an upload that has not arrived, or delete one that is not archived yet."""
        yield from self.change("DELETE", f"/v1/uploads/{segment(upload_id)}")

    @call
    def upload(
        self,
        source: str | bytes | os.PathLike[str] | BinaryIO,
        path: str | bytes | None = None,
        *,
        sha256: str = "",
        modified_at_ns: int | msgspec.UnsetType | None = msgspec.UNSET,
        progress: Progress | None = None,
    ) -> Flow[Upload]:
        """Upload one file.

        Args:
            source: Its path here, or an open binary file.
            path: Its path there; the name of the file if left out.
            sha256: Its digest, hexadecimal, if it is known: the service refuses anything else.
            modified_at_ns: When it was changed last, nanoseconds since 1970; None leaves that out. If it is not given, the time of the file
                here goes with it, if it has one.
            progress: Told of bytes that were sent, once of each.

        Raises:
            IntegrityError: The service received something else than what was read here; it was removed there.
            UsageError: The file has no name to take as a path.
        """
        with contextlib.ExitStack() as opened:
            if isinstance(source, str | bytes | os.PathLike):
                path = os.path.basename(os.fsencode(source)) if path is None else path
                source = opened.enter_context(open(source, "rb"))
            if path is None:
                raise UsageError("an open file has no path: name the one that it gets there")
            if modified_at_ns is msgspec.UNSET:
                modified_at_ns = _modified_at_ns(source)
            about = _About(path, sha256, modified_at_ns)
            return (yield from self._bring(FileBody(source, progress), about))

    @call
    def resume_upload(
        self,
        upload_id: str,
        source: str | bytes | os.PathLike[str],
        *,
        progress: Progress | None = None,
    ) -> Flow[Upload]:
        """Bring the rest of a file whose upload was interrupted, maybe long ago and by another program.

        Args:
            upload_id: The upload, as `list_uploads(state="receiving")` tells it.
            source: The same file's path here.
            progress: Told of bytes that are there.

        Raises:
            IntegrityError: The service has received something else than this file; it was removed there.
        """
        with open(source, "rb") as file:
            return (yield from self._bring_rest(upload_id, FileBody(file, progress)))

    def _bring(self, body: FileBody, about: _About) -> Flow[Upload]:
        if body.size_bytes is None:
            raise UsageError("expected a file that says how long it is, got a stream")
        if body.size_bytes < RESUMABLE_BYTES:
            return (yield from self._put(body, about))
        headers = {"upload-length": str(body.size_bytes), "upload-metadata": about.metadata}
        answer = yield from self.send("POST", "/v1/tus/", headers=_TUS | headers)
        upload_id = answer.headers.get("location", "").rpartition("/")[2]
        return (yield from self._bring_rest(upload_id, body))

    def _put(self, body: FileBody, about: _About) -> Flow[Upload]:
        headers = {f"x-{name}": value for name, value in about.facts.items()}
        headers["content-type"] = "application/octet-stream"
        address = f"/v1/files/{quoted(about.path)}"
        answer = yield from self.send("PUT", address, body=body, headers=headers)
        return (yield from self._same(decode(answer.body, Upload), body))

    def _bring_rest(self, upload_id: str, body: FileBody) -> Flow[Upload]:
        """Send what the service does not have, until it has everything."""
        address = f"/v1/tus/{segment(upload_id)}"
        failures = last = 0
        while True:
            answer = yield from self.send("HEAD", address, headers=_TUS)
            offset = _offset(answer)
            failures = 0 if offset > last else failures
            last = offset
            body.skip(offset)
            headers = _TUS | _CHUNK | {"upload-offset": str(offset)}
            try:
                yield from self.send("PATCH", address, headers=headers, body=_Rest(body))
                break
            except (ConnectionFailedError, ApiServiceError, ApiConflictError):
                failures += 1
                if failures >= self._patience.attempts:
                    raise
            yield from sleep(self._patience.wait_s(failures, None))
        upload = yield from self.get(f"/v1/uploads/{segment(upload_id)}", Upload)
        return (yield from self._same(upload, body))

    def _same(self, upload: Upload, body: FileBody) -> Flow[Upload]:
        """Check that the service has what was read here; anything else is not left there to be archived."""
        if upload.sha256 == body.sha256:
            return upload
        yield from self.change("DELETE", f"/v1/uploads/{segment(upload.upload_id)}")
        raise IntegrityError(
            f"{upload.path}: the service received something else than what was read here, and was told to forget it"
        )


def _modified_at_ns(file: BinaryIO) -> int | None:
    """Return when an open file was changed last; None if it lies on no disk."""
    try:
        return os.fstat(file.fileno()).st_mtime_ns
    except (AttributeError, OSError):  # it lies in memory, or only looks like a file
        return None


def _offset(answer: Answer) -> int:
    text = answer.headers.get("upload-offset", "")
    if not (text.isascii() and text.isdigit()):
        raise FormatError(f"expected an Upload-Offset from the service, got {text!r}")
    return int(text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
