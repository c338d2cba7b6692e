"""Whatever operation a backup dies in, the next run ends it, sends nothing twice, and never shows half a commit."""

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.archive.backup import (
    BESIDE,
    MANIFEST,
    Action,
    backup_commit,
    list_commits,
    object_key,
    refresh_beside,
    restore_commit,
    verify_backup,
)
from muniment.testing.object_storage import Digests, MemoryStorage, sample_commit

COMMIT = "20260102T030405Z-abcdefgh"
CONTENTS = st.dictionaries(
    st.one_of(st.sampled_from(sorted(BESIDE)), st.from_regex(r"part_[a-z]{2}", fullmatch=True)), st.binary(max_size=64), max_size=6
).map(lambda contents: {**contents, "records.sealed": b"records"})  # fmt: skip


class Killed(BaseException):
    """Not an Exception: nothing may catch it."""


class Mortal(MemoryStorage):
    """Dies in its n-th operation, before or after that operation took effect."""

    def __init__(self, digests):
        super().__init__(digests)
        self.sent, self.left, self.after = [], None, False

    def _step(self, action):
        if self.left is None:
            return action()
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Killed
        result = action()
        if self.left < 0:
            raise Killed
        return result

    def put(self, key, stream, size, sha256, *, replace=False):
        def act():
            MemoryStorage.put(self, key, stream, size, sha256, replace=replace)
            self.sent.append(key)

        self._step(act)

    def head(self, key):
        return self._step(lambda: MemoryStorage.head(self, key))

    def get(self, key, offset=0, length=None):
        return self._step(lambda: MemoryStorage.get(self, key, offset, length))


@given(
    contents=CONTENTS,
    deaths=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=4),
    digests=st.sampled_from(Digests),
)
def test_a_backup_can_die_anywhere(contents, deaths, digests):
    storage, files = Mortal(digests), sample_commit(COMMIT, contents)
    for left, after in deaths:
        storage.left, storage.after = left, after
        try:
            backup_commit(files, COMMIT, storage)
        except Killed:
            there = {name for name in files if object_key(COMMIT, name) in storage.objects}
            assert MANIFEST not in there or there == set(files)
    storage.left = None
    report = backup_commit(files, COMMIT, storage)
    assert sorted(storage.sent) == sorted(
        object_key(COMMIT, name) for name in files
    )  # each of them once, in all runs
    assert {item.name for item in report.objects} == set(files)
    assert [(c.commit_id, c.complete) for c in list_commits(storage)] == [(COMMIT, True)]
    verify_backup(COMMIT, storage, manifest_sha256=files[MANIFEST].sha256)


@given(
    old=st.dictionaries(st.sampled_from(sorted(BESIDE)), st.binary(max_size=8)),
    new=st.dictionaries(st.sampled_from(sorted(BESIDE)), st.binary(max_size=8)),
    left=st.integers(0, 12),
    after=st.booleans(),
    digests=st.sampled_from(Digests),
)
def test_a_refresh_can_die_anywhere_and_touches_only_what_differs(old, new, left, after, digests):
    storage = Mortal(digests)
    backup_commit(sample_commit(COMMIT, {**old, "records.sealed": b"r"}), COMMIT, storage)
    storage.sent.clear()
    newer = sample_commit(COMMIT, {**new, "records.sealed": b"r"})
    storage.left, storage.after = left, after
    with suppress(Killed):
        refresh_beside(newer, COMMIT, storage)
    storage.left = None
    refresh_beside(newer, COMMIT, storage)
    assert sorted(storage.sent) == sorted(
        object_key(COMMIT, name) for name in new if old.get(name) != new[name]
    )
    assert {n: storage.objects[object_key(COMMIT, n)] for n in {**old, **new}} == {**old, **new}
    assert backup_commit(newer, COMMIT, storage).names(Action.KEPT)[-1] == MANIFEST


@given(
    contents=CONTENTS, data=st.data(), digests=st.sampled_from([Digests.STORE, Digests.RECORDED])
)
def test_no_byte_can_change_unnoticed(contents, data, digests):
    storage, files = MemoryStorage(digests), sample_commit(COMMIT, contents)
    backup_commit(files, COMMIT, storage)
    key = data.draw(st.sampled_from(sorted(key for key, value in storage.objects.items() if value)))
    changed = bytearray(storage.objects[key])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    storage.objects[key] = bytes(changed)
    with pytest.raises(Exception, match=key.rpartition("/")[2]):
        verify_backup(COMMIT, storage)
    with pytest.raises(Exception, match=key.rpartition("/")[2]):
        restore_commit(COMMIT, storage, lambda _name: io.BytesIO())
