"""Reading a backup: listing, verifying and restoring it, hostile ones included."""

import hashlib
import io
import json
from contextlib import contextmanager

import pytest

from muniment.archive.backup import (
    MANIFEST,
    Check,
    DamagedBackupError,
    StoredCommit,
    backup_commit,
    list_commits,
    object_key,
    restore_commit,
    verify_backup,
)
from muniment.errors import ExternalServiceError, FormatError, NotFoundError
from muniment.testing.object_storage import Digests, MemoryStorage, put_bytes, sample_commit

COMMIT = "20260102T030405Z-abcdefgh"
CONTENTS = {
    f"{COMMIT}_aa": b"a" * 1000,
    f"{COMMIT}_ab": b"b" * 10,
    "records.sealed": b"r" * 100,
    "keys.age": b"keys",
}
ALL_DIGESTS = pytest.mark.parametrize("digests", list(Digests))


class Folder(dict):
    """Restored files: kept when they were written to the end, and dropped when not."""

    @contextmanager
    def open(self, name):
        target = io.BytesIO()
        yield target
        self[name] = target.getvalue()


def backed_up(digests=Digests.STORE):
    storage = MemoryStorage(digests)
    backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    return storage


def manifest_sha256(storage):
    return hashlib.sha256(storage.objects[object_key(COMMIT, MANIFEST)]).hexdigest()


@ALL_DIGESTS
def test_a_sound_backup_verifies_by_reading_all_of_it(digests):
    storage = backed_up(digests)
    report = verify_backup(COMMIT, storage, manifest_sha256=manifest_sha256(storage))
    assert {item.name for item in report.objects} == {*CONTENTS, MANIFEST}
    assert {item.check for item in report.objects} == {Check.READ_BACK}


