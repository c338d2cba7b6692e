"""All digests of a sealed file in one pass: its own, and those of its blocks."""

import hashlib
import mmap
import os
from pathlib import Path

from blake3 import blake3

from muniment.archive.journal import FileDigests

_PIECE_BYTES = 1 << 20  # a block of the file's UnixFS DAG


class BlockDigests:
    """All digests of a sealed file, from its bytes in pieces of 1 MiB (the blocks of its UnixFS DAG) or any others."""

    def __init__(self) -> None:
        self._sha256, self._blake3, self._block = hashlib.sha256(), blake3(), hashlib.sha256()
        self._blocks: list[bytes] = []
        self._size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes that follow."""
        self._sha256.update(data)
        self._blake3.update(data)
        with memoryview(data) as view:
            start = 0
            while start < len(view):
                room = _PIECE_BYTES - self._size % _PIECE_BYTES
                with view[start : start + room] as part:
                    self._block.update(part)
                    start += len(part)
                    self._size += len(part)
                if self._size % _PIECE_BYTES == 0:
                    self._end_block()

    def finish(self, name: str) -> FileDigests:
        """Return the digests of what is the whole file `name`."""
        if self._size % _PIECE_BYTES:
            self._end_block()
        return FileDigests(
            name, self._size, self._sha256.digest(), self._blake3.digest(), b"".join(self._blocks)
        )

    def _end_block(self) -> None:
        self._blocks.append(self._block.digest())
        self._block = hashlib.sha256()


def digest_file(path: Path) -> FileDigests:
    """Return all digests of a finished file, reading it once through the page cache."""
    digests = BlockDigests()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size:
            with (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as view,
            ):
                for start in range(0, size, _PIECE_BYTES):
                    with view[start : start + _PIECE_BYTES] as piece:
                        digests.update(piece)
    return digests.finish(path.name)
