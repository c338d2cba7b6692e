"""UnixFS and DAGs that mean harm: each is refused with a FormatError, after few reads and in little memory, or ends when the reader stops.

The bounds are stated here: `MAX_BLOCK_PEAK_BYTES` and `PEAK_BYTES_PER_LINK` for memory, and for work the number of blocks that are read.
"""

import io
import os
import tarfile
import tracemalloc
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.adapters.content import getting
from muniment.adapters.content.getting import get_to
from muniment.content import codecs, open_links
from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.dag_pb import MAX_LINKS, PBLink, decode_node, encode_node
from muniment.content.dag_scope import MAX_DAG_DEPTH, EntityBytes, select_blocks
from muniment.content.path_resolution import resolve_path
from muniment.content.tar_stream import MAX_DEPTH as MAX_TAR_DEPTH
from muniment.content.tar_stream import tar_stream
from muniment.content.unixfs import (
    Metadata,
    describe,
    directory_dag,
    leaf_layout,
    list_directory,
    read_file,
    resolve,
    symlink_node,
)
from muniment.content.unixfs.hamt import murmur3_64
from muniment.content.unixfs.node import decode_unixfs, encode_directory, encode_file
from muniment.errors import FormatError, IntegrityError, MunimentError, NotFoundError
from muniment.testing import hostile
from muniment.testing.hostile import NOTHING, NOWHERE, LyingStore

MIB = 1 << 20
MAX_BLOCK_PEAK_BYTES = 96 * MIB
"""What a block of at most 2 MiB takes while it is decoded."""
PEAK_BYTES_PER_LINK = 600
"""What a link that a walk holds takes, the block being decoded included: 150 MiB with as many as are allowed."""


class Blocks(dict):
    """Blocks by CID, and how often they were read."""

    reads = 0

    def get_block(self, cid):
        self.reads += 1
        if cid.hash_function == 0:
            return cid.digest
        if cid not in self:
            raise NotFoundError(str(cid))
        return self[cid]

    def put(self, cid, data):
        self[cid] = data


@pytest.fixture
def blocks():
    return Blocks()


def peak_of(function):
    """Return the most memory that a call takes, and what it returns."""
    tracemalloc.start()
    try:
        found = function()
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()


def refused(function):
    with pytest.raises(FormatError):
        function()


def count(pieces):
    return sum(1 for _ in pieces)


def make_bomb():
    blocks = Blocks()
    return blocks, hostile.bomb_file(blocks.put)


BOMB = make_bomb()


