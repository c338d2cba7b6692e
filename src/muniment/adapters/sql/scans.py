"""Recording what a scan saw: which paths are new or changed since they were last seen."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Sequence

from muniment.adapters.sql.rows import SCANNED, scanned_values
from muniment.adapters.sql.statements import Row, batches
from muniment.adapters.sql.transaction import Transaction
from muniment.archive.catalog import ScanCounts, ScannedFile

_LATEST = f"SELECT {SCANNED} FROM files WHERE org_id = ? AND latest = 1 AND path IN ({{values}})"
_STANDING = """SELECT path, file_id, size, commit_number IS NULL, inode
    FROM files WHERE org_id = ? AND latest = 1 AND path IN ({values})"""
_INSERT = f"INSERT INTO files (org_id, latest, {SCANNED}) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?)"
_REPLACE = """UPDATE files SET held = 0, kind = ?, size = ?, mode = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, target = ?
    WHERE file_id = ? AND org_id = ?"""
_SUPERSEDE = "UPDATE files SET latest = 0 WHERE file_id = ? AND org_id = ?"
_LEARN_INODE = "UPDATE files SET inode = ? WHERE file_id = ? AND org_id = ?"

_TOGETHER = 20_000


def record_scan(transaction: Transaction, scanned: Sequence[ScannedFile]) -> ScanCounts:
    """Do what `Catalog.record_scan` says."""
    counts = ScanCounts()
    for batch in batches(scanned, _TOGETHER):
        counts += _record(transaction, {file.path: file for file in batch})
    return counts


def _record(transaction: Transaction, seen: dict[bytes, ScannedFile]) -> ScanCounts:
    known = {row[0]: row for row in transaction.sought(_LATEST, list(seen), transaction.org_id)}
    # A row is a plain tuple of the same values in the same order, so this compares without making an object.
    differing = [file for path, file in seen.items() if known.get(path) != file]
    new = [file for file in differing if file.path not in known]
    changed = [file for file in differing if file.path in known]
    if changed:
        changed = _record_changed(transaction, changed, known)
    _insert(transaction, new)
    return ScanCounts(len(new), len(changed), len(seen) - len(new) - len(changed))


def _insert(transaction: Transaction, files: Sequence[ScannedFile]) -> None:
    org_id = transaction.org_id
    transaction.run_many(_INSERT, [(org_id, *scanned_values(file)) for file in files])
    transaction.touched(len(files))
    transaction.change["pending_files"] += len(files)
    transaction.change["pending_bytes"] += sum(file.size for file in files)


def _record_changed(
    transaction: Transaction, files: list[ScannedFile], known: dict[bytes, Row]
) -> list[ScannedFile]:
    """Replace versions that still wait, add a version to the others, and return what really changed."""
    org_id = transaction.org_id
    paths = [file.path for file in files]
    standing = {row[0]: row[1:] for row in transaction.sought(_STANDING, paths, org_id)}
    learned, replaced, superseded, added = [], [], [], []
    for file in files:
        file_id, size, is_pending, inode = standing[file.path]
        if inode == 0 and known[file.path] == file._replace(inode=0):
            learned.append((file.inode, file_id, org_id))
        elif is_pending:
            replaced.append((*scanned_values(file)[1:], file_id, org_id))
            transaction.change["pending_bytes"] += file.size - size
        else:
            superseded.append((file_id, org_id))
            added.append(file)
    transaction.run_many(_LEARN_INODE, learned)
    transaction.run_many(_REPLACE, replaced)
    transaction.run_many(_SUPERSEDE, superseded)
    _insert(transaction, added)
    unknown = {file_id for _inode, file_id, _org in learned}
    return [file for file in files if standing[file.path][0] not in unknown]
