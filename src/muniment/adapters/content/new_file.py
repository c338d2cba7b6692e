"""A file that gets its name when it is whole and durable, or leaves no trace."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from muniment.adapters.durable import sync_folder
from muniment.errors import ConflictError


@contextlib.contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a file to write that gets its name, durably, when the block ends; if that raises, there is no trace of it.

    Raises:
        ConflictError: There is something by that name, and it is not to be replaced; it is left as it is.
    """
    refuse_existing(path, replace=replace)
    temporary = temporary_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        give_name(temporary, path, replace=replace)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """Return a name that nothing has, in the folder of `path`."""
    return path.with_name(f".muniment-{os.urandom(6).hex()}.tmp")


def refuse_existing(path: Path, *, replace: bool) -> None:
    """Check that something may get the name `path`.

    Raises:
        ConflictError: There is a folder by that name; or anything, and it is not to be replaced.
    """
    if path.is_dir() and not path.is_symlink():
        raise ConflictError(f"{path} is a folder; nothing was written")
    if not replace and os.path.lexists(path):
        raise ConflictError(f"{path} exists already; nothing was written")


def give_name(temporary: Path, path: Path, *, replace: bool) -> None:
    """Rename a file or link.

    Raises:
        ConflictError: Somebody else was faster, and it is not to be replaced.
    """
    if replace:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path, follow_symlinks=False)  # unlike renaming, fails if there is one
    except FileExistsError:
        raise ConflictError(f"{path} exists already; nothing was written") from None
    except OSError:  # a file system without hard links
        os.rename(temporary, path)
    else:
        temporary.unlink()