class TestBombs:
    def test_a_file_is_read_as_far_as_it_is_wanted(self, blocks):
        root = hostile.bomb_file(blocks.put)
        assert describe(root, blocks.get_block).size == 10**18
        middle = 10**18 // 2
        assert b"".join(read_file(root, blocks.get_block, middle, 100)) == b"x" * 100
        assert blocks.reads < 250
        peak, found = peak_of(lambda: list(islice(leaf_layout(root, blocks.get_block), 5000)))
        assert len(found) == 5000
        assert peak < 10 * MIB

    @pytest.mark.parametrize("levels", [7, 10])
    def test_sizes_that_no_file_has_are_refused(self, blocks, levels):
        root = hostile.bomb_file(blocks.put, levels)
        for read in (describe, lambda *args: next(read_file(*args))):
            refused(lambda read=read: read(root, blocks.get_block))
        assert blocks.reads < 20

    @pytest.mark.parametrize("make", [hostile.bomb_file, hostile.bomb_directory, hostile.bomb_data])
    def test_a_car_without_duplicates_has_each_block_once(self, blocks, make):
        root = make(blocks.put)
        found = list(select_blocks([], root, blocks.get_block, "all"))
        assert len(found) == len(blocks) == blocks.reads
        blocks.reads = 0
        assert 1 <= count(select_blocks([], root, blocks.get_block, "entity")) <= len(blocks)
        assert blocks.reads <= len(blocks)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(-(10**18), 10**18), st.integers(-(10**18), 10**18) | st.none())
    def test_any_part_of_a_file_in_a_car_is_small_work(self, first, last):
        blocks, root = BOMB
        blocks.reads = 0
        found = list(select_blocks([], root, blocks.get_block, "entity", EntityBytes(first, last)))
        assert {cid for cid, _ in found} <= set(blocks)
        assert len(found) == len({cid for cid, _ in found})
        assert blocks.reads < 40

    @pytest.mark.parametrize("make", [hostile.bomb_file, hostile.bomb_directory, hostile.bomb_data])
    def test_a_car_with_duplicates_costs_what_it_yields(self, blocks, make):
        root = make(blocks.put)
        pieces = select_blocks([], root, blocks.get_block, "all", duplicates=True)
        peak, found = peak_of(lambda: count(islice(pieces, 10_000)))
        assert found == 10_000
        assert blocks.reads <= 10_001
        assert peak < 20 * MIB

    @pytest.mark.parametrize("make", [hostile.bomb_file, hostile.bomb_directory])
    def test_a_tar_costs_what_it_yields(self, blocks, make):
        pieces = tar_stream(make(blocks.put), "name", blocks.get_block)
        peak, found = peak_of(lambda: count(islice(pieces, 2000)))
        assert found == 2000
        assert blocks.reads < 5000
        assert peak < 20 * MIB

    def test_a_listing_shows_one_level(self, blocks):
        root = hostile.bomb_directory(blocks.put)
        assert count(list_directory(root, blocks.get_block)) == 1000
        assert blocks.reads == 1
        assert resolve(root, b"/".join([b"7"] * 10), blocks.get_block).codec == RAW

    @pytest.mark.parametrize("levels", [1, 7])
    def test_a_sharded_directory_ends_at_its_first_repetition(self, blocks, levels):
        root = hostile.shard_bomb(blocks.put, levels)
        refused(lambda: list(list_directory(root, blocks.get_block)))
        for duplicates in (False, True):
            refused(
                lambda both=duplicates: list(
                    select_blocks([], root, blocks.get_block, "entity", duplicates=both)
                )
            )
        assert blocks.reads < 60

    def test_work_that_yields_nothing_is_refused(self, blocks):
        """A tree of empty parts, whose sizes are right, and of parts whose sizes are wrong."""
        cid = hostile.put_node(blocks.put, encode_file([PBLink(NOTHING)], [0]))
        for _ in range(20):
            cid = hostile.put_node(blocks.put, encode_file([PBLink(cid)] * 1000, [0] * 1000))
        assert list(read_file(cid, blocks.get_block)) in ([], [b""])
        assert count(select_blocks([], cid, blocks.get_block, "entity")) == 1
        assert blocks.reads <= 3
        cid = hostile.put_node(blocks.put, encode_file([PBLink(NOTHING)] * 1000, [1] * 1000))
        for _ in range(20):
            cid = hostile.put_node(blocks.put, encode_file([PBLink(cid)] * 1000, [1] * 1000))
        blocks.reads = 0
        refused(lambda: list(read_file(cid, blocks.get_block)))
        refused(lambda: list(select_blocks([], cid, blocks.get_block, "entity")))
        assert blocks.reads < 20


class TestDepth:
    @pytest.mark.parametrize("levels", [34, 500])
    def test_files(self, blocks, levels):
        root = hostile.chain(blocks.put, levels, hostile.file_link)
        for read in (
            lambda: list(read_file(root, blocks.get_block)),
            lambda: list(leaf_layout(root, blocks.get_block)),
            lambda: list(select_blocks([], root, blocks.get_block, "entity")),
            lambda: list(tar_stream(root, "name", blocks.get_block)),
        ):
            refused(read)
        assert blocks.reads < 4 * 40

    def test_directories_in_a_tar(self, blocks):
        root = hostile.chain(blocks.put, MAX_TAR_DEPTH + 5, hostile.directory_link)
        refused(lambda: list(tar_stream(root, "name", blocks.get_block)))

    @pytest.mark.parametrize("duplicates", [False, True])
    @pytest.mark.parametrize("link", [hostile.data_link, hostile.directory_link])
    def test_dags(self, blocks, link, duplicates):
        codec = codecs.DAG_CBOR if link is hostile.data_link else DAG_PB
        root = hostile.chain(blocks.put, MAX_DAG_DEPTH + 5, link, codec)
        refused(
            lambda: list(select_blocks([], root, blocks.get_block, "all", duplicates=duplicates))
        )

    def test_identities_within_identities(self):
        """A CID can hold a block that holds such a CID, as far as a digest of 128 bytes goes."""
        cid, made = NOTHING, 0
        while len(cid.digest) < 100:
            cid = hostile.identity(DAG_PB, encode_node([PBLink(cid, None, None)], b"\x08\x01"))
            made += 1
        read = Blocks()
        assert made > 5
        assert count(select_blocks([], cid, read.get_block, "all")) == 0
        assert read.reads == made + 1
        while len(cid.raw) < 300:
            cid = hostile.identity(DAG_PB, encode_node([PBLink(cid, None, None)], b"\x08\x01"))
        refused(lambda: CID.from_bytes(cid.raw))
        refused(lambda: decode_node(cid.digest))


