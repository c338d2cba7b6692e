"""Block stores that stay open: as current as those that are opened for each use, and never too many."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore, OpenStores
from muniment.adapters.block_store.journal import Entry, Journal
from muniment.content.cid import CID, RAW
from muniment.errors import UsageError

BLOCK = b"content"
ROOT = CID.of(RAW, BLOCK)


@pytest.fixture
def stores():
    stores = OpenStores(open_max=2)
    yield stores
    stores.close()


def is_open(store):
    try:
        store.stats()
    except UsageError:
        return False
    return True


def test_a_store_stays_open_between_uses_and_is_shared(stores, tmp_path):
    with stores.use(tmp_path) as first, stores.use(tmp_path) as second:
        assert first is second
    assert is_open(first)
    with stores.use(tmp_path) as third:
        assert third is first
    stores.close()
    assert not is_open(first)
    with stores.use(tmp_path) as again:
        again.put(ROOT, BLOCK)
    assert is_open(again)


def test_those_used_longest_ago_are_closed_but_none_in_use(stores, tmp_path):
    folders = [tmp_path / str(number) for number in range(4)]
    with stores.use(folders[0]) as used:
        others = []
        for folder in folders[1:]:
            with stores.use(folder) as store:
                others.append(store)
        assert is_open(used)
        assert [is_open(store) for store in others] == [False, False, True]
        stores.close()
        assert is_open(used)
    stores.close()
    assert not is_open(used)


def test_what_others_did_meanwhile_is_seen(stores, tmp_path):
    with stores.use(tmp_path) as store:
        store.put(ROOT, BLOCK)
    with EmbeddedBlockStore(tmp_path) as other:
        other.pin(ROOT, "theirs")
    with stores.use(tmp_path) as store:
        assert store.pin_name(ROOT) == "theirs"
    (tmp_path / "blocks.sqlite3").unlink()
    with EmbeddedBlockStore(tmp_path) as other:  # makes the index anew
        other.unpin(ROOT)
    with stores.use(tmp_path) as store:
        assert store.pin_name(ROOT) is None
        assert store.get(ROOT) == BLOCK


def test_what_a_killed_process_left_is_taken_up(stores, tmp_path):
    with stores.use(tmp_path) as store:
        store.put(ROOT, BLOCK)
        # It died between the journal and the index.
        Journal(str(tmp_path)).append(
            Entry("pin", (str(ROOT), "left")), store.index.journal_mark()[1]
        )
        assert store.pin_name(ROOT) is None
    with stores.use(tmp_path) as store:
        assert store.pin_name(ROOT) == "left"


def test_threads_that_begin_at_once_open_one_store(stores, tmp_path):
    barrier = threading.Barrier(8)

    def use(_number):
        barrier.wait(30)
        with stores.use(tmp_path) as store:
            return store, store.pin_name(ROOT)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(8)))
    assert len({id(store) for store, _name in found}) == 1


def test_a_store_that_cannot_be_opened_can_be_later(stores, tmp_path):
    folder = tmp_path / "store"
    folder.write_text("in the way")
    with pytest.raises(OSError), stores.use(folder):  # noqa: PT011  # whichever of the two the system says
        pass
    folder.unlink()
    with stores.use(folder) as store:
        assert is_open(store)
