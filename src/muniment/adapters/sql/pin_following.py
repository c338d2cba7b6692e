"""How a pin follows the job that works on it: in the transaction in which the job changes."""

from collections import Counter
from typing import Any

from muniment.adapters.sql import events, pin_counts
from muniment.adapters.sql.statements import Statements
from muniment.jobs.model import Job, JobEvent
from muniment.pinning.model import PinStatus, created_ms_of

_FOLLOWED = """SELECT status, bucket FROM pins
    WHERE organization_id = ? AND created_ms = ? AND job_id = ? {lock}"""
_FOLLOW = """UPDATE pins SET status = ?, detail = ?, size_bytes = ?, blocks = ?, changed_ms = ?
    WHERE organization_id = ? AND created_ms = ?"""

_STATUSES = {
    JobEvent.QUEUED: PinStatus.QUEUED,
    JobEvent.STARTED: PinStatus.PINNING,
    JobEvent.RELEASED: PinStatus.QUEUED,
    JobEvent.RETRYING: PinStatus.QUEUED,
    JobEvent.SUCCEEDED: PinStatus.PINNED,
    JobEvent.FAILED: PinStatus.FAILED,
    JobEvent.CANCELLED: PinStatus.FAILED,
}


def follow(statements: Statements, job: Job, event: JobEvent) -> PinStatus | None:
    """Bring what has become of a job to its pin; returns the pin's state, None if the event says nothing about that."""
    if event not in _STATUSES:
        return None
    status = _STATUSES[event]
    if not _is_new(job, event):
        _follow(statements, job, created_ms_of(job.payload["request_id"]), status)
    return status


def _is_new(job: Job, event: JobEvent) -> bool:
    """Tell whether a job was just entered, together with its pin; one that is queued again is to run later than it was created."""
    return event is JobEvent.QUEUED and job.run_at == job.created_at


def _follow(statements: Statements, job: Job, created_ms: int, status: PinStatus) -> None:
    organization_id = job.organization_id
    rows = statements.rows(_FOLLOWED, organization_id, created_ms, job.job_id)
    if not rows:
        return  # it is not there any more, or has another job
    before, bucket = PinStatus(rows[0][0]), rows[0][1]
    result: dict[str, Any] = job.result if isinstance(job.result, dict) else {}
    detail = "" if status is PinStatus.PINNED else _detail(job)
    kept = (result.get("size_bytes"), result.get("blocks"))
    now_us = statements.now()
    statements.run(_FOLLOW, status, detail, *kept, now_us // 1000, organization_id, created_ms)
    if before is not status:
        changes = Counter({(bucket, before): -1})
        changes[bucket, status] += 1
        pin_counts.add(statements, organization_id, changes)
        request_id = job.payload["request_id"]
        data = {"status": status.value, "cid": job.payload["cid"], "detail": detail}
        events.append(
            statements,
            organization_id,
            now_us,
            f"pin.{status.value}",
            f"pin:{request_id}",
            "system",
            data,
        )


def _detail(job: Job) -> str:
    if job.state == JobEvent.CANCELLED.value:
        return "it was cancelled"
    return str((job.problem or {}).get("detail", ""))[:1_000]
