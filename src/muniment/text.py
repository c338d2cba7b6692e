"""Text for people: nothing that a file name, a server or a manifest says reaches a terminal as it is."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def plain(text: str) -> str:
    r"""Return one line of text in which everything that does not print is written as an escape (`\n`, `\x1b`, `\u202e`).

    So a file's name can neither move the cursor, nor colour or reorder what is on the screen, nor fake a line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def display_path(path: bytes) -> str:
    """Return an archived path for people, absolute and harmless."""
    return plain("/" + os.fsdecode(path))


def size(size_bytes: int) -> str:
    """Return a size in powers of 1,000, as disks are sold: `1.2 GB`."""
    amount = float(size_bytes)
    for unit in _UNITS:
        if amount < 999.5 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return a length of time: `45 s`, `12 min`, `3 h 20 min`."""
    whole = max(round(seconds), 0)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def count(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: `1 file`, `12,345 files`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def moment(seconds: int | None) -> str | None:
    """Return a time in seconds since 1970 as RFC 3339 in UTC."""
    if seconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lay out a table in plain lines; columns of numbers are flush right where their head ends in a blank."""
    cells = [[name.strip() for name in head], *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        parts = (
            cell.rjust(width) if name.endswith(" ") else cell.ljust(width)
            for cell, width, name in zip(row, widths, head, strict=True)
        )
        yield "  ".join(parts).rstrip()
