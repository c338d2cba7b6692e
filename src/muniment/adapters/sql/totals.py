"""The totals of an organisation: read from the row that every transaction keeps, or counted anew."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections import Counter

from muniment.adapters.sql import commits
from muniment.adapters.sql.transaction import Transaction
from muniment.archive.catalog import CommitState, Totals

NAMES = (
    "pending_files",
    "pending_bytes",
    "archived_files",
    "archived_bytes",
    "sealed_bytes",
    "commits",
    "unfinished_commits",
    "timestamps_queued",
    "timestamps_pending",
    "not_backed_up",
    "problems",
)

_READ = f"SELECT {', '.join(NAMES)} FROM totals WHERE org_id = ?"
_REPLACE = f"UPDATE totals SET {', '.join(f'{name} = ?' for name in NAMES)} WHERE org_id = ?"
_FILES = """SELECT sequence IS NOT NULL, COUNT(*), COALESCE(SUM(size), 0) FROM files WHERE org_id = ? GROUP BY 1"""
_PROBLEMS = "SELECT COUNT(*) FROM problems WHERE org_id = ?"


def read(transaction: Transaction) -> Totals:
    """Read the totals as they were kept."""
    counts = dict(zip(NAMES, transaction.row(_READ, transaction.org_id), strict=True))
    return Totals(**counts, last_commit=commits.chain_head(transaction, CommitState.STORED))


def mend(transaction: Transaction) -> None:
    """Replace the totals by what a recount gives."""
    counted = recount(transaction)
    transaction.run(_REPLACE, *(getattr(counted, name) for name in NAMES), transaction.org_id)


def recount(transaction: Transaction) -> Totals:
    """Count everything anew."""
    counts = Counter(dict.fromkeys(NAMES, 0))
    for is_archived, files, size_bytes in transaction.rows(_FILES, transaction.org_id):
        name = "archived" if is_archived else "pending"
        counts[f"{name}_files"] = int(files)
        counts[f"{name}_bytes"] = int(size_bytes)
    for row in commits.iterate(transaction):
        counts.update(commits.contribution(row))
    counts["problems"] = transaction.row(_PROBLEMS, transaction.org_id)[0]
    return Totals(**counts, last_commit=commits.chain_head(transaction, CommitState.STORED))
