"""The staging folder: what it acknowledges is durable, and what it cannot make durable is not acknowledged."""

import errno
import os

import pytest
from blake3 import blake3

from muniment.adapters.file_digests import BlockDigests, digest_file
from muniment.adapters.staging import JOURNAL_NAME, StagingFolder
from muniment.archive import tarball
from muniment.archive.journal import Batch, TarEnd

ID = "20261121T101112Z-abcdefg2"
CHUNK = 1000
FRAMES = [Batch(0, 1536, []), TarEnd(2560, 1)]


@pytest.fixture
def staging(tmp_path):
    staging = StagingFolder(tmp_path / "staging" / ID, ID, CHUNK, 1)
    staging.create()
    staging.open_journal()
    yield staging
    staging.close()


def again(staging):
    staging.close()
    return StagingFolder(staging._folder, ID, CHUNK, 1)


def test_the_folder_is_private_and_so_is_the_journal(staging):
    assert os.stat(staging._folder).st_mode & 0o077 == 0
    assert os.stat(staging._folder / JOURNAL_NAME).st_mode & 0o077 == 0
    staging.create()  # no error


def test_frames_come_back_and_new_ones_follow(staging):
    staging.append(FRAMES[:1])
    other = again(staging)
    assert other.open_journal() == FRAMES[:1]
    other.append(FRAMES[1:])
    assert list(other.frames()) == FRAMES
    other.close()


@pytest.mark.parametrize("junk", [b"\0", bytes(4096), b"torn frame", b"\0\0\0\x09\0\0"])
def test_a_torn_end_is_overwritten(junk, staging):
    staging.append(FRAMES[:1])
    staging.close()
    with open(staging._folder / JOURNAL_NAME, "ab") as journal:
        journal.write(junk)
    other = again(staging)
    assert other.open_journal() == FRAMES[:1]
    other.append(FRAMES[1:])
    other.close()
    assert list(other.frames()) == FRAMES


def synced(descriptor):
    return os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))


def test_submissions_are_journaled_in_order_behind_their_chunks(staging, monkeypatch):
    order, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append(synced(fd)), fsync(fd)))
    for index in range(2):
        staging.chunk_path(index).write_bytes(b"x")
    staging.submit([0], FRAMES[:1])
    staging.submit([1], FRAMES[1:])
    staging.wait()
    assert order == [f"{ID}_aa", "commit", "journal", f"{ID}_ab", "commit", "journal"]
    assert list(staging.frames()) == FRAMES


def test_nothing_behind_a_failure_is_acknowledged(staging, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "the disk is broken")

    staging.chunk_path(0).write_bytes(b"x")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        staging.submit([0], FRAMES[:1])
        with pytest.raises(OSError, match="the disk is broken"):
            staging.wait()
    with pytest.raises(OSError, match="the disk is broken"):
        staging.submit([], FRAMES[1:])
    assert list(staging.frames()) == []


@pytest.mark.parametrize("offset", [0, 1, 999, 1000, 1001, 1999, 2000, 2500])
def test_dropping_and_ending_the_tar_anywhere(offset, staging):
    data = bytes(range(1, 251)) * 10
    for index in range(0, len(data), CHUNK):
        staging.chunk_path(index // CHUNK).write_bytes(data[index : index + CHUNK])
    staging.drop_from(offset)
    assert whole(staging) == data[:offset]
    if offset:
        size = staging.end_tar(offset)
        assert whole(staging) == data[:offset] + tarball.TRAILER
        assert size == offset + len(tarball.TRAILER)
        assert all(path.stat().st_size == CHUNK for path in sorted(staging.files.iterdir())[:-1])


def whole(staging):
    return b"".join(path.read_bytes() for path in sorted(staging.files.iterdir()))


def test_ending_drops_what_lies_behind(staging):
    for index in range(5):
        staging.chunk_path(index).write_bytes(b"x" * CHUNK)
    staging.end_tar(500)
    assert whole(staging) == b"x" * 500 + tarball.TRAILER


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_files_are_written_whole_with_all_their_digests(size, staging):
    import hashlib  # noqa: PLC0415

    data = blake3(b"x").digest(length=size)
    pieces = [data[at : at + 70_001] for at in range(0, size, 70_001)]
    digests = staging.write("name", pieces)
    assert (staging.files / "name").read_bytes() == data
    assert digests == digest_file(staging.files / "name")
    assert (digests.size, digests.sha256) == (size, hashlib.sha256(data).digest())
    assert digests.blake3 == blake3(data).digest()
    blocks = [data[at : at + (1 << 20)] for at in range(0, size, 1 << 20)]
    assert digests.blocks == b"".join(hashlib.sha256(block).digest() for block in blocks)
    hashes = BlockDigests()
    hashes.update(data)
    assert hashes.finish("name") == digests


def test_a_writer_that_fails_leaves_the_old_file(staging):
    def pieces():
        yield b"half"
        raise ValueError

    staging.write("name", [b"old"])
    with pytest.raises(ValueError):  # noqa: PT011
        staging.write("name", pieces())
    assert (staging.files / "name").read_bytes() == b"old"


def test_removing_leaves_nothing(staging, tmp_path):
    staging.append(FRAMES)
    staging.write("name", [b"data"])
    staging.remove()
    assert os.listdir(tmp_path / "staging") == []
