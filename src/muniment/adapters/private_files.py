"""Small files that only their owner may read, or only their owner may change: made, replaced and read safely.

Nothing is ever readable by others, not even for a moment, and nothing is seen half written: files and folders are
made under another name, synced to disk, and then moved into place.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from muniment.adapters.durable import sync_folder
from muniment.errors import ConflictError, FormatError, KeyUnavailableError

MAX_FILE_BYTES = 256 * 1024
PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644
FOLDER_MODE = 0o700

_READABLE_BY_OTHERS = 0o077
_WRITABLE_BY_OTHERS = 0o022


def read_private(path: Path) -> bytes:
    """Read a file that nobody else may read.

    Raises:
        KeyUnavailableError: It is missing, no regular file, a symbolic link, or others can read or change it.
        FormatError: It is larger than `MAX_FILE_BYTES`.
    """
    return _read(path, _READABLE_BY_OTHERS, "read or change", PRIVATE_MODE)


def read_public(path: Path) -> bytes:
    """Read a file that nobody else may change.

    Raises:
        KeyUnavailableError: It is missing, no regular file, a symbolic link, or others can change it.
        FormatError: It is larger than `MAX_FILE_BYTES`.
    """
    return _read(path, _WRITABLE_BY_OTHERS, "change", PUBLIC_MODE)


def create_file(path: Path, data: bytes, mode: int = PRIVATE_MODE) -> None:
    """Create a file of exactly this mode, durably.

    Raises:
        ConflictError: There is something of that name already.
    """
    try:
        _create(path, data, mode)
    except FileExistsError as error:
        raise ConflictError(f"{path} exists already") from error
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Replace a file durably and in one step: a reader sees the old one or the new one."""
    beside = _beside(path)
    try:
        _create(beside, data, mode)
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def create_folder(folder: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """Create a private folder with these files (name: content and mode), durably: all of it, or nothing.

    Raises:
        ConflictError: The folder exists already and is not empty.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(folder)
    try:
        beside.mkdir(FOLDER_MODE)
        beside.chmod(FOLDER_MODE)
        for name, (data, mode) in files.items():
            _create(beside / name, data, mode)
        sync_folder(beside)
        _move_folder(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(folder.parent)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that of two changes at once none is lost; waits for the other.

    Raises:
        KeyUnavailableError: There is no such folder.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyUnavailableError(f"cannot open the folder {folder}: {_reason(error)}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path, forbidden_mode: int, what_others_can: str, right_mode: int) -> bytes:
    # The opened file is checked, not its name: the name could lead elsewhere a moment later.
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else _reason(error)
        raise KeyUnavailableError(f"cannot open {path}: {reason}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise KeyUnavailableError(f"cannot use {path}: it is not a regular file")
        if mode & forbidden_mode:
            raise KeyUnavailableError(
                f"others can {what_others_can} {path}; if none of them did, run: chmod {right_mode:o} {path}"
            )
        return _read_bounded(descriptor, path)
    finally:
        os.close(descriptor)


def _read_bounded(descriptor: int, path: Path) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return data


def _create(path: Path, data: bytes, mode: int) -> None:
    # The umask can only take rights away when the file is made; fchmod then sets exactly `mode`.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _move_folder(beside: Path, folder: Path) -> None:
    try:
        beside.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise ConflictError(
                f"{folder} exists already and is not an empty folder; nothing was changed"
            ) from error
        raise


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.new-{secrets.token_hex(8)}"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
