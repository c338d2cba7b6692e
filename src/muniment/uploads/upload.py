"""`Upload`: one file on its way into the archive, and the name that it gets there."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from muniment.errors import UsageError

NAME_BYTES_MAX = 255
"""The longest name that file systems take."""

SMALL_BYTES = 1 << 20
"""Uploads of up to this many bytes, in one request, are small."""

PART = "partial"

PATH_BYTES_MAX = 2_048
PATH_DEPTH_MAX = 64
_DIGEST_LETTERS = 12


class UploadState(StrEnum):
    """How far an upload has come."""

    RECEIVING = "receiving"
    RECEIVED = "received"  # all is there and durable; whoever finds its file still where it arrived moves it to its place
    ARCHIVED = "archived"
    CANCELLED = "cancelled"
    DELETING = "deleting"  # decided; whoever finds it so removes the file
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload.

    Attributes:
        organization_id: Whose it is.
        upload_id: Its name in addresses; also of its file while it arrives.
        path: The path that the client gave it, byte for byte.
        size_bytes: Bytes that were announced, or at most those; once it is received, how many they are.
        created_at: Seconds since 1970.
        expires_at: Until when it may be finished; seconds since 1970.
        actor: Who brings it.
        state: How far it has come.
        sha256: Digest of the content, hexadecimal: announced, or of what arrived; empty for not known yet.
        place: Where the file lies, relative to the organisation's uploads; empty until it is known.
        is_resumable: Whether it may arrive in several requests; one that may not is over when its only request is.
        metadata: What the client wants to have told again, as it sent it.
        key_id: The API key that it counts for; empty for none.
        is_small: Whether it is entered only when it is received, at once: it takes so little that nothing is reserved for it before.
        concat: `PART` for a part of a file, and of a file that was joined, what its parts were: as the client sent it.
        modified_at_ns: When the client's file was changed last, nanoseconds since 1970; None if it did not say.
    """

    organization_id: str
    upload_id: str
    path: bytes
    size_bytes: int
    created_at: int
    expires_at: int
    actor: str
    state: UploadState = UploadState.RECEIVING
    sha256: str = ""
    place: bytes = b""
    is_resumable: bool = False
    metadata: str = ""
    key_id: str = ""
    is_small: bool = False
    concat: str = ""
    modified_at_ns: int | None = None

    @property
    def path_display(self) -> str:
        """The path as text; bytes that are no UTF-8 are shown as U+FFFD."""
        return self.path.decode("utf-8", "replace")

    @property
    def is_part(self) -> bool:
        """Whether it is only a part of a file, which waits until it is joined to the others."""
        return self.concat == PART

    @property
    def is_over(self) -> bool:
        """Whether no more bytes of it are taken."""
        return self.state is not UploadState.RECEIVING


def folders_of(path: bytes) -> list[bytes]:
    """Return the folders that have to be there for a file of this path: of `a/b/c.txt`, `a/b` and `a`."""
    found = []
    while folder := path.rpartition(b"/")[0]:
        found.append(folder)
        path = folder
    return found


def check_path(path: bytes) -> bytes:
    """Return the path that a file is stored under for the one that a client gave it.

    Folders stay folders. Names keep their bytes, whatever their encoding; only what could leave the folder, or what no file system takes,
    is refused or shortened. A shortened name ends in a part of its digest, so that two of them stay two.

    Raises:
        UsageError: It is empty, too long or too deep, holds a zero byte, or names a folder above.
    """
    if len(path) > PATH_BYTES_MAX or path.count(b"/") > PATH_DEPTH_MAX:
        raise UsageError(
            f"expected a path of at most {PATH_BYTES_MAX} bytes and {PATH_DEPTH_MAX} folders, got {len(path)} bytes"
        )
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if not names or b".." in names or b"\0" in path:
        raise UsageError(f"expected the path of a file below the uploads, got {path!r}")
    return b"/".join(map(_fitting, names))


def numbered(path: bytes, number: int) -> bytes:
    """Return a path like this one for the `number`-th file of that name: `a/b.txt` becomes `a/b (2).txt`."""
    if number == 1:
        return path
    folder, slash, name = path.rpartition(b"/")
    stem, dot, suffix = name.rpartition(b".")
    if not stem:
        stem, dot, suffix = name, b"", b""
    return folder + slash + _fitting(stem + b" (%d)" % number + dot + suffix)


def _fitting(name: bytes) -> bytes:
    if len(name) <= NAME_BYTES_MAX:
        return name
    digest = hashlib.sha256(name).hexdigest()[:_DIGEST_LETTERS].encode()
    return name[: NAME_BYTES_MAX - len(digest) - 1] + b"~" + digest
