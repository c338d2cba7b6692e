"""CBOR as IPLD uses it: strict DAG-CBOR (https://ipld.io/specs/codecs/dag-cbor/spec/), and the CBOR of others.

A strict reader accepts one encoding of each value: shortest integers and lengths, 64-bit floats, keys that are text, shorter ones
first and equal lengths by their bytes, no indefinite lengths, no tag but 42. A lenient one takes any encoding that RFC 8949 has for
the same data model; what lies outside of it (other tags, undefined, NaN, infinities, keys that are no text, repeated keys) nobody
accepts. Every byte is looked at once, no length is believed before its bytes are there, and depth and memory are bounded.
"""

import math
import struct
from typing import NoReturn

from muniment.content.cid import CID
from muniment.content.codecs.values import (
    MAX_DEPTH,
    Value,
    check_container,
    check_finite,
    check_integer,
    check_size,
)
from muniment.errors import FormatError

MAX_CONTAINERS = 1 << 18
"""Most lists and maps in one block: an empty one takes one byte in it, but some 70 in memory."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _OTHER = range(8)
_LINK_TAG = 42
_INDEFINITE = 31
_BREAK = b"\xff"
_CONSTANTS: dict[int, bool | None] = {20: False, 21: True, 22: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}


def decode_cbor(data: bytes, *, strict: bool, with_links: bool) -> Value:
    """Read one value that fills all of `data`; without `with_links`, tag 42 is refused like all others.

    Raises:
        FormatError: The bytes are not that, or are larger, deeper or made of more parts than is read here.
    """
    check_size(data, "CBOR")
    reader = _Reader(data, is_strict=strict, with_links=with_links)
    value = reader.read(0)
    if reader.offset != len(data):
        raise FormatError(f"CBOR ends at byte {reader.offset}, expected {len(data)} bytes")
    return value


def encode_cbor(value: Value, *, with_links: bool) -> bytes:
    """Return the one strict encoding of `value`.

    Raises:
        FormatError: It is not of the data model, is too deep, or has a link though not `with_links`.
    """
    parts: list[bytes] = []
    try:
        _Writer(parts, with_links=with_links).write(value, 0)
    except UnicodeEncodeError:
        raise FormatError("expected text that UTF-8 can hold, got a lone surrogate") from None
    data = b"".join(parts)
    check_size(data, "CBOR")
    return data


class _Reader:
    """A place in the bytes, which every method moves on."""

    __slots__ = ("_containers", "_data", "_is_strict", "_with_links", "offset")

    def __init__(self, data: bytes, *, is_strict: bool, with_links: bool) -> None:
        self._data = data
        self._is_strict = is_strict
        self._with_links = with_links
        self._containers = 0
        self.offset = 0

    def read(self, depth: int) -> Value:
        """Read the value that stands here; `depth` counts the containers around it."""
        major, info, argument = self._read_head()
        if major == _TEXT:
            return self._read_text(info, argument)
        if major == _UNSIGNED:
            return argument
        if major == _MAP:
            self._enter(depth)
            return self._read_map(info, argument, depth + 1)
        if major == _LIST:
            self._enter(depth)
            return self._read_list(info, argument, depth + 1)
        if major == _TAG:
            return self._read_link(argument)
        if major == _BYTES:
            return self._read_string(_BYTES, info, argument)
        return -1 - argument if major == _NEGATIVE else self._read_other(info)

    def _read_head(self) -> tuple[int, int, int]:
        """Read what every item begins with: its major type, additional information, and argument (0 if there is none)."""
        offset = self.offset
        if offset >= len(self._data):
            self._fail("is cut off")
        first = self._data[offset]
        major, info = first >> 5, first & 0x1F
        self.offset = offset + 1
        if info < 24:
            return major, info, info
        if major == _OTHER or (info == _INDEFINITE and _BYTES <= major <= _MAP):
            return major, info, 0
        if info > 27:
            self._fail(f"has the reserved byte 0x{first:02x}")
        size = 1 << info - 24
        argument = int.from_bytes(self._take(size), "big")
        if self._is_strict and argument < (24 if size == 1 else 1 << size * 4):
            self._fail("has a number that is not in its shortest form")
        return major, info, argument

    def _take(self, size: int) -> bytes:
        end = self.offset + size
        if end > len(self._data):
            self._fail(f"is cut off: expected {size} more bytes")
        piece = self._data[self.offset : end]
        self.offset = end
        return piece

    def _read_string(self, major: int, info: int, size: int) -> bytes:
        if info != _INDEFINITE:
            return self._take(size)
        joined = bytearray()
        while not self._at_break():
            piece_major, piece_info, piece_size = self._read_head()
            if piece_major != major or piece_info == _INDEFINITE:
                self._fail("has a string made of other things than such strings")
            joined += self._take(piece_size)
        return bytes(joined)

    def _read_text(self, info: int, size: int) -> str:
        try:
            return self._read_string(_TEXT, info, size).decode("utf-8")
        except UnicodeDecodeError:
            self._fail("has text that is not UTF-8")

    def _enter(self, depth: int) -> None:
        self._containers += 1
        if self._containers > MAX_CONTAINERS:
            self._fail(f"has more than {MAX_CONTAINERS} lists and maps")
        if depth >= MAX_DEPTH:
            self._fail(f"is deeper than {MAX_DEPTH} levels")

    def _read_list(self, info: int, count: int, depth: int) -> list[Value]:
        if info != _INDEFINITE:
            self._expect_items(count)
            return [self.read(depth) for _ in range(count)]
        items = []
        while not self._at_break():
            items.append(self.read(depth))
        return items

    def _read_map(self, info: int, count: int, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        if info == _INDEFINITE:
            while not self._at_break():
                key, _ = self._read_key(found)
                found[key] = self.read(depth)
            return found
        self._expect_items(2 * count)
        previous = b""
        for _ in range(count):
            key, raw = self._read_key(found)
            # Shortest heads order like the lengths in them, so encoded keys compare as DAG-CBOR wants: by length, then bytes.
            if self._is_strict and raw <= previous:
                self._fail(f"has the key {key[:80]!r} out of order")
            previous = raw
            found[key] = self.read(depth)
        return found

    def _read_key(self, found: dict[str, Value]) -> tuple[str, bytes]:
        """Read a key; return it, and the bytes that it was encoded in."""
        start = self.offset
        major, info, size = self._read_head()
        if major != _TEXT:
            self._fail("has a map key that is not text")
        key = self._read_text(info, size)
        if key in found:
            self._fail(f"has the key {key[:80]!r} twice")
        return key, self._data[start : self.offset]

    def _expect_items(self, count: int) -> None:
        """Refuse a count of items that the bytes behind it cannot hold."""
        if count > len(self._data) - self.offset:
            self._fail(f"is cut off: expected {count} more items")

    def _at_break(self) -> bool:
        if self._is_strict:
            self._fail("has an indefinite length")
        at_break = self._data[self.offset : self.offset + 1] == _BREAK
        self.offset += at_break
        return at_break

    def _read_link(self, tag: int) -> CID:
        if tag != _LINK_TAG or not self._with_links:
            self._fail(f"has tag {tag}, which has no meaning here")
        major, info, size = self._read_head()
        raw = self._read_string(_BYTES, info, size) if major == _BYTES else b""
        if raw[:1] != b"\0":
            self._fail("has a link that is not a zero byte and a CID")
        return CID.from_bytes(raw[1:])

    def _read_other(self, info: int) -> bool | float | None:
        if info in _CONSTANTS:
            return _CONSTANTS[info]
        if info not in _FLOATS or (self._is_strict and info != 27):
            self._fail(f"has the value 0x{_OTHER << 5 | info:02x}, which has no meaning here")
        layout = _FLOATS[info]
        number: float = layout.unpack(self._take(layout.size))[0]
        if not math.isfinite(number):
            self._fail("has a number that is not finite")
        return number

    def _fail(self, message: str) -> NoReturn:
        raise FormatError(f"CBOR {message}, at byte {self.offset}")


class _Writer:
    """The pieces of the encoding so far."""

    __slots__ = ("_parts", "_with_links")

    def __init__(self, parts: list[bytes], *, with_links: bool) -> None:
        self._parts = parts
        self._with_links = with_links

    def write(self, value: Value, depth: int) -> None:
        """Write a value; `depth` counts the containers around it."""
        put = self._parts.append
        if isinstance(value, str):
            put(_encode_text(value))
        elif value is None or isinstance(value, bool):
            put(b"\xf6" if value is None else b"\xf5" if value else b"\xf4")
        elif isinstance(value, int):
            check_integer(value)
            put(_head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value))
        elif isinstance(value, CID):
            if not self._with_links:
                raise FormatError("expected a value without links, got one: plain CBOR has none")
            put(b"\xd8\x2a" + _head(_BYTES, len(value.raw) + 1) + b"\0" + value.raw)
        elif isinstance(value, bytes):
            put(_head(_BYTES, len(value)) + value)
        elif isinstance(value, float):
            check_finite(value)
            put(b"\xfb" + _FLOATS[27].pack(value))
        else:
            self._write_container(value, depth)

    def _write_container(self, value: "list[Value] | dict[str, Value]", depth: int) -> None:
        put = self._parts.append
        check_container(value, depth)
        put(_head(_LIST if isinstance(value, list) else _MAP, len(value)))
        if isinstance(value, list):
            for item in value:
                self.write(item, depth + 1)
        else:
            for key, item in sorted((_encode_text(key), key) for key in value):
                put(key)
                self.write(value[item], depth + 1)


def _encode_text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return _head(_TEXT, len(raw)) + raw


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return _SHORT_HEADS[major << 5 | argument]
    for info, size in ((24, 1), (25, 2), (26, 4)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | info]) + argument.to_bytes(size, "big")
    return bytes([major << 5 | 27]) + argument.to_bytes(8, "big")


_SHORT_HEADS = [bytes([first]) for first in range(256)]
