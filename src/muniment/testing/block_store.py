"""What every `BlockStore` must do, and one in memory.

Run it over an adapter by giving the class a fixture named `store`, which returns an empty and open one::

    class TestMine(BlockStoreTests):
        @pytest.fixture
        def store(self):
            return MyBlockStore()
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from muniment.content.cid import CID, DAG_PB, IDENTITY, RAW, verify_block
from muniment.content.ports import BlockStore, Pin
from muniment.errors import IntegrityError, MunimentError, NotFoundError


class MemoryBlockStore:
    """Blocks and pins in dicts; a `BlockStore` for tests and for DAGs that are only looked at."""

    def __init__(self) -> None:
        self.blocks: dict[CID, bytes] = {}
        self._pins: dict[CID, str] = {}

    def put(self, cid: CID, data: bytes) -> None:
        """Store one block (see `BlockStore.put`)."""
        self.put_many([(cid, data)])

    def put_many(self, blocks: Iterable[tuple[CID, bytes]]) -> int:
        """Store blocks (see `BlockStore.put_many`)."""
        new: dict[CID, bytes] = {}
        for cid, data in blocks:
            verify_block(cid, data)
            if cid.hash_function != IDENTITY and cid.to_v1() not in self.blocks:
                new[cid.to_v1()] = data
        self.blocks |= new
        return len(new)

    def get(self, cid: CID) -> bytes:
        """Return the block, verified (see `BlockStore.get`)."""
        if cid.hash_function == IDENTITY:
            return cid.digest
        data = self._find(cid)
        verify_block(cid, data)
        return data

    def has(self, cid: CID) -> bool:
        """Tell whether the store knows the block (see `BlockStore.has`)."""
        return cid.hash_function == IDENTITY or cid.to_v1() in self.blocks

    def size(self, cid: CID) -> int:
        """Return the bytes of the block (see `BlockStore.size`)."""
        return len(cid.digest) if cid.hash_function == IDENTITY else len(self._find(cid))

    def cids(self) -> Iterator[CID]:
        """Yield the CID of every block (see `BlockStore.cids`)."""
        return iter(list(self.blocks))

    def pin(self, cid: CID, name: str = "") -> None:
        """Keep the DAG below `cid` (see `BlockStore.pin`)."""
        self._pins[cid.to_v1()] = name

    def unpin(self, cid: CID) -> None:
        """Stop keeping the DAG below `cid` (see `BlockStore.unpin`)."""
        if self._pins.pop(cid.to_v1(), None) is None:
            raise NotFoundError(f"{cid} is not pinned")

    def pins(self) -> Iterator[Pin]:
        """Yield every pin (see `BlockStore.pins`)."""
        return iter([Pin(cid, name) for cid, name in sorted(self._pins.items())])

    def _find(self, cid: CID) -> bytes:
        data = self.blocks.get(cid.to_v1())
        if data is None:
            raise NotFoundError(f"the block store has no block {cid}")
        return data


class BlockStoreTests:
    """The promises of `BlockStore`, one method each."""

    def test_a_block_comes_back(self, store: BlockStore) -> None:
        """What was put can be got, has a size and is listed."""
        cid, data = _block(b"hello world")
        store.put(cid, data)
        assert store.get(cid) == data
        assert store.has(cid)
        assert store.size(cid) == len(data)
        assert list(store.cids()) == [cid]

    def test_an_unknown_block_is_not_found(self, store: BlockStore) -> None:
        """An empty store has nothing, and says so."""
        cid, _ = _block(b"never stored")
        assert not store.has(cid)
        assert list(store.cids()) == []
        with _raises(NotFoundError):
            store.get(cid)
        with _raises(NotFoundError):
            store.size(cid)

    def test_an_empty_block_and_a_large_one(self, store: BlockStore) -> None:
        """Sizes from nothing to the largest that IPFS nodes exchange."""
        blocks = [_block(b""), _block(b"x"), _block(bytes(2 * 1024 * 1024))]
        assert store.put_many(blocks) == len(blocks)
        for cid, data in blocks:
            assert store.get(cid) == data

    def test_put_many_counts_what_is_new(self, store: BlockStore) -> None:
        """A block that is there already, or comes twice, is stored once."""
        first, second = _block(b"first"), _block(b"second")
        assert store.put_many([first, first]) == 1
        assert store.put_many([first, second, second]) == 1
        assert store.put_many([]) == 0
        assert sorted(store.cids()) == sorted([first[0], second[0]])

    def test_many_blocks(self, store: BlockStore) -> None:
        """More blocks than fit into one batch of any adapter."""
        blocks = dict(_block(b"%d" % number) for number in range(10_000))
        assert store.put_many(iter(blocks.items())) == len(blocks)
        assert set(store.cids()) == set(blocks)
        for cid in list(blocks)[::997]:
            assert store.get(cid) == blocks[cid]

    def test_a_block_under_a_wrong_name_is_refused(self, store: BlockStore) -> None:
        """Nothing is ever stored under a CID that it does not hash to."""
        cid, _ = _block(b"right")
        with _raises(IntegrityError):
            store.put(cid, b"wrong")
        with _raises(IntegrityError):
            store.put_many([_block(b"fine"), (cid, b"wrong")])
        assert not store.has(cid)
        assert cid not in set(store.cids())

    def test_the_codec_belongs_to_the_name(self, store: BlockStore) -> None:
        """The same bytes under another codec are another block."""
        store.put(*_block(b"\x0a\x02\x08\x01"))
        assert not store.has(CID.of(DAG_PB, b"\x0a\x02\x08\x01"))

    def test_v0_and_v1_are_the_same_block(self, store: BlockStore) -> None:
        """A CIDv0 finds what was put under its CIDv1, and the reverse; version 1 is listed."""
        for data in (b"\x0a\x02\x08\x01", b"\x0a\x04\x08\x02\x18\x00"):
            new = CID.of(DAG_PB, data)
            old = CID(new.multihash)
            put, get = (old, new) if data.endswith(b"\x01") else (new, old)
            store.put(put, data)
            assert store.get(get) == data
            assert store.has(get)
            assert new in set(store.cids())

    def test_identity_blocks_are_always_there(self, store: BlockStore) -> None:
        """A CID that holds its block needs no store."""
        cid = CID.from_bytes(b"\x01\x55\x00\x05inner")
        assert store.has(cid)
        assert store.get(cid) == b"inner"
        assert store.size(cid) == 5
        store.put(cid, b"inner")
        assert list(store.cids()) == []
        with _raises(IntegrityError):
            store.put(cid, b"other")

    def test_pins(self, store: BlockStore) -> None:
        """Pins are listed in order with their names; the last name counts; a CIDv0 is its CIDv1."""
        cids = sorted(CID.of(DAG_PB, b"%d" % number) for number in range(3))
        assert list(store.pins()) == []
        for cid in reversed(cids):
            store.pin(CID(cid.multihash), "old")
        store.pin(cids[1], "new\nname \u00fc\u2028")
        store.pin(cids[2])
        expected = [Pin(cids[0], "old"), Pin(cids[1], "new\nname \u00fc\u2028"), Pin(cids[2], "")]
        assert list(store.pins()) == expected
        store.unpin(CID(cids[0].multihash))
        assert list(store.pins()) == expected[1:]
        with _raises(NotFoundError):
            store.unpin(cids[0])


def _block(data: bytes) -> tuple[CID, bytes]:
    return CID.of(RAW, data), data


@contextmanager
def _raises(kind: type[MunimentError]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"expected {kind.__name__}, got none")