class TestCircles:
    @pytest.mark.parametrize(("root", "lies"), list(hostile.circles()))
    @pytest.mark.parametrize("duplicates", [False, True])
    def test_a_store_that_lies_leads_nowhere(self, root, lies, duplicates):
        """No hash can be in its own input, so this takes a store that hands out what it should not."""
        store = LyingStore(lies)
        readers = [
            lambda: list(read_file(root, store.get)),
            lambda: list(list_directory(root, store.get)),
            lambda: count(islice(tar_stream(root, "name", store.get), 5000)),
            lambda: resolve_path(root, [b"d", b"a"] * 100, store.get),
            *(
                lambda scope=scope: count(
                    islice(select_blocks([], root, store.get, scope, duplicates=duplicates), 5000)
                )
                for scope in ("block", "entity", "all")
            ),
        ]
        for read in readers:
            store.reads = 0
            try:
                read()
            except (FormatError, NotFoundError):
                assert store.reads < 1200
            assert store.reads < 15_000


@pytest.fixture
def few_links(monkeypatch):
    """Let walks hold fewer links open than they may, so that it takes less time to have too many."""
    monkeypatch.setattr(open_links, "MAX_OPEN_LINKS", 1 << 14)
    return 1 << 14


class TestWidth:
    def test_a_node_of_a_million_links(self):
        block = hostile.million_links()
        peak, _ = peak_of(lambda: refused(lambda: decode_node(block)))
        assert peak < MIB
        refused(lambda: codecs.decode(codecs.DAG_PB, block))

    def test_a_block_full_of_links_that_lead_nowhere(self):
        block = hostile.million_links(2 * MIB // 8 - 10)
        assert len(block) < 2 * MIB
        peak, _ = peak_of(lambda: refused(lambda: decode_node(block)))
        assert peak < 32 * MIB
        assert len(decode_node(hostile.million_links(MAX_LINKS)).links) == MAX_LINKS

    @pytest.mark.parametrize(
        ("link", "codec", "read"),
        [
            (hostile.wide_file_link, DAG_PB, lambda root, get: list(read_file(root, get))),
            (
                hostile.wide_file_link,
                DAG_PB,
                lambda root, get: list(select_blocks([], root, get, "entity")),
            ),
            (
                hostile.wide_directory_link,
                DAG_PB,
                lambda root, get: list(select_blocks([], root, get, "all")),
            ),
            (
                hostile.wide_data_link,
                codecs.DAG_CBOR,
                lambda root, get: list(select_blocks([], root, get, "all")),
            ),
        ],
    )
    def test_wide_and_deep_is_too_much_to_hold(self, blocks, few_links, link, codec, read):
        root = hostile.chain(blocks.put, 20, link, codec)
        peak, _ = peak_of(lambda: refused(lambda: read(root, blocks.get_block)))
        assert peak < few_links * PEAK_BYTES_PER_LINK
        assert blocks.reads <= few_links // 3000 + 2

    def test_a_tar_of_wide_directories(self, blocks, few_links):
        def link(cid, _level):
            links = [PBLink(cid, b"!", None)]
            return encode_directory(
                links + [PBLink(NOTHING, b"%05d" % number, None) for number in range(3000)]
            )

        root = hostile.chain(blocks.put, 20, link)
        peak, _ = peak_of(lambda: refused(lambda: list(tar_stream(root, "name", blocks.get_block))))
        assert peak < few_links * PEAK_BYTES_PER_LINK

    def test_paths_in_a_tar_do_not_grow_without_end(self, blocks):
        name = b"n" * 4000

        def link(cid, _level):
            return encode_directory([PBLink(cid, name, 1)])

        root = hostile.chain(blocks.put, 5, link)
        refused(lambda: list(tar_stream(root, "name", blocks.get_block)))

    @pytest.mark.parametrize("codec", sorted(codecs.KNOWN))
    @pytest.mark.parametrize(
        "block",
        [
            b"[" * 2_000_000,
            b"[" + b"{}," * 690_000 + b"{}]",
            b'{"a":' * 300_000,
            b"\x81" * 2_000_000,
            b"\x9f" * 2_000_000,
            b"\xa1\x61a" * 600_000,
            b"\x9a\x00\x0a\x00\x00" + b"\xa0" * 655_360,
            b"\x9b" + b"\xff" * 8,
            b"\x5b" + b"\x7f" * 8,
            b"1" * 2_000_000,
            b"-" + b"9" * 1000,
            b"1e" + b"9" * 1000,
            b"[" + b"1" * 1_000_000 + b"]",
            b"0" * (2 * MIB + 1),
        ],
        ids=lambda block: repr(block[:12]),
    )
    def test_bombs_of_every_codec(self, codec, block):
        try:
            codecs.decode(codec, block, strict=False)
        except FormatError as error:
            assert len(str(error)) < 500  # noqa: PT017

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("codec", "block"),
        [
            (codecs.DAG_JSON, b"[" + b"{}," * 690_000 + b"{}]"),
            (codecs.JSON, b"[" + b'{"a":1},' * 230_000 + b"{}]"),
            (codecs.CBOR, b"\x9a\x00\x0a\x00\x00" + b"\x62ab" * 655_360),
            (codecs.DAG_CBOR, b"\x9a\x00\x03\x00\x00" + b"\xa0" * 196_608),
            (codecs.DAG_PB, hostile.million_links(MAX_LINKS)),
        ],
    )
    def test_the_memory_of_one_block(self, codec, block):
        peak, _ = peak_of(lambda: codecs.decode(codec, block, strict=False))
        assert peak < MAX_BLOCK_PEAK_BYTES


