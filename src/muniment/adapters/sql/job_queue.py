"""Which job comes next: from delayed to blocked to ready, in turn.

Jobs of one organisation with one concurrency key are a lane, and those without a key are one, too. Lanes take turns on the way to
being ready, and organisations from there: so who queues ten thousand jobs makes nobody wait for more than a few of them.

Every function works inside a transaction of its caller. On PostgreSQL, jobs that another transaction has locked are passed over,
and the places of one concurrency key are given out by one transaction at a time.
"""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Sequence

from muniment.adapters.sql.job_rows import COLUMNS
from muniment.adapters.sql.statements import Row, Statements

Lane = tuple[str, str]
"""Organisation and concurrency key, which is empty for none."""

_PROMOTED = 200
"""Jobs that one transaction makes ready, which bounds how long others wait for it."""

_PROMOTED_OF_LANE = 50

_UNBLOCKED = 8
"""Jobs that are looked at together for the places of a concurrency key."""

_KEY = "COALESCE(concurrency_key, '')"
_DUE = f"""SELECT job_id, organization_id, concurrency_key FROM jobs
    WHERE phase = 'delayed' AND organization_id = ? AND {_KEY} = ? AND run_at <= ?
    ORDER BY run_at LIMIT ? {{skip_locked}}"""
_FIRST_LANE = f"""SELECT organization_id, {_KEY} FROM jobs
    WHERE phase = 'delayed' AND organization_id >= ? AND run_at <= ?
    ORDER BY organization_id, {_KEY} LIMIT 1"""
_NEXT_LANES = f"""SELECT 0, lane.* FROM (SELECT organization_id, {_KEY} FROM jobs
        WHERE phase = 'delayed' AND organization_id = ? AND {_KEY} > ? AND run_at <= ?
        ORDER BY {_KEY} LIMIT 1) AS lane
    UNION ALL SELECT 1, lane.* FROM (SELECT organization_id, {_KEY} FROM jobs
        WHERE phase = 'delayed' AND organization_id > ? AND run_at <= ?
        ORDER BY organization_id, {_KEY} LIMIT 1) AS lane"""
_OPEN_JOBS = f"""SELECT
    (SELECT COUNT(*) FROM (SELECT 1 FROM jobs
        WHERE phase = 'delayed' AND organization_id = ? AND {_KEY} = ? LIMIT ?) AS delayed)
    + (SELECT COUNT(*) FROM (SELECT 1 FROM jobs
        WHERE phase = 'blocked' AND organization_id = ? AND concurrency_key = ? LIMIT ?) AS blocked)
    + (SELECT COUNT(*) FROM jobs WHERE concurrency_key IS NOT NULL
        AND phase IN ('ready', 'running') AND organization_id = ? AND concurrency_key = ?)"""
_NEXT_BLOCKED = f"""SELECT job_id, concurrency_limit, (SELECT COUNT(*) FROM jobs
        WHERE concurrency_key IS NOT NULL AND phase IN ('ready', 'running') AND organization_id = ? AND concurrency_key = ?)
    FROM jobs WHERE phase = 'blocked' AND organization_id = ? AND concurrency_key = ?
    ORDER BY priority DESC, run_at, job_id LIMIT {_UNBLOCKED}"""
_UNBLOCK = "UPDATE jobs SET phase = 'ready' WHERE job_id = ? AND phase = 'blocked'"
_PEEK = """SELECT
    EXISTS (SELECT 1 FROM jobs WHERE phase = 'delayed' AND run_at <= ?),
    EXISTS (SELECT 1 FROM jobs WHERE phase = 'running' AND lease_until < ? AND kind IN ({kinds})),
    EXISTS (SELECT 1 FROM jobs WHERE phase = 'ready' AND kind IN ({kinds}))"""
_NEXT_ORGANIZATION = """SELECT COALESCE(
    (SELECT organization_id FROM jobs WHERE phase = 'ready' AND organization_id > ? AND kind IN ({kinds})
        ORDER BY organization_id LIMIT 1),
    (SELECT organization_id FROM jobs WHERE phase = 'ready' AND organization_id >= '' AND kind IN ({kinds})
        ORDER BY organization_id LIMIT 1))"""
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


