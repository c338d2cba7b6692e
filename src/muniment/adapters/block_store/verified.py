"""Reading blocks, hashed each time, or again only once their file was written to or some time has passed."""

import os
import struct
import threading
import time
from collections.abc import Callable

from muniment.adapters.block_store.packs import Location
from muniment.content.cid import CID, verify_block

MAX_BLOCKS = 16_384
"""Blocks that are remembered as verified, some 190 bytes each: 16 GiB of the largest leaves."""

# File systems stamp times in steps of up to two seconds: a file that was written just now may be again without showing it.
_SETTLED_S = 2.0

Identity = tuple[int, int, int, int, int]
# One string of bytes for each block: a tuple of what is in it takes six times the memory.
_KEY = struct.Struct("<QQQqqQQ")


class VerifiedReads:
    """Reads blocks of files below one folder, each verified at least every `reverify_after_s`.

    A block that was verified is believed for that long, as long as its file is the same (device, inode) and was not written to
    since (size, modification and change time): what remains unseen so long is a disk that forgets. Safe to use from several threads.

    Args:
        folder: What locations are relative to.
        reverify_after_s: 0 to hash every block every time.
        clock: Seconds, monotonic.
        wall_clock: Seconds since 1970, as files are stamped with.
    """

    def __init__(
        self,
        folder: str,
        reverify_after_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._reverify_after_s = reverify_after_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._verified: dict[bytes, float] = {}

    def read(self, cid: CID, place: Location) -> bytes:
        """Return the block at a location.

        Raises:
            FileNotFoundError: The file is gone.
            IntegrityError: What lies there is not the block.
        """
        fd = os.open(os.path.join(self._folder, place.path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not self._reverify_after_s:
                data = os.pread(fd, place.length, place.offset)
                verify_block(cid, data)
                return data
            return self._read_remembered(fd, cid, place)
        finally:
            os.close(fd)

    def _read_remembered(self, fd: int, cid: CID, place: Location) -> bytes:
        before = os.fstat(fd)
        data = os.pread(fd, place.length, place.offset)
        # Looked at behind the read: what was written in the meantime must not pass for what was verified.
        if self._verified.get(_key(os.fstat(fd), cid, place), 0.0) > self._clock():
            return data
        verify_block(cid, data)
        if max(before.st_mtime, before.st_ctime) + _SETTLED_S < self._wall_clock():
            self._remember(_key(before, cid, place))
        return data

    def _remember(self, key: bytes) -> None:
        with self._lock:
            self._verified.pop(key, None)  # to the end: the oldest go first
            self._verified[key] = self._clock() + self._reverify_after_s
            if len(self._verified) > MAX_BLOCKS:
                del self._verified[next(iter(self._verified))]


def _key(status: os.stat_result, cid: CID, place: Location) -> bytes:
    """Return what stands for a block at a place in a file as it is."""
    return _KEY.pack(*_identity(status), place.offset, place.length) + cid.raw


def _identity(status: os.stat_result) -> Identity:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
