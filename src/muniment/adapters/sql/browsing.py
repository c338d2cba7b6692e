"""The catalogue for whoever only looks: pages of files and commits, each from behind a place on."""

from collections.abc import Iterator
from contextlib import contextmanager

from muniment.adapters.sql import listing
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.transaction import Transaction
from muniment.archive.catalog import ArchivedFile, CommitRow, ScannedFile
from muniment.errors import NotFoundError


class CatalogBrowser:
    """Pages of one organisation's catalogue. Safe to use from several threads and processes.

    Args:
        database: Where the catalogue is.
        org_id: The organisation's number in it.
    """

    def __init__(self, database: Database, org_id: int) -> None:
        self._database = database
        self._org_id = org_id

    def archived_page(
        self, prefix: bytes, after: bytes | None, count: int, commit_id: str | None = None
    ) -> list[ArchivedFile]:
        """Return the newest archived version of each of the next paths, in order, from behind a path on.

        Args:
            prefix: Only this path and what lies below it; all when empty.
            after: The last path before.
            count: How many at most.
            commit_id: Only versions of this commit.

        Raises:
            NotFoundError: There is no such commit.
        """
        with self._reading() as transaction:
            return listing.archived_page(transaction, prefix, after, commit_id, count)

    def waiting_page(self, prefix: bytes, after: bytes | None, count: int) -> list[ScannedFile]:
        """Return the next versions that wait to be archived, or are being archived, in order of path."""
        with self._reading() as transaction:
            return listing.waiting_page(transaction, prefix, after, count)

    def digest_page(self, digest: bytes, after: tuple[str, int], count: int) -> list[ArchivedFile]:
        """Return the next archived versions with this content, by commit and leaf, from behind one on."""
        with self._reading() as transaction:
            return listing.digest_page(transaction, digest, after, count)

    def archived_file(self, commit_id: str, leaf: int) -> ArchivedFile:
        """Return one archived version.

        Raises:
            NotFoundError: There is none.
        """
        with self._reading() as transaction:
            found = listing.leaf(transaction, commit_id, leaf)
        if found is None:
            raise NotFoundError(f"there is no leaf {leaf} of a commit {commit_id!r}")
        return found

    def commits_page(self, before: listing.CommitPlace | None, count: int) -> list[CommitRow]:
        """Return the next commits from behind one on: the unfinished ones, newest first, then the chain from its end."""
        with self._reading() as transaction:
            return listing.commits_page(transaction, before, count)

    @contextmanager
    def _reading(self) -> Iterator[Transaction]:
        with self._database.transaction() as connection:
            yield Transaction(connection, self._database.dialect, self._org_id)