def promote(statements: Statements, now: int, after: Lane | None) -> tuple[int, Lane | None]:
    """Make jobs ready whose time has come, as far as their concurrency keys let them.

    Args:
        statements: The transaction.
        now: The time, in microseconds since 1970.
        after: Begin with the lane behind this one; None to begin with the first.

    Returns:
        How many were looked at, and the last lane that had a turn.
    """
    due: list[Row] = []
    served: set[Lane] = set()
    while len(due) < _PROMOTED:
        lane = _next_lane(statements, now, after)
        if lane is None or lane in served:
            break
        due += statements.rows(_DUE, *lane, now, _PROMOTED_OF_LANE)
        served.add(lane)
        after = lane
    statements.run_many(
        "UPDATE jobs SET phase = ? WHERE job_id = ?",
        [("ready" if key is None else "blocked", job_id) for job_id, _organization, key in due],
    )
    keyed = {(organization_id, key) for _job_id, organization_id, key in due if key is not None}
    for lane in sorted(keyed):  # in one order, so that no two transactions wait for each other
        give_places(statements, *lane)
    return len(due), after


def count_open(statements: Statements, lane: Lane, limit: int) -> int:
    """Return how many jobs of a lane with a key wait or run; of those that wait, no more than twice the limit are counted."""
    return int(statements.row(_OPEN_JOBS, *lane, limit, *lane, limit, *lane)[0])


def holds_place(statements: Statements, job_id: str) -> bool:
    """Tell whether a job, which the caller has locked, takes one of the places of its concurrency key."""
    sql = "SELECT phase IN ('ready', 'running') FROM jobs WHERE job_id = ?"
    return bool(statements.row(sql, job_id)[0])


def give_places(statements: Statements, organization_id: str, concurrency_key: str) -> None:
    """Make the next jobs of a concurrency key ready, as long as it has places left."""
    lane = (organization_id, concurrency_key)
    statements.take_turns("jobs of " + " ".join(lane))
    while blocked := statements.rows(_NEXT_BLOCKED, *lane, *lane):
        given: list[Row] = []
        for job_id, limit, taken in blocked:
            if taken + len(given) >= limit:
                break
            given.append((job_id,))
        if statements.run_many(_UNBLOCK, given) == len(given) < _UNBLOCKED:
            return  # else there may be more, or one was cancelled meanwhile and took no place


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


def _next_lane(statements: Statements, now: int, after: Lane | None) -> Lane | None:
    """Return the next lane that has a job whose time has come, behind one, or else from the first on."""
    if after is not None:
        organization_id, key = after
        found = statements.rows(_NEXT_LANES, organization_id, key, now, organization_id, now)
        if found:
            return min(found)[1:]
    found = statements.rows(_FIRST_LANE, "", now)
    return found[0] if found else None


def _next_organization(
    statements: Statements, kinds: Sequence[str], after: str | None
) -> str | None:
    # The id of upkeep is empty: it has its turn behind the last organisation.
    sql = _of(_NEXT_ORGANIZATION, kinds)
    found = statements.row(sql, after or "", *kinds, *kinds)[0]
    return None if found is None else str(found)


def find_silent(statements: Statements, kinds: Sequence[str], now: int) -> Row | None:
    """Lock and return the job that has waited longest for its silent worker, as a row of `COLUMNS`."""
    found = statements.rows(_of(_SILENT, kinds), now, *kinds)
    return found[0] if found else None


def take_over(statements: Statements, job_id: str, worker: str, now: int, lease_until: int) -> Row:
    """Begin a job that `find_silent` returned anew."""
    return statements.row(_TAKE_OVER, worker, lease_until, now, job_id)


def _of(sql: str, kinds: Sequence[str]) -> str:
    return sql.replace("{kinds}", ", ".join("?" * len(kinds)))
