"""Writing so that what was acknowledged survives a power cut: temporary name, fsync, rename, fsync of the folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def sync_file(path: Path | str) -> None:
    """Make the bytes of a file durable that is not open here."""
    _sync(path, os.O_RDONLY | os.O_CLOEXEC)


def sync_folder(folder: Path | str) -> None:
    """Make the folder's entries durable: files created, renamed or removed in it."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_filesystem(descriptor: int) -> None:
    """Make everything durable that was written to the file system of an open file or folder, with one wait for all of it.

    Where the system can (Linux), only that file system is waited for, and a disk that failed since `descriptor` was opened is
    told of; elsewhere all of them are, and nobody is told.

    Raises:
        OSError: The disk failed.
    """
    import ctypes  # noqa: PLC0415  # only restores need it; Python has no syncfs(2) of its own

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        os.sync()
    elif library.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sync(path: Path | str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write or replace a whole file: afterwards it has the new content, or, after a crash, possibly still the old one."""
    with writing_durably(path, mode) as file:
        file.write(data)


@contextmanager
def writing_durably(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Write or replace a whole file, as `write_durably`, with what is written to the open file in a `with` block, if that ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
