"""The embedded block store: references, recovery, locking, verifying, garbage."""

import logging
import os
import sqlite3
import threading

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore, packs
from muniment.adapters.block_store.journal import Entry, Journal
from muniment.content.car import CarReader
from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.dag_pb import PBLink, encode_node
from muniment.content.unixfs import directory_dag, file_dag, read_file, resolve
from muniment.content.unixfs.node import encode_file
from muniment.errors import (
    ConflictError,
    FormatError,
    IntegrityError,
    MissingDataError,
    NotFoundError,
    UsageError,
)


def block(data):
    return CID.of(RAW, data), data


def blocks(count, prefix=b""):
    return dict(block(prefix + b"%d" % number * 20) for number in range(count))


def pack_files(folder):
    return sorted((folder / "packs").iterdir())


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(folder):
    with EmbeddedBlockStore(folder, lock_timeout_s=0.05) as store:
        yield store


@pytest.fixture
def commit(store, folder):
    """A directory of three files under commits/, of which the inner nodes are in the store; returns its root and contents."""
    contents = {"large": [b"a" * 100, b"b" * 100, b"c" * 50], "small": [b"only"], "empty": [b""]}
    place = folder / "commits" / "one"
    place.mkdir()
    entries = []
    for name, parts in contents.items():
        (place / name).write_bytes(b"".join(parts))
        dag = file_dag([(CID.of(RAW, part), len(part)) for part in parts])
        store.put_many(dag.inner)
        entries.append((name.encode(), dag.root, dag.tsize))
    dag = directory_dag(entries)
    store.put_many(dag.inner)
    return dag.root, {name: b"".join(parts) for name, parts in contents.items()}


def read_all(store, root, contents):
    return {
        name: b"".join(read_file(resolve(root, name, store.get), store.get)) for name in contents
    }


# Packs


def test_packs_are_cars_of_limited_length(folder):
    stored = blocks(20)
    with EmbeddedBlockStore(folder, pack_bytes=200) as store:
        for item in stored.items():
            store.put(*item)
    files = pack_files(folder)
    assert len(files) > 3
    found = {}
    for path in files:
        with path.open("rb") as file:
            reader = CarReader(file)
            assert [str(root) for root in reader.roots] == ["bafkqaaa"]
            found |= dict(reader)
    assert found == stored


def test_blocks_survive_reopening(folder):
    stored = blocks(30)
    with EmbeddedBlockStore(folder) as store:
        store.put_many(stored.items())
    with EmbeddedBlockStore(folder) as store:
        assert {cid: store.get(cid) for cid in store.cids()} == stored
        assert store.put_many(stored.items()) == 0


def test_a_failing_source_leaves_no_block_behind(store):
    def source():
        yield block(b"one")
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="network"):
        store.put_many(source())
    assert not store.has(block(b"one")[0])


def test_a_failing_write_leaves_the_pack_as_it_was(store, folder):
    store.put(*block(b"one"))
    path = pack_files(folder)[0]
    size = path.stat().st_size
    with pytest.raises(TypeError):
        packs.append(
            str(folder), "packs/00000001.car", size, [block(b"two"), (block(b"3")[0], "text")]
        )
    assert path.stat().st_size == size


def test_a_damaged_block_is_never_returned(store, folder):
    cid, data = block(b"precious" * 10)
    store.put(cid, data)
    flip(pack_files(folder)[0], -1)
    with pytest.raises(IntegrityError, match=r"damaged.*packs/00000001\.car at byte"):
        store.get(cid)
    pack_files(folder)[0].unlink()
    with pytest.raises(MissingDataError, match="missing"):
        store.get(cid)


def test_too_large_a_block_is_refused(store):
    with pytest.raises(IntegrityError, match="at most"):
        store.put(*block(bytes(2 * 1024 * 1024 + 1)))


def test_the_store_must_be_open(folder):
    with pytest.raises(UsageError, match="not open"):
        EmbeddedBlockStore(folder).get(block(b"")[0])


