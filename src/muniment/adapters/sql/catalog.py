"""The catalogue on a SQL database: the port's methods, each one transaction."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from muniment.adapters.sql import archived, claims, commits, copying, problems, scans, totals
from muniment.adapters.sql.archived import Wanted
from muniment.adapters.sql.browsing import CatalogBrowser
from muniment.adapters.sql.engine import Database, open_database
from muniment.adapters.sql.migrations import migrate
from muniment.adapters.sql.rows import claimed_file
from muniment.adapters.sql.statements import Row, Statements
from muniment.adapters.sql.transaction import Transaction
from muniment.archive.catalog import (
    ArchivedFile,
    ChunkBytesFor,
    ClaimedFile,
    CommitRow,
    CommitState,
    ContentPlace,
    Problem,
    ScanCounts,
    ScannedFile,
    Totals,
)
from muniment.errors import ConflictError

T = TypeVar("T")

_PAGE = 5_000
"""Rows read at once by what iterates, which bounds the memory."""

REBUILD = "the archive itself is safe: move the file away and run `muniment rebuild`"


def open_catalog(
    url_or_path: str | os.PathLike[str],
    organization_id: str,
    organization_name: str,
    remedy: str = REBUILD,
) -> "SqlCatalog":
    """Open an organisation's catalogue, creating database, schema and organisation where they are absent.

    Args:
        url_or_path: A SQLAlchemy URL, or the path of a SQLite file.
        organization_id: The organisation's id, as in its manifests.
        organization_name: Its name; replaces the one stored.
        remedy: What messages say is to be done when the database is damaged.

    Raises:
        UsageError: The database cannot be opened.
        FormatError: The database was written by a newer Muniment.
        IntegrityError: The file is damaged or no database.
    """
    database = open_database(url_or_path, remedy=remedy)
    try:
        migrate(database)
        org_id = _enter_organization(database, organization_id, organization_name)
    except BaseException:
        database.close()
        raise
    return SqlCatalog(database, org_id)


def shared_catalog(
    database: Database, organization_id: str, organization_name: str
) -> "SqlCatalog":
    """Return an organisation's catalogue in a database that others use too, and that has the catalogue's schema; closing it closes nothing."""
    org_id = _enter_organization(database, organization_id, organization_name)
    return SqlCatalog(database, org_id, is_shared=True)


def _enter_organization(database: Database, identifier: str, name: str) -> int:
    find = "SELECT org_id, name FROM organizations WHERE id = ?"
    with database.transaction() as connection:
        found = Statements(connection, database.dialect).rows(find, identifier)
    if found and found[0][1] == name:
        return int(found[0][0])
    with database.transaction(write=True) as connection:
        statements = Statements(connection, database.dialect)
        statements.take_turns("organisations of the catalogue")
        if statements.run("UPDATE organizations SET name = ? WHERE id = ?", name, identifier) == 0:
            statements.run("INSERT INTO organizations (id, name) VALUES (?, ?)", identifier, name)
            org_id = statements.row(find, identifier)[0]
            statements.run("INSERT INTO totals (org_id) VALUES (?)", org_id)
        return int(statements.row(find, identifier)[0])


class SqlCatalog(CatalogBrowser):
    """`Catalog` on SQLAlchemy. Safe to use from several threads and processes: writers take turns.

    Args:
        database: Where it is, with the catalogue's schema.
        org_id: The organisation's number in it.
        is_shared: Whether others use the database, who close it.
    """

    def __init__(self, database: Database, org_id: int, *, is_shared: bool = False) -> None:
        super().__init__(database, org_id)
        self._is_shared = is_shared

    def record_scan(self, scanned: Sequence[ScannedFile]) -> ScanCounts:
        """See `Catalog.record_scan`."""
        with self._writing() as transaction:
            return scans.record_scan(transaction, scanned)

    def claim(
        self,
        commit_id: str,
        *,
        created_at: int,
        chunk_bytes_for: ChunkBytesFor,
        max_bytes: int,
        max_files: int,
        expires_at: int,
    ) -> CommitRow | None:
        """See `Catalog.claim`."""
        row = CommitRow(commit_id, CommitState.COLLECTED, created_at, chunk_bytes=0)
        with self._writing() as transaction:
            number = commits.add(transaction, row, claim_expires_at=expires_at)
            files, size_bytes = claims.claim(transaction, number, max_bytes, max_files)
            if files == 0:
                commits.remove(transaction, number, row)
                return None
            chunk_bytes = chunk_bytes_for(size_bytes, files)
            return commits.change(transaction, number, row, chunk_bytes=chunk_bytes)

    def claimed(self, commit_id: str) -> Iterator[ClaimedFile]:
        """See `Catalog.claimed`."""
        number = self._number(commit_id)

        def read(transaction: Transaction, last: Row | None) -> list[Row]:
            return claims.claimed_page(transaction, number, -1 if last is None else last[0], _PAGE)

        return map(claimed_file, self._pages(read))

    def unclaim(self, file_ids: Iterable[int], problems: Sequence[Problem] = ()) -> None:
        """See `Catalog.unclaim`."""
        with self._writing() as transaction:
            claims.put_back(transaction, file_ids, {problem.path for problem in problems})
            _record_problems(transaction, problems)

    def forget(self, file_ids: Iterable[int], problems: Sequence[Problem] = ()) -> None:
        """See `Catalog.forget`."""
        with self._writing() as transaction:
            claims.forget(transaction, file_ids)
            _record_problems(transaction, problems)

    def expire_claims(self, now: int) -> list[str]:
        """See `Catalog.expire_claims`."""
        with self._writing() as transaction:
            claims.release(transaction)
            expired = commits.expired(transaction, now)
            for number, row in expired:
                claims.put_back_all(transaction, number)
                commits.remove(transaction, number, row)
            return [row.commit_id for _number, row in expired]

    def drop_commit(self, commit_id: str) -> None:
        """See `Catalog.drop_commit`."""
        with self._writing() as transaction:
            number, row = commits.find(transaction, commit_id)
            if row.state is CommitState.STORED:
                raise ConflictError(f"commit {commit_id} is stored and cannot be dropped")
            claims.put_back_all(transaction, number)
            commits.remove(transaction, number, row)

    def advance(self, commit_id: str, state: CommitState, **columns: object) -> CommitRow:
        """See `Catalog.advance`."""
        if state is CommitState.STORED or "state" in columns:
            raise TypeError("a commit becomes stored by finish() alone")
        with self._writing() as transaction:
            number, row = commits.find(transaction, commit_id)
            commits.require_before(row, state)
            return commits.change(transaction, number, row, state=state, **columns)

    def update_commit(self, commit_id: str, **columns: object) -> CommitRow:
        """See `Catalog.update_commit`."""
        if "state" in columns:
            raise TypeError("a commit's state is changed by advance() and finish()")
        with self._writing() as transaction:
            number, row = commits.find(transaction, commit_id)
            return commits.change(transaction, number, row, **columns)

    def chain_head(self) -> CommitRow | None:
        """See `Catalog.chain_head`."""
        with self._reading() as transaction:
            return commits.chain_head(transaction)

    def finish(
        self, commit_id: str, archived_files: Iterable[ArchivedFile], **columns: object
    ) -> CommitRow:
        """See `Catalog.finish`."""
        with self._writing() as transaction:
            number, row = commits.find(transaction, commit_id)
            commits.require_before(row, CommitState.STORED)
            stored = commits.change(transaction, number, row, state=CommitState.STORED, **columns)
            if stored.sequence is None:
                raise ConflictError(
                    f"commit {commit_id} cannot be stored: it has no place in the chain"
                )
            archived.enter(transaction, number, commit_id, stored.sequence, archived_files)
            problems.clear_archived(transaction, number)
            return stored

    def insert_commit(self, row: CommitRow, archived_files: Iterable[ArchivedFile]) -> None:
        """See `Catalog.insert_commit`."""
        sequence = row.sequence
        if sequence is None:
            raise ConflictError(
                f"commit {row.commit_id} cannot be added: it has no place in the chain"
            )
        row = replace(row, state=CommitState.STORED)
        with self._writing() as transaction:
            _remove_commit(transaction, row.commit_id)
            number = commits.add(transaction, row)
            archived.enter(transaction, number, row.commit_id, sequence, archived_files)
            problems.clear_archived(transaction, number)

    def commit(self, commit_id: str) -> CommitRow:
        """See `Catalog.commit`."""
        with self._reading() as transaction:
            return commits.find_beginning(transaction, commit_id)

    def commits(self, *states: CommitState) -> Iterator[CommitRow]:
        """See `Catalog.commits`."""

        def read(
            transaction: Transaction, last: tuple[int, CommitRow] | None
        ) -> list[tuple[int, CommitRow]]:
            after = (-(2**62), 0) if last is None else (last[1].created_at, last[0])
            return commits.page(transaction, states, after, _PAGE)

        return (row for _number, row in self._pages(read))

    def files_of(self, commit_id: str) -> Iterator[ArchivedFile]:
        """See `Catalog.files_of`."""
        number = self._number(commit_id)

        def read(transaction: Transaction, last: ArchivedFile | None) -> list[ArchivedFile]:
            return archived.leaves_page(
                transaction, number, -1 if last is None else last.leaf, _PAGE
            )

        return self._pages(read)

    def newest(
        self, *, prefix: bytes = b"", at: int | None = None, commit_id: str | None = None
    ) -> Iterator[ArchivedFile]:
        """See `Catalog.newest`."""
        number = None if commit_id is None else self._number(commit_id)
        prefix = prefix.strip(b"/")
        if not prefix:
            yield from self._newest(Wanted(b"", None, at, number))
            return
        # In order of path, `a.txt` comes between `a` and `a/b`.
        yield from self._newest(Wanted(prefix, prefix + b"\x00", at, number))
        yield from self._newest(Wanted(prefix + b"/", prefix + b"0", at, number))

    def find_content(self, digests: Sequence[bytes]) -> dict[bytes, ContentPlace]:
        """See `Catalog.find_content`."""
        with self._reading() as transaction:
            return archived.find_content(transaction, digests)

    def known_sizes(self, sizes: Sequence[int]) -> set[int]:
        """See `Catalog.known_sizes`."""
        with self._reading() as transaction:
            return archived.known_sizes(transaction, sizes)

    def record_problems(self, problems: Sequence[Problem]) -> None:
        """See `Catalog.record_problems`."""
        with self._writing() as transaction:
            _record_problems(transaction, problems)

    def clear_problems(self, before: int) -> int:
        """See `Catalog.clear_problems`."""
        with self._writing() as transaction:
            return problems.clear(transaction, before)

    def problems(self) -> Iterator[Problem]:
        """See `Catalog.problems`."""

        def read(transaction: Transaction, last: Problem | None) -> list[Problem]:
            return problems.page(transaction, last, _PAGE)

        return self._pages(read)

    def totals(self) -> Totals:
        """See `Catalog.totals`."""
        with self._reading() as transaction:
            return totals.read(transaction)

    def recount(self) -> Totals:
        """See `Catalog.recount`."""
        with self._reading() as transaction:
            return totals.recount(transaction)

    def mend_totals(self) -> None:
        """Replace the totals by what a recount gives."""
        with self._writing() as transaction:
            totals.mend(transaction)

    def copy_to(self, file: Path) -> None:
        """Copy the catalogue as it is now to a new SQLite file, to try something out on it."""
        copying.copy_organization(self._database, self._org_id, file)

    def roots(self) -> list[bytes]:
        """See `Catalog.roots`."""
        with self._reading() as transaction:
            sql = "SELECT path FROM roots WHERE org_id = ? ORDER BY path"
            return [row[0] for row in transaction.rows(sql, self._org_id)]

    def add_root(self, path: bytes) -> None:
        """See `Catalog.add_root`."""
        with self._writing() as transaction:
            transaction.run("DELETE FROM roots WHERE org_id = ? AND path = ?", self._org_id, path)
            transaction.run("INSERT INTO roots (org_id, path) VALUES (?, ?)", self._org_id, path)

    def close(self) -> None:
        """See `Catalog.close`."""
        if not self._is_shared:
            self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with self._database.transaction(write=True) as connection:
            transaction = Transaction(connection, self._database.dialect, self._org_id)
            transaction.begin()
            yield transaction
            transaction.end()

    def _pages(self, read: Callable[[Transaction, T | None], list[T]]) -> Iterator[T]:
        """Iterate over pages, each in a transaction of its own; `read` gets the last item before its page."""
        last: T | None = None
        while True:
            with self._reading() as transaction:
                page = read(transaction, last)
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1]

    def _newest(self, wanted: Wanted) -> Iterator[ArchivedFile]:
        def read(transaction: Transaction, last: ArchivedFile | None) -> list[ArchivedFile]:
            after = None if last is None else last.scanned.path
            return archived.newest_page(transaction, wanted, after, _PAGE)

        previous = None
        for file in self._pages(read):
            if file.scanned.path != previous:  # two chains, or a strange commit, can hold it twice
                yield file
            previous = file.scanned.path

    def _number(self, commit_id: str) -> int:
        with self._reading() as transaction:
            return commits.find(transaction, commit_id)[0]


def _record_problems(transaction: Transaction, found: Sequence[Problem]) -> None:
    if found:
        problems.record(transaction, found)


def _remove_commit(transaction: Transaction, commit_id: str) -> None:
    found = commits.find_exact(transaction, commit_id)
    if found is not None:
        number, row = found
        claims.put_back_all(transaction, number)
        archived.remove(transaction, number)
        commits.remove(transaction, number, row)
