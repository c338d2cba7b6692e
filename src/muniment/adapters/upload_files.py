"""The files of uploads: received where nobody looks, and moved in one step to where the catalogue finds them."""

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.adapters.durable import sync_folder
from muniment.adapters.incoming_file import (
    HOLD,
    IncomingFile,
    held_bytes,
    hold_file,
    storage_full,
)
from muniment.errors import MissingDataError
from muniment.uploads.ports import BusyUploadError, PlaceTakenError, StorageFullError
from muniment.uploads.upload import Upload, UploadState

if TYPE_CHECKING:
    from hashlib import _Hash

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_OPEN = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_ALLOCATED_MIN_BYTES = 1 << 20  # smaller ones are not worth the system call
_DIGESTS_KEPT = 256
_PLACE_ATTEMPTS = 3


class UploadHomes:
    """See `UploadFolders`.

    Args:
        incoming: Below it, files arrive in a folder for each organisation.
        uploads: Below it they lie afterwards.
        free_bytes: How much of the disk uploads leave free.
    """

    def __init__(self, incoming: Path, uploads: Path, free_bytes: int = 0) -> None:
        self._incoming = incoming
        self._uploads = uploads
        self._free_bytes = free_bytes
        self._known: dict[str, UploadFiles] = {}

    def of(self, organization_id: str) -> "UploadFiles":
        """See `UploadFolders.of`."""
        known = self._known.get(organization_id)
        if known is None:
            folders = self._incoming / organization_id, self._uploads / organization_id
            known = self._known.setdefault(organization_id, UploadFiles(*folders, self._free_bytes))
        return known

    def organizations(self) -> list[str]:
        """See `UploadFolders.organizations`."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(self._incoming))
        return []


class UploadFiles:
    """See `UploadFolder`.

    Args:
        incoming: Where files arrive.
        uploads: Where they lie afterwards.
        free_bytes: How much of the disk is to be left free.
    """

    def __init__(self, incoming: Path, uploads: Path, free_bytes: int = 0) -> None:
        self._incoming = incoming
        self._uploads = uploads
        self._free_bytes = free_bytes
        self._digests: OrderedDict[str, tuple[int, _Hash]] = OrderedDict()
        for folder in (incoming, uploads):
            folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)

    def create(self, upload: Upload, *, is_exact: bool) -> IncomingFile:
        """See `UploadFolder.create`."""
        self._check_room(upload.size_bytes)
        path = self._incoming / upload.upload_id
        while True:
            try:
                with storage_full():
                    file = IncomingFile(
                        path, os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, _FILE_MODE)
                    )
                break
            except (BusyUploadError, MissingDataError):
                continue  # taken for left behind, in the moment before it was locked
        try:
            if is_exact and upload.size_bytes >= _ALLOCATED_MIN_BYTES:
                file.allocate(upload.size_bytes)
            if upload.modified_at_ns is not None:
                file.date(upload.modified_at_ns)  # to know now, not after gigabytes, that it can be
        except BaseException:
            self.remove(upload)
            file.close()
            raise
        return file

    def open(self, upload_id: str) -> IncomingFile:
        """See `UploadFolder.open`."""
        path = self._incoming / upload_id
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            raise MissingDataError(f"nothing has arrived of upload {upload_id}") from None
        file = IncomingFile(path, descriptor, self._keep_digest)
        file.drop()
        size_bytes, digest = self._digests.pop(upload_id, (0, None))
        file.go_on_with(digest if size_bytes == file.size_bytes else None)
        return file

    def durable_bytes(self, upload_id: str) -> int:
        """See `UploadFolder.durable_bytes`."""
        path = self._incoming / upload_id
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            return 0
        try:
            os.fsync(descriptor)
            sync_folder(self._incoming)
            size_bytes = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        return min(size_bytes, held_bytes(path, size_bytes))

    def place(self, upload: Upload) -> None:
        """See `UploadFolder.place`."""
        source = self._incoming / upload.upload_id
        target = self._uploads / os.fsdecode(upload.place)
        for _ in range(_PLACE_ATTEMPTS):
            self._make_folders(target.parent)
            try:
                os.link(source, target)
                break
            except FileExistsError:
                _check_same(source, target)
                break
            except FileNotFoundError:  # or whoever clears empty folders away removed this one
                if not source.exists():
                    _check_there(target)
                    break
        sync_folder(target.parent)
        source.unlink(missing_ok=True)

    def remove(self, upload: Upload) -> None:
        """See `UploadFolder.remove`."""
        path = self._incoming / upload.upload_id
        hold_file(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        self._digests.pop(upload.upload_id, None)
        if upload.state is UploadState.DELETING and upload.place:
            target = self._uploads / os.fsdecode(upload.place)
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
                sync_folder(target.parent)

    def arriving(self) -> Iterable[str]:
        """See `UploadFolder.arriving`."""
        return [name for name in os.listdir(self._incoming) if not name.endswith(HOLD)]

    def _check_room(self, size_bytes: int) -> None:
        disk = os.statvfs(self._incoming)
        free_bytes = disk.f_bavail * disk.f_frsize - self._free_bytes
        if size_bytes > free_bytes:
            raise StorageFullError(
                f"the disk of the service has room for {max(0, free_bytes)} bytes, not for {size_bytes}"
            )

    def _keep_digest(self, upload_id: str, size_bytes: int, digest: "_Hash") -> None:
        """Keep the digest of what has arrived: the next request need not read it again."""
        self._digests[upload_id] = (size_bytes, digest)
        while len(self._digests) > _DIGESTS_KEPT:
            self._digests.popitem(last=False)

    def _make_folders(self, folder: Path) -> None:
        """Make folders, durably.

        Raises:
            PlaceTakenError: There is a file where one has to be.
        """
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            try:
                path.mkdir(_FOLDER_MODE)
            except FileExistsError:
                if not path.is_dir():
                    raise PlaceTakenError(f"{path.name} is a file, not a folder") from None
            sync_folder(path.parent)


def _check_same(source: Path, target: Path) -> None:
    """Check that what is in a place is the file that was to be moved there, by a run that was killed."""
    try:
        if not os.path.samefile(source, target):
            raise PlaceTakenError(f"there is another file at {target.name}")
    except FileNotFoundError:
        _check_there(target)


def _check_there(target: Path) -> None:
    if not target.is_file():
        raise MissingDataError(f"the file that was to become {target.name} is gone")
