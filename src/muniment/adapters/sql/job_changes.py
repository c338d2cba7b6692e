"""How a job changes, whoever changes it: each change is told of in the transaction that makes it."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from muniment.adapters.sql import job_queue
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.job_rows import COLUMNS, job_of
from muniment.adapters.sql.statements import Row, SqlStore, Statements, Value
from muniment.errors import NotFoundError
from muniment.jobs.model import Job, JobEvent, JobState

OnChange = Callable[[Statements, Job, JobEvent], None]
"""Told of every change in the transaction that makes it, so that what it writes stands or falls with the change."""

_FIND = f"SELECT {COLUMNS} FROM jobs WHERE organization_id = ? AND job_id = ?"


class JobChanges(SqlStore):
    """What the parts of a store of jobs have in common.

    Args:
        database: A database with the tables of `job_rows`.
        on_change: Told of every change, inside its transaction.
        clock: The time in microseconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        on_change: OnChange | None,
        clock: Callable[[Statements], int],
    ) -> None:
        super().__init__(database)
        self._on_change = on_change
        self._now = clock

    @contextmanager
    def _joining(self, within: Statements | None) -> Iterator[Statements]:
        """Go on in the caller's transaction, or run one."""
        if within is not None:
            yield within
        else:
            with self._writing() as statements:
                yield statements

    def _delay(
        self,
        statements: Statements,
        job_id: str,
        event: JobEvent,
        delay_s: float = 0,
        *,
        holds_place: bool = True,
        **columns: Value,
    ) -> Job:
        columns |= {"phase": "delayed", "run_at": self._now(statements) + in_us(delay_s)}
        return self._leave(statements, job_id, event, holds_place=holds_place, **columns)

    def _end(
        self,
        statements: Statements,
        job_id: str,
        state: JobState,
        *,
        holds_place: bool = True,
        **columns: Value,
    ) -> Job:
        columns |= {"phase": state.value, "finished_at": self._now(statements)}
        return self._leave(
            statements, job_id, JobEvent(state.value), holds_place=holds_place, **columns
        )

    def _leave(
        self,
        statements: Statements,
        job_id: str,
        event: JobEvent,
        *,
        holds_place: bool,
        **columns: Value,
    ) -> Job:
        """Change a job so that it takes no place any more; if it held one, the next one of its concurrency key gets it.

        Who held none must not ask for the lock of the key: whoever gives places has it, and may wait for this very job.
        """
        job = self._set(statements, job_id, event, worker=None, lease_until=None, **columns)
        if job.concurrency_key is not None and holds_place:
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


def in_us(seconds: float) -> int:
    """Return seconds in microseconds."""
    return round(seconds * 1_000_000)


def found_job(
    statements: Statements, organization_id: str, job_id: str, *, lock: bool = False
) -> Job:
    """Return a job within a transaction: see `JobStore.job`."""
    rows = statements.rows(f"{_FIND} {{lock}}" if lock else _FIND, organization_id, job_id)
    if not rows:
        raise NotFoundError(f"no job {job_id!r}")
    return job_of(rows[0])
