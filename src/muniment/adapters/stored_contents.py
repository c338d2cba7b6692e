"""Contents in the store: the key that opens each, and its plaintext."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import UNSET

from muniment.adapters.commit_folder import CommitFolder
from muniment.archive import contents
from muniment.archive.catalog import ArchivedFile
from muniment.archive.commit_source import TarView, read_manifest, read_records
from muniment.archive.keyring import Keyring
from muniment.archive.record import content_key
from muniment.archive.verify import check_record
from muniment.errors import IntegrityError

_OPEN_KEYRINGS_MAX = 8
_OPEN_COMMITS_MAX = 8


class ContentKeys:
    """The keys of contents, found through the keyrings of the commits whose leaves they belong to.

    Args:
        commits: The folder of the store's commits.
        keyring: Returns a commit's keys.
    """

    def __init__(self, commits: Path, keyring: Callable[[str], Keyring]) -> None:
        self._commits, self._open_keyring = commits, keyring
        self._keyrings: dict[str, Keyring] = {}

    def key(self, file: ArchivedFile) -> bytes | None:
        """Return the key of a file's content; None if it has no content.

        Raises:
            KeyUnavailableError: Nobody here can open it, or it was erased.
            IntegrityError: Keyring or record are damaged.
        """
        if file.place is None:
            return None
        file_key = self._keyring(file.commit_id).key(file.leaf)
        if (file.place.commit_id, file.place.leaf) == (file.commit_id, file.leaf):
            return content_key(file_key)
        return self._copied_key(file, file_key)

    def _copied_key(self, file: ArchivedFile, file_key: bytes) -> bytes:
        """Read the content key of a copy from its own record: the keyring of where it lies may have lost it (erasure)."""
        with CommitFolder(self._commits / file.commit_id) as folder:
            table = read_records(folder, read_manifest(folder))
            record = check_record(table, file.leaf, file_key, table.sealed_record(file.leaf))
        if record.content is UNSET or record.content.key_hex is UNSET:
            raise IntegrityError(
                f"record {file.leaf} of commit {file.commit_id} does not say where its content lies"
            )
        return bytes.fromhex(record.content.key_hex)

    def _keyring(self, commit_id: str) -> Keyring:
        if commit_id not in self._keyrings:
            while len(self._keyrings) >= _OPEN_KEYRINGS_MAX:
                self._keyrings.pop(next(iter(self._keyrings)))
            self._keyrings[commit_id] = self._open_keyring(commit_id)
        return self._keyrings[commit_id]


class StoredContents:
    """Reads contents, for one thread.

    Args:
        commits: The folder of the store's commits.
    """

    def __init__(self, commits: Path) -> None:
        self._commits = commits
        self._folders: dict[str, CommitFolder] = {}
        self._tars: dict[str, TarView] = {}

    def pieces(self, file: ArchivedFile, key: bytes | None) -> Iterable[bytes]:
        """Return the plaintext of a file in pieces; it is to be read before any other is asked for.

        A small one was checked when this returns; of a large one, what was yielded must be thrown away if an error follows.

        Raises:
            IntegrityError: It does not open, or has another size or digest than was recorded.
        """
        place, what = file.place, _described(file)
        if place is None or key is None:
            return ()
        assert file.digest is not None
        tar = self._tar(place.commit_id)
        if max(file.scanned.size, place.sealed_size) <= contents.SMALL_BYTES:
            member = tar.read(place.offset, place.sealed_size)
            return [
                contents.open_small(member, key, place, file.scanned.size, file.digest, what=what)
            ]
        read = tar.reader(place.offset)
        return contents.open_content(read, key, place, file.scanned.size, file.digest, what=what)

    def part(self, file: ArchivedFile, key: bytes | None, start: int, end: int) -> Iterable[bytes]:
        """Return the bytes from `start` to `end` of a file, in pieces; it is to be read before any other is asked for.

        Of a compressed file, all bytes before `end` are opened; of any other, no more than the MiB that each end lies in. Every byte was
        authenticated under the content's key; the digest of the whole is compared where all of it was opened.

        Raises:
            IntegrityError: It does not open, or has another size or digest than was recorded.
        """
        place, size = file.place, file.scanned.size
        is_whole = start == 0 and end == size
        if (
            place is None
            or key is None
            or is_whole
            or place.compression != "none"
            or max(size, place.sealed_size) <= contents.SMALL_BYTES
        ):
            return _cut(self.pieces(file, key), start, end, size)
        tar, offset = self._tar(place.commit_id), place.offset

        def read_at(position: int, count: int) -> bytes:
            return tar.read(offset + position, count)

        return contents.open_part(read_at, key, place, start, end, what=_described(file))

    def close(self) -> None:
        """Close the files."""
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()
        self._tars.clear()

    def _tar(self, commit_id: str) -> TarView:
        if commit_id not in self._tars:
            while len(self._tars) >= _OPEN_COMMITS_MAX:
                oldest = next(iter(self._tars))
                self._tars.pop(oldest)
                self._folders.pop(oldest).close()
            folder = self._folders[commit_id] = CommitFolder(self._commits / commit_id)
            self._tars[commit_id] = TarView(folder, read_manifest(folder))
        return self._tars[commit_id]


def _described(file: ArchivedFile) -> str:
    return f"the content of {os.fsdecode(file.scanned.path)}"


def _cut(pieces: Iterable[bytes], start: int, end: int, size: int) -> Iterator[bytes]:
    """Yield a part of a content; the last piece is held back until what follows was checked, where nothing else does."""
    position, held = 0, b""
    for piece in pieces:
        if held:
            yield held
        held = piece[max(start - position, 0) : end - position] if position < end else b""
        position += len(piece)
        if position >= end and end < size:
            break
    if held:
        yield held
