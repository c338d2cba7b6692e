"""Reading files that change under the reader's eyes, with real files and a narrow hook into reading."""

import errno
import os

import pytest
from blake3 import blake3

from muniment.adapters import sealing_worker as module
from muniment.adapters.scan import scanned_file
from muniment.adapters.sealing_worker import SealingWorker
from muniment.archive import contents
from muniment.archive import record as records
from muniment.archive.catalog import ClaimedFile
from muniment.archive.sealing_messages import HashLarge, PlaceUnit, SealLarge, SealUnit

ID = "20261121T101112Z-abcdefg2"
KEY = bytes(range(32))
CHUNK = 1 << 20


@pytest.fixture
def worker(tmp_path):
    (tmp_path / "staging").mkdir()
    return SealingWorker(tmp_path / "staging", ID, CHUNK)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "source"


def claimed(path):
    return ClaimedFile(1, scanned_file(os.fsencode(path)[1:], os.lstat(path)))


@pytest.fixture
def on_read(monkeypatch):
    """Do something at the first reads of a file, between one piece and the next."""
    read = os.read

    def install(action, times):
        left = [times]

        def hooked(descriptor, count):
            data = read(descriptor, count)
            if left[0]:
                left[0] -= 1
                action()
            return data

        monkeypatch.setattr(module.os, "read", hooked)

    return install


def small(worker, file):
    sealed = worker(SealUnit(0, [(file, KEY)], "zstd"))
    placed = worker(PlaceUnit(0, 0, 0, [None] * len(sealed.files)))
    return placed.entries, sealed.failures


def large(worker, file):
    placed = worker(SealLarge(0, 0, 0, file, KEY, "zstd"))
    return placed.entries, placed.failures


def plain_of(worker, entry):
    tar = b"".join(path.read_bytes() for path in sorted(worker._folder.iterdir()))
    read = iter_reader(tar[entry.place.offset :])
    return b"".join(contents.open_content(read, records.content_key(KEY), entry.place, entry.scanned.size, entry.digest, what="x"))  # fmt: skip


def iter_reader(data):
    position = 0

    def read(count):
        nonlocal position
        position += count
        return data[position - count : position]

    return read


ways = pytest.mark.parametrize(("seal", "size"), [(small, 5_000), (large, 3_000_000)])


def changing(path, size):
    def change():
        with open(path, "r+b") as file:
            file.seek(size // 2)
            file.write(os.urandom(8))
        os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 1_000_000))

    return change


@ways
def test_a_change_while_reading_is_read_again(seal, size, worker, path, on_read):
    path.write_bytes(b"before " * (size // 7))
    file = claimed(path)
    on_read(changing(path, size), 2)
    [entry], failures = seal(worker, file)
    assert failures == []
    assert plain_of(worker, entry) == path.read_bytes()
    assert entry.scanned.mtime_ns == path.stat().st_mtime_ns


@ways
def test_what_never_stops_changing_is_a_problem(seal, size, worker, path, on_read):
    path.write_bytes(b"before " * (size // 7))
    file = claimed(path)
    on_read(changing(path, size), 1000)
    entries, [failure] = seal(worker, file)
    assert entries == []
    assert (failure.message, failure.vanished) == ("it changed while it was read", False)


@ways
def test_a_change_back_to_the_old_time_is_noticed_by_the_change_time(seal, size, worker, path, on_read):  # fmt: skip
    path.write_bytes(b"before " * (size // 7))
    status = os.stat(path)

    def change():
        with open(path, "r+b") as file:
            file.write(b"CHANGED")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    file = claimed(path)
    on_read(change, 1)
    [entry], _ = seal(worker, file)
    assert plain_of(worker, entry) == path.read_bytes()


@ways
def test_growing_and_shrinking_while_reading(seal, size, worker, path, on_read):
    def grow():
        with path.open("ab") as file:
            file.write(b"more")

    for action in (lambda: os.truncate(path, size // 3), grow):
        path.write_bytes(b"before " * (size // 7))
        file = claimed(path)
        on_read(action, 1)
        [entry], failures = seal(worker, file)
        assert failures == []
        assert entry.digest == blake3(path.read_bytes()).digest()


@ways
def test_a_disk_that_cannot_read_is_a_problem_and_no_crash(seal, size, worker, path, monkeypatch):
    path.write_bytes(b"before " * (size // 7))

    def fail(descriptor, count):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.os, "read", fail)
    entries, [failure] = seal(worker, claimed(path))
    assert entries == []
    assert failure.message == "it cannot be read: Input/output error"


@ways
def test_a_file_without_permission_is_a_problem(seal, size, worker, path, monkeypatch):
    path.write_bytes(b"before " * (size // 7))
    real_open = os.open

    def refuse(name, flags, *more, **named):  # tests may run as root, who may read everything
        if name == os.fsencode(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_open(name, flags, *more, **named)

    monkeypatch.setattr(module.os, "open", refuse)
    entries, [failure] = seal(worker, claimed(path))
    assert entries == []
    assert (failure.message, failure.vanished) == ("it cannot be read: Permission denied", False)


@ways
def test_links_loops_folders_and_absences(seal, size, worker, path):
    path.write_bytes(b"before " * (size // 7))
    file = claimed(path)
    path.unlink()
    for make, vanished in (
        (lambda: None, True),
        (lambda: path.symlink_to(path), False),
        (lambda: path.symlink_to("/etc/passwd"), False),
        (path.mkdir, False),
        (lambda: os.mkfifo(path), False),
    ):
        make()
        entries, [failure] = seal(worker, file)
        assert (entries, failure.vanished) == ([], vanished)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def test_a_small_file_that_became_large_waits_for_the_next_scan(worker, path):
    path.write_bytes(b"small")
    file = claimed(path)
    os.truncate(path, 9 << 20)
    entries, [failure] = small(worker, file)
    assert entries == []
    assert "it grew to 9437184 bytes" in failure.message


def test_hashing_first_gives_the_digest_or_leaves_the_reason_to_sealing(worker, path):
    path.write_bytes(b"x" * 3_000_000)
    file = claimed(path)
    assert worker(HashLarge(0, file, KEY)).digest == blake3(path.read_bytes()).digest()
    path.unlink()
    assert worker(HashLarge(1, file, KEY)).digest is None
    _, [failure] = large(worker, file)
    assert failure.vanished


def test_reading_leaves_the_access_time_alone(worker, path):
    path.write_bytes(b"x" * 5000)
    os.utime(path, ns=(5, 5))
    small(worker, claimed(path))
    assert path.stat().st_atime_ns == 5
