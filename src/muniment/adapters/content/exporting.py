"""Exporting DAGs as CARs, of version 1, to a file (whole or not at all) or to a stream."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from muniment.adapters.durable import sync_folder
from muniment.content.car import encode_header, encode_section_head
from muniment.content.cid import CID
from muniment.errors import ConflictError

_WRITE_BYTES = 1024 * 1024


def write_car(
    stream: BinaryIO,
    root: CID,
    blocks: Iterable[tuple[CID, bytes]],
    advance: Callable[[int], None] = lambda _bytes: None,
) -> tuple[int, int]:
    """Write a CAR; return how many blocks it has, and its size in bytes."""
    parts = [encode_header([root])]
    count, held = 0, len(parts[0])
    total = held
    for cid, data in blocks:
        head = encode_section_head(cid, len(data))
        parts += (head, data)
        count, held = count + 1, held + len(head) + len(data)
        total += len(head) + len(data)
        if held >= _WRITE_BYTES:
            stream.write(b"".join(parts))
            parts, held = [], 0
        advance(len(data))
    stream.write(b"".join(parts))
    return count, total


@contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a file to write that gets its name, durably, when the block ends; if that raises, there is no trace of it.

    Raises:
        ConflictError: There is something by that name, and it is not to be replaced; it is left as it is.
    """
    if not replace and os.path.lexists(path):
        raise ConflictError(f"{path} exists already; nothing was written")
    temporary = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        _give_name(temporary, path, replace=replace)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def _give_name(temporary: Path, path: Path, *, replace: bool) -> None:
    if replace:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)  # unlike renaming, fails if somebody was faster
    except FileExistsError:
        raise ConflictError(f"{path} exists already; nothing was written") from None
    except OSError:  # a file system without hard links
        os.rename(temporary, path)
    else:
        temporary.unlink()
