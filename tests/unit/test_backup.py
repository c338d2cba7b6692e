"""Backing up: what is sent, what is kept, what is refused."""

import hashlib
import io

import pytest

from muniment.archive.backup import (
    MANIFEST,
    Action,
    Check,
    LocalFile,
    backup_commit,
    list_commits,
    object_key,
    refresh_beside,
)
from muniment.errors import ConflictError, FormatError, IntegrityError, NotFoundError, UsageError
from muniment.testing.object_storage import Digests, MemoryStorage, sample_commit

COMMIT = "20260102T030405Z-abcdefgh"
SEALED = {
    f"{COMMIT}_aa": b"a" * 1000,
    f"{COMMIT}_ab": b"b" * 10,
    "records.sealed": b"r" * 100,
    f"{COMMIT}.par2": b"",
}
CONTENTS = {**SEALED, "keys.age": b"keyring 1", "manifest.json.ots": b"pending"}
ALL_DIGESTS = pytest.mark.parametrize("digests", list(Digests))


class Watched(MemoryStorage):
    """Counts what is sent and what is read."""

    def __init__(self, digests=Digests.STORE):
        super().__init__(digests)
        self.puts, self.gets = [], []

    def put(self, key, stream, size, sha256, *, replace=False):
        super().put(key, stream, size, sha256, replace=replace)
        self.puts.append(key.rpartition("/")[2])

    def get(self, key, offset=0, length=None):
        self.gets.append(key.rpartition("/")[2])
        return super().get(key, offset, length)


@ALL_DIGESTS
def test_a_commit_is_sent_whole_with_its_manifest_last(digests):
    storage = Watched(digests)
    report = backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    assert storage.puts[-1] == MANIFEST
    assert set(storage.puts) == {*CONTENTS, MANIFEST}
    assert storage.puts.index("keys.age") > max(map(storage.puts.index, SEALED))
    assert {name: storage.objects[object_key(COMMIT, name)] for name in CONTENTS} == CONTENTS
    assert set(report.names(Action.SENT)) == {*CONTENTS, MANIFEST}
    assert report.sent_bytes == sum(map(len, storage.objects.values()))


@pytest.mark.parametrize(
    ("digests", "check"),
    [
        (Digests.STORE, Check.STORE_CHECKSUM),
        (Digests.RECORDED, Check.READ_BACK),
        (Digests.NONE, Check.READ_BACK),
    ],
)
def test_every_object_is_verified_after_writing(digests, check):
    storage = Watched(digests)
    report = backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    assert {item.check for item in report.objects} == {check}
    assert set(storage.gets) == (set() if check is Check.STORE_CHECKSUM else {*CONTENTS, MANIFEST})


@ALL_DIGESTS
def test_a_second_run_sends_nothing(digests):
    storage = Watched(digests)
    files = sample_commit(COMMIT, CONTENTS)
    backup_commit(files, COMMIT, storage)
    storage.puts.clear()
    report = backup_commit(files, COMMIT, storage)
    assert storage.puts == []
    assert report.sent_bytes == 0
    assert len(report.names(Action.KEPT)) == len(files)


def test_a_recorded_digest_is_trusted_only_once_the_commit_is_complete():
    storage = Watched(Digests.RECORDED)
    files = sample_commit(COMMIT, CONTENTS)
    backup_commit(files, COMMIT, storage)
    sealed_checks = {i.name: i.check for i in backup_commit(files, COMMIT, storage).objects}
    assert sealed_checks["records.sealed"] is Check.RECORDED
    assert sealed_checks["keys.age"] is Check.READ_BACK
    storage.delete(
        object_key(COMMIT, MANIFEST)
    )  # as if the first run had been killed before it verified
    assert all(i.check is Check.READ_BACK for i in backup_commit(files, COMMIT, storage).objects)


@ALL_DIGESTS
@pytest.mark.parametrize("name", sorted(SEALED))
def test_other_bytes_under_a_sealed_name_are_never_overwritten(digests, name):
    storage = Watched(digests)
    key = object_key(COMMIT, name)
    storage.objects[key], storage.recorded[key] = b"other", hashlib.sha256(b"other").hexdigest()
    with pytest.raises(IntegrityError, match="left as it is"):
        backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    assert storage.objects[key] == b"other"
    assert not list_commits(storage)[0].complete


