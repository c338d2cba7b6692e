"""The port through which a commit's files are read."""

from typing import Protocol


class CommitSource(Protocol):
    """The files of one commit, wherever they are."""

    commit_id: str

    def names(self) -> list[str]:
        """Return the names of the files that are there, sorted."""
        ...

    def size(self, name: str) -> int:
        """Return a file's size in bytes.

        Raises:
            MissingDataError: It is not there.
        """
        ...

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the file's end.

        Raises:
            MissingDataError: It is not there or cannot be read.
        """
        ...
