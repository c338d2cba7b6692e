"""CARv2: the CARv1 in it is found and read to its end, whatever lies around it; headers with many roots."""

import io
import struct

import pytest

from muniment.content.car import MAX_HEADER_BYTES, CarReader, encode_header, write_car
from muniment.content.cid import CID, RAW
from muniment.errors import FormatError, IntegrityError

PRAGMA = bytes.fromhex("0aa16776657273696f6e02")
HELLO = CID.of(RAW, b"hello world")
BLOCKS = [(HELLO, b"hello world"), (CID.of(RAW, b""), b"")]


def car_v1(roots, blocks):
    stream = io.BytesIO()
    write_car(stream, roots, blocks)
    return stream.getvalue()


def car_v2(inner, *, offset=51, size=None, index=b"", index_offset=None, characteristics=bytes(16)):
    size = len(inner) if size is None else size
    if index_offset is None:
        index_offset = offset + size if index else 0
    header = characteristics + struct.pack("<QQQ", offset, size, index_offset)
    return PRAGMA + header + b"\0" * (offset - 51) + inner + index


INNER = car_v1([HELLO], BLOCKS)


class Trickle(io.BytesIO):
    """A stream that can only be read forwards, and gives little at a time."""

    def read(self, size=-1):
        return super().read(min(size, 3))

    def seek(self, *_):
        raise io.UnsupportedOperation


@pytest.mark.parametrize("stream", [io.BytesIO, Trickle])
@pytest.mark.parametrize(
    "data",
    [
        car_v2(INNER),
        car_v2(INNER, offset=51 + 1413),
        car_v2(INNER, index=b"\x80\x08 an index, or anything else" * 9),
        car_v2(INNER, index=b"\xff" * 70, index_offset=51 + len(INNER) + 8),
        car_v2(INNER, characteristics=b"\x80" + b"\xff" * 15),
    ],
    ids=["bare", "padded", "indexed", "gap before the index", "characteristics"],
)
def test_the_inner_car_is_read(data, stream):
    reader = CarReader(stream(data))
    assert reader.version == 2
    assert reader.roots == (HELLO,)
    assert list(reader) == BLOCKS


def test_places_are_those_of_the_whole_file():
    data = car_v2(INNER, offset=100, index=b"index")
    sections = list(CarReader(io.BytesIO(data)).sections())
    assert [data[s.offset : s.offset + len(s.data)] for s in sections] == [d for _, d in BLOCKS]
    assert sections[-1].end == 100 + len(INNER)


def test_the_index_is_left_unread():
    stream = io.BytesIO(car_v2(INNER, index=b"index"))
    assert list(CarReader(stream)) == BLOCKS
    assert stream.read() == b"index"


def test_every_shortening_is_refused():
    data = car_v2(INNER, offset=60)
    for size in range(len(data)):
        with pytest.raises(FormatError):
            list(CarReader(io.BytesIO(data[:size])))


def test_a_damaged_block_is_refused():
    with pytest.raises(IntegrityError, match="damaged"):
        list(CarReader(io.BytesIO(car_v2(INNER.replace(b"hello", b"jello")))))


@pytest.mark.parametrize(
    "data",
    [
        car_v2(INNER, offset=51)[:11] + bytes(40) + INNER,  # never finished by its writer
        car_v2(INNER, size=0),
        PRAGMA + bytes(16) + struct.pack("<QQQ", 50, len(INNER), 0) + INNER,  # within the header
        PRAGMA + bytes(16) + struct.pack("<QQQ", 2**64 - 1, 2**64 - 1, 0) + INNER,
        car_v2(INNER, size=2**64 - 1),
        car_v2(INNER, size=len(INNER) + 1),
        car_v2(INNER, size=len(INNER) - 1),
        car_v2(INNER, index=b"i", index_offset=51),
        car_v2(INNER, index=b"i", index_offset=51 + len(INNER) - 1),
        car_v2(car_v2(INNER)),  # one in another
        car_v2(b"\0" + INNER),
        car_v2(INNER + b"\0"),  # a section of no bytes
        b"\x0b\xa1\x67version\x18\x02" + bytes(40),
        b"\x0a\xa1\x67version\x03" + bytes(40),
    ],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(FormatError):
        list(CarReader(io.BytesIO(data)))


@pytest.mark.parametrize("version", [1, 2])
def test_sections_of_no_bytes_are_refused(version):
    """Some files are filled up with zeros; they could hide what stands behind them, so nobody stops at them in silence."""
    data = INNER + bytes(9)
    reader = CarReader(io.BytesIO(data if version == 1 else car_v2(data)))
    with pytest.raises(FormatError, match="got 0"):
        list(reader)


def test_many_roots():
    roots = [CID.of(RAW, b"%d" % number) for number in range(25_000)]
    data = encode_header(roots)
    assert len(data) < MAX_HEADER_BYTES
    assert CarReader(io.BytesIO(data)).roots == tuple(roots)
    assert CarReader(io.BytesIO(car_v2(data))).roots == tuple(roots)
    with pytest.raises(FormatError, match="CAR header of 1 to"):
        CarReader(io.BytesIO(encode_header(roots * 2)))


def test_no_roots_and_roots_of_all_kinds():
    kinds = (
        CID.parse("QmNPWHBrVQiiV8FpyNuEPhB9E2rbvdy9Yx79EY1EJuyf9o"),
        CID.parse("bafkqaaa"),
        HELLO,
        HELLO,
    )
    for roots in ((), kinds):
        assert CarReader(io.BytesIO(encode_header(roots))).roots == roots


@pytest.mark.parametrize(
    "header",
    [
        b"\xa2\x65roots\xf6\x67version\x01",
        b"\xa2\x65roots\x81\x00\x67version\x01",
        b"\xa2\x65roots\x80\x67version\xf5",
        b"\xa2\x65roots\x80\x67version\xfb\x3f\xf0\0\0\0\0\0\0",
        b"\xa3\x61a\0\x65roots\x80\x67version\x01",
        b"\xa2\x67version\x01\x65roots\x80",
        b"\x80",
        b"\x9a\xff\xff\xff\xff",
        b"\x81" * 5000,
    ],
)
def test_other_headers_are_refused(header):
    length = bytes([len(header)]) if len(header) < 128 else b"\x88\x27"
    with pytest.raises(FormatError):
        CarReader(io.BytesIO(length + header))
