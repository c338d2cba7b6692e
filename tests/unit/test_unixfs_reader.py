"""Reading UnixFS that is sound, and refusing UnixFS that is not."""

import io
import itertools

import pytest

from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.dag_pb import PBLink, encode_node
from muniment.content.unixfs import (
    V0_2015,
    describe,
    directory_dag,
    file_dag,
    import_file,
    leaf_layout,
    list_directory,
    read_file,
    resolve,
    symlink_node,
)
from muniment.content.unixfs.hamt import murmur3_64
from muniment.content.unixfs.node import Kind, encode_directory, encode_file, encode_shard
from muniment.errors import FormatError, NotFoundError


class Blocks(dict):
    """Blocks by CID, with a count of how often each was fetched."""

    def __init__(self):
        super().__init__()
        self.fetched = []

    def add(self, block, codec=DAG_PB):
        cid = CID.of(codec, block)
        self[cid] = block
        return cid

    def get_block(self, cid):
        self.fetched.append(cid)
        return self[cid]


@pytest.fixture
def blocks():
    return Blocks()


def chunked(blocks, *parts):
    leaves = [(blocks.add(part, RAW), len(part)) for part in parts]
    dag = file_dag(leaves)
    blocks.update(dag.inner)
    return dag.root


def test_only_the_blocks_of_the_range_are_fetched(blocks):
    root = chunked(blocks, b"aaaa", b"bbbb", b"cccc")
    assert b"".join(read_file(root, blocks.get_block, 5, 2)) == b"bb"
    assert blocks.fetched == [root, CID.of(RAW, b"bbbb")]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"aaaabbbbc"),
        (3, 3, b"abb"),
        (8, 100, b"c"),
        (9, None, b""),
        (50, 5, b""),
        (0, 0, b""),
        (4, 4, b"bbbb"),
    ],
)
def test_ranges(blocks, offset, length, expected):
    root = chunked(blocks, b"aaaa", b"bbbb", b"c")
    assert b"".join(read_file(root, blocks.get_block, offset, length)) == expected
    single = blocks.add(b"aaaabbbbc", RAW)
    assert b"".join(read_file(single, blocks.get_block, offset, length)) == expected
    old = import_file(io.BytesIO(b"aaaabbbbc"), blocks.__setitem__, V0_2015).root
    assert b"".join(read_file(old, blocks.get_block, offset, length)) == expected


def test_leaf_layout_does_not_fetch_raw_leaves(blocks):
    root = chunked(blocks, b"aaaa", b"bb")
    assert list(leaf_layout(root, blocks.get_block)) == [
        (CID.of(RAW, b"aaaa"), 0, 4),
        (CID.of(RAW, b"bb"), 4, 2),
    ]
    assert blocks.fetched == [root]


def test_leaf_layout_of_an_empty_file(blocks):
    assert file_dag([]).root == blocks.add(b"", RAW)
    assert list(leaf_layout(file_dag([]).root, blocks.get_block)) == [(CID.of(RAW, b""), 0, 0)]


def test_data_in_an_inner_node_comes_before_its_children(blocks):
    leaf = blocks.add(b"cd", RAW)
    message = b"\x08\x02\x12\x02ab\x18\x04\x20\x02"
    root = blocks.add(encode_node([PBLink(leaf, b"", 2)], message))
    assert b"".join(read_file(root, blocks.get_block)) == b"abcd"
    assert list(leaf_layout(root, blocks.get_block)) == [(root, 0, 2), (leaf, 2, 2)]


def test_packed_block_sizes_and_metadata_are_read(blocks):
    leaf = blocks.add(b"ab", RAW)
    message = b"\x08\x02\x18\x04\x22\x02\x02\x02\x38\xa4\x03\x42\x02\x08\x01"
    root = blocks.add(encode_node([PBLink(leaf, b"", 2)] * 2, message))
    assert b"".join(read_file(root, blocks.get_block)) == b"abab"


def test_describe(blocks):
    root = chunked(blocks, b"aaaa", b"bb")
    link, block = symlink_node(b"../target")
    blocks[link] = block
    directory = directory_dag([(b"x", root, 10)])
    blocks.update(directory.inner)
    assert describe(root, blocks.get_block).size == 6
    assert describe(CID.of(RAW, b"bb"), blocks.get_block).kind is Kind.FILE
    assert describe(link, blocks.get_block).target == b"../target"
    assert describe(directory.root, blocks.get_block).kind is Kind.DIRECTORY


