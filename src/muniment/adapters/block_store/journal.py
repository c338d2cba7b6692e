"""The journal of roots: which DAGs are pinned, and which directories are served in place; one durable line for each change.

A line is the CRC-32 of the rest in 8 hex digits, a space, and a JSON array. The first line is `["roots", 1, id]`; then come
`["pin", cid, name]`, `["unpin", cid]`, `["attach", path, cid]` and `["detach", path]`. A last line that is cut off was never
acknowledged and is ignored.
"""

import json
import os
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from muniment.adapters.block_store.packs import fsync_file
from muniment.adapters.durable import sync_folder
from muniment.errors import FormatError

NAME = "roots.journal"
_VERSION = 1


class Entry(NamedTuple):
    """One line behind the first: what was done, and to what."""

    action: str
    arguments: tuple[str, ...]


_ARGUMENTS = {"pin": 2, "unpin": 1, "attach": 2, "detach": 1}


class Journal:
    """The journal file of one store."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, NAME)

    def size(self) -> int | None:
        """Return the bytes of the file, or None if there is none."""
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return None

    def read(self, start: int) -> tuple[str, list[Entry], int]:
        """Return the journal's id, the entries from byte `start` on (0: all), and where the last one ends.

        Raises:
            FormatError: A line that is not the last one is damaged.
        """
        with open(self._path, "rb") as file:
            content = file.read()
        lines = _split_lines(content)
        if not lines or (head := _decode(lines[0])) is None or head[:2] != ["roots", _VERSION]:
            raise FormatError(f"{self._path}: line 1 is damaged, or of an unknown version")
        entries, end = [], 0
        for number, line in enumerate(lines, 1):
            value = _decode(line)
            entry = _entry(value) if number > 1 else None
            if number > 1 and entry is None:
                if number < len(lines):
                    raise FormatError(
                        f"{self._path}: line {number} is damaged; restore the file, or delete the line"
                    )
                break
            if entry is not None and end >= start:
                entries.append(entry)
            end += len(line)
        return str(head[2]), entries, end

    def fsync(self) -> None:
        """Make durable what a killed process may have left in the cache."""
        fsync_file(self._path)

    def append(self, entry: Entry, end: int) -> int:
        """Write one line at byte `end`, durably; what stood behind is gone. Return the new end."""
        line = _encode([entry.action, *entry.arguments])
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, end)
            os.pwrite(fd, line, end)
            os.fsync(fd)
        finally:
            os.close(fd)
        return end + len(line)

    def replace(self, entries: Iterable[Entry]) -> tuple[str, int]:
        """Write a new journal in the place of the old one, atomically; return its id and size."""
        journal_id = os.urandom(8).hex()
        lines = [_encode(["roots", _VERSION, journal_id])]
        lines += [_encode([entry.action, *entry.arguments]) for entry in entries]
        content = b"".join(lines)
        temporary = self._path + ".tmp"
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
        sync_folder(self._folder)
        return journal_id, len(content)


def _split_lines(content: bytes) -> list[bytes]:
    """Split at newlines only (`splitlines` knows others too), and keep them."""
    *lines, rest = content.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def _encode(value: list[str | int]) -> bytes:
    body = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _decode(line: bytes) -> list[str | int] | None:
    body = line[9:-1]
    if line[-1:] != b"\n" or line[:9] != b"%08x " % zlib.crc32(body):
        return None
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def _entry(value: list[str | int] | None) -> Entry | None:
    if not value or _ARGUMENTS.get(str(value[0])) != len(value) - 1:
        return None
    return Entry(str(value[0]), tuple(str(argument) for argument in value[1:]))
