"""Blocks that are not hashed anew: only while nothing can have happened to them."""

import os

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore, verified
from muniment.adapters.block_store.packs import Location
from muniment.adapters.block_store.verified import VerifiedReads
from muniment.content.cid import CID, RAW
from muniment.errors import IntegrityError

DATA = b"a block of the archive"
CID_OF_DATA = CID.of(RAW, DATA)
PLACE = Location("pack", 4, len(DATA))
LONG_AGO_S = 1_000_000.0


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pack"
    path.write_bytes(b"head" + DATA)
    return path


def reads(file, clock=None, wall_clock=None, reverify_after_s=600):
    later = file.stat().st_ctime + 60
    return VerifiedReads(
        str(file.parent), reverify_after_s, clock or Clock(), wall_clock or (lambda: later)
    )


def damage_unseen(file):
    """Change the file as a failing disk does: without any trace in its times, as far as a program can."""
    before = file.stat()
    with open(file, "r+b") as opened:
        opened.seek(4)
        opened.write(b"X")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def blind(monkeypatch):
    """Hide the change time, which a program cannot set back and a failing disk does not set."""
    monkeypatch.setattr(
        verified, "_identity", lambda status: (status.st_ino, status.st_mtime_ns, 0, 0, 0)
    )


def test_the_first_read_is_verified(file):
    damage_unseen(file)
    with pytest.raises(IntegrityError):
        reads(file).read(CID_OF_DATA, PLACE)


def test_what_was_verified_is_believed_for_a_while(file, blind):
    clock = Clock()
    store = reads(file, clock)
    assert store.read(CID_OF_DATA, PLACE) == DATA
    damage_unseen(file)
    clock.now = 599.0
    assert (
        store.read(CID_OF_DATA, PLACE) != DATA
    )  # so it was not hashed: else this test shows nothing
    clock.now = 600.0
    with pytest.raises(IntegrityError):
        store.read(CID_OF_DATA, PLACE)


def test_without_an_age_everything_is_verified(file, blind):
    store = reads(file, reverify_after_s=0)
    assert store.read(CID_OF_DATA, PLACE) == DATA
    damage_unseen(file)
    with pytest.raises(IntegrityError):
        store.read(CID_OF_DATA, PLACE)


def test_a_file_that_was_written_to_is_verified_again(file):
    store = reads(file)
    assert store.read(CID_OF_DATA, PLACE) == DATA
    damage_unseen(file)
    with pytest.raises(IntegrityError):
        store.read(CID_OF_DATA, PLACE)


def test_another_file_by_the_same_name_is_verified(file, blind):
    store = reads(file)
    assert store.read(CID_OF_DATA, PLACE) == DATA
    other = file.with_name("other")
    other.write_bytes(b"head" + DATA.upper())
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    with pytest.raises(IntegrityError):
        store.read(CID_OF_DATA, PLACE)


def test_a_file_that_was_just_written_is_not_believed(file, blind):
    """Two changes within one step of the file system's clock look like one."""
    store = reads(file, wall_clock=lambda: file.stat().st_mtime + 1)
    assert store.read(CID_OF_DATA, PLACE) == DATA
    damage_unseen(file)
    with pytest.raises(IntegrityError):
        store.read(CID_OF_DATA, PLACE)


def test_another_name_for_the_same_place_is_verified(file):
    store = reads(file)
    assert store.read(CID_OF_DATA, PLACE) == DATA
    with pytest.raises(IntegrityError):
        store.read(CID.of(RAW, b"something else"), PLACE)
    with pytest.raises(IntegrityError):
        store.read(CID_OF_DATA, PLACE._replace(length=PLACE.length - 1))


def test_a_file_that_is_cut_off_is_noticed(file):
    store = reads(file)
    assert store.read(CID_OF_DATA, PLACE) == DATA
    os.truncate(file, 10)
    with pytest.raises(IntegrityError):
        store.read(CID_OF_DATA, PLACE)


def test_only_so_many_are_remembered(file, monkeypatch, blind):
    monkeypatch.setattr(verified, "MAX_BLOCKS", 2)
    file.write_bytes(b"".join(bytes([65 + i]) * 10 for i in range(3)))
    names = [CID.of(RAW, bytes([65 + i]) * 10) for i in range(3)]
    store = reads(file)
    for i, cid in enumerate(names):
        store.read(cid, Location("pack", 10 * i, 10))
    damaged = file.stat()
    file.write_bytes(b"?" * 30)
    os.utime(file, ns=(damaged.st_atime_ns, damaged.st_mtime_ns))
    with pytest.raises(IntegrityError):
        store.read(names[0], Location("pack", 0, 10))
    for i in (1, 2):
        assert store.read(names[i], Location("pack", 10 * i, 10)) == b"?" * 10


def test_the_generation_of_a_store_changes_with_what_it_holds(tmp_path):
    with EmbeddedBlockStore(tmp_path) as store:
        store.put(CID_OF_DATA, DATA)
        with EmbeddedBlockStore.open_reader(tmp_path, reverify_after_s=600) as reader:
            assert reader.get(CID_OF_DATA) == DATA
            seen, own = [reader.generation()], [store.generation()]
            assert (reader.generation(), store.generation()) == (seen[-1], own[-1])
            for change in (
                lambda: store.pin(CID_OF_DATA),
                lambda: store.put(CID.of(RAW, b"more"), b"more"),
                store.gc,
            ):
                change()
                seen.append(reader.generation())
                own.append(store.generation())
            assert len(set(seen)) == len(seen)
            assert len(set(own)) == len(own)