def test_resolve_through_directories(blocks):
    leaf = blocks.add(b"x", RAW)
    inner = directory_dag([("é".encode(), leaf, 1)])
    outer = directory_dag([(b"in ner", inner.root, inner.tsize)])
    blocks.update(inner.inner + outer.inner)
    assert resolve(outer.root, "in ner/é", blocks.get_block) == leaf
    assert resolve(outer.root, b"/in ner//", blocks.get_block) == inner.root
    assert resolve(outer.root, "", blocks.get_block) == outer.root
    for path in ("missing", "in ner/é/deeper", "in ner/e"):
        with pytest.raises(NotFoundError, match="nothing named"):
            resolve(outer.root, path, blocks.get_block)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_names_that_are_no_names(blocks, name):
    leaf = blocks.add(b"x", RAW)
    with pytest.raises(FormatError, match="file name"):
        directory_dag([(name, leaf, 1)])
    root = blocks.add(encode_directory([PBLink(leaf, name, 1)]))
    with pytest.raises(FormatError, match="file name"):
        list(list_directory(root, blocks.get_block))
    assert [entry.name for entry in list_directory(root, blocks.get_block, unsafe_names=True)] == [
        name
    ]


def test_a_name_twice(blocks):
    leaf = blocks.add(b"x", RAW)
    with pytest.raises(FormatError, match="twice"):
        directory_dag([(b"a", leaf, 1), (b"a", leaf, 1)])
    root = blocks.add(encode_directory([PBLink(leaf, b"a", 1)] * 2))
    with pytest.raises(FormatError, match="twice"):
        list(list_directory(root, blocks.get_block))


def test_sizes_must_agree(blocks):
    leaf = blocks.add(b"abc", RAW)
    link = PBLink(leaf, b"", 3)
    wrong_leaf_size = blocks.add(encode_file([link], [4]))
    too_few_sizes = blocks.add(encode_file([link, link], [3]))
    wrong_total = blocks.add(encode_node([link], b"\x08\x02\x18\x04\x20\x03"))
    whole = blocks.add(encode_file([link], [3]))
    wrong_child = blocks.add(encode_file([PBLink(whole, b"", 3)], [5]))
    for root in (wrong_leaf_size, too_few_sizes, wrong_total, wrong_child):
        with pytest.raises(FormatError):
            list(read_file(root, blocks.get_block))


def test_directories_are_no_files_and_the_reverse(blocks):
    file = chunked(blocks, b"aa", b"bb")
    directory = directory_dag([(b"x", file, 4)])
    blocks.update(directory.inner)
    as_child = blocks.add(
        encode_node([PBLink(directory.root, b"", 0)], b"\x08\x02\x18\x00\x20\x00")
    )
    with pytest.raises(FormatError, match="expected a directory"):
        list(list_directory(file, blocks.get_block))
    with pytest.raises(FormatError, match="expected a file"):
        list(read_file(directory.root, blocks.get_block))
    assert list(read_file(as_child, blocks.get_block)) == []
    with pytest.raises(FormatError, match="codec"):
        list(list_directory(CID.of(RAW, b"aa"), blocks.get_block))
    with pytest.raises(FormatError, match="METADATA"):
        describe(blocks.add(encode_node([], b"\x08\x03")), blocks.get_block)


def test_a_chain_deeper_than_any_file_is_refused(blocks):
    cid = blocks.add(b"x", RAW)
    for _ in range(40):
        cid = blocks.add(encode_file([PBLink(cid, b"", 1)], [1]))
    with pytest.raises(FormatError, match="deeper"):
        list(read_file(cid, blocks.get_block))


