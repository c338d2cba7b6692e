"""Which job comes next: from delayed to blocked to ready, and organisations in turn.

Every function works inside a transaction of its caller. On PostgreSQL, jobs that another transaction has locked are passed over,
and the places of one concurrency key are given out by one transaction at a time.
"""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Sequence

from muniment.adapters.sql.job_rows import COLUMNS
from muniment.adapters.sql.statements import Row, Statements

_PROMOTED = 200
"""Jobs that one transaction makes ready, which bounds how long others wait for it."""

_DUE = """SELECT job_id, organization_id, concurrency_key FROM jobs
    WHERE phase = 'delayed' AND run_at <= ? ORDER BY run_at LIMIT ? {skip_locked}"""
_NEXT_BLOCKED = """SELECT job_id, concurrency_limit FROM jobs
    WHERE phase = 'blocked' AND organization_id = ? AND concurrency_key = ?
    ORDER BY priority DESC, run_at, job_id LIMIT 1"""
_TAKEN_PLACES = """SELECT COUNT(*) FROM jobs
    WHERE concurrency_key IS NOT NULL AND phase IN ('ready', 'running') AND organization_id = ? AND concurrency_key = ?"""
_OPEN = "UPDATE jobs SET phase = 'ready' WHERE job_id = ? AND phase = 'blocked'"
_PEEK = """SELECT
    EXISTS (SELECT 1 FROM jobs WHERE phase = 'delayed' AND run_at <= ?),
    EXISTS (SELECT 1 FROM jobs WHERE phase = 'running' AND lease_until < ? AND kind IN ({kinds})),
    EXISTS (SELECT 1 FROM jobs WHERE phase = 'ready' AND kind IN ({kinds}))"""
_NEXT_ORGANIZATION = """SELECT organization_id FROM jobs
    WHERE phase = 'ready' AND organization_id > ? AND kind IN ({kinds}) ORDER BY organization_id LIMIT 1"""
_FIRST_ORGANIZATION = _NEXT_ORGANIZATION.replace("organization_id > ?", "organization_id >= ?")
_START = """phase = 'running', token = token + 1, attempts = attempts + 1, worker = ?, lease_until = ?,
    started_at = COALESCE(started_at, ?)"""
_TAKE_READY = f"""UPDATE jobs SET {_START} WHERE phase = 'ready' AND job_id = (
        SELECT job_id FROM jobs WHERE phase = 'ready' AND organization_id = ? AND kind IN ({{kinds}})
        ORDER BY priority DESC, run_at, job_id LIMIT 1 {{skip_locked}}
    ) RETURNING {COLUMNS}"""
_SILENT = f"""SELECT {COLUMNS} FROM jobs WHERE phase = 'running' AND lease_until < ? AND kind IN ({{kinds}})
    ORDER BY lease_until LIMIT 1 {{skip_locked}}"""
_TAKE_OVER = f"UPDATE jobs SET {_START} WHERE job_id = ? RETURNING {COLUMNS}"


def peek(statements: Statements, kinds: Sequence[str], now: int) -> tuple[bool, bool, bool]:
    """Tell whether jobs are due, have a silent worker, or are ready: a look that locks nothing."""
    due, silent, ready = statements.row(_of(_PEEK, kinds), now, now, *kinds, *kinds)
    return bool(due), bool(silent), bool(ready)


def promote(statements: Statements, now: int) -> int:
    """Make jobs ready whose time has come, as far as their concurrency keys let them; return how many were looked at."""
    due = statements.rows(_DUE, now, _PROMOTED)
    statements.run_many(
        "UPDATE jobs SET phase = ? WHERE job_id = ?",
        [("ready" if key is None else "blocked", job_id) for job_id, _organization, key in due],
    )
    lanes = {(organization_id, key) for _job_id, organization_id, key in due if key is not None}
    for lane in sorted(
        lanes
    ):  # in one order, so that two that need the same ones cannot wait for each other
        give_places(statements, *lane)
    return len(due)


def give_places(statements: Statements, organization_id: str, concurrency_key: str) -> None:
    """Make the next jobs of a concurrency key ready, as long as it has places left."""
    lane = (organization_id, concurrency_key)
    statements.take_turns("jobs of " + " ".join(lane))
    while blocked := statements.rows(_NEXT_BLOCKED, *lane):
        ((job_id, limit),) = blocked
        if statements.row(_TAKEN_PLACES, *lane)[0] >= limit:
            return
        statements.run(_OPEN, job_id)


def take_ready(
    statements: Statements,
    kinds: Sequence[str],
    worker: str,
    now: int,
    lease_until: int,
    after: str | None,
) -> Row | None:
    """Begin the first job of the next organisation after one (None for none), or of those before it; None if there is none."""
    passed: set[str] = set()
    while True:
        organization_id = _next_organization(statements, kinds, after)
        if organization_id is None or organization_id in passed:
            return None
        sql = _of(_TAKE_READY, kinds)
        taken = statements.rows(sql, worker, lease_until, now, organization_id, *kinds)
        if taken:
            return taken[0]
        passed.add(organization_id)  # others have locked all of its jobs
        after = organization_id


def _next_organization(
    statements: Statements, kinds: Sequence[str], after: str | None
) -> str | None:
    if after is not None:
        found = statements.rows(_of(_NEXT_ORGANIZATION, kinds), after, *kinds)
        if found:
            return str(found[0][0])
    found = statements.rows(_of(_FIRST_ORGANIZATION, kinds), "", *kinds)
    return str(found[0][0]) if found else None


def find_silent(statements: Statements, kinds: Sequence[str], now: int) -> Row | None:
    """Lock and return the job that has waited longest for its silent worker, as a row of `COLUMNS`."""
    found = statements.rows(_of(_SILENT, kinds), now, *kinds)
    return found[0] if found else None


def take_over(statements: Statements, job_id: str, worker: str, now: int, lease_until: int) -> Row:
    """Begin a job that `find_silent` returned anew."""
    return statements.row(_TAKE_OVER, worker, lease_until, now, job_id)


def _of(sql: str, kinds: Sequence[str]) -> str:
    return sql.replace("{kinds}", ", ".join("?" * len(kinds)))
