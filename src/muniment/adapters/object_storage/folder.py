"""A folder as object storage: a disk, a mounted share, anything with files.

An object is a file under its own key. It is written to a hidden name in the same folder, synced, and then linked under
its name, so that it is there whole or not at all, whatever is killed or unplugged.
"""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from muniment.adapters.durable import sync_folder
from muniment.archive.backup import ObjectInfo, check_key
from muniment.errors import (
    ConflictError,
    ExternalServiceError,
    IntegrityError,
    MunimentError,
    NotFoundError,
)

BLOCK_BYTES = 1 << 20

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class FolderStorage:
    """Objects as files below `root`, which must exist: a disk that is not mounted must not be mistaken for an empty one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(
        self, key: str, stream: BinaryIO, size: int, sha256: str, *, replace: bool = False
    ) -> None:
        """Store an object (see `ObjectStorage.put`)."""
        path = self._path(key)
        with self._explained(f"cannot write {key}"):
            self._check_root()
            if not replace and os.path.lexists(path):
                raise ConflictError(f"{path} exists already; it was left as it is")
            _make_folders(path.parent)
            _remove_leftovers(path)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
            try:
                _write(temporary, stream, size, sha256, key)
                _publish(temporary, path, replace=replace)
            finally:
                with suppress(OSError):
                    temporary.unlink()
            sync_folder(path.parent)

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object (see `ObjectStorage.head`)."""
        path = self._path(key)
        with self._explained(f"cannot look at {key}"):
            self._check_root()
            try:
                status = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            if not stat.S_ISREG(status.st_mode):
                raise IntegrityError(f"{path} is not a regular file; move it away")
            return ObjectInfo(status.st_size)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read an object (see `ObjectStorage.get`)."""
        path = self._path(key)
        with self._explained(f"cannot read {key}"):
            self._check_root()
            try:
                file = os.fdopen(
                    os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0
                )
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NotFoundError(f"{key} is not in {self._root}") from error
            with file:
                file.seek(offset)
                while block := file.read(
                    BLOCK_BYTES if length is None else min(BLOCK_BYTES, length)
                ):
                    if length is not None:
                        length -= len(block)
                    yield block

    def list(self, prefix: str) -> Iterator[str]:
        """Iterate over keys (see `ObjectStorage.list`)."""
        with self._explained(f"cannot list {prefix}"):
            self._check_root()
            parent = prefix.rpartition("/")[0]
            start = self._path(parent) if parent else self._root
            for folder, folders, files in os.walk(start, onerror=_raise_unless_missing):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for name in files:
                    key = Path(folder, name).relative_to(self._root).as_posix()
                    if key.startswith(prefix) and not name.startswith("."):
                        yield key

    def delete(self, key: str) -> None:
        """Remove an object (see `ObjectStorage.delete`)."""
        path = self._path(key)
        with self._explained(f"cannot delete {key}"):
            self._check_root()
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            sync_folder(path.parent)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _check_root(self) -> None:
        if not self._root.is_dir():
            raise ExternalServiceError(
                f"backup folder {self._root} does not exist; mount its disk, or create the folder, and run again"
            )

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except MunimentError:
            raise
        except OSError as error:
            raise ExternalServiceError(
                f"{what} in backup folder {self._root}: {_advice(error)}"
            ) from error


def _advice(error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    if error.errno in _NO_SPACE:
        return f"{reason}; what was reported stored is safe: free some space there and run again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{reason}; give this user the right to write there"
    return f"{reason}; check that its disk is connected and sound, and run again"


def _make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def _remove_leftovers(path: Path) -> None:
    """Remove what a killed run left of this object. If that run is alive after all, its own publishing fails, safely."""
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        with suppress(FileNotFoundError):
            leftover.unlink()


def _write(path: Path, stream: BinaryIO, size: int, sha256: str, key: str) -> None:
    digest, written_bytes = hashlib.sha256(), 0
    with path.open("xb") as file:
        while written_bytes <= size and (block := stream.read(BLOCK_BYTES)):
            digest.update(block)
            written_bytes += len(block)
            file.write(block)
        if written_bytes != size or digest.hexdigest() != sha256:
            raise IntegrityError(
                f"the local file for {key} changed: its size or SHA-256 is not the expected one"
            )
        file.flush()
        os.fsync(file.fileno())
        if hasattr(
            os, "posix_fadvise"
        ):  # so that reading back reads the disk and not our own memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _publish(temporary: Path, path: Path, *, replace: bool) -> None:
    if replace:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # unlike rename, never over an existing file
    except FileExistsError as error:
        raise ConflictError(f"{path} exists already; it was left as it is") from error
    except FileNotFoundError as error:
        raise ConflictError(f"another run is writing {path}; wait for it to end") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        temporary.rename(path)  # exFAT and the like have no links; `put` has looked for the file


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
