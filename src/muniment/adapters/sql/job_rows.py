"""Between rows of `jobs` and the values of the domain, and the tables themselves.

`phase` says more than the state that clients see. A job that is queued is `delayed` until its time has come, then `blocked` while
others of its concurrency key take all places, then `ready`: so that an index of `ready` jobs alone holds what can be begun.
"""

import json
from typing import Any

from muniment.adapters.sql.statements import Row
from muniment.jobs.model import Job, JobState, NewJob, Progress

TABLES = (
    """CREATE TABLE jobs (
        job_id TEXT NOT NULL PRIMARY KEY,
        organization_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        payload TEXT NOT NULL,
        phase TEXT NOT NULL,
        priority BIGINT NOT NULL,
        run_at BIGINT NOT NULL,
        attempts BIGINT NOT NULL DEFAULT 0,
        max_attempts BIGINT NOT NULL,
        concurrency_key TEXT,
        concurrency_limit BIGINT NOT NULL,
        unique_key TEXT,
        token BIGINT NOT NULL DEFAULT 0,
        worker TEXT,
        lease_until BIGINT,
        cancel_requested SMALLINT NOT NULL DEFAULT 0,
        stage TEXT,
        done BIGINT,
        total BIGINT,
        unit TEXT,
        result TEXT,
        problem TEXT,
        created_at BIGINT NOT NULL,
        started_at BIGINT,
        finished_at BIGINT
    )""",
    """CREATE INDEX jobs_ready ON jobs (organization_id, priority DESC, run_at, job_id, kind)
        WHERE phase = 'ready'""",
    "CREATE INDEX jobs_delayed ON jobs (run_at) WHERE phase = 'delayed'",
    """CREATE INDEX jobs_blocked ON jobs (organization_id, concurrency_key, priority DESC, run_at, job_id)
        WHERE phase = 'blocked'""",
    """CREATE INDEX jobs_places ON jobs (organization_id, concurrency_key)
        WHERE concurrency_key IS NOT NULL AND phase IN ('ready', 'running')""",
    "CREATE INDEX jobs_leases ON jobs (lease_until) WHERE phase = 'running'",
    "CREATE INDEX jobs_ended ON jobs (finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX jobs_listed ON jobs (organization_id, job_id)",
    "CREATE UNIQUE INDEX jobs_unique ON jobs (organization_id, unique_key) WHERE unique_key IS NOT NULL",
    """CREATE TABLE job_steps (
        job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        token BIGINT NOT NULL,
        result TEXT NOT NULL,
        finished_at BIGINT NOT NULL,
        PRIMARY KEY (job_id, name)
    )""",
    """CREATE TABLE job_schedules (
        name TEXT NOT NULL PRIMARY KEY,
        ticks TEXT NOT NULL,
        next_tick BIGINT NOT NULL,
        last_job_id TEXT
    )""",
)

LANES = (
    """CREATE INDEX jobs_delayed_in_lanes ON jobs (organization_id, COALESCE(concurrency_key, ''), run_at)
        WHERE phase = 'delayed'""",
)
"""The step of migration with which lanes take turns (`job_queue`)."""

COLUMNS = (
    "job_id, organization_id, kind, payload, phase, priority, run_at, attempts, max_attempts, concurrency_key,"
    " concurrency_limit, unique_key, token, worker, lease_until, cancel_requested, stage, done, total, unit, result, problem,"
    " created_at, started_at, finished_at"
)
"""Columns in the order that `job_of` reads."""

_NAMES = COLUMNS.split(", ")

QUEUED = ("delayed", "blocked", "ready")
"""The phases of a job that clients see as queued. The other phases are states."""


def phases_of(state: JobState) -> tuple[str, ...]:
    """Return the phases of a state."""
    return QUEUED if state is JobState.QUEUED else (state.value,)


def state_of(phase: str) -> JobState:
    """Return the state of a phase."""
    return JobState.QUEUED if phase in QUEUED else JobState(phase)


def job_of(row: Row) -> Job:
    """Read a row of `COLUMNS`."""
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    stage, done, total, unit = (values.pop(name) for name in ("stage", "done", "total", "unit"))
    values["state"] = state_of(values.pop("phase"))
    values["payload"] = json.loads(values["payload"])
    values["cancel_requested"] = bool(values["cancel_requested"])
    values["progress"] = None if stage is None else Progress(stage, done, total, unit)
    for name in ("result", "problem"):
        values[name] = _json(values[name])
    return Job(**values)


def new_row(new: NewJob, job_id: str, payload: str, now: int) -> Row:
    """Return the row of a new job, as `job_of` reads it; times in microseconds since 1970."""
    run_at = now + round(new.delay_s * 1_000_000)
    # A place of a concurrency key is given out later, by a worker: the caller's transaction locks nothing that others need.
    phase = "ready" if run_at <= now and new.concurrency_key is None else "delayed"
    values: dict[str, Any] = dict.fromkeys(_NAMES) | {
        "job_id": job_id,
        "organization_id": new.organization_id,
        "kind": new.kind,
        "payload": payload,
        "phase": phase,
        "priority": new.priority,
        "run_at": run_at,
        "attempts": 0,
        "max_attempts": new.max_attempts,
        "concurrency_key": new.concurrency_key,
        "concurrency_limit": new.concurrency_limit,
        "unique_key": new.unique_key,
        "token": 0,
        "cancel_requested": 0,
        "created_at": now,
    }
    return tuple(values.values())


def _json(text: str | None) -> Any:  # noqa: ANN401  # any JSON
    return None if text is None else json.loads(text)
