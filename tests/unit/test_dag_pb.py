"""DAG-PB nodes: known bytes, canonical writing, strict reading."""

import pytest

from muniment.content.cid import CID, RAW
from muniment.content.dag_pb import MAX_BLOCK_BYTES, PBLink, PBNode, decode_node, encode_node
from muniment.content.links import block_links, has_links
from muniment.errors import FormatError

A = CID.of(RAW, b"a")
LINK = bytes.fromhex("0a24") + A.raw + bytes.fromhex("120161") + bytes.fromhex("1801")


def test_known_bytes():
    block = encode_node([PBLink(A, b"a", 1)], b"\x08\x01")
    assert block == b"\x12\x2b" + LINK + b"\x0a\x02\x08\x01"
    assert decode_node(block) == PBNode((PBLink(A, b"a", 1),), b"\x08\x01")


def test_empty_node():
    assert encode_node([], None) == b""
    assert decode_node(b"") == PBNode((), None)
    assert decode_node(b"\x0a\x00") == PBNode((), b"")


def test_links_are_sorted_by_name_and_equal_names_keep_their_order():
    first, second = PBLink(CID.of(RAW, b"1"), b"", 1), PBLink(CID.of(RAW, b"2"), b"", 2)
    other = PBLink(A, b"\xc3\xa4", 3)
    assert decode_node(encode_node([other, first, second], None)).links == (first, second, other)


def test_absent_fields_differ_from_empty_ones():
    bare = PBLink(A, None, None)
    assert decode_node(encode_node([bare], None)).links == (bare,)
    assert decode_node(encode_node([PBLink(A)], None)).links == (PBLink(A, b"", 0),)


def test_data_before_links_is_read():
    block = b"\x0a\x02\x08\x01" + b"\x12\x2b" + LINK
    assert decode_node(block) == PBNode((PBLink(A, b"a", 1),), b"\x08\x01")


@pytest.mark.parametrize(
    "block",
    [
        b"\x12\x2b" + LINK[:-1],  # cut off
        b"\x12\x2b" + LINK + b"\x0a\x05ab",  # data cut off
        b"\x12\x2b" + LINK + b"\x0a\x00" + b"\x12\x2b" + LINK,  # links on both sides of the data
        b"\x0a\x00\x0a\x00",  # data twice
        b"\x1a\x00",  # unknown field
        b"\x08\x01",  # wrong wire type
        b"\x12\x00",  # link without CID
        b"\x12\x03\x12\x01a",  # the same, with a name
        b"\x12\x29" + LINK[2 + 36 :] + LINK[: 2 + 36],  # name before CID
        b"\x12\x2e" + LINK + LINK[-3:],  # a field too many
        b"\x12\x2d" + LINK + b"\x18\x01",  # Tsize twice
        b"\x12\x2b\x0a\x23" + LINK[2:],  # CID too short
        b"\x12\xab\x00" + LINK,  # length not in its shortest form
    ],
)
def test_other_bytes_are_refused(block):
    with pytest.raises(FormatError):
        decode_node(block)


def test_a_node_larger_than_a_block_is_refused():
    with pytest.raises(FormatError, match="at most"):
        decode_node(b"\x0a\xff\xff\x7f" + bytes(MAX_BLOCK_BYTES))


def test_links_of_a_block():
    block = encode_node([PBLink(A, b"a", 1), PBLink(A, b"b", 1)], b"")
    assert block_links(CID.of(0x70, block), block) == [A, A]
    assert block_links(CID.of(RAW, block), block) == ()
    assert not has_links(CID.of(RAW, b""))
    with pytest.raises(FormatError, match="codec 0x72"):
        block_links(CID.of(0x72, b"\xa0"), b"\xa0")