def slot_of(name, fanout=256):
    return murmur3_64(name) >> 64 - (fanout.bit_length() - 1)


GOOD = b"name2"
SLOT = slot_of(GOOD)


class TestShards:
    """Sharded directories in which something does not agree."""

    def node(self, **changes):
        given = {"links": [(b"%02X" % SLOT + GOOD, NOTHING)], "bitfield": 1 << SLOT}
        return hostile.shard_node(**(given | changes))

    def test_the_honest_one(self, blocks):
        root = hostile.put_node(blocks.put, self.node())
        assert [entry.name for entry in list_directory(root, blocks.get_block)] == [GOOD]
        assert resolve(root, GOOD, blocks.get_block) == NOTHING

    @pytest.mark.parametrize(
        "changes",
        [
            {"bitfield": 0},
            {"bitfield": 1 << SLOT | 1},
            {"bitfield": 1 << 256 | 1 << SLOT},
            {"bitfield": (1 << 8 * 1024 * 1024) - 1},
            {"fanout": 0},
            {"fanout": 1},
            {"fanout": 255},
            {"fanout": 1 << 40},
            {"fanout": (1 << 63) - 1},
            {"hash_type": 0x12},
            {"hash_type": 0},
            {"links": []},
            {"links": [(GOOD, NOTHING)]},
            {"links": [(b"", NOTHING)]},
            {"links": [((b"%02X" % SLOT).lower() + GOOD, NOTHING)]},
            {"links": [(b"00" + GOOD, NOTHING)], "bitfield": 1},
            {"links": [(b"FF", NOWHERE)] * 2, "bitfield": 1 << 255},
        ],
    )
    def test_what_does_not_agree_is_refused(self, blocks, changes):
        root = hostile.put_node(blocks.put, self.node(**changes))
        refused(lambda: list(list_directory(root, blocks.get_block)))

    @pytest.mark.parametrize(
        "child",
        [
            encode_directory([]),
            encode_directory([PBLink(NOTHING, GOOD, 0)]),
            hostile.shard_node([], 0),
            hostile.shard_node([(b"00" + GOOD, NOTHING)], 1),
            hostile.shard_node([(b"0" + GOOD, NOTHING)], 1, fanout=16),
            b"\xff",
        ],
    )
    def test_a_shard_below_must_fit(self, blocks, child):
        below = hostile.put_node(blocks.put, child)
        node = self.node(links=[(b"%02X" % SLOT, below)])
        root = hostile.put_node(blocks.put, node)
        refused(lambda: list(list_directory(root, blocks.get_block)))
        with pytest.raises((FormatError, NotFoundError)):
            resolve(root, GOOD, blocks.get_block)

    @pytest.mark.parametrize("fanout", [8, 256, 1024])
    def test_shards_deeper_than_the_hash_is_long(self, blocks, fanout):
        width = len(f"{fanout - 1:x}")
        prefix = b"0" * width
        cid = hostile.put_node(
            blocks.put, hostile.shard_node([(prefix + GOOD, NOTHING)], 1, fanout)
        )
        for _ in range(30):
            cid = hostile.put_node(blocks.put, hostile.shard_node([(prefix, cid)], 1, fanout))
        refused(lambda: list(list_directory(cid, blocks.get_block)))
        refused(lambda: list(select_blocks([], cid, blocks.get_block, "entity")))
        assert blocks.reads < 60


