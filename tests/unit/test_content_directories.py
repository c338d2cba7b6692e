"""Directories built entry by entry, in bounded memory; modes and times in UnixFS nodes."""

import io
import random

import pytest

from muniment.content.cid import CID, RAW
from muniment.content.dag_pb import PBLink, encode_node
from muniment.content.unixfs import (
    V0_2015,
    V1_2025,
    DirectoryBuilder,
    FileBuilder,
    Metadata,
    describe,
    directory,
    directory_dag,
    hamt,
    list_directory,
    symlink_node,
)
from muniment.content.unixfs.node import (
    decode_unixfs,
    encode_directory,
    encode_file,
    encode_shard,
    encode_symlink,
    encode_wrapped_leaf,
)
from muniment.errors import FormatError

LEAF = CID.of(RAW, b"leaf")


def names(count):
    return [b"name %d" % number + b"." * (number % 90) for number in range(count)]


def shuffled(items):
    items = list(items)
    random.Random(7).shuffle(items)
    return items


def build(entries, profile, spool=None, metadata=None):
    blocks = {}
    builder = DirectoryBuilder(profile, spool, metadata)
    for entry in entries:
        builder.add(*entry)
    return finish(builder.finish(), blocks), blocks


def finish(nodes, blocks):
    """Take all nodes; returns what the generator does."""
    while True:
        try:
            cid, block = next(nodes)
        except StopIteration as end:
            return end.value
        blocks[cid] = block


@pytest.mark.parametrize("profile", [V1_2025, V0_2015], ids=lambda profile: profile.name)
@pytest.mark.parametrize("count", [0, 1, 7, 3000])
def test_a_directory_is_the_same_in_any_order_and_by_way_of_the_disk(profile, count, monkeypatch):
    monkeypatch.setattr(directory, "SORTED_BYTES", 20_000)
    entries = [(name, CID.of(RAW, name), len(name)) for name in names(count)]
    whole = directory_dag(entries, profile)
    spools = []

    def open_spool():
        spools.append(io.BytesIO())
        return spools[-1]

    dag, blocks = build(shuffled(entries), profile, open_spool)
    assert (dag.root, dag.tsize) == (whole.root, whole.tsize)
    assert blocks == dict(whole.inner)
    assert sorted(list_directory(dag.root, blocks.__getitem__)) == sorted(entries)
    assert len(spools) == (count == 3000)
    assert all(spool.closed for spool in spools)


def test_what_is_spilled_is_no_longer_in_memory(monkeypatch):
    monkeypatch.setattr(directory, "SORTED_BYTES", 20_000)
    builder = DirectoryBuilder(V1_2025, io.BytesIO)
    for name in names(20_000):
        builder.add(name, LEAF, 4)
    assert builder._sorter._held_bytes < 20_000
    assert len(builder._sorter._runs) > 50


@pytest.mark.parametrize("spool", [None, io.BytesIO])
@pytest.mark.parametrize("count", [10, 3000])
def test_a_name_that_occurs_twice_is_refused(spool, count, monkeypatch):
    monkeypatch.setattr(directory, "SORTED_BYTES", 20_000)
    entries = [(name, LEAF, 4) for name in names(count)]
    with pytest.raises(FormatError, match="twice"):
        build([*entries, entries[3]], V1_2025, spool)


def test_names_that_are_none_are_refused():
    for name in (b"", b".", b"..", b"a/b", b"a\0"):
        with pytest.raises(FormatError, match="file name"):
            build([(name, LEAF, 4)], V1_2025)


def test_shards_reach_as_deep_as_names_collide():
    """Hashes that share all but their last slot go down to the last level; equal ones are refused."""
    low = [(1 << 40, PBLink(LEAF, b"a")), ((1 << 40) + 1, PBLink(LEAF, b"b"))]
    blocks = {}
    root = finish(hamt.build(low, V1_2025), blocks)
    depth, node = 0, decode_unixfs(blocks[root.cid])
    while len(node.links) == 1:
        depth, node = depth + 1, decode_unixfs(blocks[node.links[0].cid])
    assert (depth, [link.name for link in node.links]) == (7, [b"00a", b"01b"])
    with pytest.raises(FormatError, match="same hash"):
        finish(hamt.build([low[0], (1 << 40, PBLink(LEAF, b"b"))], V1_2025), blocks)


# Modes and times

TIMES_NS = [
    0,
    1,
    999_999_999,
    1_700_000_000_123_456_789,
    -1,
    -1_000_000_000,
    -62_135_596_800 * 10**9,
    (2**63 - 1) * 10**9,
    -(2**63) * 10**9,
]


@pytest.mark.parametrize("mtime_ns", [None, *TIMES_NS])
@pytest.mark.parametrize("mode", [None, 0o644, 0o4755, 0o7777])
def test_metadata_of_every_kind_of_node_is_read_back(mode, mtime_ns):
    metadata = Metadata(mode, mtime_ns)
    for block in (
        encode_file([PBLink(LEAF, b"", 4)], [4], metadata),
        encode_wrapped_leaf(b"", metadata),
        encode_wrapped_leaf(b"content", metadata),
        encode_directory([PBLink(LEAF, b"x", 4)], metadata),
        encode_symlink(b"target", metadata),
        encode_shard([], b"", 256, hamt.MURMUR3_X64_64, metadata),
    ):
        assert decode_unixfs(block).metadata == metadata


def test_metadata_stands_in_the_root_alone():
    metadata = Metadata(0o600, 5)
    blocks = {}
    builder = FileBuilder(blocks.__setitem__, V1_2025)
    for number in range(V1_2025.width + 1):
        builder.add_leaf(CID.of(RAW, b"%d" % number), 10)
    root = builder.finish(metadata).root
    assert {cid for cid, block in blocks.items() if decode_unixfs(block).metadata == metadata} == {
        root
    }
    assert describe(root, blocks.__getitem__).metadata == metadata
    dag, blocks = build([(name, LEAF, 4) for name in names(3000)], V1_2025, metadata=metadata)
    assert {cid for cid, block in blocks.items() if decode_unixfs(block).metadata == metadata} == {
        dag.root
    }


def test_no_metadata_changes_no_byte():
    for empty in (None, Metadata(), Metadata(0, None)):
        assert symlink_node(b"x", V1_2025, empty) == symlink_node(b"x")
        assert encode_directory([], empty) == encode_directory([])


@pytest.mark.parametrize(
    "time",
    [
        b"",
        b"\x10\x00",
        b"\x08",
        b"\x08\x80",
        b"\x08\x00\x15\x00\x00\x00",
        b"\x08\x00\x15\x00\xca\x9a\x3b",  # a whole second of nanoseconds
        b"\x08\x00\x15\x00\x00\x00\x00\x00",
        b"\x08\x00\x1d\x00\x00\x00\x00",
        b"\x08" + b"\xff" * 10,
        b"\x08" + b"\xff" * 9 + b"\x02",
    ],
)
def test_times_that_are_none_are_refused(time):
    block = encode_node((), b"\x08\x01\x42" + bytes([len(time)]) + time)
    with pytest.raises(FormatError):
        decode_unixfs(block)