# Recovery


def test_a_torn_tail_is_cut_off(folder):
    stored = blocks(10)
    with EmbeddedBlockStore(folder) as store:
        store.put_many(stored.items())
    path = pack_files(folder)[0]
    whole = path.read_bytes()
    for tail in (
        b"\x80",
        b"\x30\x01\x55\x12\x20",
        bytes(100),
        b"\x25" + CID.of(RAW, b"y").raw + b"z",
        os.urandom(50),
    ):
        path.write_bytes(whole + tail)
        with EmbeddedBlockStore(folder) as store:
            assert {cid: store.get(cid) for cid in store.cids()} == stored
        assert path.read_bytes() == whole


def test_whole_blocks_behind_the_index_are_adopted(folder):
    first, second = blocks(5), blocks(5, b"more")
    with EmbeddedBlockStore(folder) as store:
        store.put_many(first.items())
        end = pack_files(folder)[0].stat().st_size
        # As after a kill between the pack's fsync and the index' commit, with the beginning of a further block.
        packs.append(str(folder), "packs/00000001.car", end, second.items())
        with pack_files(folder)[0].open("ab") as file:
            file.write(b"\x30\x01\x55")
        assert not store.has(next(iter(second)))
        store.put(*block(b"the next writer finds them, also without reopening"))
        assert all(store.get(cid) == data for cid, data in (first | second).items())


def test_a_pack_that_the_index_does_not_know_is_adopted(folder):
    first, second = blocks(5), blocks(5, b"more")
    with EmbeddedBlockStore(folder) as store:
        store.put_many(first.items())
        packs.append(str(folder), "packs/00000002.car", 0, second.items())
        store.put(*block(b"third"))
        assert all(store.get(cid) == data for cid, data in (first | second).items())
    assert len(pack_files(folder)) == 2


@pytest.mark.parametrize("size", [0, 1, len(packs.HEADER) - 1, len(packs.HEADER)])
def test_a_pack_whose_beginning_was_torn_off_is_used_again(folder, size):
    with EmbeddedBlockStore(folder, pack_bytes=60) as store:
        store.put(*block(b"one"))
        (folder / "packs" / "00000002.car").write_bytes(packs.HEADER[:size])
        store.put(*block(b"two"))
        store.put(*block(b"three"))
    for path in pack_files(folder):
        with path.open("rb") as file:
            assert list(CarReader(file))


def test_another_car_among_the_packs_is_left_alone(folder, caplog):
    with EmbeddedBlockStore(folder) as store:
        store.put(*block(b"one"))
    stranger = folder / "packs" / "00000002.car"
    content = b"\x3a" + os.urandom(200)
    stranger.write_bytes(content)
    with EmbeddedBlockStore(folder) as store:
        store.put(*block(b"two"))
        assert store.get(block(b"two")[0]) == b"two"
    assert stranger.read_bytes() == content


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "middle", "version"])
def test_an_index_that_cannot_be_used_is_rebuilt(folder, damage, caplog):
    stored = blocks(40)
    root = next(iter(stored))
    with EmbeddedBlockStore(folder, pack_bytes=600) as store:
        for item in stored.items():
            store.put(*item)
        store.pin(root, "kept")
    index = folder / "blocks.sqlite3"
    if damage == "missing":
        index.unlink()
    elif damage == "empty":
        index.write_bytes(b"")
    elif damage == "garbage":
        index.write_bytes(os.urandom(5000))
    elif damage == "middle":
        content = index.read_bytes()
        index.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    else:
        connection = sqlite3.connect(index)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    with caplog.at_level(logging.ERROR), EmbeddedBlockStore(folder) as store:
        assert {cid: store.get(cid) for cid in store.cids()} == stored
        assert [(pin.cid, pin.name) for pin in store.pins()] == [(root, "kept")]
        assert store.verify().blocks == len(stored)


