"""CARs of both versions, made of right parts in wrong places."""

import io
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.content import codecs, varint
from muniment.content.car import (
    MAX_HEADER_BYTES,
    MAX_PADDING_BYTES,
    MAX_SECTION_BYTES,
    CarReader,
    encode_header,
    encode_section_head,
)
from muniment.content.cid import CID, RAW
from muniment.errors import FormatError, IntegrityError
from muniment.testing.hostile import NOTHING, identity

MIB = 1 << 20
MAX_PEAK_BYTES = 32 * MIB
"""What reading any CAR may take: a header of a megabyte decoded, or one block three times."""

PRAGMA = bytes.fromhex("0aa16776657273696f6e02")
small = st.integers(0, 300)
cids = st.binary(max_size=8).map(lambda data: CID.of(RAW, data))


def section(data):
    return encode_section_head(CID.of(RAW, data), len(data)) + data


parts = st.one_of(
    st.just(PRAGMA),
    st.builds(
        lambda *numbers: bytes(16) + struct.pack("<QQQ", *numbers),
        small | st.just(51) | st.integers(0, 2**64 - 1),
        small | st.integers(0, 2**64 - 1),
        small,
    ),
    st.lists(cids, max_size=3).map(encode_header),
    st.binary(max_size=20).map(section),
    st.just(b"\0"),
    st.binary(max_size=12),
)


def read(data):
    try:
        return list(CarReader(io.BytesIO(data), max_blocks=20))
    except IntegrityError:
        return None


@given(st.lists(parts, max_size=8).map(b"".join))
def test_any_parts_are_a_car_or_refused(data):
    for cid, block in read(data) or ():
        assert block in data
        assert cid == CID.of(cid.codec, block) or cid.hash_function != 0x12


