"""Sealing under any order of answers, failures, kills and torn journals, with the real worker and the real staging folder.

The workers run in this process: Hypothesis decides which of them goes on, and when the run is killed.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.adapters import sealing_worker
from muniment.adapters.file_digests import digest_file
from muniment.adapters.scan import scanned_file
from muniment.adapters.sealing_worker import SealingWorker
from muniment.adapters.staging import JOURNAL_NAME, StagingFolder
from muniment.archive import contents, sealing, tarball
from muniment.archive import record as records
from muniment.archive.catalog import ClaimedFile, ContentPlace
from muniment.archive.journal import Batch, FileDigests, TarEnd
from muniment.archive.sealing import Copy, SealingRun, replay

ID, OTHER = "20261121T101112Z-abcdefg2", "20261120T101112Z-abcdefg2"
CHUNK = 20_000
LARGE = 60_000
NOISE = blake3(b"noise").digest(length=200_000)
CONTENTS = [
    b"",
    b"tiny",
    b"text " * 4_000,
    NOISE[:5_000],
    NOISE[5_000:35_000],
    NOISE[:70_000],
    NOISE[70_000:150_000],
    b"long text " * 9_000,
]


class Killed(Exception):  # noqa: N818
    """The run ends here, as by kill -9."""


class Workers:
    """Workers that do what they were asked when Hypothesis lets them."""

    def __init__(self, folder, count, draw, receives):
        self._workers = [SealingWorker(folder, ID, CHUNK) for _ in range(count)]
        self._waiting, self._draw, self._left = {}, draw, receives

    @property
    def count(self):
        return len(self._workers)

    def idle(self):
        return [worker for worker in range(self.count) if worker not in self._waiting]

    def send(self, worker, request):
        assert worker not in self._waiting
        self._waiting[worker] = request

    def receive(self):
        if self._left == 0:
            raise Killed
        self._left -= 1
        worker = self._draw(st.sampled_from(sorted(self._waiting)))
        return worker, self._workers[worker](self._waiting.pop(worker))


class Known:
    """One content that another commit holds."""

    place = ContentPlace(OTHER, 4, 512, 5_632, 5_000, "none")

    def __init__(self, data):
        self._digest, self._size = blake3(data).digest(), len(data)

    def sizes(self, sizes):
        return {self._size} & set(sizes)

    def find(self, digests):
        return {self._digest: Copy(self.place, b"k" * 32)} if self._digest in digests else {}


def seal(folder, files, known, draw, receives):
    """Begin or go on; returns the staging folder's frames and what failed."""
    staging = StagingFolder(folder, ID, CHUNK, 1)
    staging.create()
    try:
        resumed = replay(staging.open_journal(), ID)
        if resumed.ended is None:
            staging.drop_from(resumed.offset)
            run = SealingRun(
                commit_id=ID,
                chunk_bytes=CHUNK,
                compression="zstd",
                workers=Workers(staging.files, draw(st.integers(1, 3)), draw, receives),
                staging=staging,
                known=known,
                random=os.urandom,
                resumed=resumed,
                on_progress=lambda files, size_bytes: None,
            )
            end = run.run(iter(files))
            return end, run.failures
        return resumed.ended, []
    finally:
        staging.close()