@pytest.mark.parametrize(
    ("digests", "name"),
    [
        (digests, name)
        for digests in Digests
        for name in (*sorted(CONTENTS), MANIFEST)
        if (digests, name)
        != (Digests.NONE, "keys.age")  # nothing says what it should be; age authenticates it
    ],
)
def test_a_flipped_bit_is_found_whatever_the_store_says(digests, name):
    storage = backed_up(digests)
    expected = manifest_sha256(storage)
    data = bytearray(storage.objects[object_key(COMMIT, name)])
    data[len(data) // 2] ^= 1
    storage.objects[object_key(COMMIT, name)] = bytes(data)
    with pytest.raises(DamagedBackupError) as caught:
        verify_backup(COMMIT, storage, manifest_sha256=expected)
    assert (caught.value.missing, caught.value.damaged) == ((), (name,))


@ALL_DIGESTS
def test_all_that_is_lost_is_named(digests):
    storage = backed_up(digests)
    storage.delete(object_key(COMMIT, "records.sealed"))
    storage.objects[object_key(COMMIT, f"{COMMIT}_aa")] = b"short"
    storage.objects[object_key(COMMIT, f"{COMMIT}_ab")] = b"x" * 10
    with pytest.raises(DamagedBackupError, match="missing: records") as caught:
        verify_backup(COMMIT, storage)
    assert caught.value.missing == ("records.sealed",)
    assert caught.value.damaged == (f"{COMMIT}_aa", f"{COMMIT}_ab")


@ALL_DIGESTS
def test_a_commit_is_restored_with_its_manifest_last(digests):
    folder = Folder()
    names = restore_commit(COMMIT, backed_up(digests), folder.open)
    assert names == tuple(folder)
    assert names[-1] == MANIFEST
    assert {name: folder[name] for name in CONTENTS} == CONTENTS


def test_restoring_again_reads_only_what_is_not_there():
    folder = Folder()
    names = restore_commit(
        COMMIT, backed_up(), folder.open, have={f"{COMMIT}_aa", "records.sealed"}
    )
    assert set(names) == {f"{COMMIT}_ab", "keys.age", MANIFEST}


@ALL_DIGESTS
def test_what_is_sound_is_restored_even_when_the_rest_is_lost(digests):
    storage, folder = backed_up(digests), Folder()
    storage.objects[object_key(COMMIT, f"{COMMIT}_aa")] = b"x" * 1000
    storage.delete(object_key(COMMIT, f"{COMMIT}_ab"))
    with pytest.raises(DamagedBackupError) as caught:
        restore_commit(COMMIT, storage, folder.open)
    assert (caught.value.missing, caught.value.damaged) == ((f"{COMMIT}_ab",), (f"{COMMIT}_aa",))
    assert set(folder) == {"records.sealed", "keys.age", MANIFEST}


def test_commits_are_listed_in_order_and_strangers_ignored():
    storage = MemoryStorage()
    other = "20250102T030405Z-abcdefgh"
    backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    put_bytes(storage, f"commits/{other}/records.sealed", b"unfinished")
    for key in ("commits/readme", "commits/x/manifest.json", f"other/{COMMIT}/manifest.json"):
        put_bytes(storage, key, b"{}")
    storage.objects["commits/../../etc/manifest.json"] = b"{}"
    assert list_commits(storage) == [
        StoredCommit(other, complete=False),
        StoredCommit(COMMIT, complete=True),
    ]


@pytest.mark.parametrize(
    "action", [verify_backup, lambda *where: restore_commit(*where, Folder().open)]
)
def test_an_incomplete_commit_is_not_found(action):
    storage = backed_up()
    storage.delete(object_key(COMMIT, MANIFEST))
    with pytest.raises(NotFoundError, match="not complete"):
        action(COMMIT, storage)


GOOD = {"name": "records.sealed", "size": 100, "sha256": "sha256:" + "0" * 64}
HOSTILE_MANIFESTS = [
    b"",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"commit_id": "' + COMMIT.encode() + b'"',
    {"commit_id": "20250102T030405Z-abcdefgh", "sealed": [GOOD]},
    {"commit_id": COMMIT},
    {"commit_id": COMMIT, "sealed": []},
    {"commit_id": COMMIT, "sealed": [GOOD, GOOD]},
    {"commit_id": COMMIT, "sealed": [{**GOOD, "size": -1}]},
    {"commit_id": COMMIT, "sealed": [{**GOOD, "size": 10**30}]},
    {"commit_id": COMMIT, "sealed": [{**GOOD, "size": "100"}]},
    {"commit_id": COMMIT, "sealed": [{**GOOD, "sha256": "0" * 64}]},
    *(
        {"commit_id": COMMIT, "sealed": [{**GOOD, "name": name}]}
        for name in ("../x", "a/b", "", "..", MANIFEST, "keys.age")
    ),
]


@pytest.mark.parametrize("manifest", HOSTILE_MANIFESTS, ids=range(len(HOSTILE_MANIFESTS)))
def test_hostile_manifests_write_nothing(manifest):
    storage, folder = MemoryStorage(), Folder()
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    put_bytes(storage, object_key(COMMIT, MANIFEST), data)
    with pytest.raises(FormatError):
        restore_commit(COMMIT, storage, folder.open)
    assert folder == {}


def test_a_storage_that_never_stops_sending_is_stopped():
    class Endless(MemoryStorage):
        def get(self, key, offset=0, length=None):
            yield from super().get(key, offset, length)
            while not key.endswith(MANIFEST):
                yield b"more"

    storage = Endless()
    backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    with pytest.raises(DamagedBackupError) as caught:
        verify_backup(COMMIT, storage)
    assert set(caught.value.damaged) == set(CONTENTS)


class Rotten(MemoryStorage):
    """Fails to give one object, or everything, the way services answer for rotten blocks or an outage."""

    def __init__(self, *, outage=False):
        super().__init__()
        self.outage, self.rotten = outage, ""

    def get(self, key, offset=0, length=None):
        yield from super().get(key, offset, length)
        if key == self.rotten:
            raise ExternalServiceError("internal error")

    def head(self, key):
        if self.outage and self.rotten and self.rotten == key:
            raise ExternalServiceError("cannot be reached")
        return super().head(key)


def test_an_object_that_the_storage_cannot_give_does_not_hide_the_others():
    storage, folder = Rotten(), Folder()
    backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    storage.rotten = object_key(COMMIT, f"{COMMIT}_aa")
    storage.delete(object_key(COMMIT, f"{COMMIT}_ab"))
    with pytest.raises(DamagedBackupError, match="unreadable") as caught:
        restore_commit(COMMIT, storage, folder.open)
    assert (caught.value.unreadable, caught.value.missing) == ((f"{COMMIT}_aa",), (f"{COMMIT}_ab",))
    assert set(folder) == {"records.sealed", "keys.age", MANIFEST}


def test_an_outage_is_not_taken_for_damage():
    storage = Rotten(outage=True)
    backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    storage.rotten = object_key(COMMIT, f"{COMMIT}_aa")
    with pytest.raises(ExternalServiceError, match="reached"):
        verify_backup(COMMIT, storage)
