"""Pages of files and commits for whoever browses the catalogue: in order of a key, from a key on."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Iterator

from sqlalchemy import func, select, tuple_

from muniment.adapters.sql import archived, commits
from muniment.adapters.sql.archived import Wanted
from muniment.adapters.sql.rows import ARCHIVED, KINDS, SCANNED, archived_file
from muniment.adapters.sql.schema import commits as commit_table
from muniment.adapters.sql.statements import Value
from muniment.adapters.sql.transaction import Transaction
from muniment.archive.catalog import ArchivedFile, CommitRow, CommitState, ScannedFile

CommitPlace = tuple[int, int, str]
"""Where a commit stands in a list: its place in the chain, or `UNFINISHED`; its time; its id."""

UNFINISHED = 1 << 62

_JOINED = f"SELECT {ARCHIVED} FROM files AS f JOIN commits AS c ON c.number = f.commit_number"
_LEAF = (
    f"{_JOINED} WHERE f.org_id = ? AND c.commit_id = ? AND f.leaf = ? AND f.sequence IS NOT NULL"
)
# The one kind of rows is where contents lie, the other refers to it: each has an index of its own.
_OF_DIGEST = f"""{_JOINED} WHERE f.org_id = ? AND f.digest = ? AND f.sequence IS NOT NULL
    AND (c.commit_id, f.leaf) > (?, ?) AND {{kind}} ORDER BY c.commit_id, f.leaf LIMIT ?"""
_KINDS_OF_DIGEST = (
    "f.content_offset IS NOT NULL AND f.content_commit_id IS NULL",
    "f.content_commit_id IS NOT NULL",
)
_WAITING = f"""SELECT {SCANNED} FROM files AS f WHERE f.org_id = ? AND {{paths}}
    AND f.commit_number IS NULL ORDER BY f.path LIMIT ?"""
_CLAIMED = f"""SELECT {", ".join("f." + name for name in SCANNED.split(", "))}
    FROM commits AS c JOIN files AS f ON f.commit_number = c.number
    WHERE c.org_id = ? AND c.state <> '{CommitState.STORED.value}' AND f.org_id = c.org_id AND {{paths}}
    AND f.sequence IS NULL ORDER BY f.path LIMIT ?"""


def ranges(prefix: bytes, after: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
    """Return the ranges (first path, path to stop before) that hold a path and all below it, from behind a path on."""
    # In order of path, `a.txt` comes between `a` and `a/b`.
    parts: list[tuple[bytes, bytes | None]] = [(b"", None)]
    if prefix:
        parts = [(prefix, prefix + b"\x00"), (prefix + b"/", prefix + b"0")]
    for first, end in parts:
        begin = first if after is None else max(first, after + b"\x00")
        if end is None or begin < end:
            yield begin, end


def archived_page(
    transaction: Transaction,
    prefix: bytes,
    after: bytes | None,
    commit_id: str | None,
    count: int,
) -> list[ArchivedFile]:
    """Return the newest archived version of each of the next paths, of all or of one commit's."""
    number = None if commit_id is None else commits.find(transaction, commit_id)[0]
    page: list[ArchivedFile] = []
    for first, end in ranges(prefix, after):
        wanted = Wanted(first, end, None, number)
        page += archived.newest_page(transaction, wanted, None, count - len(page))
        if len(page) >= count:
            break
    return page


def waiting_page(
    transaction: Transaction, prefix: bytes, after: bytes | None, count: int
) -> list[ScannedFile]:
    """Return the next versions that wait to be archived, or are being archived, in order of path."""
    page: list[ScannedFile] = []
    for first, end in ranges(prefix, after):
        paths = "f.path >= ?" if end is None else "f.path >= ? AND f.path < ?"
        values: list[Value] = [transaction.org_id, first, *(() if end is None else (end,))]
        for sql in (_WAITING, _CLAIMED):
            rows = transaction.rows(sql.format(paths=paths), *values, count)
            page += [ScannedFile(row[0], KINDS[row[1]], *row[2:]) for row in rows]
    return sorted(page, key=lambda file: file.path)[:count]


def leaf(transaction: Transaction, commit_id: str, number: int) -> ArchivedFile | None:
    """Return one archived version, or None."""
    rows = transaction.rows(_LEAF, transaction.org_id, commit_id, number)
    return archived_file(rows[0]) if rows else None


def digest_page(
    transaction: Transaction, digest: bytes, after: tuple[str, int], count: int
) -> list[ArchivedFile]:
    """Return the next archived versions with this content, in order of their commits' ids and their leaves."""
    page: list[ArchivedFile] = []
    for kind in _KINDS_OF_DIGEST:
        sql = _OF_DIGEST.format(kind=kind)
        rows = transaction.rows(sql, transaction.org_id, digest, *after, count)
        page += [archived_file(row) for row in rows]
    return sorted(page, key=lambda file: (file.commit_id, file.leaf))[:count]


def commits_page(
    transaction: Transaction, before: CommitPlace | None, count: int
) -> list[CommitRow]:
    """Return the next commits from behind one on: the unfinished ones, newest first, then the chain from its end."""
    columns = commit_table.c
    sequence = func.coalesce(columns.sequence, UNFINISHED)
    place = (sequence, columns.created_at, columns.commit_id)
    query = select(columns.number, *commits.COLUMNS).where(columns.org_id == transaction.org_id)
    if before is not None:
        query = query.where(tuple_(*place) < before)
    query = query.order_by(*(part.desc() for part in place)).limit(count)
    return [commits.row_of(values)[1] for values in transaction.connection.execute(query)]
