"""CARv1: known bytes, verified reading, refusal of everything else."""

import io

import pytest

from muniment.content.car import (
    MAX_HEADER_BYTES,
    CarReader,
    car_pieces,
    encode_header,
    write_car,
)
from muniment.content.cid import CID, DAG_PB, RAW
from muniment.errors import FormatError, IntegrityError

HELLO = CID.of(RAW, b"hello world")
EMPTY = CID.of(DAG_PB, b"\x0a\x02\x08\x01")
NONE = CID.parse("bafkqaaa")


def car(roots, blocks):
    stream = io.BytesIO()
    size = write_car(stream, roots, blocks)
    assert size == len(stream.getvalue())
    return stream.getvalue()


def read(data, **limits):
    return list(CarReader(io.BytesIO(data), **limits))


def test_known_bytes():
    expected = bytes.fromhex(
        "3aa265726f6f747381d82a582500"
        + HELLO.raw.hex()
        + "6776657273696f6e01"
        + "2f"
        + HELLO.raw.hex()
        + b"hello world".hex()
    )
    assert car([HELLO], [(HELLO, b"hello world")]) == expected
    # As in `packs` and in files of other software that name no root: the identity CID of nothing.
    assert (
        encode_header([NONE]).hex() == "19a265726f6f747381d82a450001550000" + "6776657273696f6e01"
    )


@pytest.mark.parametrize("piece_bytes", [1, 100, 3_000, 1 << 20])
def test_pieces_are_as_large_as_asked_for_and_no_block_longer(piece_bytes):
    blocks = [(CID.of(RAW, b"%d" % i * 200), b"%d" % i * 200) for i in range(50)]
    pieces = list(car_pieces([HELLO], iter(blocks), piece_bytes))
    assert b"".join(pieces) == car([HELLO], blocks)
    assert all(piece_bytes <= len(piece) < piece_bytes + 500 for piece in pieces[:-1])
    assert pieces[-1]


@pytest.mark.parametrize("count", [0, 1, 2, 23, 24, 300])
def test_round_trip(count):
    blocks = [(CID.of(RAW, b"%d" % i), b"%d" % i) for i in range(count)]
    roots = [cid for cid, _ in blocks]
    data = car(roots, blocks)
    reader = CarReader(io.BytesIO(data))
    assert reader.roots == tuple(roots)
    assert list(reader) == blocks


def test_places_of_sections():
    data = car([NONE], [(HELLO, b"hello world"), (EMPTY.to_v1(), b"\x0a\x02\x08\x01")])
    sections = list(CarReader(io.BytesIO(data)).sections())
    assert [data[s.offset : s.offset + len(s.data)] for s in sections] == [s.data for s in sections]
    assert sections[-1].end == len(data)


def test_a_stream_of_short_reads():
    class OneByte(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 1))

    data = car([HELLO], [(HELLO, b"hello world")])
    assert list(CarReader(OneByte(data))) == [(HELLO, b"hello world")]


def test_a_damaged_block_is_refused():
    with pytest.raises(IntegrityError, match="damaged"):
        read(car([], [(HELLO, b"hello World")]))


def test_limits():
    blocks = [(HELLO, b"hello world")] * 3
    assert len(read(car([], blocks), max_blocks=3)) == 3
    with pytest.raises(FormatError, match="at most 2 blocks"):
        read(car([], blocks), max_blocks=2)
    with pytest.raises(FormatError, match="CAR header of 1 to"):
        CarReader(io.BytesIO(b"\xff\xff\xff\x01"))
    with pytest.raises(FormatError, match="CAR section of 1 to"):
        read(encode_header([]) + b"\xff\xff\xff\x7f")
    assert len(encode_header([HELLO] * 1500)) < MAX_HEADER_BYTES


def test_every_shortening_is_refused():
    data = car([HELLO, NONE], [(HELLO, b"hello world")])
    header = len(encode_header([HELLO, NONE]))
    for size in range(len(data)):
        if size == header:
            continue
        with pytest.raises(FormatError):
            read(data[:size])


HEADER = encode_header([HELLO])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a\xa1\x67version\x02",  # CARv2
        b"\x0a\xa1\x67version\x01",  # no roots
        HEADER[:-1] + b"\x02",  # version 2 in a header of version 1
        b"\x3b" + HEADER[1:] + b"\x00",  # something behind the version
        b"\x00",
        HEADER.replace(b"\x81\xd8", b"\x82\xd8"),  # a root too few
        HEADER.replace(b"\x81\xd8", b"\x98\x01\xd8").replace(
            b"\x3a", b"\x3b", 1
        ),  # length not shortest
        HEADER.replace(b"\xd8\x2a", b"\xd8\x2b"),  # another tag
        HEADER.replace(b"\x58\x25\x00", b"\x58\x25\x01"),  # no zero before the CID
        HEADER.replace(b"\x58\x25\x00", b"\x58\x24\x00"),
        HEADER + b"\x01\x01",  # section without CID
        HEADER + b"\x00",  # empty section
        HEADER + b"\x80\x00",  # length not shortest
    ],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(FormatError):
        read(data)
