"""What every `ObjectStorage` must do, and one in memory.

Run it over an adapter by calling each function of `CHECKS` with a storage that is empty::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check, storage):
        check(storage)
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import BinaryIO

from muniment.archive.backup import (
    BESIDE,
    MANIFEST,
    LocalFile,
    ObjectInfo,
    ObjectStorage,
    check_key,
)
from muniment.errors import ConflictError, FormatError, IntegrityError, NotFoundError

KEY = "commits/20260102T030405Z-abcdefgh/20260102T030405Z-abcdefgh.vol0+1.par2"  # S3 clients differ about the +
HOSTILE_KEYS = (
    "", "/", ".", "..", "../escape", "a/../b", "a/./b", "a//b", "/etc/passwd", "a/", ".hidden", "a/.part", "a\\b",
    "a\0b", "a\nb", "a b", "é", "a/" + "n" * 201, "/".join(["long"] * 200),
)  # fmt: skip


class Digests(Enum):
    """Which digests a `MemoryStorage` tells of its objects."""

    STORE = auto()
    RECORDED = auto()
    NONE = auto()


class MemoryStorage:
    """Objects in a dict, which tests may change behind its back."""

    def __init__(self, digests: Digests = Digests.STORE) -> None:
        self.objects: dict[str, bytes] = {}
        self.recorded: dict[str, str] = {}
        self._digests = digests

    def put(
        self, key: str, stream: BinaryIO, size: int, sha256: str, *, replace: bool = False
    ) -> None:
        """Store an object (see `ObjectStorage.put`)."""
        if check_key(key) in self.objects and not replace:
            raise ConflictError(f"{key} exists already")
        data = stream.read()
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(f"the local file for {key} changed")
        self.objects[key], self.recorded[key] = data, sha256

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object (see `ObjectStorage.head`)."""
        data = self.objects.get(check_key(key))
        if data is None:
            return None
        recorded = self.recorded[key]
        return ObjectInfo(
            len(data),
            store_sha256=recorded if self._digests is Digests.STORE else None,
            recorded_sha256=recorded if self._digests is Digests.RECORDED else None,
        )

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read an object (see `ObjectStorage.get`)."""
        data = self.objects.get(check_key(key))
        if data is None:
            raise NotFoundError(f"no object {key}")
        wanted = data[offset:] if length is None else data[offset : offset + length]
        if wanted:
            yield wanted

    def list(self, prefix: str) -> Iterator[str]:
        """Iterate over keys (see `ObjectStorage.list`)."""
        yield from [key for key in self.objects if key.startswith(prefix)]

    def delete(self, key: str) -> None:
        """Remove an object (see `ObjectStorage.delete`)."""
        self.objects.pop(check_key(key), None)


def sample_commit(commit_id: str, contents: dict[str, bytes]) -> dict[str, LocalFile]:
    """Return files for `backup_commit`: these, and a manifest that lists the sealed ones among them (unsigned)."""
    sealed = [
        {"name": name, "sha256": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
        for name, data in sorted(contents.items())
        if name not in BESIDE
    ]
    manifest = json.dumps({"commit_id": commit_id, "sealed": sealed}).encode()
    return {name: _local_file(data) for name, data in {**contents, MANIFEST: manifest}.items()}


def _local_file(data: bytes) -> LocalFile:
    return LocalFile(len(data), hashlib.sha256(data).hexdigest(), lambda: io.BytesIO(data))


def put_bytes(storage: ObjectStorage, key: str, data: bytes, *, replace: bool = False) -> None:
    """Store `data` under `key`."""
    storage.put(key, io.BytesIO(data), len(data), hashlib.sha256(data).hexdigest(), replace=replace)


def get_bytes(
    storage: ObjectStorage, key: str, offset: int = 0, length: int | None = None
) -> bytes:
    """Read an object whole."""
    return b"".join(storage.get(key, offset, length))


def _gives_back_what_was_put(storage: ObjectStorage) -> None:
    for number, data in enumerate((b"", b"x", bytes(range(256)) * 5_000)):
        put_bytes(storage, f"{KEY}{number}", data)
        assert get_bytes(storage, f"{KEY}{number}") == data


def _describes_truthfully(storage: ObjectStorage) -> None:
    data = b"described"
    put_bytes(storage, KEY, data)
    info = storage.head(KEY)
    assert info is not None
    assert info.size == len(data)
    assert {info.store_sha256, info.recorded_sha256} <= {None, hashlib.sha256(data).hexdigest()}


def _knows_what_is_missing(storage: ObjectStorage) -> None:
    assert storage.head(KEY) is None
    with _raises(NotFoundError):
        get_bytes(storage, KEY)
    storage.delete(KEY)
    put_bytes(storage, KEY, b"a file is no folder")
    assert storage.head(f"{KEY}/below") is None
    with _raises(NotFoundError):
        get_bytes(storage, f"{KEY}/below")


def _reads_ranges(storage: ObjectStorage) -> None:
    data = bytes(range(200))
    put_bytes(storage, KEY, data)
    for offset, length in (
        (0, 10),
        (150, None),
        (190, 100),
        (0, 0),
        (199, 1),
        (200, None),
        (500, 10),
    ):
        end = None if length is None else offset + length
        assert get_bytes(storage, KEY, offset, length) == data[offset:end], (offset, length)


def _never_overwrites_unasked(storage: ObjectStorage) -> None:
    put_bytes(storage, KEY, b"first")
    with _raises(ConflictError):
        put_bytes(storage, KEY, b"second")
    assert get_bytes(storage, KEY) == b"first"
    put_bytes(storage, KEY, b"third", replace=True)
    assert get_bytes(storage, KEY) == b"third"
    put_bytes(storage, f"{KEY}.new", b"replace of nothing", replace=True)


def _refuses_other_bytes(storage: ObjectStorage) -> None:
    sha256 = hashlib.sha256(b"expected").hexdigest()
    for data in (b"expecteX", b"expect", b"expected and more", b""):
        with _raises(IntegrityError):
            storage.put(KEY, io.BytesIO(data), len(b"expected"), sha256)
    assert storage.head(KEY) is None
    assert list(storage.list("")) == []
    put_bytes(storage, KEY, b"sound")
    with _raises(IntegrityError):
        storage.put(KEY, io.BytesIO(b"bad"), len(b"expected"), sha256, replace=True)
    assert get_bytes(storage, KEY) == b"sound"


def _lists_by_prefix(storage: ObjectStorage) -> None:
    keys = {"commits/a/1", "commits/a/2", "commits/ab/1", "commits/b", "other/1"}
    for key in keys:
        put_bytes(storage, key, key.encode())
    assert set(storage.list("")) == keys
    for prefix in ("commits/", "commits/a", "commits/a/", "other/1", "none/", "commits/b/"):
        listed = list(storage.list(prefix))
        assert len(listed) == len(set(listed))
        assert set(listed) == {key for key in keys if key.startswith(prefix)}, prefix


def _deletes(storage: ObjectStorage) -> None:
    put_bytes(storage, KEY, b"x")
    storage.delete(KEY)
    assert storage.head(KEY) is None
    assert list(storage.list("")) == []
    put_bytes(storage, KEY, b"again")
    assert get_bytes(storage, KEY) == b"again"


def _refuses_hostile_keys(storage: ObjectStorage) -> None:
    for key in HOSTILE_KEYS:
        with _raises(FormatError):
            put_bytes(storage, key, b"x", replace=True)
        with _raises(FormatError):
            storage.head(key)
        with _raises(FormatError):
            get_bytes(storage, key)
        with _raises(FormatError):
            storage.delete(key)
    assert list(storage.list("")) == []


CHECKS: tuple[Callable[[ObjectStorage], None], ...] = (
    _gives_back_what_was_put,
    _describes_truthfully,
    _knows_what_is_missing,
    _reads_ranges,
    _never_overwrites_unasked,
    _refuses_other_bytes,
    _lists_by_prefix,
    _deletes,
    _refuses_hostile_keys,
)
"""Each takes an empty storage and raises AssertionError, or an error of the storage, where it does not conform."""


@contextmanager
def _raises(expected: type[Exception]) -> Iterator[None]:
    try:
        yield
    except expected:
        return
    raise AssertionError(f"expected {expected.__name__}, got no error")
