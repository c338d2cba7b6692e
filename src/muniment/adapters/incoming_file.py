"""A file while it arrives: locked, written at its end, digested, dated, and made durable."""

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.adapters.durable import sync_folder
from muniment.decimal_time import format_time
from muniment.errors import MissingDataError, UsageError
from muniment.uploads.ports import BusyUploadError, StorageFullError

if TYPE_CHECKING:
    from hashlib import _Hash

WRITE_BACK_BYTES = 8 << 20
"""So often the system is told to begin writing to the disk: left to itself it waits, and then the last fsync waits for everything."""

HOLD = ".hold"
"""How the names end of files that say how much of another one is to be kept."""

_UNDERWAY_BYTES = 8 * WRITE_BACK_BYTES  # the disk may be so far behind
_PIECE_BYTES = 4 << 20
_PIECES_MAX = 512  # half of what writev takes everywhere
_KEEP_SIZE = 1
_NS = 1_000_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        with self._lock, storage_full():
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
        with storage_full():
            os.fsync(self._file)
        sync_folder(self._path.parent)

    def hold(self) -> None:
        """See `Incoming.hold`."""
        self.sync()
        temporary = hold_file(self._path).with_suffix(".new" + HOLD)
        temporary.write_bytes(b"%d" % self.size_bytes)
        os.replace(temporary, hold_file(self._path))
        digest = self._whole_digest
        self._held = self.size_bytes, digest.copy() if digest else None

    def keep(self) -> None:
        """See `Incoming.keep`."""
        self.sync()
        hold_file(self._path).unlink(missing_ok=True)
        self._held = None

    def drop(self) -> None:
        """See `Incoming.drop`."""
        size_bytes = held_bytes(self._path, self.size_bytes)
        if size_bytes < self.size_bytes:
            with self._lock:
                os.ftruncate(self._file, size_bytes)
            self.size_bytes = self._written_back = self._digested_bytes = size_bytes
            _, self._digest = self._held or (0, None if size_bytes else hashlib.sha256())
        hold_file(self._path).unlink(missing_ok=True)
        self._held = None

    def pieces(self) -> Iterator[bytes]:
        """See `Incoming.pieces`."""
        offset = 0
        while piece := os.pread(self._file, _PIECE_BYTES, offset):
            offset += len(piece)
            yield piece

    def date(self, modified_at_ns: int) -> None:
        """Set when its content was changed last. Whatever is written later changes that again.

        Raises:
            UsageError: The file system has no such time: it would keep the next one that it has.
        """
        os.utime(self._file, ns=(modified_at_ns, modified_at_ns))
        kept_s = os.fstat(self._file).st_mtime_ns // _NS
        if kept_s != modified_at_ns // _NS:
            raise UsageError(
                f"expected a modification time that the disk of the service can keep, got {format_time(modified_at_ns)}"
            )

    def finish(self, modified_at_ns: int | None) -> str:
        """See `Incoming.finish`."""
        if modified_at_ns is not None:
            self.date(modified_at_ns)
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
def storage_full() -> Iterator[None]:
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


def hold_file(path: Path) -> Path:
    """Return the file that says how much of another one is to be kept."""
    return path.with_name(path.name + HOLD)


def held_bytes(path: Path, otherwise: int) -> int:
    """Return how much of a file is to be kept, if something says so."""
    try:
        return int(hold_file(path).read_bytes())
    except FileNotFoundError:
        return otherwise
