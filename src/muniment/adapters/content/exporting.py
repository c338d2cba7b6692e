"""Exporting DAGs as CARs of version 1."""

from collections.abc import Callable, Iterable
from typing import BinaryIO

from muniment.content.car import encode_header, encode_section_head
from muniment.content.cid import CID

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
