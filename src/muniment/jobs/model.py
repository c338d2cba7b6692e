"""Jobs: what is to be done, by when, and how far it has come. Times are microseconds since 1970 by the database's clock."""

import json
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from muniment.errors import ConflictError, MunimentError, UsageError

JSON_BYTES = 64 * 1024
"""A payload, result or problem at most: what is larger belongs in a file or a table, and the job names it."""

KEY_LENGTH = 256
"""Characters of a kind, key, name or stage at most."""

MAX_PRIORITY = 100
MAX_CONCURRENCY = 1_000

NO_ORGANIZATION = ""
"""The organisation of the service's own upkeep: no principal belongs to it."""


class QueueFullError(ConflictError):
    """As many jobs of the organisation wait or run as there may be; nothing was added."""


class LostClaimError(ConflictError):
    """Another worker has taken the job over, or it was given back: nothing was written."""


class JobCancelledError(MunimentError):
    """Somebody asked for the job to be cancelled; raised inside its handler."""


class WorkerStoppingError(MunimentError):
    """The worker is to stop: another one will take the job up; raised inside its handler."""


class PermanentFailureError(MunimentError):
    """The job failed in a way that trying again cannot mend."""


class JobState(StrEnum):
    """What a client is told about a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether the job will do nothing more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobEvent(StrEnum):
    """What happened to a job."""

    QUEUED = "queued"
    STARTED = "started"
    PROGRESSED = "progressed"
    CANCEL_REQUESTED = "cancel-requested"
    RELEASED = "released"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come: `done` of `total` (None where nobody knows) in a unit, such as bytes, of a stage."""

    stage: str
    done: int
    total: int | None
    unit: str


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to enqueue.

    Attributes:
        organization_id: Whose it is; `NO_ORGANIZATION` for upkeep.
        kind: Which handler does it.
        payload: What the handler needs to know, as a JSON object.
        priority: Jobs of the same organisation with a higher one begin first; organisations take turns whatever theirs.
        delay_s: Seconds before which it does not begin.
        max_attempts: How often it is begun before it has failed; a worker that dies uses up an attempt.
        concurrency_key: Of the organisation's jobs with this key, only so many are begun at once.
        concurrency_limit: How many.
        unique_key: Enqueuing again with the key of a job that is still stored gives that job.

    Raises:
        UsageError: A value is not valid.
    """

    organization_id: str
    kind: str
    payload: dict[str, Any]
    priority: int = 0
    delay_s: float = 0
    max_attempts: int = 8
    concurrency_key: str | None = None
    concurrency_limit: int = 1
    unique_key: str | None = None

    def __post_init__(self) -> None:
        for name in ("kind", "concurrency_key", "unique_key"):
            value = getattr(self, name)
            if value is not None:
                require_name(value, name)
        if not isinstance(self.payload, dict):
            raise UsageError("payload of a job must be a JSON object")
        _require_within("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY)
        _require_within("delay_s", self.delay_s, 0, 10 * 366 * 86_400)
        _require_within("max_attempts", self.max_attempts, 1, 1_000)
        _require_within("concurrency_limit", self.concurrency_limit, 1, MAX_CONCURRENCY)


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to a job: good until somebody claims it with a higher token."""

    job_id: str
    token: int


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored.

    Attributes:
        job_id: A UUID of version 7 (RFC 9562): sorts by the time of creation.
        organization_id: Whose it is.
        kind: Which handler does it.
        payload: What the handler needs to know.
        state: What has become of it.
        priority: See `NewJob`.
        run_at: It does not begin before.
        attempts: How often it was begun, less the times it was given back whole.
        max_attempts: See `NewJob`.
        concurrency_key: See `NewJob`.
        concurrency_limit: See `NewJob`.
        unique_key: See `NewJob`.
        token: Grows with every claim; 0 before the first.
        worker: Who has it now; None for nobody.
        lease_until: After that, another worker may take it over.
        cancel_requested: It is to end as soon as its handler notices.
        progress: How far its handler says it has come.
        result: What the handler returned.
        problem: What went wrong last, as an object with `code` and `detail`.
        created_at: When it was enqueued.
        started_at: When it was first begun.
        finished_at: When it ended.
    """

    job_id: str
    organization_id: str
    kind: str
    payload: dict[str, Any]
    state: JobState
    priority: int
    run_at: int
    attempts: int
    max_attempts: int
    concurrency_key: str | None
    concurrency_limit: int
    unique_key: str | None
    token: int
    worker: str | None
    lease_until: int | None
    cancel_requested: bool
    progress: Progress | None
    result: Any
    problem: dict[str, Any] | None
    created_at: int
    started_at: int | None
    finished_at: int | None

    @property
    def claim(self) -> Claim:
        """The claim that the last worker got."""
        return Claim(self.job_id, self.token)


def new_job_id(now: int, entropy: bytes) -> str:
    """Return a UUID of version 7 (RFC 9562, section 5.7, with 12 bits of the time below a millisecond).

    Args:
        now: Microseconds since 1970.
        entropy: Eight random bytes.
    """
    milliseconds, microseconds = divmod(now, 1000)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 7 << 76 | (microseconds * 4096 // 1000) << 64
    value |= 2 << 62 | int.from_bytes(entropy) & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def encode_json(value: object, what: str) -> str:
    """Return a value as JSON, in ASCII: every database keeps that as it is.

    Raises:
        UsageError: It cannot be written as JSON, or is larger than `JSON_BYTES`.
    """
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} cannot be written as JSON: {error}") from error
    if len(text) > JSON_BYTES:
        raise UsageError(f"{what} has {len(text)} bytes of JSON, expected at most {JSON_BYTES}")
    return text


def require_name(value: str, what: str) -> str:
    """Check that a text is short, not empty and printable.

    Raises:
        UsageError: It is not.
    """
    if not 0 < len(value) <= KEY_LENGTH or not value.isprintable():
        raise UsageError(
            f"{what} must be 1 to {KEY_LENGTH} printable characters, got {value!r:.80}"
        )
    return value


def _require_within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must be {low} to {high}, got {value}")
