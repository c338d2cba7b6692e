"""Downloads on the disk: a file gets its name when all of it was checked and is durable; until then what is there waits to be completed."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from muniment.errors import ConflictError, IntegrityError

_PORTION_BYTES = 1 << 20


class Checker:
    """Compares bytes, as they come, with what is expected.

    Args:
        digest: BLAKE3 of all of them, `blake3:<hex>`.
        size_bytes: How many there are.
    """

    def __init__(self, digest: str | None, size_bytes: int) -> None:
        from blake3 import blake3  # noqa: PLC0415  # not every client downloads

        self.digest, self.size_bytes = digest or "", size_bytes
        self.position = 0
        self._hash = blake3()

    @property
    def left_bytes(self) -> int:
        """How many have not come yet."""
        return self.size_bytes - self.position

    def update(self, portion: bytes) -> None:
        """Look at the next bytes.

        Raises:
            IntegrityError: There are more than expected.
        """
        self.position += len(portion)
        if self.position > self.size_bytes:
            raise IntegrityError(f"expected {self.size_bytes} bytes of {self.digest}, got more")
        self._hash.update(portion)

    def finish(self) -> None:
        """Check that all of them came, and no others.

        Raises:
            IntegrityError: It is not so.
        """
        found = f"blake3:{self._hash.hexdigest()}"
        if self.left_bytes or found != self.digest:
            raise IntegrityError(f"expected content with the digest {self.digest}, got {found}")


def partial_path(target: Path, digest: str) -> Path:
    """Return where a file is until it is whole: beside the target, where only a download of the same content into it looks."""
    both = digest.encode() + b"/" + os.fsencode(target.name)
    return target.with_name(f".{hashlib.sha256(both).hexdigest()[:32]}.part")


class PartialFile:
    """A file on its way; a later download finds and completes it.

    Args:
        target: Where it is to be in the end.
        checker: What knows its bytes.
        progress: Told of bytes that are there.
    """

    def __init__(
        self, target: Path, checker: Checker, progress: Callable[[int], object] | None
    ) -> None:
        self._target, self._checker, self._progress = target, checker, progress
        self._path = partial_path(target, checker.digest)

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self._path, flags, 0o666), "r+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ConflictError(
                f"another download into {self._target.parent} is at the same file"
            ) from None
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Keep what is there for the next time, unless it is wrong."""
        if isinstance(error, IntegrityError):
            self._path.unlink(missing_ok=True)
        self._file.close()

    def catch_up(self) -> None:
        """Look at what an earlier download has left; what cannot be a part of the file is dropped."""
        if os.fstat(self._file.fileno()).st_size > self._checker.size_bytes:
            self._file.truncate(0)
        while portion := self._file.read(_PORTION_BYTES):
            self._checker.update(portion)
            self._tell(portion)

    def write(self, portion: bytes) -> None:
        """Append bytes, which the checker has seen."""
        view = memoryview(portion)
        while view:
            view = view[self._file.write(view) :]
        self._tell(portion)

    def finish(self, *, overwrite: bool) -> None:
        """Make the file durable and give it its name.

        Raises:
            ConflictError: Something has that name by now.
        """
        os.fsync(self._file.fileno())
        if overwrite:
            os.replace(self._path, self._target)
        else:
            try:
                os.link(self._path, self._target, follow_symlinks=False)
            except FileExistsError:
                raise ConflictError(f"{self._target} is there already") from None
            self._path.unlink()
        folder = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _tell(self, portion: bytes) -> None:
        if self._progress is not None:
            self._progress(len(portion))
