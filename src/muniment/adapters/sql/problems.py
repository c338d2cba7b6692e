"""Paths that could not be archived."""

from collections.abc import Sequence

from muniment.adapters.sql.transaction import Transaction
from muniment.archive.catalog import Problem

_DELETE = "DELETE FROM problems WHERE org_id = ? AND path = ?"
_INSERT = "INSERT INTO problems (org_id, path, message, noticed_at) VALUES (?, ?, ?, ?)"
_CLEAR = "DELETE FROM problems WHERE org_id = ? AND noticed_at < ?"
_ANY = "SELECT 1 FROM problems WHERE org_id = ? LIMIT 1"
_CLEAR_ARCHIVED = """DELETE FROM problems WHERE org_id = ? AND path IN (
        SELECT path FROM files WHERE commit_number = ? AND sequence IS NOT NULL
    )"""
_NEVER = 2**62
_PAGE = """SELECT path, message, noticed_at FROM problems
    WHERE org_id = ? AND (noticed_at < ? OR (noticed_at = ? AND path > ?))
    ORDER BY noticed_at DESC, path LIMIT ?"""


def record(transaction: Transaction, problems: Sequence[Problem]) -> None:
    """Remember problems; the last one of a path replaces the others."""
    org_id = transaction.org_id
    last = {problem.path: problem for problem in problems}
    known = transaction.run_many(_DELETE, [(org_id, path) for path in last])
    rows = [(org_id, path, problem.message, problem.noticed_at) for path, problem in last.items()]
    transaction.run_many(_INSERT, rows)
    transaction.change["problems"] += len(last) - known


def clear(transaction: Transaction, before: int) -> int:
    """Drop the problems noticed before a time, and return how many."""
    cleared = transaction.run(_CLEAR, transaction.org_id, before)
    transaction.change["problems"] -= cleared
    return cleared


def clear_archived(transaction: Transaction, number: int) -> None:
    """Drop the problems of the paths that a commit holds."""
    if transaction.rows(_ANY, transaction.org_id):
        cleared = transaction.run(_CLEAR_ARCHIVED, transaction.org_id, number)
        transaction.change["problems"] -= cleared


def page(transaction: Transaction, last: Problem | None, count: int) -> list[Problem]:
    """Return the next problems, newest first."""
    at, path = (_NEVER, b"") if last is None else (last.noticed_at, last.path)
    rows = transaction.rows(_PAGE, transaction.org_id, at, at, path, count)
    return [Problem(*row) for row in rows]