def test_a_small_dag_that_claims_to_be_endless_costs_only_what_is_read(blocks):
    cid, size = blocks.add(b"x" * 10, RAW), 10
    for _ in range(6):
        cid, size = blocks.add(encode_file([PBLink(cid, b"", 0)] * 500, [size] * 500)), size * 500
    assert describe(cid, blocks.get_block).size == 10 * 500**6
    blocks.fetched.clear()
    assert b"".join(read_file(cid, blocks.get_block, size // 2, 25)) == b"x" * 25
    assert len(blocks.fetched) < 40
    assert len(list(itertools.islice(leaf_layout(cid, blocks.get_block), 100))) == 100


def test_children_without_bytes_are_not_visited(blocks):
    cid = blocks.add(encode_file([], []))
    for _ in range(20):
        cid = blocks.add(encode_file([PBLink(cid, b"", 0)] * 100, [0] * 100))
    blocks.fetched.clear()
    assert b"".join(read_file(cid, blocks.get_block)) == b""
    assert len(blocks.fetched) == 1


def test_murmur3():
    # Reference values of MurmurHash3 x64-128, first half, as in the test suites of its common ports.
    assert murmur3_64(b"") == 0
    assert murmur3_64(b"hello") == 0xCBD8A7B341BD9B02
    assert murmur3_64(b"hello, world") == 0x342FAC623A5EBC8E
    assert murmur3_64(b"The quick brown fox jumps over the lazy dog.") == 0xCD99481F9EE902C9


def shard(blocks, links, *, bits=None, fanout=256, hash_type=0x22):
    slots = 0
    for link in links:
        slots |= 1 << int(link.name[:2], 16)
    bitfield = (slots if bits is None else bits).to_bytes(32, "big").lstrip(b"\0")
    return blocks.add(encode_shard(links, bitfield, fanout, hash_type))


def slot_name(name):
    return b"%02X" % (murmur3_64(name) >> 56) + name


def test_a_small_shard_is_read(blocks):
    leaf = blocks.add(b"x", RAW)
    root = shard(blocks, [PBLink(leaf, slot_name(b"name"), 1)])
    assert [entry.name for entry in list_directory(root, blocks.get_block)] == [b"name"]
    assert resolve(root, "name", blocks.get_block) == leaf
    with pytest.raises(NotFoundError):
        resolve(root, "other", blocks.get_block)


def test_malformed_shards_are_refused(blocks):
    leaf = blocks.add(b"x", RAW)
    good = PBLink(leaf, slot_name(b"name"), 1)
    misplaced = PBLink(leaf, b"%02X" % ((murmur3_64(b"name") >> 56) ^ 1) + b"name", 1)
    plain = encode_directory([])
    roots = [
        shard(blocks, [misplaced]),
        shard(blocks, [good], bits=0),
        shard(blocks, [good, good]),
        shard(blocks, [good], fanout=255),
        shard(blocks, [good], fanout=4),
        shard(blocks, [good], fanout=1 << 20),
        shard(blocks, [good], hash_type=0x12),
        blocks.add(encode_shard([PBLink(leaf, b"x", 1)], b"\x01", 256, 0x22)),
        blocks.add(encode_shard([PBLink(leaf, b"0aname", 1)], b"\x04\x00", 256, 0x22)),
        shard(blocks, [PBLink(blocks.add(plain), b"00", 1)]),
        shard(blocks, [PBLink(shard(blocks, []), b"00", 1)]),
        shard(blocks, [PBLink(shard(blocks, [good], fanout=16), b"00", 1)]),
    ]
    for root in roots:
        with pytest.raises(FormatError):
            list(list_directory(root, blocks.get_block))


def test_a_shard_linked_in_every_slot_ends_at_its_first_repetition(blocks):
    # A tree of 256^7 visits, if nobody looked where the names belong.
    leaf = blocks.add(b"x", RAW)
    name = next(n for n in (b"%d" % i for i in range(10**6)) if murmur3_64(n) >> 56 == 0)
    cid = shard(blocks, [PBLink(leaf, b"%02X" % (murmur3_64(name) >> 48 & 0xFF) + name, 1)])
    cid = shard(blocks, [PBLink(cid, b"%02X" % slot, 1) for slot in range(256)])
    blocks.fetched.clear()
    with pytest.raises(FormatError, match="wrong place"):
        list(list_directory(cid, blocks.get_block))
    assert len(blocks.fetched) == 3


def test_shards_deeper_than_the_hash_are_refused(blocks):
    cid = shard(blocks, [PBLink(blocks.add(b"x", RAW), slot_name(b"name"), 1)])
    digest = murmur3_64(b"deep")
    for depth in range(9, -1, -1):
        slot = digest >> max(0, 56 - 8 * depth) & 0xFF
        cid = shard(blocks, [PBLink(cid, b"%02X" % slot, 1)])
    with pytest.raises(FormatError, match="deeper"):
        list(list_directory(cid, blocks.get_block))
    with pytest.raises(FormatError, match="deeper"):
        resolve(cid, "deep", blocks.get_block)
