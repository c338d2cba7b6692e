"""Versions on their way into a commit: claimed by it, put back, or dropped."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Collection, Iterable, Sequence

from muniment.adapters.sql.rows import CLAIMED
from muniment.adapters.sql.statements import WRITTEN, Row, batches
from muniment.adapters.sql.transaction import Transaction

# An unfinished commit holds the older versions of paths that changed meanwhile: these paths wait for it.
_CLAIM = """UPDATE files SET commit_number = ?, leaf = batch.leaf FROM (
        SELECT file_id, leaf FROM (
            SELECT file_id,
                ROW_NUMBER() OVER (ORDER BY path ROWS UNBOUNDED PRECEDING) - 1 AS leaf,
                SUM(size) OVER (ORDER BY path ROWS UNBOUNDED PRECEDING) AS running
            FROM (
                SELECT file_id, path, size FROM files
                WHERE org_id = ? AND commit_number IS NULL AND held = 0 AND path NOT IN (
                    SELECT older.path FROM commits JOIN files AS older ON older.commit_number = commits.number
                    WHERE commits.org_id = ? AND commits.state <> 'stored' AND older.latest = 0
                ) ORDER BY path LIMIT ?
            ) AS waiting
        ) AS measured WHERE running <= ? OR leaf = 0
    ) AS batch WHERE files.file_id = batch.file_id"""

_COUNT = "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM files WHERE org_id = ? AND commit_number = ?"
_PAGE = f"""SELECT {CLAIMED} FROM files
    WHERE org_id = ? AND commit_number = ? AND leaf > ? AND sequence IS NULL ORDER BY leaf LIMIT ?"""
_FIND = """SELECT file_id, path, size, latest FROM files
    WHERE org_id = ? AND commit_number IS NOT NULL AND sequence IS NULL AND file_id IN ({values})"""
_FIND_OF = """SELECT file_id, path, size, latest FROM files
    WHERE org_id = ? AND commit_number = ? AND sequence IS NULL LIMIT ?"""
_DELETE = "DELETE FROM files WHERE file_id = ? AND org_id = ?"
_PUT_BACK = """UPDATE files SET commit_number = NULL, leaf = NULL, held = ? WHERE file_id = ? AND org_id = ?"""
_RELEASE = "UPDATE files SET held = 0 WHERE org_id = ? AND commit_number IS NULL AND held = 1"
_RESTORE = """UPDATE files SET latest = 1 WHERE org_id = ? AND path = ?
    AND file_id = (
        SELECT file_id FROM files WHERE org_id = ? AND path = ? AND sequence IS NOT NULL
        ORDER BY sequence DESC, file_id DESC LIMIT 1
    ) AND NOT EXISTS (SELECT 1 FROM files WHERE org_id = ? AND path = ? AND latest = 1)"""


def claim(transaction: Transaction, number: int, max_bytes: int, max_files: int) -> tuple[int, int]:
    """Give a commit the next pending versions, numbered in order of path; return their count and bytes."""
    org_id = transaction.org_id
    claimed = transaction.run(_CLAIM, number, org_id, org_id, max(max_files, 1), max_bytes)
    if not claimed:
        return 0, 0
    transaction.touched(claimed)
    files, size_bytes = transaction.row(_COUNT, org_id, number)
    return int(files), int(size_bytes)


def claimed_page(transaction: Transaction, number: int, after: int, count: int) -> list[Row]:
    """Return the next claimed versions of a commit, as rows of `CLAIMED`."""
    return transaction.rows(_PAGE, transaction.org_id, number, after, count)


def put_back(
    transaction: Transaction, file_ids: Iterable[int], held_paths: Collection[bytes] = ()
) -> None:
    """Make claimed versions pending again, those of `held_paths` only until the next run."""
    for part in batches(file_ids, WRITTEN):
        _put_back(transaction, _found(transaction, part), held_paths)


def put_back_all(transaction: Transaction, number: int) -> None:
    """Make whatever a commit has claimed pending again."""
    while rows := transaction.rows(_FIND_OF, transaction.org_id, number, WRITTEN):
        _put_back(transaction, rows, ())


def forget(transaction: Transaction, file_ids: Iterable[int]) -> None:
    """Drop claimed versions; the version before becomes the latest that is known of its path."""
    for part in batches(file_ids, WRITTEN):
        rows = _found(transaction, part)
        _delete(transaction, rows)
        restore_latest(transaction, [row[1] for row in rows])


def release(transaction: Transaction) -> None:
    """Let versions that were put back with a problem be claimed again."""
    transaction.run(_RELEASE, transaction.org_id)


def restore_latest(transaction: Transaction, paths: Iterable[bytes]) -> None:
    """Mark the newest archived version of each path as its latest, where none is."""
    org_id = transaction.org_id
    for part in batches(paths, WRITTEN):
        transaction.run_many(_RESTORE, [(org_id, path) * 3 for path in part])


def _found(transaction: Transaction, file_ids: Sequence[int]) -> list[Row]:
    return list(transaction.sought(_FIND, file_ids, transaction.org_id))


def _put_back(transaction: Transaction, rows: list[Row], held_paths: Collection[bytes]) -> None:
    """Drop the versions of which a newer one is pending, and make the others pending."""
    _delete(transaction, [row for row in rows if not row[3]])
    values = [(int(row[1] in held_paths), row[0], transaction.org_id) for row in rows if row[3]]
    transaction.run_many(_PUT_BACK, values)


def _delete(transaction: Transaction, rows: list[Row]) -> None:
    transaction.run_many(_DELETE, [(row[0], transaction.org_id) for row in rows])
    transaction.change["pending_files"] -= len(rows)
    transaction.change["pending_bytes"] -= sum(row[2] for row in rows)
