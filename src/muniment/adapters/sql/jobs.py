"""`JobStore` on a SQL database. Each method is one transaction, but for those that look before they lock."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from muniment.adapters.sql import job_queue
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.job_rows import COLUMNS, job_of, new_row, phases_of, state_of
from muniment.adapters.sql.statements import Row, SqlStore, Statements, Value
from muniment.errors import ConflictError, NotFoundError
from muniment.jobs.model import (
    Claim,
    Job,
    JobEvent,
    JobState,
    LostClaimError,
    NewJob,
    Progress,
    encode_json,
    new_job_id,
    require_name,
)
from muniment.jobs.ports import Standing
from muniment.jobs.schedules import Schedule

OnChange = Callable[[Statements, Job, JobEvent], None]
"""Told of every change in the transaction that makes it, so that what it writes stands or falls with the change."""

_INSERT = f"""INSERT INTO jobs ({COLUMNS}) VALUES ({", ".join("?" * len(COLUMNS.split(",")))})
    ON CONFLICT DO NOTHING"""
_UNIQUE = f"SELECT {COLUMNS} FROM jobs WHERE organization_id = ? AND unique_key = ?"
_FIND = f"SELECT {COLUMNS} FROM jobs WHERE organization_id = ? AND job_id = ?"
_CLAIMED = "job_id = ? AND token = ? AND phase = 'running'"
_LOCK_CLAIMED = f"SELECT lease_until FROM jobs WHERE {_CLAIMED} {{lock}}"
_RENEW = f"""UPDATE jobs SET lease_until = ? WHERE job_id IN (
        SELECT job_id FROM jobs WHERE {_CLAIMED} {{skip_locked}}
    ) RETURNING cancel_requested"""
_STEP = "INSERT INTO job_steps (job_id, name, token, result, finished_at) VALUES (?, ?, ?, ?, ?)"
# Grouping by an expression keeps SQLite from reading all jobs in the order of another index, the ended ones too.
_BACKLOG = """SELECT organization_id || '', COUNT(*) FROM jobs WHERE phase = '{phase}' GROUP BY 1"""
_SCHEDULE = (
    "INSERT INTO job_schedules (name, ticks, next_tick) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
)
_PRUNE = """DELETE FROM jobs WHERE job_id IN (
        SELECT job_id FROM jobs WHERE finished_at < ? ORDER BY finished_at LIMIT ? {skip_locked}
    )"""

_LOST_WORKERS = {
    "code": "worker-lost",
    "detail": "the workers that began the job ended without a word, each time",
}


class SqlJobs(SqlStore):
    """See `JobStore`.

    Args:
        database: A database with the tables of `job_rows`.
        on_change: Told of every change, inside its transaction.
        clock: The time in microseconds since 1970; by default by the database's own clock, so that the clocks of machines may differ.
        entropy: Returns so many random bytes.
    """

    def __init__(
        self,
        database: Database,
        on_change: OnChange | None = None,
        clock: Callable[[Statements], int] = Statements.now,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(database)
        self._on_change = on_change
        self._now = clock
        self._entropy = entropy
        self._last_served: str | None = None

    def enqueue(self, new: NewJob, *, within: Statements | None = None) -> Job:
        """See `JobStore.enqueue`."""
        with self._joining(within) as statements:
            row = self._new_row(new, self._now(statements))
            if statements.run(_INSERT, *row):
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
            return _found(statements, organization_id, job_id)

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
            job = _found(statements, organization_id, job_id, lock=True)
            if job.state is JobState.QUEUED:
                return self._end(statements, job.job_id, JobState.CANCELLED, cancel_requested=1)
            if job.state is JobState.RUNNING and not job.cancel_requested:
                return self._set(statements, job_id, JobEvent.CANCEL_REQUESTED, cancel_requested=1)
            return job

    def restart(
        self, organization_id: str, job_id: str, *, within: Statements | None = None
    ) -> Job:
        """See `JobStore.restart`."""
        with self._joining(within) as statements:
            job = _found(statements, organization_id, job_id, lock=True)
            if job.state not in (JobState.FAILED, JobState.CANCELLED):
                raise ConflictError(
                    f"job {job_id} cannot be restarted: expected it failed or cancelled, got {job.state}"
                )
            return self._delay(
                statements,
                job_id,
                JobEvent.QUEUED,
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

    def claim(
        self, worker: str, kinds: Collection[str], *, limit: int, lease_s: float
    ) -> list[Job]:
        """See `JobStore.claim`."""
        wanted = sorted(kinds)
        if not wanted or limit < 1:
            return []
        with self._reading() as statements:
            due, silent, ready = job_queue.peek(statements, wanted, self._now(statements))
        if due:
            with self._writing() as statements:
                ready |= job_queue.promote(statements, self._now(statements)) > 0
        claimed: list[Job] = []
        ready |= silent  # one that ends instead of being taken over leaves a place to another
        while silent and len(claimed) < limit:
            silent = self._take_over(worker, wanted, lease_s, claimed)
        if ready and len(claimed) < limit:
            claimed += self._take_ready(worker, wanted, lease_s, limit - len(claimed))
        return claimed

    def renew(self, claims: Collection[Claim], *, lease_s: float) -> dict[Claim, Standing]:
        """See `JobStore.renew`."""
        standings: dict[Claim, Standing] = {}
        with self._writing() as statements:
            lease_until = self._now(statements) + _us(lease_s)
            # In one order, so that two heartbeats cannot wait for each other.
            for claim in sorted(claims, key=lambda claim: claim.job_id):
                rows = statements.rows(_RENEW, lease_until, claim.job_id, claim.token)
                if rows:
                    standings[claim] = Standing.CANCELLING if rows[0][0] else Standing.HELD
                elif statements.rows(f"SELECT 1 FROM jobs WHERE {_CLAIMED}", *_place(claim)):
                    standings[claim] = Standing.BUSY
                else:
                    standings[claim] = Standing.LOST
        return standings

    def steps(self, claim: Claim) -> dict[str, Any]:
        """See `JobStore.steps`."""
        with self._reading() as statements:
            if not statements.rows(f"SELECT 1 FROM jobs WHERE {_CLAIMED}", *_place(claim)):
                raise _lost(claim)
            sql = "SELECT name, result FROM job_steps WHERE job_id = ?"
            return {name: json.loads(text) for name, text in statements.rows(sql, claim.job_id)}

    def finish_step(self, claim: Claim, name: str, result: Any) -> Any:  # noqa: ANN401  # any JSON
        """See `JobStore.finish_step`."""
        text = encode_json(result, f"result of step {name!r}")
        with self._writing() as statements:
            _lock(statements, claim)
            self._insert_step(statements, claim, name, text)
        return json.loads(text)

    def transact_step(self, claim: Claim, name: str, function: Callable[[Statements], Any]) -> Any:  # noqa: ANN401  # any JSON
        """See `JobStore.transact_step`."""
        with self._writing() as statements:
            begun = self._now(statements)
            lease_until = _lock(statements, claim)
            text = encode_json(function(statements), f"result of step {name!r}")
            self._insert_step(statements, claim, name, text)
            # The lease could not be renewed meanwhile, and nobody could take over: so the time does not count.
            lease_until += self._now(statements) - begun
            sql = "UPDATE jobs SET lease_until = ? WHERE job_id = ?"
            statements.run(sql, lease_until, claim.job_id)
        return json.loads(text)

    def report(self, claim: Claim, progress: Progress) -> None:
        """See `JobStore.report`."""
        require_name(progress.stage, "stage")
        require_name(progress.unit, "unit")
        with self._writing() as statements:
            _lock(statements, claim)
            self._set(
                statements,
                claim.job_id,
                JobEvent.PROGRESSED,
                stage=progress.stage,
                done=progress.done,
                total=progress.total,
                unit=progress.unit,
            )

    def succeed(self, claim: Claim, result: Any) -> Job:  # noqa: ANN401  # any JSON
        """See `JobStore.succeed`."""
        text = encode_json(result, "result")
        with self._writing() as statements:
            _lock(statements, claim)
            return self._end(
                statements, claim.job_id, JobState.SUCCEEDED, result=text, problem=None
            )

    def fail(self, claim: Claim, problem: dict[str, Any], *, retry_in_s: float | None) -> Job:
        """See `JobStore.fail`."""
        text = encode_json(problem, "problem")
        with self._writing() as statements:
            _lock(statements, claim)
            job = _by_id(statements, claim.job_id)
            if job.cancel_requested:
                return self._end(statements, job.job_id, JobState.CANCELLED, problem=text)
            if retry_in_s is None or job.attempts >= job.max_attempts:
                return self._end(statements, job.job_id, JobState.FAILED, problem=text)
            return self._delay(statements, job.job_id, JobEvent.RETRYING, retry_in_s, problem=text)

    def release(self, claim: Claim) -> Job:
        """See `JobStore.release`."""
        with self._writing() as statements:
            _lock(statements, claim)
            job = _by_id(statements, claim.job_id)
            if job.cancel_requested:
                return self._end(statements, job.job_id, JobState.CANCELLED)
            attempts = job.attempts - 1
            return self._delay(statements, job.job_id, JobEvent.RELEASED, attempts=attempts)

    def end_cancelled(self, claim: Claim) -> Job:
        """See `JobStore.end_cancelled`."""
        with self._writing() as statements:
            _lock(statements, claim)
            return self._end(statements, claim.job_id, JobState.CANCELLED)

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
            return statements.run(_PRUNE, self._now(statements) - _us(older_than_s), limit)

    @contextmanager
    def _joining(self, within: Statements | None) -> Iterator[Statements]:
        """Go on in the caller's transaction, or run one."""
        if within is not None:
            yield within
        else:
            with self._writing() as statements:
                yield statements

    def _take_over(
        self, worker: str, kinds: Sequence[str], lease_s: float, claimed: list[Job]
    ) -> bool:
        """Take over the job that has waited longest for a silent worker, or end it; False if there is none."""
        with self._writing() as statements:
            now = self._now(statements)
            found = job_queue.find_silent(statements, kinds, now)
            if found is None:
                return False
            job = job_of(found)
            if job.cancel_requested:
                self._end(statements, job.job_id, JobState.CANCELLED)
            elif job.attempts >= job.max_attempts:
                problem = encode_json(_LOST_WORKERS, "problem")
                self._end(statements, job.job_id, JobState.FAILED, problem=problem)
            else:
                lease_until = now + _us(lease_s)
                row = job_queue.take_over(statements, job.job_id, worker, now, lease_until)
                claimed.append(self._changed(statements, row, JobEvent.STARTED))
            return True

    def _take_ready(
        self, worker: str, kinds: Sequence[str], lease_s: float, limit: int
    ) -> list[Job]:
        claimed: list[Job] = []
        with self._writing() as statements:
            now = self._now(statements)
            lease_until = now + _us(lease_s)
            while len(claimed) < limit:
                row = job_queue.take_ready(
                    statements, kinds, worker, now, lease_until, self._last_served
                )
                if row is None:
                    break
                claimed.append(self._changed(statements, row, JobEvent.STARTED))
                self._last_served = claimed[-1].organization_id
        return claimed

    def _new_row(self, new: NewJob, now: int) -> Row:
        payload = encode_json(new.payload, "payload")
        return new_row(new, new_job_id(now, self._entropy(8)), payload, now)

    def _insert_step(self, statements: Statements, claim: Claim, name: str, text: str) -> None:
        require_name(name, "name of a step")
        statements.run(_STEP, claim.job_id, name, claim.token, text, self._now(statements))

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

    def _delay(
        self,
        statements: Statements,
        job_id: str,
        event: JobEvent,
        delay_s: float = 0,
        **columns: Value,
    ) -> Job:
        run_at = self._now(statements) + _us(delay_s)
        return self._leave(statements, job_id, event, phase="delayed", run_at=run_at, **columns)

    def _end(self, statements: Statements, job_id: str, state: JobState, **columns: Value) -> Job:
        columns |= {"phase": state.value, "finished_at": self._now(statements)}
        return self._leave(statements, job_id, JobEvent(state.value), **columns)

    def _leave(self, statements: Statements, job_id: str, event: JobEvent, **columns: Value) -> Job:
        """Change a job so that it takes no place any more, and give its place to the next one of its concurrency key."""
        job = self._set(statements, job_id, event, worker=None, lease_until=None, **columns)
        if job.concurrency_key is not None:
            job_queue.give_places(statements, job.organization_id, job.concurrency_key)
        return job

    def _set(self, statements: Statements, job_id: str, event: JobEvent, **columns: Value) -> Job:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        sql = f"UPDATE jobs SET {assignments} WHERE job_id = ? RETURNING {COLUMNS}"
        return self._changed(statements, statements.row(sql, *columns.values(), job_id), event)

    def _changed(self, statements: Statements, row: Row, event: JobEvent) -> Job:
        job = job_of(row)
        if self._on_change is not None:
            self._on_change(statements, job, event)
        return job


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _place(claim: Claim) -> tuple[str, int]:
    return claim.job_id, claim.token


def _lock(statements: Statements, claim: Claim) -> int:
    """Keep others from the job until the end of the transaction, and return when its lease ends.

    Raises:
        LostClaimError: The claim is lost.
    """
    rows = statements.rows(_LOCK_CLAIMED, *_place(claim))
    if not rows:
        raise _lost(claim)
    return int(rows[0][0])


def _lost(claim: Claim) -> LostClaimError:
    return LostClaimError(f"job {claim.job_id} is no longer held by its claim {claim.token}")


def _by_id(statements: Statements, job_id: str) -> Job:
    return job_of(statements.row(f"SELECT {COLUMNS} FROM jobs WHERE job_id = ?", job_id))


def _found(statements: Statements, organization_id: str, job_id: str, *, lock: bool = False) -> Job:
    rows = statements.rows(f"{_FIND} {{lock}}" if lock else _FIND, organization_id, job_id)
    if not rows:
        raise NotFoundError(f"no job {job_id!r}")
    return job_of(rows[0])


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
