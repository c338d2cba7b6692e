"""Where a backup goes: the port that every folder and bucket implements, and the names of objects in it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from muniment.errors import FormatError

MANIFEST = "manifest.json"
BESIDE = frozenset({"keys.age", "manifest.json.ots", "manifest.json.tsr"})
"""Files beside the sealed ones: replaced when they differ (`docs/spec/commit.md`, section 1)."""
PREFIX = "commits/"
COMMIT_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[a-z2-7]{8}")
KEY_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
KEY_CHARACTERS_MAX = 600  # S3 allows 1024 bytes; the rest is for the owner's prefix


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a storage says of one object.

    Attributes:
        size: Bytes.
        etag: The store's own version mark, opaque; None where it has none.
        store_sha256: Hex SHA-256 that the store itself computed over the whole content it received, or None. It proves
            that the bytes arrived; only reading them proves that they are still there.
        recorded_sha256: Hex SHA-256 that the writer recorded with the object, or None. It proves nothing by itself.
    """

    size: int
    etag: str | None = None
    store_sha256: str | None = None
    recorded_sha256: str | None = None


class ObjectStorage(Protocol):
    """A folder or bucket. Keys are those that `check_key` accepts; anything else raises FormatError.

    Every method raises ExternalServiceError when the storage cannot be reached, refuses, or is full.
    """

    def put(
        self, key: str, stream: BinaryIO, size: int, sha256: str, *, replace: bool = False
    ) -> None:
        """Store `size` bytes of `stream` durably, all of them or nothing, in bounded memory.

        Raises:
            IntegrityError: The stream has another size or SHA-256; nothing was stored.
            ConflictError: The key exists and `replace` is False; it was left as it is.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object without reading it; None if there is none."""
        ...

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read up to `length` bytes from `offset` on (all when None), in blocks. The first block may raise.

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Iterate over the keys that begin with `prefix`, in no order. They are outside bytes: check them."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...


def check_key(key: str) -> str:
    """Return `key` if it is safe as an S3 key and as a relative path: no empty, hidden, `.` or `..` part.

    Raises:
        FormatError: It is not.
    """
    if len(key) > KEY_CHARACTERS_MAX or not all(
        KEY_PART.fullmatch(part) for part in key.split("/")
    ):
        raise FormatError(f"object key {key[:80]!r} is not allowed")
    return key


def object_key(commit_id: str, name: str) -> str:
    """Return the key of one file of a commit.

    Raises:
        FormatError: The id or the name is not one that a commit can have.
    """
    if not COMMIT_ID.fullmatch(commit_id):
        raise FormatError(f"expected a commit id, got {commit_id[:80]!r}")
    if not KEY_PART.fullmatch(name):
        raise FormatError(f"file name {name[:80]!r} is not allowed in a commit")
    return f"{PREFIX}{commit_id}/{name}"
