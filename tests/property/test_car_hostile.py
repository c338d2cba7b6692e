"""CARs of both versions, made of right parts in wrong places."""

import io
import struct

from hypothesis import given
from hypothesis import strategies as st

from muniment.content.car import CarReader, encode_header, encode_section_head
from muniment.content.cid import CID, RAW
from muniment.errors import IntegrityError

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