class TestSizes:
    leaf = CID.of(RAW, b"12345")

    @pytest.mark.parametrize(
        "node",
        [
            hostile.file_node([5, 5], [leaf], 10),
            hostile.file_node([], [leaf], 5),
            hostile.file_node([5], [], 5),
            hostile.file_node([5], [leaf], 6),
            hostile.file_node([5], [leaf], 0),
            hostile.file_node([(1 << 63) - 1] * 2, [leaf] * 2, 0),
            hostile.file_node([(1 << 63) - 1, 1], [leaf, leaf], (1 << 63) - 1),
            hostile.file_node([5], [leaf], 7, data=b"x"),
        ],
    )
    def test_sums_that_are_wrong(self, node):
        refused(lambda: decode_unixfs(node))

    @pytest.mark.parametrize("size", [1, 4, 6, 10**15])
    def test_a_leaf_of_another_size(self, blocks, size):
        blocks.put(self.leaf, b"12345")
        root = hostile.put_node(blocks.put, hostile.file_node([size], [self.leaf], size))
        refused(lambda: b"".join(read_file(root, blocks.get_block)))
        refused(lambda: b"".join(read_file(root, blocks.get_block, size - 1)))
        refused(lambda: list(select_blocks([], root, blocks.get_block, "entity")))

    @settings(deadline=None)
    @given(
        st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 9), max_size=4),
        st.integers(0, 40),
        st.integers(0, 2**63) | st.integers(0, 50),
        st.integers(0, 60),
    )
    def test_no_sizes_make_more_of_a_file_than_is_there(self, sizes, total, offset, length):
        blocks = Blocks()
        blocks.put(self.leaf, b"12345")
        inner = hostile.put_node(blocks.put, hostile.file_node([5], [self.leaf], 5))
        links = [self.leaf, inner, NOTHING, NOWHERE][: len(sizes)]
        root = hostile.put_node(blocks.put, hostile.file_node(sizes, links, total))
        try:
            data = b"".join(read_file(root, blocks.get_block, offset, length))
        except (FormatError, NotFoundError):
            return
        assert len(data) <= 10
        assert data == (b"12345" * 2)[offset : offset + length][: len(data)]


HOSTILE_NAMES = [
    b"..",
    b".",
    b"",
    b"/",
    b"../x",
    b"/etc/passwd",
    b"a/../..",
    b"a\0b",
    b"a/b",
    b"./a",
]


