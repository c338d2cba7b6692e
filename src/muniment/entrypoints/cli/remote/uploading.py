"""Uploading files and folders to a service; a run that was interrupted goes on where it stopped."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote_to_bytes

from muniment.entrypoints.cli.progress import Progress
from muniment.errors import IntegrityError, NotFoundError, UsageError

if TYPE_CHECKING:
    from muniment.client import Client
    from muniment.client.uploads import Upload

_NS = 1_000_000_000

Problems = list[tuple[bytes, str]]
"""Path and reason of everything that is not uploaded."""


@dataclass(frozen=True)
class Input:
    """A file to be uploaded: where it is, what it is called there, its size, and when it was changed last (seconds since 1970)."""

    place: bytes
    path: bytes
    size_bytes: int
    modified_at: int

    @property
    def identity(self) -> tuple[bytes, int, int | None]:
        """What it has in common with its upload: path, size and time of modification."""
        return self.path, self.size_bytes, self.modified_at


def find_inputs(path: bytes, problems: Problems) -> Iterator[Input]:
    """Return the files at or below a path; they keep its last name, and the names below it.

    Raises:
        NotFoundError: There is nothing.
    """
    path = os.path.abspath(path)
    if not os.path.lexists(path):
        raise NotFoundError(f"there is no {os.fsdecode(path)}")
    above = len(os.path.dirname(path).rstrip(b"/")) + 1
    for place in _places(path, problems):
        try:
            # What is named is meant, wherever it leads; what is found is not followed.
            status = os.stat(place) if place == path else os.lstat(place)
        except OSError as error:
            problems.append(_problem(error))
            continue
        if stat.S_ISREG(status.st_mode):
            modified_at = status.st_mtime_ns // _NS
            yield Input(place, place[above:], status.st_size, modified_at)
        else:
            problems.append((place.lstrip(b"/"), _not_uploaded(status.st_mode)))


def _places(path: bytes, problems: Problems) -> Iterator[bytes]:
    """Yield everything at or below a path but the folders."""
    if not os.path.isdir(path):
        yield path
        return
    walk = os.walk(path, onerror=lambda error: problems.append(_problem(error)))
    for folder, folders, names in walk:
        folders.sort()
        places = (os.path.join(folder, name) for name in sorted([*names, *folders]))
        yield from (place for place in places if not _is_folder(place))


def _is_folder(place: bytes) -> bool:
    return os.path.isdir(place) and not os.path.islink(place)


def _not_uploaded(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link, and a service takes only files: name what it leads to"
    return "no regular file: a service takes only files"


def _problem(error: OSError) -> tuple[bytes, str]:
    path = (
        error.filename if isinstance(error.filename, bytes) else os.fsencode(error.filename or "")
    )
    return path.lstrip(b"/"), (error.strerror or str(error)).lower()


def upload_all(
    client: "Client", inputs: Sequence[Input], progress: Progress, problems: Problems
) -> None:
    """Upload files; what the service has of them from an earlier run is not sent again."""
    waiting = _Waiting(client)
    for found in inputs:
        try:
            file = open(found.place, "rb")  # noqa: SIM115  # only what cannot be opened here is skipped
        except OSError as error:
            problems.append(_problem(error))
            continue
        with file:
            try:
                waiting.bring(found, file, progress)
            except (
                UsageError
            ) as error:  # its name, its time or its size is none that the service takes
                problems.append((found.place.lstrip(b"/"), str(error)))
        progress.advance(0, 1)


class _Waiting:
    """Uploads of earlier runs that are not archived yet.

    Args:
        client: Speaks to the service.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._received = _by_identity(client.list_uploads(state="received"))
        self._receiving = _by_identity(client.list_uploads(state="receiving"))

    def bring(self, found: Input, file: BinaryIO, progress: Progress) -> None:
        """See to it that the service has a file."""
        received = self._received.get(found.identity)
        begun = self._receiving.get(found.identity)
        if received is not None and _sha256(file) == received.sha256:
            progress.advance(found.size_bytes)
            return
        if begun is None or not self._resume(begun, found, progress):
            file.seek(0)
            self._client.upload(file, found.path, progress=progress.advance)

    def _resume(self, begun: "Upload", found: Input, progress: Progress) -> bool:
        """Bring the rest of a file; tells whether the service has all of it then."""
        sent_bytes = 0

        def advance(size_bytes: int) -> None:
            nonlocal sent_bytes
            sent_bytes += size_bytes
            progress.advance(size_bytes)

        try:
            self._client.resume_upload(begun.upload_id, found.place, progress=advance)
        except (IntegrityError, NotFoundError):  # it was another content, or has expired
            progress.advance(-sent_bytes)
            return False
        return True


def _by_identity(uploads: "Iterator[Upload]") -> "dict[tuple[bytes, int, int | None], Upload]":
    """Return uploads by path, size and time of modification, the newest of each."""
    found: dict[tuple[bytes, int, int | None], Upload] = {}
    for upload in uploads:
        identity = unquote_to_bytes(upload.path_bytes), upload.size_bytes, upload.modified_at
        found.setdefault(identity, upload)
    return found


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]  # any binary file does
    return digest.hexdigest()
