"""DAG-PB and UnixFS nodes under arbitrary input."""

from hypothesis import given
from hypothesis import strategies as st

from muniment.content.cid import CID, RAW
from muniment.content.dag_pb import PBLink, decode_node, encode_node
from muniment.content.unixfs.node import decode_unixfs
from muniment.errors import FormatError

cids = st.binary(max_size=8).map(lambda data: CID.of(RAW, data))
links = st.builds(
    PBLink, cids, st.none() | st.binary(max_size=8), st.none() | st.integers(0, 1 << 62)
)


@given(st.lists(links, max_size=6), st.none() | st.binary(max_size=200))
def test_round_trip(some, data):
    block = encode_node(some, data)
    node = decode_node(block)
    assert sorted(node.links, key=repr) == sorted(some, key=repr)
    assert node.data == data
    assert encode_node(node.links, node.data) == block


@given(st.binary(max_size=120))
def test_any_bytes_are_a_node_or_a_format_error(block):
    for read in (decode_node, decode_unixfs):
        try:
            read(block)
        except FormatError:
            continue


@given(st.lists(links, max_size=3), st.binary(max_size=60))
def test_any_message_is_unixfs_or_a_format_error(some, message):
    try:
        decode_unixfs(encode_node(some, message))
    except FormatError:
        return


@given(st.data())
def test_a_changed_byte_is_read_or_refused(data):
    block = bytearray(encode_node([PBLink(CID.of(RAW, b"x"), b"name", 7)] * 3, b"\x08\x02\x18\x00"))
    block[data.draw(st.integers(0, len(block) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decode_unixfs(bytes(block))
    except FormatError:
        return