class TestNames:
    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_names_that_are_none_are_not_listed(self, blocks, name):
        root = hostile.put_node(blocks.put, encode_directory([PBLink(NOTHING, name, 0)]))
        refused(lambda: list(list_directory(root, blocks.get_block)))
        shown = list(list_directory(root, blocks.get_block, unsafe_names=True))
        assert [entry.name for entry in shown] == [name]
        refused(lambda: directory_dag([(name, NOTHING, 0)]))

    def test_a_name_twice(self, blocks):
        for names in ([b"a", b"a"], [b"", None]):
            links = [PBLink(NOTHING, name, 0) for name in names]
            root = hostile.put_node(blocks.put, encode_directory(links))
            refused(
                lambda root=root: list(list_directory(root, blocks.get_block, unsafe_names=True))
            )
        refused(lambda: directory_dag([(b"a", NOTHING, 0), (b"a", NOWHERE, 0)]))

    @pytest.mark.parametrize(
        "name", [b"..", b".", b"", b"/", b"../x", b"/../../x", b"a\0b", b"a/.."]
    )
    def test_names_that_leave_the_root_of_a_tar(self, blocks, name):
        leaf = hostile.put_node(blocks.put, b"data", RAW)
        bad = hostile.put_node(blocks.put, encode_directory([PBLink(leaf, name, 0)]))
        root = hostile.put_node(blocks.put, encode_directory([PBLink(bad, b"sub", 0)]))
        refused(lambda: b"".join(tar_stream(bad, "root", blocks.get_block)))
        if name != b"../x":  # that is a place inside of the root
            refused(lambda: b"".join(tar_stream(root, "root", blocks.get_block)))

    @settings(deadline=None)
    @given(st.lists(st.sampled_from([b"a", b"b", b"..", b"a/b", b"a/../b", b"../b", b"/a"]), max_size=4, unique=True), st.data())  # fmt: skip
    def test_no_tar_writes_outside_of_its_root(self, names, data):
        """Whatever the names and links, what is extracted lies below the root, and nothing goes through a link."""
        blocks = Blocks()
        leaf = hostile.put_node(blocks.put, b"data", RAW)
        link, block = symlink_node(b"/etc")
        blocks.put(link, block)
        inner = hostile.put_node(blocks.put, encode_directory([PBLink(leaf, b"a", 0)]))
        links = [PBLink(data.draw(st.sampled_from([leaf, link, inner])), name, 0) for name in names]
        below = hostile.put_node(blocks.put, encode_directory(links))
        root = hostile.put_node(blocks.put, encode_directory([PBLink(below, b"d", 0)]))
        try:
            made = b"".join(tar_stream(root, "root", blocks.get_block))
        except FormatError:
            return
        seen_links = set()
        with tarfile.open(fileobj=io.BytesIO(made)) as archive:
            for member in archive:
                path = os.path.normpath(member.name)
                assert path == "root" or path.startswith("root/")
                assert not any(
                    path == place or path.startswith(place + "/") for place in seen_links
                )
                if member.issym():
                    seen_links.add(path)

    def test_symbolic_links_are_never_followed(self, blocks):
        for target in (b"loop", b"..", b"/etc", b"a" * MIB, b""):
            cid, block = symlink_node(target)
            blocks.put(cid, block)
            root = hostile.put_node(blocks.put, encode_directory([PBLink(cid, b"loop", 0)]))
            with pytest.raises(NotFoundError):
                resolve(root, b"loop/x", blocks.get_block)
            assert resolve(root, b"loop", blocks.get_block) == cid
            assert describe(cid, blocks.get_block).target == target


