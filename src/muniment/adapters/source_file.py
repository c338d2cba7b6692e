"""A file that is being archived: never read through a link, its access time left alone, not trusted to stay as it is."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

from muniment.archive.catalog import Kind, ScannedFile

_PIECE_BYTES = 1 << 20
_ATTEMPTS = 3


class UnreadableError(Exception):
    """A file cannot be sealed; the message says why."""

    def __init__(self, message: str, *, vanished: bool = False) -> None:
        super().__init__(message)
        self.vanished = vanished


class ChangedError(UnreadableError):
    """A file changed while it was read; another attempt may succeed."""


class SourceFile:
    """A source file opened for reading: never through a link, leaving its access time alone where that is allowed."""

    def __init__(self, path: bytes) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._descriptor = _open_untouched(b"/" + self._path)
        except OSError as error:
            raise _unreadable(error) from error
        try:
            self._before = os.fstat(self._descriptor)
        except OSError as error:
            os.close(self._descriptor)
            raise _unreadable(error) from error
        if not stat.S_ISREG(self._before.st_mode):
            os.close(self._descriptor)
            raise UnreadableError("it is no longer a regular file")
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._descriptor)

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""
        return self._before.st_size

    def peek(self, offset: int, count: int) -> bytes:
        """Return some bytes without moving on."""
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise _unreadable(error) from error

    def is_hole(self, start: int, end: int) -> bool:
        """Tell whether the file system knows, without reading, that all bytes from `start` to `end` are zero."""
        if self._before.st_blocks * 512 >= self._before.st_size:
            return False
        try:
            return os.lseek(self._descriptor, start, os.SEEK_DATA) >= end
        except OSError as error:
            return error.errno == errno.ENXIO and end <= self.size  # no data up to the end

    def whole(self) -> bytes:
        """Return all bytes; one more than there were, when it grew."""
        wanted = self.size + 1
        try:
            data = os.read(self._descriptor, wanted)
            while len(data) < self.size and (more := os.read(self._descriptor, wanted - len(data))):
                data += more
        except OSError as error:
            raise _unreadable(error) from error
        return data

    def pieces(self) -> Iterator[bytes]:
        """Iterate over the bytes."""
        try:
            while piece := os.read(self._descriptor, _PIECE_BYTES):
                while len(piece) < _PIECE_BYTES and (
                    more := os.read(self._descriptor, _PIECE_BYTES - len(piece))
                ):
                    piece += more
                yield piece
        except OSError as error:
            raise _unreadable(error) from error

    def unchanged(self, scanned: ScannedFile) -> ScannedFile:
        """Return what was read, as the file system described it before and after."""
        before, after = self._before, os.fstat(self._descriptor)
        if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
            after.st_size,
            after.st_mtime_ns,
            after.st_ctime_ns,
        ):
            raise ChangedError("it changed while it was read")
        if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == (
            scanned.size,
            scanned.mtime_ns,
            scanned.ctime_ns,
        ):
            return scanned
        return ScannedFile(
            scanned.path,
            Kind.FILE,
            after.st_size,
            stat.S_IMODE(after.st_mode),
            after.st_mtime_ns,
            after.st_ctime_ns,
            after.st_ino,
        )


_Result = TypeVar("_Result")


def retrying(attempt: Callable[[], _Result]) -> _Result:
    """Return what `attempt` does, trying again while the file changes under it.

    Raises:
        UnreadableError: The file cannot be read, or keeps changing.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return attempt()
        except ChangedError:
            continue
    return attempt()


def _open_untouched(path: bytes) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:  # O_NOATIME is for the file's owner
        return os.open(path, flags)


def _unreadable(error: OSError) -> UnreadableError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UnreadableError("it vanished before it could be read", vanished=True)
    return UnreadableError(f"it cannot be read: {error.strerror or error}")
