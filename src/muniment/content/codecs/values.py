"""The IPLD data model in Python: what every codec decodes to, and the walks over it.

| kind    | Python                                        |
|---------|-----------------------------------------------|
| null    | `None`                                        |
| boolean | `bool`                                        |
| integer | `int` from -2^64 to 2^64 - 1, what CBOR holds |
| float   | `float`, neither NaN nor an infinity          |
| string  | `str`, always valid UTF-8 (no lone surrogate) |
| bytes   | `bytes`                                       |
| list    | `list`                                        |
| map     | `dict` with `str` keys, in the block's order  |
| link    | `CID`                                         |
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

from muniment.content.cid import CID
from muniment.content.dag_pb import MAX_BLOCK_BYTES
from muniment.errors import FormatError, NotFoundError

Value: TypeAlias = "bool | int | float | str | bytes | CID | list[Value] | dict[str, Value] | None"
T = TypeVar("T")

MAX_DEPTH = 128
"""How many lists and maps may lie in one another; honest data has a handful."""
MIN_INTEGER, MAX_INTEGER = -(1 << 64), (1 << 64) - 1
"""What an integer of CBOR's first two major types can be (RFC 8949, section 3.1)."""

_INDEX_DIGITS = len(str(MAX_BLOCK_BYTES))


def links(value: Value) -> Iterator[CID]:
    """Yield the links in `value`, in order and as often as they occur."""
    pending: list[Value] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, CID):
            yield item
        elif isinstance(item, dict):
            pending += reversed(item.values())
        elif isinstance(item, list):
            pending += reversed(item)


def resolve_path(value: Value, segments: Sequence[T]) -> tuple[Value, Sequence[T]]:
    """Follow `segments` (text, or bytes of UTF-8) inside one decoded block, by key and by index, up to the first link.

    Returns:
        What they lead to, and the segments that are left: some are left only if what was found is a link, behind which they go on.

    Raises:
        NotFoundError: A segment names nothing; an index has only digits and no leading zero.
    """
    for position, segment in enumerate(segments):
        if isinstance(value, CID):
            return value, segments[position:]
        value = _child(value, _text(segment))
    return value, segments[len(segments) :]


def check_size(data: bytes, what: str) -> None:
    """Refuse a block that is larger than nodes exchange.

    Raises:
        FormatError: It is.
    """
    if len(data) > MAX_BLOCK_BYTES:
        raise FormatError(f"expected {what} of at most {MAX_BLOCK_BYTES} bytes, got {len(data)}")


def check_integer(number: int) -> None:
    """Refuse an integer that CBOR does not hold.

    Raises:
        FormatError: It is one.
    """
    if not MIN_INTEGER <= number <= MAX_INTEGER:
        raise FormatError("expected an integer from -2^64 to 2^64-1, got another")


def check_finite(number: float) -> None:
    """Refuse NaN and the infinities.

    Raises:
        FormatError: It is one of them.
    """
    if not math.isfinite(number):
        raise FormatError(f"expected a finite number, got {number}")


def check_container(value: object, depth: int) -> None:
    """Refuse what is no list and no map of the data model, or lies inside of too many.

    Raises:
        FormatError: It is or does.
    """
    if depth >= MAX_DEPTH:
        raise FormatError(f"expected a value of at most {MAX_DEPTH} levels, got more")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise FormatError(f"expected map keys that are text, got {type(key).__name__}")
    elif not isinstance(value, list):
        raise FormatError(f"expected a value of the data model, got {type(value).__name__}")


def _text(segment: object) -> str:
    return segment.decode("utf-8", "replace") if isinstance(segment, bytes) else str(segment)


def _child(value: Value, name: str) -> Value:
    if isinstance(value, dict) and name in value:
        return value[name]
    if isinstance(value, list) and _is_index(name) and int(name) < len(value):
        return value[int(name)]
    raise NotFoundError(f"nothing is named {name[:80]!r} here")


def _is_index(name: str) -> bool:
    is_number = name.isascii() and name.isdecimal() and len(name) <= _INDEX_DIGITS
    return is_number and (name == "0" or name[0] != "0")