def check(folder, end, files, plains, known):
    """Check everything that the rest of the pipeline relies on."""
    staging = StagingFolder(folder, ID, CHUNK, 1)
    frames = list(staging.frames())
    entries = []
    for frame in frames:
        if isinstance(frame, Batch):
            assert frame.first_leaf == len(entries)
            entries += frame.entries
    assert [frame for frame in frames if isinstance(frame, TarEnd)] == [end]
    assert end.leaf_count == len(entries)
    assert len({entry.file_id for entry in entries}) == len(entries)
    assert len({entry.file_key for entry in entries}) == len(entries)

    names = tarball.chunk_names(ID + "_", -(-end.tar_bytes // CHUNK))
    assert sorted(os.listdir(staging.files)) == sorted(names)
    tar = b"".join((staging.files / name).read_bytes() for name in names)
    assert len(tar) == end.tar_bytes
    digests = {frame.name: frame for frame in frames if isinstance(frame, FileDigests)}
    assert digests == {name: digest_file(staging.files / name) for name in names}

    offset = 0
    for leaf, entry in enumerate(entries):
        size = tarball.size_in_header(tar[offset : offset + 512])
        assert tar[offset : offset + 512] == tarball.header(leaf, size)
        member = tar[offset + 512 : offset + 512 + size]
        assert blake3(member).digest() == entry.ciphertext_digest
        record, fields = records.open_record(entry.file_key, entry.sealed_record, what="x")
        assert records.fields_digest(entry.file_key, fields) == entry.fields_digest
        archived = records.to_archived(record, ID, leaf)
        assert (archived.place, archived.digest) == (entry.place, entry.digest)
        plain = plains[entry.file_id]
        assert (entry.scanned.size, entry.digest) == (len(plain), blake3(plain).digest())
        own = entry.place is not None and (entry.place.commit_id, entry.place.leaf) == (ID, leaf)
        if own:
            assert (entry.place.offset, entry.place.sealed_size) == (offset + 512, size)
            key = records.content_key(entry.file_key)
        else:
            contents.check_empty(member, records.content_key(entry.file_key), what="x")
            key = bytes.fromhex(record.content.key_hex) if plain else b""
        if entry.place is None:
            assert plain == b""
        elif entry.place.commit_id == OTHER:
            assert known.find([entry.digest])
            assert (entry.place, key) == (known.place, b"k" * 32)
        else:
            start, sealed_size = entry.place.offset, entry.place.sealed_size
            assert contents.open_small(tar[start : start + sealed_size], key, entry.place, len(plain), entry.digest, what="x") == plain  # fmt: skip
        offset += 512 + size
    assert tar[offset:] == tarball.TRAILER
    contents_here = [entry.digest for leaf, entry in enumerate(entries) if entry.place and entry.place.commit_id == ID and entry.place.leaf == leaf]  # fmt: skip
    assert len(set(contents_here)) == len(contents_here)  # nothing is stored twice
    return {entry.file_id for entry in entries}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_whatever_happens_a_whole_commit_comes_out(data):
    draw = data.draw
    chosen = draw(st.lists(st.sampled_from(range(len(CONTENTS))), min_size=1, max_size=14))
    gone = draw(st.sets(st.integers(0, len(chosen) - 1), max_size=3))
    known = Known(CONTENTS[draw(st.sampled_from([3, 5]))])
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "LARGE_FILE_BYTES", LARGE)
        patch.setattr(sealing_worker, "LARGE_FILE_BYTES", LARGE)
        patch.setattr(sealing, "UNIT_BYTES", 40_000)
        patch.setattr(sealing, "UNIT_FILES", 3)
        files, plains = make_files(Path(scratch), chosen)
        missing = {index + 1 for index in gone}
        for index in gone:
            (Path(scratch) / f"f{index}").unlink()
            if index % 2:
                (Path(scratch) / f"f{index}").mkdir()
        folder = Path(scratch) / "staging"
        for _ in range(
            draw(st.integers(0, 2))
        ):  # runs that are killed, with the journal torn anywhere
            with contextlib.suppress(Killed):
                seal(folder, files, known, draw, draw(st.integers(0, 25)))
            journal = folder / JOURNAL_NAME
            os.truncate(journal, draw(st.integers(0, journal.stat().st_size)))
        end, failures = seal(folder, files, known, draw, -1)
        if len(missing) == len(files):
            assert end == TarEnd(0, 0)
            return
        sealed = check(folder, end, files, plains, known)
        assert sealed == {file.file_id for file in files} - missing
        # A journal that was whole names no failures: nothing was left to be tried.
        assert {failure.file_id for failure in failures} in (missing, set())
        assert {failure.file_id for failure in failures if failure.vanished} == {
            failure.file_id for failure in failures if (failure.file_id - 1) % 2 == 0
        }


def make_files(folder, chosen):
    files, plains = [], {}
    for index, which in enumerate(chosen):
        path = folder / f"f{index}"
        path.write_bytes(CONTENTS[which])
        files.append(ClaimedFile(index + 1, scanned_file(os.fsencode(path)[1:], path.stat())))
        plains[index + 1] = CONTENTS[which]
    return files, plains


def test_a_kill_after_every_answer_and_a_journal_cut_at_every_frame(tmp_path):
    """Without Hypothesis: one batch with everything in it, killed after each answer in turn."""
    draw = lambda strategy: 1 if "integers" in repr(strategy) else first(strategy)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "LARGE_FILE_BYTES", LARGE)
        patch.setattr(sealing_worker, "LARGE_FILE_BYTES", LARGE)
        patch.setattr(sealing, "UNIT_FILES", 2)
        files, plains = make_files(tmp_path, [2, 5, 2, 0, 6, 5, 3, 1, 4])
        known = Known(b"nothing of it")
        for kill_after in range(40):
            folder = tmp_path / f"staging{kill_after}"
            try:
                end, failures = seal(folder, files, known, draw, kill_after)
            except Killed:
                end, failures = seal(folder, files, known, draw, -1)
                assert failures == []
                assert check(folder, end, files, plains, known) == set(plains)
            else:
                break
        assert kill_after > 8


def first(strategy):
    return min(strategy.elements)


def test_resuming_does_not_redo_what_is_in_the_journal(tmp_path):
    draw = lambda strategy: 1 if "integers" in repr(strategy) else first(strategy)  # noqa: E731
    files, plains = make_files(tmp_path, [2, 4, 3, 4, 1])
    known, folder = Known(b"nothing of it"), tmp_path / "staging"
    end, _ = seal(folder, files, known, draw, -1)
    for file in files:
        os.unlink(b"/" + file.scanned.path)  # nothing is read again
    with open(folder / JOURNAL_NAME, "r+b") as journal:
        journal.truncate(
            os.path.getsize(folder / JOURNAL_NAME) - 5
        )  # the frame of the tar's end is torn
    again, failures = seal(folder, files, known, draw, -1)
    assert (again, failures) == (end, [])
    assert check(folder, end, files, plains, known) == set(plains)
