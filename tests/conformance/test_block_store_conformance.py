"""Every block store over the conformance suite, and stores that break a promise, which it must catch."""

import inspect

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.ports import BlockStore
from muniment.testing.block_store import BlockStoreTests, MemoryBlockStore


class TestMemory(BlockStoreTests):
    @pytest.fixture
    def store(self):
        return MemoryBlockStore()


class TestEmbedded(BlockStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        with EmbeddedBlockStore(tmp_path) as store:
            yield store


class TestEmbeddedWithSmallPacks(BlockStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        with EmbeddedBlockStore(tmp_path, pack_bytes=1) as store:
            yield store


def typed(embedded: EmbeddedBlockStore, memory: MemoryBlockStore) -> list[BlockStore]:
    """For the type checker: both are block stores."""
    return [embedded, memory]


class _Forgetful(MemoryBlockStore):
    def put_many(self, blocks):
        return len(list(blocks))


class _Trusting(MemoryBlockStore):
    def put_many(self, blocks):
        self.blocks |= {cid.to_v1(): data for cid, data in blocks}
        return 1


class _Versioned(MemoryBlockStore):
    def _find(self, cid):
        return super()._find(cid if cid.version else type(cid)(b"\x01\x55" + cid.raw))


class _Nameless(MemoryBlockStore):
    def pin(self, cid, name=""):
        super().pin(cid)


class _Hoarding(MemoryBlockStore):
    def unpin(self, cid):
        del cid


@pytest.mark.parametrize("broken", [_Forgetful, _Trusting, _Versioned, _Nameless, _Hoarding])
def test_the_suite_catches_a_broken_store(broken):
    caught = []
    for name, test in inspect.getmembers(BlockStoreTests, inspect.isfunction):
        try:
            test(BlockStoreTests(), broken())
        except Exception:
            caught.append(name)
    assert caught
