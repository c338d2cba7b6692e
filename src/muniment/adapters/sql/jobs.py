"""`JobStore` on a SQL database. Each method is one transaction, but for those that look before they lock."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from muniment.adapters.sql import job_queue
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.job_changes import OnChange, found_job, in_us
from muniment.adapters.sql.job_rows import COLUMNS, job_of, new_row, phases_of, state_of
from muniment.adapters.sql.job_work import JobWork
from muniment.adapters.sql.statements import Row, Statements
from muniment.errors import ConflictError
from muniment.jobs.model import (
    Job,
    JobEvent,
    JobState,
    NewJob,
    QueueFullError,
    encode_json,
    new_job_id,
)
from muniment.jobs.schedules import Schedule

_INSERT = f"""INSERT INTO jobs ({COLUMNS}) VALUES ({", ".join("?" * len(COLUMNS.split(",")))})
    ON CONFLICT DO NOTHING"""
_UNIQUE = f"SELECT {COLUMNS} FROM jobs WHERE organization_id = ? AND unique_key = ?"
# Grouping by an expression keeps SQLite from reading all jobs in the order of another index, the ended ones too.
_BACKLOG = """SELECT organization_id || '', COUNT(*) FROM jobs WHERE phase = '{phase}' GROUP BY 1"""
_SCHEDULE = (
    "INSERT INTO job_schedules (name, ticks, next_tick) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
)
_PRUNE = """DELETE FROM jobs WHERE job_id IN (
        SELECT job_id FROM jobs WHERE finished_at < ? ORDER BY finished_at LIMIT ? {skip_locked}
    )"""


class SqlJobs(JobWork):
    """See `JobStore`.

    Args:
        database: A database with the tables of `job_rows`.
        on_change: Told of every change, inside its transaction.
        clock: The time in microseconds since 1970; by default by the database's own clock, so that the clocks of machines may differ.
        entropy: Returns so many random bytes.
        queue_limits: By concurrency key, how many jobs of an organisation may wait or run; no limit for those left out.
    """

    def __init__(
        self,
        database: Database,
        on_change: OnChange | None = None,
        clock: Callable[[Statements], int] = Statements.now,
        entropy: Callable[[int], bytes] = os.urandom,
        queue_limits: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(database, on_change, clock)
        self._entropy = entropy
        self._queue_limits = queue_limits or {}

    def enqueue(self, new: NewJob, *, within: Statements | None = None) -> Job:
        """See `JobStore.enqueue`."""
        with self._joining(within) as statements:
            row = self._new_row(new, self._now(statements))
            with self._limited(statements, new.organization_id, new.concurrency_key):
                is_new = statements.run(_INSERT, *row) > 0
            if is_new:
                return self._changed(statements, row, JobEvent.QUEUED)
            return _enqueued_before(statements, new)

    def enqueue_all(self, new: Sequence[NewJob], *, within: Statements) -> list[Job]:
        """Add jobs without unique keys, as `enqueue` does each, within a transaction."""
        now = self._now(within)
        rows = [self._new_row(one, now) for one in new]
        within.run_many(_INSERT, rows)
        return [self._changed(within, row, JobEvent.QUEUED) for row in rows]

    def job(self, organization_id: str, job_id: str) -> Job:
        """See `JobStore.job`."""
        with self._reading() as statements:
            return found_job(statements, organization_id, job_id)

    def jobs(
        self,
        organization_id: str,
        *,
        states: Collection[JobState] = (),
        kinds: Collection[str] = (),
        before: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """See `JobStore.jobs`."""
        conditions, values = ["organization_id = ?"], [organization_id]
        if before is not None:
            conditions.append("job_id < ?")
            values.append(before)
        phases = [phase for state in states for phase in phases_of(state)]
        for column, wanted in (("phase", phases), ("kind", list(kinds))):
            if wanted:
                conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        sql = f"SELECT {COLUMNS} FROM jobs WHERE {' AND '.join(conditions)} ORDER BY job_id DESC LIMIT ?"
        with self._reading() as statements:
            return [job_of(row) for row in statements.rows(sql, *values, limit)]

    def cancel(self, organization_id: str, job_id: str, *, within: Statements | None = None) -> Job:
        """See `JobStore.cancel`."""
        with self._joining(within) as statements:
            job = found_job(statements, organization_id, job_id, lock=True)
            if job.state is JobState.QUEUED:
                holds_place = job_queue.holds_place(statements, job_id)
                return self._end(
                    statements,
                    job_id,
                    JobState.CANCELLED,
                    holds_place=holds_place,
                    cancel_requested=1,
                )
            if job.state is JobState.RUNNING and not job.cancel_requested:
                return self._set(statements, job_id, JobEvent.CANCEL_REQUESTED, cancel_requested=1)
            return job

    def restart(
        self, organization_id: str, job_id: str, *, within: Statements | None = None
    ) -> Job:
        """See `JobStore.restart`."""
        with self._joining(within) as statements:
            job = found_job(statements, organization_id, job_id, lock=True)
            if job.state not in (JobState.FAILED, JobState.CANCELLED):
                raise ConflictError(
                    f"job {job_id} cannot be restarted: expected it failed or cancelled, got {job.state}"
                )
            with self._limited(statements, organization_id, job.concurrency_key):
                return self._delay(
                    statements,
                    job_id,
                    JobEvent.QUEUED,
                    holds_place=False,
                    attempts=0,
                    finished_at=None,
                    cancel_requested=0,
                    problem=None,
                )

    def backlog(self) -> dict[tuple[str, JobState], int]:
        """See `JobStore.backlog`."""
        counts: dict[tuple[str, JobState], int] = {}
        with self._reading() as statements:
            for phase in (*phases_of(JobState.QUEUED), *phases_of(JobState.RUNNING)):
                for organization_id, count in statements.rows(_BACKLOG.format(phase=phase)):
                    place = (organization_id, state_of(phase))
                    counts[place] = counts.get(place, 0) + count
        return counts

    @contextmanager
    def _limited(
        self, statements: Statements, organization_id: str, concurrency_key: str | None
    ) -> Iterator[None]:
        """Check that a queue is within its limit after what the `with` block adds to it.

        Raises:
            QueueFullError: It is not; nothing may be kept of the transaction.
        """
        limit = self._queue_limits.get(concurrency_key or "")
        if concurrency_key is None or limit is None:
            yield
            return
        lane = organization_id, concurrency_key
        statements.take_turns("queue of " + " ".join(lane))
        yield
        if job_queue.count_open(statements, lane, limit + 1) > limit:
            raise QueueFullError(
                f"{limit} jobs wait or run already, which is the most there may be: wait until some have ended, or cancel some"
            )

    # Upkeep

    def tick(self, schedules: Sequence[Schedule]) -> list[Job]:
        """See `JobStore.tick`."""
        with self._reading() as statements:
            now = self._now(statements)
            rows = statements.rows("SELECT name, ticks, next_tick FROM job_schedules")
        known = {name: (ticks, next_tick) for name, ticks, next_tick in rows}
        enqueued = []
        for schedule in schedules:
            ticks, next_tick = known.get(schedule.name, (None, 0))
            if ticks != schedule.ticks or next_tick <= now:
                with self._writing() as statements:
                    enqueued += self._tick(statements, schedule)
        return enqueued

    def prune(self, *, older_than_s: float, limit: int = 1_000) -> int:
        """See `JobStore.prune`."""
        with self._writing() as statements:
            return statements.run(_PRUNE, self._now(statements) - in_us(older_than_s), limit)

    def _new_row(self, new: NewJob, now: int) -> Row:
        payload = encode_json(new.payload, "payload")
        return new_row(new, new_job_id(now, self._entropy(8)), payload, now)

    def _tick(self, statements: Statements, schedule: Schedule) -> list[Job]:
        now = self._now(statements)
        first = schedule.next_tick(now)
        statements.run(_SCHEDULE, schedule.name, schedule.ticks, first)
        sql = "SELECT ticks, next_tick, last_job_id FROM job_schedules WHERE name = ? {lock}"
        ticks, tick, last_job_id = statements.row(sql, schedule.name)
        if tick > now and ticks == schedule.ticks:
            return []  # another worker was first
        enqueued = []
        if tick <= now and not _is_unfinished(statements, last_job_id):
            enqueued = [self.enqueue(schedule.job(tick), within=statements)]
            last_job_id = enqueued[0].job_id
        statements.run(
            "UPDATE job_schedules SET ticks = ?, next_tick = ?, last_job_id = ? WHERE name = ?",
            *(schedule.ticks, first, last_job_id, schedule.name),
        )
        return enqueued


def _enqueued_before(statements: Statements, new: NewJob) -> Job:
    job = job_of(statements.row(_UNIQUE, new.organization_id, new.unique_key))
    if job.kind != new.kind:
        raise ConflictError(
            f"unique key {new.unique_key!r} belongs to a job of kind {job.kind}, got {new.kind}"
        )
    return job


def _is_unfinished(statements: Statements, job_id: str | None) -> bool:
    sql = "SELECT 1 FROM jobs WHERE job_id = ? AND finished_at IS NULL"
    return bool(statements.rows(sql, job_id))