@ALL_DIGESTS
def test_another_manifest_stops_the_run_before_anything_is_sent(digests):
    storage = Watched(digests)
    backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    storage.puts.clear()
    with pytest.raises(IntegrityError, match=MANIFEST):
        backup_commit(sample_commit(COMMIT, {**CONTENTS, f"{COMMIT}_ac": b"more"}), COMMIT, storage)
    assert storage.puts == []


@ALL_DIGESTS
def test_files_beside_follow_the_newest(digests):
    storage = Watched(digests)
    backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    storage.puts.clear()
    newer = sample_commit(
        COMMIT, {**CONTENTS, "keys.age": b"keyring 2", "manifest.json.tsr": b"token"}
    )
    report = refresh_beside(newer, COMMIT, storage)
    assert report.names(Action.REPLACED) == ("keys.age",)
    assert report.names(Action.SENT) == ("manifest.json.tsr",)
    assert report.names(Action.KEPT) == ("manifest.json.ots",)
    assert storage.puts == ["keys.age", "manifest.json.tsr"]
    assert storage.objects[object_key(COMMIT, "keys.age")] == b"keyring 2"


def test_a_commit_that_is_not_there_has_nothing_to_refresh():
    with pytest.raises(NotFoundError):
        refresh_beside(sample_commit(COMMIT, CONTENTS), COMMIT, MemoryStorage())


class Lying(MemoryStorage):
    """Loses a byte of everything it is sent, and says nothing."""

    def put(self, key, stream, size, sha256, *, replace=False):
        super().put(key, stream, size, sha256, replace=replace)
        self.objects[key] = self.objects[key][:-1] + b"?"


@pytest.mark.parametrize("digests", [Digests.RECORDED, Digests.NONE])
def test_a_storage_that_changes_what_it_is_sent_is_found_at_once(digests):
    storage = Lying(digests)
    with pytest.raises(IntegrityError, match="just sent"):
        backup_commit(sample_commit(COMMIT, {"records.sealed": b"r"}), COMMIT, storage)
    assert not list_commits(storage)[0].complete


def test_an_object_that_came_meanwhile_is_no_conflict_if_it_is_the_same():
    class Racing(MemoryStorage):
        def put(self, key, stream, size, sha256, *, replace=False):
            super().put(key, stream, size, sha256, replace=True)
            raise ConflictError(
                key
            )  # the answer to the first request was lost; the second one meets its object

    files = sample_commit(COMMIT, CONTENTS)
    storage = Racing()
    backup_commit(files, COMMIT, storage)
    assert list_commits(storage)[0].complete


def test_a_conflict_without_an_object_stops_the_run():
    class Blocked(MemoryStorage):
        def put(self, key, stream, size, sha256, *, replace=False):
            raise ConflictError(key)

    with pytest.raises(ConflictError):
        backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, Blocked())


def test_a_local_file_that_changed_is_not_stored():
    files = sample_commit(COMMIT, CONTENTS)
    good = files["records.sealed"]
    files["records.sealed"] = LocalFile(good.size, good.sha256, lambda: io.BytesIO(b"changed"))
    storage = MemoryStorage()
    with pytest.raises(IntegrityError):
        backup_commit(files, COMMIT, storage)
    assert object_key(COMMIT, "records.sealed") not in storage.objects


def test_an_unsigned_commit_is_refused():
    files = sample_commit(COMMIT, CONTENTS)
    del files[MANIFEST]
    with pytest.raises(UsageError):
        backup_commit(files, COMMIT, MemoryStorage())


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", ".hidden", "x\0", "n" * 201])
def test_hostile_file_names_are_refused_before_anything_is_sent(name):
    storage = MemoryStorage()
    with pytest.raises(FormatError):
        backup_commit(sample_commit(COMMIT, {**CONTENTS, name: b"x"}), COMMIT, storage)
    assert storage.objects == {}


@pytest.mark.parametrize(
    "commit_id", ["", "..", "../x", "20260102T030405Z-abcdefg", COMMIT + "/x", COMMIT.upper()]
)
def test_hostile_commit_ids_are_refused(commit_id):
    with pytest.raises(FormatError):
        object_key(commit_id, MANIFEST)


def test_progress_ends_at_the_total():
    seen = []
    files = sample_commit(COMMIT, CONTENTS)
    backup_commit(files, COMMIT, MemoryStorage(), lambda *step: seen.append(step))
    total = sum(file.size for file in files.values())
    assert [step[0] for step in seen][-1] == MANIFEST
    assert seen[-1][1:] == (total, total)
    assert [step[1] for step in seen] == sorted(step[1] for step in seen)