class TestGetting:
    """Writing to the file system what a DAG holds."""

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_names_that_are_none(self, blocks, tmp_path, name):
        leaf = hostile.put_node(blocks.put, b"data", RAW)
        links = [PBLink(leaf, b"!good", 0), PBLink(leaf, name, 0)]
        bad = hostile.put_node(blocks.put, encode_directory(links))
        root = hostile.put_node(blocks.put, encode_directory([PBLink(bad, b"sub", 0)]))
        for place in (bad, root):
            refused(lambda place=place: get_to(place, tmp_path / "target", blocks.get_block))
        assert list(tmp_path.iterdir()) == []

    def test_a_link_and_what_would_go_through_it(self, blocks, tmp_path):
        """Two entries of one name, a link to elsewhere and a folder, must not write elsewhere."""
        (tmp_path / "elsewhere").mkdir()
        link, block = symlink_node(bytes(tmp_path / "elsewhere"))
        blocks.put(link, block)
        leaf = hostile.put_node(blocks.put, b"data", RAW)
        folder = hostile.put_node(blocks.put, encode_directory([PBLink(leaf, b"file", 0)]))
        links = [PBLink(link, b"d", 0), PBLink(folder, b"d", 0)]
        root = hostile.put_node(blocks.put, encode_directory(links))
        refused(lambda: get_to(root, tmp_path / "target", blocks.get_block))
        assert [path.name for path in tmp_path.rglob("*")] == ["elsewhere"]

    def test_files_without_end(self, blocks, tmp_path):
        root = hostile.bomb_file(blocks.put)
        with pytest.raises(MunimentError, match="no room"):
            get_to(root, tmp_path / "target", blocks.get_block)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("levels", [10, 3])
    def test_folders_without_end(self, blocks, tmp_path, monkeypatch, levels):
        monkeypatch.setattr(getting, "MAX_PATHS", 300)
        root = hostile.bomb_directory(blocks.put, levels)
        refused(lambda: get_to(root, tmp_path / "target", blocks.get_block))
        assert list(tmp_path.iterdir()) == []

    def test_folders_too_wide_and_deep(self, blocks, tmp_path, few_links):
        def link(cid, _level):
            links = [PBLink(NOTHING, b"n%05d" % number, None) for number in range(3000)]
            return encode_directory([PBLink(cid, b"a", None), *links])

        root = hostile.chain(blocks.put, 20, link)
        refused(lambda: get_to(root, tmp_path / "target", blocks.get_block))
        assert blocks.reads < few_links // 3000 * 2 + 4

    def test_circles(self, tmp_path):
        for number, (root, lies) in enumerate(hostile.circles()):
            store = LyingStore(lies)
            with pytest.raises((MunimentError, OSError)):
                get_to(root, tmp_path / str(number), store.get)
            assert store.reads < 10_000
        assert list(tmp_path.iterdir()) == []


class TestTarMetadata:
    @settings(deadline=None)
    @given(
        st.none() | st.integers(1, 0o7777),
        st.none()
        | st.integers(-(10**18), 10**19)
        | st.integers(-(2**63) * 10**9, 2**63 * 10**9 - 1),
    )
    def test_modes_and_times_are_those_of_the_nodes(self, mode, mtime_ns):
        blocks = Blocks()
        metadata = Metadata(mode, mtime_ns)
        leaf = hostile.put_node(blocks.put, encode_file([], [], metadata))
        link, block = symlink_node(b"target", metadata=metadata)
        blocks.put(link, block)
        links = [PBLink(leaf, b"file", 0), PBLink(link, b"link", 0)]
        root = hostile.put_node(blocks.put, encode_directory(links, metadata))
        made = b"".join(tar_stream(root, "root", blocks.get_block))
        with tarfile.open(fileobj=io.BytesIO(made)) as archive:
            members = archive.getmembers()
        assert [member.mode for member in members] == [mode or 0o755, mode or 0o644, 0o777]
        for member in members:
            assert member.mtime == pytest.approx((mtime_ns or 0) / 10**9, rel=1e-15, abs=1e-6)


class TestGarbage:
    """Any bytes, and any honest node with a byte changed."""

    honest = encode_file(
        [PBLink(NOTHING, b"", 0), PBLink(NOWHERE, b"", 9)], [0, 9], Metadata(0o644, -5)
    )

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_node_or_refused(self, data):
        self.read_everything(data)

    @settings(deadline=None)
    @given(st.data())
    def test_any_change_of_an_honest_node(self, data):
        shard = hostile.shard_node(
            [
                (b"%02X" % SLOT + GOOD, NOTHING),
            ],
            1 << SLOT,
        )
        node = bytearray(data.draw(st.sampled_from([self.honest, shard])))
        for _ in range(data.draw(st.integers(1, 3))):
            node[data.draw(st.integers(0, len(node) - 1))] = data.draw(st.integers(0, 255))
        self.read_everything(bytes(node))

    def read_everything(self, data):
        blocks = Blocks()
        root = hostile.put_node(blocks.put, data)
        get = blocks.get_block
        for read in (
            lambda: describe(root, get),
            lambda: list(read_file(root, get)),
            lambda: list(list_directory(root, get, unsafe_names=True)),
            lambda: resolve_path(root, [GOOD], get),
            lambda: list(tar_stream(root, "root", get)),
            lambda: list(select_blocks([], root, get, "all")),
            lambda: list(select_blocks([], root, get, "entity")),
        ):
            try:
                read()
            except (IntegrityError, NotFoundError):
                continue
        assert blocks.reads < 100
