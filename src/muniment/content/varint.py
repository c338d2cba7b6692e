"""Unsigned variable-length integers of the multiformats family, read strictly.

Seven bits a byte, least significant group first, the high bit set on all bytes but the last; at most nine bytes, so
values stay below 2^63; the shortest form is the only valid one (multiformats unsigned-varint specification).
"""

from muniment.errors import FormatError

MAX_BYTES = 9
"""Longest varint that the multiformats specification allows: 63 bits."""


def encode(value: int) -> bytes:
    """Return the varint of `value`, which must be from 0 to 2^63 - 1.

    Raises:
        ValueError: `value` does not fit.
    """
    if 0 <= value < 0x80:
        return _SINGLE[value]
    if not 0 <= value < 1 << 63:
        raise ValueError(f"expected an integer from 0 to 2^63-1, got {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes, offset: int = 0) -> tuple[int, int]:
    """Read the varint that starts at `offset`; return its value and the offset behind it.

    Raises:
        FormatError: It is cut off, longer than nine bytes, or not in its shortest form.
    """
    if offset < len(data) and data[offset] < 0x80:  # most are one byte
        return data[offset], offset + 1
    value = shift = 0
    for position in range(offset, min(offset + MAX_BYTES, len(data))):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and position > offset:
                raise FormatError("varint is not in its shortest form")
            return value, position + 1
        shift += 7
    if len(data) - offset >= MAX_BYTES:
        raise FormatError("varint is longer than 9 bytes")
    raise FormatError("varint is cut off")


_SINGLE = tuple(bytes([value]) for value in range(0x80))
