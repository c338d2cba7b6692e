"""Canonical JSON: RFC 8785, restricted so that every JSON library reads it exactly (`docs/spec/commit.md`)."""

from typing import Any, TypeVar

import msgspec

from muniment.errors import FormatError

INTEGER_MAX = (1 << 53) - 1  # RFC 8785 numbers are IEEE 754 doubles

T = TypeVar("T")


def encode(value: Any) -> bytes:  # noqa: ANN401  # any JSON value
    """Return the canonical bytes of a value made of dicts, lists, strings, integers, booleans and None."""
    return msgspec.json.encode(value, order="sorted")


def decode(data: bytes, type_: type[T], *, what: str, size_max: int) -> T:
    """Parse canonical JSON as `type_` and reject all bytes but the canonical ones.

    Args:
        data: The bytes.
        type_: The type to validate against (a `msgspec.Struct`, dict or list).
        what: What this is, for the error's message.
        size_max: The most bytes that are looked at.

    Raises:
        FormatError: The bytes are too many, not JSON, not of the type, or not canonical.
    """
    if len(data) > size_max:
        raise FormatError(f"{what} has {len(data)} bytes, expected at most {size_max}")
    try:
        value = msgspec.json.decode(data, type=type_)
        canonical = encode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError) as error:
        raise FormatError(f"{what} is not valid: {error}") from error
    _check_values(value, what)
    if canonical != data:
        raise FormatError(f"{what} is not canonical JSON (RFC 8785)")
    return value


def _check_values(value: object, what: str) -> None:
    """Check what types that take any value leave open: that names are ASCII, and numbers integers in range."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if not all(name.isascii() for name in item):
                raise FormatError(f"{what} has a name that is not ASCII")
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, msgspec.Struct):
            waiting += [getattr(item, name) for name in item.__struct_fields__]
        elif isinstance(item, float) or (isinstance(item, int) and abs(item) > INTEGER_MAX):
            raise FormatError(f"{what} has a number that is no integer of at most 53 bits")
