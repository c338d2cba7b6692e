"""Pack files: CARv1 files that only ever grow at their end, and are never changed otherwise."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, NamedTuple

from muniment.adapters.durable import sync_file, sync_folder
from muniment.content import varint
from muniment.content.car import (
    MAX_SECTION_BYTES,
    encode_header,
    encode_section_head,
    read_frame,
    split_frame,
)
from muniment.content.cid import CID, verify_block
from muniment.errors import FormatError, IntegrityError

FOLDER = "packs"

# A CAR must name a root for many readers; an identity CID of nothing is the customary "none".
HEADER = encode_header([CID.parse("bafkqaaa")])

# CIDv1, a codec in use, SHA-256: for finding the way in a damaged pack; others are found only while lengths are readable.
_CID_HEAD = re.compile(rb"\x01[\x55\x70\x71]\x12\x20")
# Blocks can hold what looks like sections, so this is bounded: each attempt may hash 2 MiB.
_SALVAGE_ATTEMPTS = 10_000

_WRITE_BYTES = 4 * 1024 * 1024

_NAME = re.compile(r"packs/([0-9]{8})\.car")


class Location(NamedTuple):
    """Where a block lies: a file (relative to the store's folder), and its place there in bytes."""

    path: str
    offset: int
    length: int


@dataclass(slots=True)
class Scan:
    """What was found in a pack from some offset on.

    Attributes:
        blocks: Every block that hashes to its name, with its place.
        end: Where the last of them ends.
        damage: What was found that is no such block, in words.
    """

    end: int
    blocks: list[tuple[CID, Location]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)


def pack_path(number: int) -> str:
    """Return the path of a pack, relative to the store's folder."""
    return f"{FOLDER}/{number:08d}.car"


def pack_number(path: str) -> int:
    """Return the number of the pack at `path`; 0 if that is no pack's name."""
    match = _NAME.fullmatch(path)
    return int(match[1]) if match else 0


def list_packs(folder: str) -> list[str]:
    """Return the paths of all packs on disk, in the order of their numbers."""
    names = (f"{FOLDER}/{name}" for name in os.listdir(os.path.join(folder, FOLDER)))
    return sorted(name for name in names if pack_number(name))


def has_our_header(folder: str, path: str) -> bool:
    """Tell whether a pack begins as all packs do, as far as it is long."""
    with open(os.path.join(folder, path), "rb") as file:
        return HEADER.startswith(file.read(len(HEADER)))


def scan(folder: str, path: str, start: int, *, salvage: bool = False) -> Scan:
    """Read a pack from `start` (the beginning of a section) to its end, and verify every block.

    It ends at the first section whose length is unreadable; with `salvage`, it goes on with the next whole block behind that.
    """
    found = Scan(end=max(start, len(HEADER)))
    full_path = os.path.join(folder, path)
    position: int | None = found.end
    with open(full_path, "rb", buffering=1 << 20) as file:
        while position is not None:
            file.seek(position)
            stop = _scan_sections(file, path, position, found)
            position = None if stop is None or not salvage else _find_section(full_path, stop + 1)
    return found


def _scan_sections(file: BinaryIO, path: str, position: int, found: Scan) -> int | None:
    """Read sections up to the end of the file; where a length is unreadable, return the position behind the last whole block."""
    whole_end = position
    while True:
        try:
            frame = read_frame(file, position)
        except FormatError as error:
            found.damage.append(f"{path}: {error}")
            return whole_end
        if frame is None:
            return None
        try:
            section = split_frame(*frame)
            verify_block(section.cid, section.data)
        except IntegrityError as error:
            found.damage.append(f"{path}: section at byte {position}: {error}")
        else:
            place = Location(path, section.offset, len(section.data))
            found.blocks.append((section.cid, place))
            found.end = whole_end = section.end
        position = frame[1]


def _find_section(full_path: str, start: int) -> int | None:
    """Return where the next whole block's section begins at or behind `start`, looking for the CIDs that nearly all blocks have."""
    with open(full_path, "rb") as file:
        content = file.read()
    attempts = islice(_CID_HEAD.finditer(content, start), _SALVAGE_ATTEMPTS)
    for match in attempts:
        for prefix_bytes in range(1, 5):
            begin = match.start() - prefix_bytes
            if begin >= start and _is_whole_section(content, begin, match.start()):
                return begin
    return None


def _is_whole_section(content: bytes, begin: int, body: int) -> bool:
    """Tell whether a section begins at `begin`, whose length ends at `body`, and its block hashes to its CID."""
    try:
        length, end = varint.decode(content[begin:body])
        if end != body - begin or not 0 < length <= MAX_SECTION_BYTES:
            return False
        section = split_frame(content[body : body + length], body + length)
        verify_block(section.cid, section.data)
    except IntegrityError:
        return False
    return True


def append(
    folder: str, path: str, start: int, blocks: Iterable[tuple[CID, bytes]]
) -> tuple[list[tuple[CID, Location]], int]:
    """Write blocks at byte `start` of a pack (0: make the pack) and fsync; return their places and the new end.

    When that fails, the pack is as long as before.
    """
    full_path = os.path.join(folder, path)
    fd = os.open(full_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        places, end = _write_blocks(fd, path, start, blocks)
        os.fsync(fd)
    except BaseException:
        os.ftruncate(fd, start)
        raise
    finally:
        os.close(fd)
    if start == 0:
        sync_folder(os.path.dirname(full_path))
    return places, end


def _write_blocks(
    fd: int, path: str, start: int, blocks: Iterable[tuple[CID, bytes]]
) -> tuple[list[tuple[CID, Location]], int]:
    places: list[tuple[CID, Location]] = []
    parts = [] if start else [HEADER]
    written, position = start, start + sum(map(len, parts))
    for cid, data in blocks:
        head = encode_section_head(cid, len(data))
        places.append((cid, Location(path, position + len(head), len(data))))
        parts += (head, data)
        position += len(head) + len(data)
        if position - written >= _WRITE_BYTES:
            _write_all(fd, b"".join(parts), written)
            parts, written = [], position
    _write_all(fd, b"".join(parts), written)
    return places, position


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


def fsync_file(path: str) -> None:
    """Make a file that somebody else wrote, and its name, durable."""
    sync_file(path)
    sync_folder(os.path.dirname(path))


def read_location(folder: str, place: Location) -> bytes:
    """Return the bytes at a location, fewer if the file ends before.

    Raises:
        FileNotFoundError: The file is gone.
    """
    fd = os.open(os.path.join(folder, place.path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, place.length, place.offset)
    finally:
        os.close(fd)
