"""Archived versions: entering them, and finding them again."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from muniment.adapters.sql.claims import put_back_all, restore_latest
from muniment.adapters.sql.rows import (
    ARCHIVED,
    ARCHIVED_VALUES,
    SCANNED,
    archived_file,
    archived_values,
    scanned_values,
)
from muniment.adapters.sql.statements import SOUGHT, WRITTEN, Row, Value, batches
from muniment.adapters.sql.transaction import Transaction
from muniment.archive.catalog import ArchivedFile, ContentPlace
from muniment.errors import ConflictError

_ASSIGNMENTS = ", ".join(f"{name} = ?" for name in ARCHIVED_VALUES.split(", "))
_PARAMETERS = ", ".join("?" * len(ARCHIVED_VALUES.split(", ")))
_PLACES = """SELECT file_id, leaf FROM files
    WHERE org_id = ? AND commit_number = ? AND leaf BETWEEN ? AND ? AND sequence IS NULL"""
# One row, found by its number. Said without COALESCE, a planner that knows of no claimed versions yet reads all of them for each.
_CLAIMED_BY = "file_id = ? AND org_id = ? AND COALESCE(commit_number, 0) = ?"
_MOVE = f"UPDATE files SET leaf = ? WHERE {_CLAIMED_BY}"
_UPDATE = f"UPDATE files SET {_ASSIGNMENTS} WHERE {_CLAIMED_BY} AND sequence IS NULL"
_INSERT = f"""INSERT INTO files (org_id, commit_number, leaf, path, latest, {ARCHIVED_VALUES})
    VALUES (?, ?, ?, ?, ?, {_PARAMETERS})"""
_CLAIM_ONE = "UPDATE files SET commit_number = ?, held = 0 WHERE file_id = ? AND org_id = ?"
_SUPERSEDE = "UPDATE files SET latest = 0 WHERE org_id = ? AND path = ? AND latest = 1"
_STANDING = f"""SELECT {SCANNED}, file_id, commit_number IS NULL, sequence
    FROM files WHERE org_id = ? AND latest = 1 AND path IN ({{values}})"""
_COUNT = """SELECT COUNT(*), COALESCE(SUM(size), 0) FROM files
    WHERE org_id = ? AND commit_number = ? AND sequence IS NOT NULL"""
_COUNT_CLAIMED = """SELECT COUNT(*), COALESCE(SUM(size), 0) FROM files
    WHERE org_id = ? AND commit_number = ? AND sequence IS NULL"""
_PATHS = "SELECT path FROM files WHERE org_id = ? AND commit_number = ? AND latest = 1"
_DELETE = "DELETE FROM files WHERE org_id = ? AND commit_number = ? AND sequence IS NOT NULL"

_JOINED = f"SELECT {ARCHIVED} FROM files AS f JOIN commits AS c ON c.number = f.commit_number"
_LEAVES = f"""{_JOINED} WHERE f.org_id = ? AND f.commit_number = ? AND f.leaf > ? AND f.sequence IS NOT NULL
    ORDER BY f.leaf LIMIT ?"""
_BY_DIGEST = """SELECT f.digest, c.commit_id, f.leaf, f.content_offset, f.sealed_size, f.packed_size, f.compression
    FROM files AS f JOIN commits AS c ON c.number = f.commit_number
    WHERE f.content_offset IS NOT NULL AND f.content_commit_id IS NULL AND f.org_id = ? AND f.digest IN ({values})"""
# One look-up a size, however many files have it.
_SIZES = f"""WITH sought (size) AS (VALUES {", ".join(["(?)"] * SOUGHT)}) SELECT DISTINCT size FROM sought WHERE EXISTS (
        SELECT 1 FROM files AS f WHERE f.content_offset IS NOT NULL AND f.content_commit_id IS NULL
        AND f.org_id = ? AND f.size = sought.size
    )"""


def enter(
    transaction: Transaction,
    number: int,
    commit_id: str,
    sequence: int,
    files: Iterable[ArchivedFile],
) -> None:
    """Mark claimed versions as archived, and insert those without a number; what else was claimed is pending again.

    Raises:
        ConflictError: A version is not claimed by this commit.
    """
    files_before, bytes_before = transaction.row(_COUNT_CLAIMED, transaction.org_id, number)
    updated = 0
    for batch in batches(files, WRITTEN):
        numbered = [file for file in batch if file.file_id is not None]
        _update(transaction, number, commit_id, sequence, numbered)
        _insert(transaction, number, commit_id, sequence, [f for f in batch if f.file_id is None])
        transaction.touched(len(batch))
        transaction.change["archived_files"] += len(batch)
        transaction.change["archived_bytes"] += sum(file.scanned.size for file in batch)
        updated += len(numbered)
    transaction.change["pending_files"] -= int(files_before)
    transaction.change["pending_bytes"] -= int(bytes_before)
    if files_before > updated:
        files_left, bytes_left = transaction.row(_COUNT_CLAIMED, transaction.org_id, number)
        transaction.change["pending_files"] += int(files_left)
        transaction.change["pending_bytes"] += int(bytes_left)
        put_back_all(transaction, number)


def _update(
    transaction: Transaction,
    number: int,
    commit_id: str,
    sequence: int,
    files: Sequence[ArchivedFile],
) -> None:
    where = (transaction.org_id, number)
    _number_leaves(transaction, number, files)
    values = [(*archived_values(file, commit_id, sequence), file.file_id, *where) for file in files]
    if transaction.run_many(_UPDATE, values) != len(values):
        raise ConflictError(
            f"commit {commit_id} cannot be finished: it has lost its claim on some of its files"
        )


def _number_leaves(transaction: Transaction, number: int, files: Sequence[ArchivedFile]) -> None:
    """Give versions their leaf numbers. Most have them from the claim, and writing one costs more than asking."""
    if not files:
        return
    where = (transaction.org_id, number)
    leaves: dict[int | None, int] = dict(
        transaction.rows(_PLACES, *where, files[0].leaf, files[-1].leaf)
    )
    moved = [
        (file.leaf, file.file_id, *where) for file in files if leaves.get(file.file_id) != file.leaf
    ]
    transaction.run_many(_MOVE, moved)


def _insert(
    transaction: Transaction,
    number: int,
    commit_id: str,
    sequence: int,
    files: Sequence[ArchivedFile],
) -> None:
    """Insert versions that the catalogue does not have; those that it has as pending are archived as they are."""
    org_id = transaction.org_id
    paths = list(dict.fromkeys(file.scanned.path for file in files))
    standing = {row[0]: row for row in transaction.sought(_STANDING, paths, org_id)}
    waiting: list[ArchivedFile] = []
    superseded: list[tuple[Value, ...]] = []
    rows: list[tuple[Value, ...]] = []
    for file in files:
        path = file.scanned.path
        latest = standing.get(path)
        if latest is not None and _waits_as(latest, file):
            waiting.append(_numbered(file, latest))
        elif latest is None or _is_older(latest, sequence):
            superseded.append((org_id, path))
            rows.append(
                (org_id, number, file.leaf, path, 1, *archived_values(file, commit_id, sequence))
            )
        else:
            rows.append(
                (org_id, number, file.leaf, path, 0, *archived_values(file, commit_id, sequence))
            )
            continue
        standing[path] = (*scanned_values(file.scanned), None, False, sequence)
    transaction.run_many(_SUPERSEDE, superseded)
    transaction.run_many(_INSERT, rows)
    _take(transaction, number, waiting)
    _update(transaction, number, commit_id, sequence, waiting)


def _waits_as(latest: Row, file: ArchivedFile) -> bool:
    """Tell whether the latest version of a path is pending and is the one that `file` describes."""
    *scanned, _file_id, is_pending, _sequence = latest
    return bool(is_pending) and file.scanned._replace(inode=scanned[6]) == tuple(scanned)


def _is_older(latest: Row, sequence: int) -> bool:
    """Tell whether the latest version of a path is archived by a commit before this sequence."""
    return latest[-1] is not None and latest[-1] < sequence


def _numbered(file: ArchivedFile, latest: Row) -> ArchivedFile:
    scanned = file.scanned._replace(inode=latest[6])
    return replace(file, file_id=latest[8], scanned=scanned)


def _take(transaction: Transaction, number: int, files: Sequence[ArchivedFile]) -> None:
    """Claim pending versions, whatever their place in the order."""
    values = [(number, file.file_id, transaction.org_id) for file in files]
    transaction.run_many(_CLAIM_ONE, values)
    transaction.change["pending_files"] -= len(files)
    transaction.change["pending_bytes"] -= sum(file.scanned.size for file in files)


def remove(transaction: Transaction, number: int) -> None:
    """Delete the archived versions of a commit."""
    org_id = transaction.org_id
    files, size_bytes = transaction.row(_COUNT, org_id, number)
    paths = [row[0] for row in transaction.rows(_PATHS, org_id, number)]
    transaction.run(_DELETE, org_id, number)
    restore_latest(transaction, paths)
    transaction.change["archived_files"] -= int(files)
    transaction.change["archived_bytes"] -= int(size_bytes)


def leaves_page(
    transaction: Transaction, number: int, after: int, count: int
) -> list[ArchivedFile]:
    """Return the next leaves of a commit."""
    rows = transaction.rows(_LEAVES, transaction.org_id, number, after, count)
    return [archived_file(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which versions `newest_page` looks at.

    Attributes:
        first: The first path.
        end: The path to stop before, or None.
        at: Only commits created at or before then, if given.
        number: Only this commit, if given.
    """

    first: bytes
    end: bytes | None
    at: int | None
    number: int | None