def test_rebuilding_keeps_what_is_whole_around_damage(folder, caplog):
    stored = list(blocks(10).items())
    with EmbeddedBlockStore(folder) as store:
        for item in stored:
            store.put(*item)
        path = pack_files(folder)[0]
        size = path.stat().st_size
        flip(path, -1)  # the last block, which was acknowledged
        flip(path, size // 2)
        report = store.rebuild_index()
        assert report.pack_blocks == 8
        assert len(report.damage) == 2
        assert path.stat().st_size == size, "what may be a damaged block must not be cut off"
        store.put(*block(b"next"))
        assert path.stat().st_size == size
        assert len(pack_files(folder)) == 2
    with EmbeddedBlockStore(folder) as store:
        assert len(list(store.cids())) == 9


@pytest.mark.parametrize("damage", [b"\x00", b"\xff\xff\xff\xff", b"\x7f"])
def test_rebuilding_finds_the_way_behind_an_unreadable_length(folder, caplog, damage):
    stored = blocks(10)
    with EmbeddedBlockStore(folder) as store:
        store.put_many(stored.items())
        fourth = store.index.locations(list(stored)[3])[0].offset - 36 - 1
        path = pack_files(folder)[0]
        content = path.read_bytes()
        path.write_bytes(content[:fourth] + damage + content[fourth + len(damage) :])
        report = store.rebuild_index()
        assert report.damage
        assert set(stored) - set(store.cids()) <= set(list(stored)[3:5])
        assert all(store.get(cid) == stored[cid] for cid in store.cids())


def test_a_pack_that_became_shorter_is_not_appended_to(folder, caplog):
    stored = list(blocks(10).items())
    with EmbeddedBlockStore(folder) as store:
        for item in stored:
            store.put(*item)
    path = pack_files(folder)[0]
    os.truncate(path, path.stat().st_size - 5)
    with EmbeddedBlockStore(folder) as store:
        store.put(*block(b"next"))
        assert store.get(block(b"next")[0]) == b"next"
        with pytest.raises(IntegrityError):
            store.get(stored[-1][0])
        with pytest.raises(IntegrityError, match="1 of 11"):
            store.verify()
    assert len(pack_files(folder)) == 2
    assert "expected" in caplog.text


# Blocks in place


def test_an_attached_directory_is_served_from_its_files(store, folder, commit):
    root, contents = commit
    assert store.index_directory(root, folder / "commits" / "one") == 5
    assert read_all(store, root, contents) == contents
    assert store.stats().referenced_blocks == 5
    assert store.verify().blocks == 5 + 2
    assert store.directories() == {"commits/one": root}


def test_attachments_survive_the_loss_of_the_index(store, folder, commit):
    root, contents = commit
    store.index_directory(root, "commits/one")
    report = store.rebuild_index()
    assert (report.pack_blocks, report.referenced_blocks, report.damage) == (2, 5, ())
    store.close()
    (folder / "blocks.sqlite3").unlink()
    with EmbeddedBlockStore(folder) as again:
        assert read_all(again, root, contents) == contents


def test_references_can_be_added_one_file_at_a_time(store, folder, commit):
    root, contents = commit
    store.add_references(
        "commits/one/large",
        [(CID.of(RAW, b"a" * 100), 0, 100), (CID.of(RAW, b"b" * 100), 100, 100)],
    )
    store.add_references(folder / "commits" / "one" / "large", [(CID.of(RAW, b"c" * 50), 200, 50)])
    store.add_references("commits/one/small", [(CID.of(RAW, b"only"), 0, 4)])
    store.add_references("commits/one/empty", [(CID.of(RAW, b""), 0, 0)])
    assert read_all(store, root, contents) == contents


def test_a_wrong_reference_is_found_when_read(store, folder, commit):
    cid = CID.of(RAW, b"b" * 100)
    store.add_references("commits/one/large", [(cid, 99, 100)])
    with pytest.raises(IntegrityError, match="commits/one/large at byte 99"):
        store.get(cid)
    store.put(cid, b"b" * 100)
    assert store.get(cid) == b"b" * 100, "a whole copy elsewhere serves instead"


@pytest.mark.parametrize(
    ("path", "offset", "length"),
    [
        ("commits/one/large", 200, 51),
        ("commits/one/large", -1, 10),
        ("commits/one/large", 0, -1),
        ("commits/one/missing", 0, 1),
        ("packs/00000001.car", 0, 1),
        ("commits/../packs/00000001.car", 0, 1),
        ("commits/one/escape", 0, 1),
        ("/etc/hostname", 0, 1),
        ("commits", 0, 0),
    ],
)
def test_references_elsewhere_are_refused(store, folder, commit, path, offset, length):
    (folder / "commits" / "one" / "escape").symlink_to("/etc/hostname")
    with pytest.raises(UsageError):
        store.add_references(path, [(CID.of(RAW, b""), offset, length)])
    assert store.stats().referenced_blocks == 0


def test_a_reference_never_makes_a_put_unnecessary(store, commit):
    cid, data = block(b"only")
    store.add_references("commits/one/small", [(cid, 0, 4)])
    assert store.put_many([(cid, data)]) == 1
    store.remove_references("commits/one")
    assert store.get(cid) == data


def test_removing_references_detaches(store, folder, commit):
    root, _ = commit
    store.index_directory(root, "commits/one")
    (folder / "commits" / "onerous").write_bytes(b"other")
    store.add_references("commits/onerous", [(CID.of(RAW, b"other"), 0, 5)])
    assert store.remove_references("commits/one/small") == 1
    assert store.directories() == {"commits/one": root}
    assert store.remove_references("commits/one") == 4
    assert store.directories() == {}
    assert store.get(CID.of(RAW, b"other")) == b"other"
    with pytest.raises(NotFoundError):
        store.get(CID.of(RAW, b"only"))


def test_an_incomplete_directory_is_attached_and_reported(store, folder, commit):
    root, contents = commit
    (folder / "commits" / "one" / "small").unlink()
    (folder / "commits" / "one" / "large").write_bytes(contents["large"][:-1])
    with pytest.raises(MissingDataError, match=r"incomplete.*1 more"):
        store.index_directory(root, "commits/one")
    assert store.get(CID.of(RAW, b"b" * 100)) == b"b" * 100
    with pytest.raises(IntegrityError, match="2 of"):
        store.verify()


def test_verifying_while_attaching_finds_damage(store, folder, commit):
    root, _ = commit
    flip(folder / "commits" / "one" / "large", 150)
    with pytest.raises(MissingDataError, match="large at byte 100"):
        store.index_directory(root, "commits/one", verify=True)
    assert not store.has(CID.of(RAW, b"b" * 100))
    assert store.index_directory(root, "commits/one") == 5


def test_nested_directories(store, folder):
    (folder / "commits" / "deep" / "er").mkdir(parents=True)
    (folder / "commits" / "deep" / "er" / "file").write_bytes(b"below")
    inner = directory_dag([(b"file", CID.of(RAW, b"below"), 5)])
    outer = directory_dag([(b"er", inner.root, inner.tsize)])
    store.put_many(inner.inner + outer.inner)
    assert store.index_directory(outer.root, "commits/deep") == 1
    assert store.get(CID.of(RAW, b"below")) == b"below"


def test_a_small_dag_with_endless_leaves_is_not_followed(store, folder):
    (folder / "commits" / "x").mkdir()
    (folder / "commits" / "x" / "bomb").write_bytes(bytes(100_000))
    cid, size = CID.of(RAW, b"\0"), 1
    for _ in range(5):
        node = encode_file([PBLink(cid, b"", 0)] * 500, [size] * 500)
        cid, size = CID.of(DAG_PB, node), size * 500
        store.put(cid, node)
    directory = directory_dag([(b"bomb", cid, size)])
    store.put_many(directory.inner)
    with pytest.raises(MissingDataError, match="got more"):
        store.index_directory(directory.root, "commits/x")


def test_a_missing_inner_node_is_reported(store, folder):
    (folder / "commits" / "x").mkdir()
    with pytest.raises(MissingDataError, match="no block"):
        store.index_directory(directory_dag([]).root, "commits/x")


# Roots


def test_roots_survive_reopening_and_a_torn_line(folder):
    cids = [CID.of(RAW, b"%d" % number) for number in range(3)]
    with EmbeddedBlockStore(folder) as store:
        for cid in cids:
            store.pin(cid, "name")
        store.unpin(cids[0])
    with (folder / "roots.journal").open("ab") as file:
        file.write(b'00000000 ["unpin","')
    for lose_index in (False, True):
        if lose_index:
            (folder / "blocks.sqlite3").unlink()
        with EmbeddedBlockStore(folder) as store:
            assert [pin.cid for pin in store.pins()] == sorted(cids[1:])
            store.pin(cids[0])
            store.unpin(cids[0])


def test_a_damaged_line_in_the_middle_stops_the_rebuild(folder):
    with EmbeddedBlockStore(folder) as store:
        for number in range(5):
            store.pin(CID.of(RAW, b"%d" % number))
    flip(folder / "roots.journal", 120)
    with EmbeddedBlockStore(folder) as store:
        assert len(list(store.pins())) == 5, "the index still knows"
    (folder / "blocks.sqlite3").unlink()
    with pytest.raises(FormatError, match="line 2 is damaged"), EmbeddedBlockStore(folder):
        pass


def test_a_lost_journal_is_written_again_from_the_index(folder):
    cid = CID.of(RAW, b"x")
    with EmbeddedBlockStore(folder) as store:
        store.pin(cid, "name")
    (folder / "roots.journal").unlink()
    with EmbeddedBlockStore(folder) as store:
        assert [pin.cid for pin in store.pins()] == [cid]
    (folder / "blocks.sqlite3").unlink()
    with EmbeddedBlockStore(folder) as store:
        assert [pin.cid for pin in store.pins()] == [cid]


def test_pins_written_by_another_process_are_seen(store, folder):
    with EmbeddedBlockStore(folder) as other:
        other.pin(CID.of(RAW, b"x"), "theirs")
    assert [pin.name for pin in store.pins()] == ["theirs"]
    store.pin(CID.of(RAW, b"y"), "ours")
    with EmbeddedBlockStore(folder) as other:
        assert sorted(pin.name for pin in other.pins()) == ["ours", "theirs"]


def test_a_journal_ahead_of_the_index_is_read_on(store, folder):
    journal = Journal(str(folder))
    journal.append(Entry("pin", (str(CID.of(RAW, b"x")), "by a killed process")), journal.size())
    store.pin(CID.of(RAW, b"y"))
    assert sorted(pin.name for pin in store.pins()) == ["", "by a killed process"]


# Readers and writers


def test_a_reader_sees_what_a_writer_has_finished(store, folder):
    store.put(*block(b"one"))
    with EmbeddedBlockStore.open_reader(folder) as reader:
        store.put(*block(b"two"))
        assert reader.get(block(b"two")[0]) == b"two"
        for change in (
            lambda: reader.put(*block(b"three")),
            lambda: reader.pin(block(b"three")[0]),
            reader.rebuild_index,
        ):
            with pytest.raises(UsageError, match="reading only"):
                change()


def test_a_reader_of_nothing(tmp_path):
    with (
        pytest.raises(NotFoundError, match="no block store"),
        EmbeddedBlockStore.open_reader(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_told_who_holds_the_lock(store, folder):
    held, done = threading.Event(), threading.Event()

    def hold():
        with EmbeddedBlockStore(folder) as other, other._writing("an import"):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        with pytest.raises(
            ConflictError, match=f"busy .process {os.getpid()}: an import.*nothing was changed"
        ):
            store.put(*block(b"x"))
        assert not store.has(block(b"x")[0]), "reading goes on"
    finally:
        done.set()
        thread.join()
    store.put(*block(b"x"))


def test_many_threads_share_a_store(folder):
    stored = blocks(40)
    with EmbeddedBlockStore(folder, pack_bytes=500) as store:
        failures = []

        def work(part):
            try:
                for cid, data in part:
                    store.put(cid, data)
                    assert store.get(cid) == data
            except Exception as error:
                failures.append(error)

        items = list(stored.items())
        threads = [threading.Thread(target=work, args=(items[n::4],)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert {cid: store.get(cid) for cid in store.cids()} == stored


# Verifying


def test_verify_reports_each_problem(store, folder, commit):
    root, _ = commit
    store.index_directory(root, "commits/one")
    extra = block(b"in a pack")
    store.put(*extra)
    absent = CID.of(RAW, b"never there")
    store.pin(absent, "absent")
    flip(folder / "commits" / "one" / "small", 0)
    flip(pack_files(folder)[0], -1)
    problems, calls = [], []
    with pytest.raises(IntegrityError, match="3 of 8 blocks are damaged or missing"):
        store.verify(lambda *numbers: calls.append(numbers), problems.append)
    assert {problem.cid for problem in problems} == {CID.of(RAW, b"only"), extra[0], absent}
    assert problems[-1].place == "pin absent"
    assert calls[-1][0] == calls[-1][1] > 0


def test_verify_of_an_empty_store_claims_nothing(store):
    report = store.verify()
    assert (report.blocks, report.size_bytes, report.roots) == (0, 0, 0)


# Garbage


@pytest.fixture
def dag(store):
    """A pinned node over two leaves, next to 50 blocks that nothing reaches."""
    leaves = [block(b"leaf 1"), block(b"leaf 2")]
    node = encode_node([PBLink(cid, b"", 6) for cid, _ in leaves], b"")
    root = CID.of(DAG_PB, node)
    garbage = blocks(50)
    store.put_many([leaves[0], *garbage.items(), leaves[1], (root, node)])
    store.pin(CID(root.multihash), "kept")
    return {**dict(leaves), root: node}, garbage


def test_garbage_is_removed_and_nothing_else(store, folder, dag):
    kept, garbage = dag
    before = pack_files(folder)
    dry = store.gc(dry_run=True)
    assert pack_files(folder) == before
    assert store.gc() == dry
    assert (dry.kept_blocks, dry.removed_blocks, dry.rewritten_packs) == (3, 50, 1)
    assert dry.removed_bytes == sum(map(len, garbage.values()))
    assert {cid: store.get(cid) for cid in store.cids()} == kept
    assert not set(before) & set(pack_files(folder))
    assert store.rebuild_index().pack_blocks == 3
    assert store.gc().removed_blocks == 0
    store.put(*block(b"afterwards"))


def test_packs_without_garbage_are_not_touched(folder):
    with EmbeddedBlockStore(folder, pack_bytes=1) as store:
        for number in range(5):
            store.put(*block(b"%d" % number))
        for number in (0, 1, 3):
            store.pin(CID.of(RAW, b"%d" % number))
        before = {path.name for path in pack_files(folder)}
        assert store.gc().rewritten_packs == 2
        after = {path.name for path in pack_files(folder)}
    assert after == before - {"00000003.car", "00000005.car"}


def test_a_reader_finds_blocks_that_were_moved(store, folder, dag):
    kept, _ = dag
    with EmbeddedBlockStore.open_reader(folder) as reader:
        cid = next(iter(kept))
        stale = reader.index.locations(cid)
        store.gc()
        reader.index.locations, fresh = (
            (lambda _: stale if places.pop() else fresh(cid)),
            reader.index.locations,
        )
        places = [False, True]
        assert reader.get(cid) == kept[cid]


def test_unpinned_garbage_goes(store, dag):
    kept, _ = dag
    root = next(cid for cid in kept if cid.codec == DAG_PB)
    store.unpin(root)
    with pytest.raises(UsageError, match="nothing is pinned"):
        store.gc()
    assert len(list(store.cids())) == 53
    assert store.gc(remove_everything=True).removed_blocks == 53
    assert list(store.cids()) == []
    store.put(*block(b"again"))


def test_attached_directories_are_kept(store, commit):
    root, contents = commit
    store.index_directory(root, "commits/one")
    store.put(*block(b"garbage"))
    assert store.gc().removed_blocks == 1
    assert read_all(store, root, contents) == contents


def test_an_incomplete_dag_stops_the_collection(store, folder, dag):
    _, garbage = dag
    missing = CID.of(DAG_PB, b"")
    node = encode_node([PBLink(missing, b"", 0)], b"")
    store.put(CID.of(DAG_PB, node), node)
    store.pin(CID.of(DAG_PB, node))
    with pytest.raises(MissingDataError, match="nothing was removed"):
        store.gc()
    assert all(store.has(cid) for cid in garbage)
    assert store.gc(allow_incomplete=True).removed_blocks == 50


def test_a_damaged_block_stops_the_collection(store, folder, dag):
    kept, garbage = dag
    leaf = CID.of(RAW, b"leaf 2")
    flip(folder / "packs" / "00000001.car", store.index.locations(leaf)[0].offset)
    before = pack_files(folder)
    with pytest.raises(IntegrityError, match="damaged"):
        store.gc()
    assert pack_files(folder) == before
    assert all(store.has(cid) for cid in [*garbage, *kept])


def test_an_unknown_codec_stops_the_collection(store, dag):
    cid = CID.of(0x72, b"\xa0")
    store.put(cid, b"\xa0")
    store.pin(cid)
    with pytest.raises(MissingDataError, match="codec 0x72"):
        store.gc()


def test_nothing_is_collected_while_it_is_held(store, dag):
    with store.hold(), store.hold(), pytest.raises(ConflictError, match="busy"):
        store.gc()
    store.gc()


def test_blocks_that_lie_twice_are_kept_once(store, folder, dag):
    kept, _ = dag
    packs.append(str(folder), "packs/00000002.car", 0, kept.items())
    store.put(*block(b"adopt the pack"))
    assert store.gc().removed_blocks == 50 + 3 + 1
    assert {cid: store.get(cid) for cid in store.cids()} == kept
    assert store.stats().pack_blocks == 3


@pytest.mark.parametrize("when", ["before", "behind"])
def test_a_collection_that_was_killed(folder, store, dag, monkeypatch, when):
    kept, _ = dag

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    if when == "before":
        monkeypatch.setattr(type(store.index), "remove_files", die)
    monkeypatch.setattr("muniment.adapters.block_store.maintenance._unlink", die)
    with pytest.raises(Killed):
        store.gc()
    monkeypatch.undo()
    with EmbeddedBlockStore(folder) as again:
        assert {cid: again.get(cid) for cid in kept} == kept
        again.gc()
        assert set(again.cids()) == set(kept)
        assert len(pack_files(folder)) == 1


def test_the_journal_is_shortened(store, folder, dag):
    for number in range(10):
        store.pin(CID.of(RAW, b"%d" % number))
        store.unpin(CID.of(RAW, b"%d" % number))
    pins = list(store.pins())
    store.gc()
    assert len((folder / "roots.journal").read_bytes().splitlines()) == 2
    assert list(store.pins()) == pins
    with EmbeddedBlockStore(folder) as other:
        assert list(other.pins()) == pins


def test_stats(store, folder, commit, dag):
    root, _ = commit
    store.index_directory(root, "commits/one")
    stats = store.stats()
    assert (stats.pack_count, stats.pack_blocks, stats.referenced_blocks, stats.pins) == (
        1,
        55,
        5,
        1,
    )
    assert stats.referenced_bytes == 254
