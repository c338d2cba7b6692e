"""The files of uploads: received where nobody looks, and moved in one step to where the catalogue finds them."""

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.adapters.durable import sync_folder
from muniment.errors import MissingDataError
from muniment.uploads.ports import BusyUploadError, PlaceTakenError, StorageFullError
from muniment.uploads.upload import Upload, UploadState

if TYPE_CHECKING:
    from hashlib import _Hash

WRITE_BACK_BYTES = 8 << 20
"""So often the system is told to begin writing to the disk: left to itself it waits, and then the last fsync waits for everything."""

_UNDERWAY_BYTES = 8 * WRITE_BACK_BYTES  # the disk may be so far behind
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_OPEN = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_HOLD = ".hold"
_PIECE_BYTES = 4 << 20
_ALLOCATED_MIN_BYTES = 1 << 20  # smaller ones are not worth the system call
_PIECES_MAX = 512  # half of what writev takes everywhere
_DIGESTS_KEPT = 256
_PLACE_ATTEMPTS = 3
_KEEP_SIZE = 1
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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

    def create(self, upload: Upload, *, is_exact: bool) -> "IncomingFile":
        """See `UploadFolder.create`."""
        self._check_room(upload.size_bytes)
        path = self._incoming / upload.upload_id
        while True:
            try:
                with _storage_full():
                    file = IncomingFile(
                        path, os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, _FILE_MODE)
                    )
                break
            except (BusyUploadError, MissingDataError):
                continue  # taken for left behind, in the moment before it was locked
        if is_exact and upload.size_bytes >= _ALLOCATED_MIN_BYTES:
            try:
                file.allocate(upload.size_bytes)
            except BaseException:
                self.remove(upload)
                file.close()
                raise
        return file

    def open(self, upload_id: str) -> "IncomingFile":
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
        return min(size_bytes, _held_bytes(path, size_bytes))

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
        _hold_file(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        self._digests.pop(upload.upload_id, None)
        if upload.state is UploadState.DELETING and upload.place:
            target = self._uploads / os.fsdecode(upload.place)
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
                sync_folder(target.parent)

    def arriving(self) -> Iterable[str]:
        """See `UploadFolder.arriving`."""
        return [name for name in os.listdir(self._incoming) if not name.endswith(_HOLD)]

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


class IncomingFile:
    """See `Incoming`. Two of its methods may run in two threads at once: `write` and `digest`.

    Args:
        path: Where it is.
        descriptor: It, open to be written at its end; closed if this fails.
        keep_digest: Called with its name, size and digest if it is closed unfinished.

    Attributes:
        size_bytes: How many bytes have arrived.

    Raises:
        BusyUploadError: Somebody else has it.
        MissingDataError: It was removed in between.
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        keep_digest: "Callable[[str, int, _Hash], None] | None" = None,
    ) -> None:
        self._path = path
        self._file = descriptor
        self._keep_digest = keep_digest
        self._lock = threading.Lock()  # whoever closes it waits for a thread that still writes
        try:
            _lock(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self.size_bytes = self._written_back = os.fstat(descriptor).st_size
        self._digest: _Hash | None = hashlib.sha256() if self.size_bytes == 0 else None
        self._digested_bytes = 0
        self._held: tuple[int, _Hash | None] | None = None

    def go_on_with(self, digest: "_Hash | None") -> None:
        """Take the digest of what has arrived from whoever knows it; without it, all is read again at the end."""
        if self.size_bytes:
            self._digest, self._digested_bytes = digest, self.size_bytes

    def allocate(self, size_bytes: int) -> None:
        """Take room from the disk for the whole file, where the system can.

        Raises:
            StorageFullError: There is not enough.
        """
        import ctypes  # noqa: PLC0415  # Python's posix_fallocate would change the size of the file, which tells what has arrived

        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "fallocate"):
            return
        length = ctypes.c_int64(size_bytes)
        if library.fallocate(self._file, _KEEP_SIZE, ctypes.c_int64(0), length) != 0:
            number = ctypes.get_errno()
            if number in _FULL:
                raise StorageFullError(
                    f"the disk of the service has no room for {size_bytes} bytes"
                )

    def write(self, pieces: Sequence[bytes]) -> None:
        """See `Incoming.write`.

        Raises:
            StorageFullError: The disk is full.
        """
        with self._lock, _storage_full():
            for batch in _batches(pieces):
                self._write_all(batch)
            if self.size_bytes - self._written_back >= WRITE_BACK_BYTES:
                self._write_back()

    def digest(self, pieces: Sequence[bytes]) -> None:
        """See `Incoming.digest`."""
        if self._digest is not None:
            for piece in pieces:
                self._digest.update(piece)
                self._digested_bytes += len(piece)

    def sync(self) -> None:
        """See `Incoming.sync`."""
        with _storage_full():
            os.fsync(self._file)
        sync_folder(self._path.parent)

    def hold(self) -> None:
        """See `Incoming.hold`."""
        self.sync()
        temporary = _hold_file(self._path).with_suffix(".new" + _HOLD)
        temporary.write_bytes(b"%d" % self.size_bytes)
        os.replace(temporary, _hold_file(self._path))
        digest = self._whole_digest
        self._held = self.size_bytes, digest.copy() if digest else None

    def keep(self) -> None:
        """See `Incoming.keep`."""
        self.sync()
        _hold_file(self._path).unlink(missing_ok=True)
        self._held = None

    def drop(self) -> None:
        """See `Incoming.drop`."""
        size_bytes = _held_bytes(self._path, self.size_bytes)
        if size_bytes < self.size_bytes:
            with self._lock:
                os.ftruncate(self._file, size_bytes)
            self.size_bytes = self._written_back = self._digested_bytes = size_bytes
            _, self._digest = self._held or (0, None if size_bytes else hashlib.sha256())
        _hold_file(self._path).unlink(missing_ok=True)
        self._held = None

    def pieces(self) -> Iterator[bytes]:
        """See `Incoming.pieces`."""
        offset = 0
        while piece := os.pread(self._file, _PIECE_BYTES, offset):
            offset += len(piece)
            yield piece

    def finish(self) -> str:
        """See `Incoming.finish`."""
        self.sync()
        digest, self._digest = self._whole_digest, None
        if digest is None:
            with open(self._path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return digest.hexdigest()

    def close(self) -> None:
        """See `Incoming.close`."""
        with self._lock:
            if self._file < 0:
                return
            digest = self._whole_digest
            if self._keep_digest and digest and self.size_bytes and self._held is None:
                self._keep_digest(self._path.name, self.size_bytes, digest)
            os.close(self._file)
            self._file = -1

    @property
    def _whole_digest(self) -> "_Hash | None":
        """The digest of all that was written; None after a request that broke off between writing and hashing."""
        return self._digest if self._digested_bytes == self.size_bytes else None

    def _write_all(self, pieces: list[bytes]) -> None:
        wanted = sum(map(len, pieces))
        written = os.writev(self._file, pieces)
        self.size_bytes += written
        if written < wanted:
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                written = os.write(self._file, rest)
                self.size_bytes += written
                rest = rest[written:]

    def _write_back(self) -> None:
        """Have what was written go to the disk now, and forget what has gone: nobody reads it soon."""
        if hasattr(os, "posix_fadvise"):
            start = max(0, self.size_bytes - _UNDERWAY_BYTES)
            length = self.size_bytes - start
            os.posix_fadvise(self._file, start, length, os.POSIX_FADV_DONTNEED)
        self._written_back = self.size_bytes


@contextlib.contextmanager
def _storage_full() -> Iterator[None]:
    """Say of errors that mean a full disk that they do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError("the disk of the service is full") from error
        raise


def _lock(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyUploadError(f"another request brings bytes of upload {path.name}") from None
    if os.fstat(descriptor).st_nlink == 0:
        raise MissingDataError(f"upload {path.name} was given up")


def _batches(pieces: Sequence[bytes]) -> Iterator[list[bytes]]:
    iterator = iter(pieces)
    while batch := list(islice(iterator, _PIECES_MAX)):
        yield batch


def _hold_file(path: Path) -> Path:
    """Return the file that says how much of another one is to be kept."""
    return path.with_name(path.name + _HOLD)


def _held_bytes(path: Path, otherwise: int) -> int:
    try:
        return int(_hold_file(path).read_bytes())
    except FileNotFoundError:
        return otherwise


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