def newest_page(
    transaction: Transaction, wanted: Wanted, after: bytes | None, count: int
) -> list[ArchivedFile]:
    """Return the newest archived version of each of the next paths, in order; `after` is the last path before."""
    org_id = transaction.org_id
    values: list[Value] = [org_id, wanted.first if after is None else after]
    conditions = ["f.path >= ?" if after is None else "f.path > ?"]
    if wanted.end is not None:
        conditions.append("f.path < ?")
        values.append(wanted.end)
    if wanted.at is not None:
        conditions.append("c.created_at <= ?")
        values.append(wanted.at)
    if wanted.number is not None:
        conditions.append("f.commit_number = ?")
        values.append(wanted.number)
    else:
        newest, newest_values = _newest_sequence(wanted.at)
        conditions.append(f"f.sequence = ({newest})")
        values += newest_values
    sql = f"""{_JOINED} WHERE f.sequence IS NOT NULL AND f.org_id = ? AND {" AND ".join(conditions)}
        ORDER BY f.path, f.file_id DESC LIMIT ?"""
    return [archived_file(row) for row in transaction.rows(sql, *values, count)]


def _newest_sequence(at: int | None) -> tuple[str, list[Value]]:
    """Return the query for the highest sequence in which the path of `f` is archived."""
    older = "older.sequence IS NOT NULL AND older.org_id = f.org_id AND older.path = f.path"
    if at is None:
        return f"SELECT MAX(older.sequence) FROM files AS older WHERE {older}", []
    joined = "files AS older JOIN commits AS its ON its.number = older.commit_number"
    return f"SELECT MAX(older.sequence) FROM {joined} WHERE {older} AND its.created_at <= ?", [at]


def find_content(transaction: Transaction, digests: Iterable[bytes]) -> dict[bytes, ContentPlace]:
    """Find where contents lie, by their digests."""
    places: dict[bytes, ContentPlace] = {}
    for digest, *place in transaction.sought(
        _BY_DIGEST, list(dict.fromkeys(digests)), transaction.org_id
    ):
        places.setdefault(digest, ContentPlace(*place))
    return places


def known_sizes(transaction: Transaction, sizes: Iterable[int]) -> set[int]:
    """Tell which sizes some stored content has."""
    known: set[int] = set()
    for part in batches(dict.fromkeys(sizes), SOUGHT):
        padding = part[-1:] * (SOUGHT - len(part))
        rows = transaction.rows(_SIZES, *part, *padding, transaction.org_id)
        known.update(row[0] for row in rows)
    return known
