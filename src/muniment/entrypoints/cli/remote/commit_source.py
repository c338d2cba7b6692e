"""A commit of a service as a source for verification: its files are fetched when they are read, and not kept."""

import contextlib
import tempfile
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from muniment.archive.commit_source import check_file
from muniment.archive.manifest import (
    MANIFEST_NAME,
    RFC3161_NAME,
    TIMESTAMP_NAME,
    Manifest,
    SealedFile,
)
from muniment.errors import MissingDataError, NotFoundError

if TYPE_CHECKING:
    from muniment.client import Client

_HELD_MAX = 4
"""Files that lie here at once: leaves are read one behind the other, and one may begin in a chunk and end in the next."""


class RemoteCommit:
    """The files of one commit of a service; see `muniment.archive.sources.CommitSource`. No sealed file is read before it was checked.

    Args:
        client: Speaks to the service.
        manifest: The commit's manifest.
        advance: Told of bytes that arrived, once of each file.
    """

    def __init__(
        self,
        client: "Client",
        manifest: Manifest,
        advance: Callable[[int], object] = lambda _size_bytes: None,
    ) -> None:
        self._client, self._advance = client, advance
        self.commit_id = manifest.commit_id
        self._sealed = {file.name: file for file in manifest.sealed}
        self._held: dict[str, IO[bytes]] = {}
        self._checked: set[str] = set()
        self._beside = {
            name: data
            for name in (MANIFEST_NAME, TIMESTAMP_NAME, RFC3161_NAME)
            if (data := self._document(name)) is not None
        }

    def names(self) -> list[str]:
        """Return the names of the files that there are, sorted; keyrings are not handed out."""
        return sorted([*self._beside, *self._sealed])

    def size(self, name: str) -> int:
        """Return a file's size in bytes.

        Raises:
            MissingDataError: It is not there.
        """
        if name in self._beside:
            return len(self._beside[name])
        if name in self._sealed:
            return self._sealed[name].size
        raise MissingDataError(f"commit {self.commit_id} has no {name}")

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the file's end.

        Raises:
            MissingDataError: It is not there.
            IntegrityError: It is not what was signed.
        """
        if name in self._beside:
            return self._beside[name][offset : offset + size]
        if name not in self._sealed:
            raise MissingDataError(f"commit {self.commit_id} has no {name}")
        file = self._held.get(name) or self._fetch(self._sealed[name])
        file.seek(offset)
        return file.read(size)

    def check(self, expected: SealedFile) -> None:
        """Check a sealed file, unless that has been done.

        Raises:
            IntegrityError: It is missing or damaged.
        """
        if expected.name not in self._checked:
            self._fetch(expected)

    def close(self) -> None:
        """Let go of all files."""
        for file in self._held.values():
            file.close()
        self._held.clear()

    def _document(self, name: str) -> bytes | None:
        try:
            return self._client.show_document(self.commit_id, name)
        except NotFoundError:
            return None

    def _fetch(self, expected: SealedFile) -> IO[bytes]:
        """Fetch a sealed file and check it; the one that was fetched first makes room for it."""
        while len(self._held) >= _HELD_MAX:
            self._held.pop(next(iter(self._held))).close()
        file = self._held[expected.name] = tempfile.TemporaryFile()  # noqa: SIM115  # closed below, or later
        try:
            self._receive(expected, file)
            check_file(self, expected)
        except BaseException:
            self._held.pop(expected.name).close()
            raise
        self._checked.add(expected.name)
        return file

    def _receive(self, expected: SealedFile, file: IO[bytes]) -> None:
        is_new = expected.name not in self._checked
        pieces = self._client.read_document(
            self.commit_id, expected.name, digest=expected.blake3, size_bytes=expected.size
        )
        try:
            with contextlib.closing(pieces):
                for piece in pieces:
                    file.write(piece)
                    if is_new:
                        self._advance(len(piece))
        except NotFoundError as error:
            raise MissingDataError(f"{expected.name} is missing: {error}") from error