@given(
    st.lists(st.binary(max_size=30), max_size=5),
    st.integers(0, 40),
    st.binary(max_size=40),
    st.data(),
)
def test_what_surrounds_a_car_in_a_car_changes_nothing(blocks, gap, behind, data):
    inner = encode_header([]) + b"".join(map(section, blocks))
    header = bytes(16) + struct.pack("<QQQ", 51 + gap, len(inner), 0)
    whole = PRAGMA + header + data.draw(st.binary(min_size=gap, max_size=gap)) + inner
    assert read(whole + behind) == read(inner) == [(CID.of(RAW, block), block) for block in blocks]
    assert read(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


class Endless:
    """A stream that begins as it is told and never ends; counts what is read."""

    def __init__(self, begin, piece_bytes=1 << 30):
        self._begin, self._piece_bytes = begin, piece_bytes
        self.read_bytes = self.reads = 0

    def read(self, size):
        size = min(size, self._piece_bytes)
        data = self._begin[self.read_bytes : self.read_bytes + size]
        data += bytes(size - len(data))
        self.reads += 1
        self.read_bytes += size
        return data


def frame(body):
    return varint.encode(len(body)) + body


def v2_header(offset, size, index=0):
    return PRAGMA + bytes(16) + struct.pack("<QQQ", offset, size, index)


def header_of(count):
    """Return the header of a CAR of so many short roots."""
    link = b"\xd8\x2a\x45\x00" + NOTHING.raw
    return frame(
        b"\xa2\x65roots\x9a" + count.to_bytes(4, "big") + link * count + b"\x67version\x01"
    )


HEADER_BOMBS = {
    "a million roots": header_of(1_000_000),
    "a length of 2^63 - 1": varint.encode((1 << 63) - 1),
    "a length of 2^64": b"\x80" * 9 + b"\x02",
    "a length that never ends": b"\x80" * 100,
    "one byte more than is read": varint.encode(MAX_HEADER_BYTES + 1),
    "nothing but zeros": b"",
    "deep lists": frame(b"\x81" * MAX_HEADER_BYTES),
    "more roots than bytes": frame(b"\xa2\x65roots\x9b" + b"\xff" * 8),
    "a string of 2^64 bytes": frame(b"\xa2\x65roots\x5b" + b"\xff" * 8),
    "many empty maps": frame(b"\xa1\x65roots\x9a\x00\x0f\x00\x00" + b"\xa0" * 0xF0000),
    "roots twice": frame(b"\xa3\x65roots\x80\x65roots\x80\x67version\x01"),
    "a root that is no link": frame(codecs.encode(0x71, {"roots": [b"x"], "version": 1})),
    "version 2 without a header": PRAGMA[:-1] + b"\x02",
    "version 3": frame(codecs.encode(0x71, {"roots": [], "version": 3})),
    "a version within a version": v2_header(51, 500) + v2_header(51, 100),
    "no room for the header": v2_header(11, 100),
    "an offset of 2^64 - 1": v2_header((1 << 64) - 1, 100),
    "more padding than anybody needs": v2_header(51 + MAX_PADDING_BYTES + 1, 100),
    "padding that is all there is": v2_header(51 + MAX_PADDING_BYTES, 100),
    "no data": v2_header(51, 0),
    "an index within the data": v2_header(51, 1 << 40, 60),
    "an offset and size beyond 2^64": v2_header((1 << 64) - 1, (1 << 64) - 1, (1 << 64) - 1),
}


@pytest.mark.parametrize("begin", HEADER_BOMBS.values(), ids=HEADER_BOMBS.keys())
def test_headers_that_mean_harm(begin):
    stream = Endless(begin)
    peak = refused(lambda: CarReader(stream))
    assert peak < MAX_PEAK_BYTES
    assert stream.read_bytes <= MAX_PADDING_BYTES + 2 * MIB


SECTION_BOMBS = {
    "a length of 2^63 - 1": varint.encode((1 << 63) - 1),
    "a length that never ends": b"\xff" * 100,
    "no length": b"\0",
    "one byte more than is read": varint.encode(MAX_SECTION_BYTES + 1),
    "a CID of a version that is none": frame(b"\x07" * 50),
    "a CID longer than its section": frame(b"\x01\x55\x12\x20" + b"x" * 10),
    "a digest of 2^40 bytes": frame(b"\x01\x55\x00" + varint.encode(1 << 40) + b"x" * 50),
    "an identity of more than 128 bytes": frame(identity(RAW, b"x" * 129).raw + b"x" * 129),
    "a hash that nobody knows": frame(b"\x01\x55\x99\x01\x04abcd" + b"x"),
    "another block": encode_section_head(CID.of(RAW, b"a"), 1) + b"b",
}


@pytest.mark.parametrize("section_bytes", SECTION_BOMBS.values(), ids=SECTION_BOMBS.keys())
def test_sections_that_mean_harm(section_bytes):
    stream = Endless(encode_header([]) + section_bytes)
    peak = refused(lambda: list(CarReader(stream)), IntegrityError)
    assert peak < MAX_PEAK_BYTES
    assert stream.read_bytes <= MAX_SECTION_BYTES + 100


def refused(function, error=FormatError):
    """Check that a call is refused; return the most memory that it took."""
    tracemalloc.start()
    try:
        with pytest.raises(error):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_block_that_comes_in_drops_is_read_in_a_time_that_grows_with_it():
    """A hundred bytes in each read: what has come is not copied each time."""
    data = bytes(MAX_SECTION_BYTES - 200)
    stream = Endless(encode_header([]) + section(data), piece_bytes=100)
    first = next(CarReader(stream).sections())
    assert first.data == data
    assert stream.reads < 40_000


def test_as_many_roots_as_there_is_room_for():
    header = header_of(100_000)
    assert len(header) < MAX_HEADER_BYTES
    assert CarReader(io.BytesIO(header)).roots == (NOTHING,) * 100_000


def test_more_blocks_than_are_wanted():
    stream = Endless(encode_header([]) + section(b"x") * 1000)
    refused(lambda: list(CarReader(stream, max_blocks=999)))


@given(st.binary(max_size=100))
def test_the_index_of_a_car_is_not_looked_at(index):
    inner = encode_header([]) + section(b"x")
    whole = v2_header(51, len(inner), 51 + len(inner)) + inner + index
    assert read(whole) == [(CID.of(RAW, b"x"), b"x")]
