"""The part of a store of jobs that workers use: to claim, to keep, to change and to end what they work on."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from muniment.adapters.sql import job_queue
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.job_changes import JobChanges, OnChange, in_us
from muniment.adapters.sql.job_rows import COLUMNS, job_of
from muniment.adapters.sql.statements import Statements
from muniment.jobs.model import (
    Claim,
    Job,
    JobEvent,
    JobState,
    LostClaimError,
    Progress,
    encode_json,
    require_name,
)
from muniment.jobs.ports import Standing

_CLAIMED = "job_id = ? AND token = ? AND phase = 'running'"
_LOCK_CLAIMED = f"SELECT lease_until FROM jobs WHERE {_CLAIMED} {{lock}}"
_RENEW = f"""UPDATE jobs SET lease_until = ? WHERE job_id IN (
        SELECT job_id FROM jobs WHERE {_CLAIMED} {{skip_locked}}
    ) RETURNING cancel_requested"""
_STEP = "INSERT INTO job_steps (job_id, name, token, result, finished_at) VALUES (?, ?, ?, ?, ?)"

_LOST_WORKERS = {
    "code": "worker-lost",
    "detail": "the workers that began the job ended without a word, each time",
}


class JobWork(JobChanges):
    """See the part of `JobStore` for workers."""

    def __init__(
        self,
        database: Database,
        on_change: OnChange | None,
        clock: Callable[[Statements], int],
    ) -> None:
        super().__init__(database, on_change, clock)
        self._last_served: str | None = None
        self._last_promoted: job_queue.Lane | None = None

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
                now = self._now(statements)
                promoted, self._last_promoted = job_queue.promote(
                    statements, now, self._last_promoted
                )
            ready |= promoted > 0
        claimed: list[Job] = []
        ready |= silent  # one that ends instead of being taken over leaves a place to another
        while silent and len(claimed) < limit:
            silent = self._take_over(worker, wanted, lease_s, claimed)
        if ready and len(claimed) < limit:
            with self._writing() as statements:
                claimed += self._take_ready(
                    statements, worker, wanted, lease_s, limit - len(claimed)
                )
        return claimed

    def renew(self, claims: Collection[Claim], *, lease_s: float) -> dict[Claim, Standing]:
        """See `JobStore.renew`."""
        standings: dict[Claim, Standing] = {}
        with self._writing() as statements:
            lease_until = self._now(statements) + in_us(lease_s)
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
            return self._succeed(statements, claim, text)

    def succeed_and_claim(
        self,
        claim: Claim,
        result: Any,  # noqa: ANN401  # any JSON
        worker: str,
        kinds: Collection[str],
        *,
        lease_s: float,
    ) -> Job | None:
        """See `JobStore.succeed_and_claim`."""
        text = encode_json(result, "result")
        with self._writing() as statements:
            self._succeed(statements, claim, text)
            claimed = self._take_ready(statements, worker, sorted(kinds), lease_s, 1)
        return claimed[0] if claimed else None

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
                lease_until = now + in_us(lease_s)
                row = job_queue.take_over(statements, job.job_id, worker, now, lease_until)
                claimed.append(self._changed(statements, row, JobEvent.STARTED))
            return True

    def _take_ready(
        self, statements: Statements, worker: str, kinds: Sequence[str], lease_s: float, limit: int
    ) -> list[Job]:
        claimed: list[Job] = []
        now = self._now(statements)
        lease_until = now + in_us(lease_s)
        while len(claimed) < limit:
            row = job_queue.take_ready(
                statements, kinds, worker, now, lease_until, self._last_served
            )
            if row is None:
                break
            claimed.append(self._changed(statements, row, JobEvent.STARTED))
            self._last_served = claimed[-1].organization_id
        return claimed

    def _succeed(self, statements: Statements, claim: Claim, text: str) -> Job:
        _lock(statements, claim)
        return self._end(statements, claim.job_id, JobState.SUCCEEDED, result=text, problem=None)

    def _insert_step(self, statements: Statements, claim: Claim, name: str, text: str) -> None:
        require_name(name, "name of a step")
        statements.run(_STEP, claim.job_id, name, claim.token, text, self._now(statements))


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
