"""Operations: jobs that a principal started, stopped or started again, each act in the audit log together with what it did."""

from muniment.accounts.organizations import Act, Fields
from muniment.adapters.sql import audit_log
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.job_changes import found_job
from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.statements import SqlStore
from muniment.jobs.model import Job, JobState, NewJob


class SqlOperations(SqlStore):
    """What principals do with jobs.

    Args:
        database: The service's database.
        jobs: Its jobs.
    """

    def __init__(self, database: Database, jobs: SqlJobs) -> None:
        super().__init__(database)
        self._jobs = jobs

    def start(self, act: Act, new: NewJob) -> Job:
        """Enqueue a job.

        Raises:
            UsageError: The payload cannot be stored.
            QueueFullError: The organisation has queued as many as it may.
        """
        with self._writing() as statements:
            job = self._jobs.enqueue(new, within=statements)
            after = {"kind": job.kind} | new.payload
            target = _target(job.job_id)
            audit_log.append(statements, act, "operation.requested", target, after=after)
        return job

    def cancel(self, act: Act, job_id: str) -> Job:
        """End a job that waits, or ask a running one to end; one that has ended stays as it is.

        Raises:
            NotFoundError: The organisation has no such job.
        """
        return self._change(act, job_id, "operation.cancel-requested")

    def resume(self, act: Act, job_id: str) -> Job:
        """Begin a job again that failed or was cancelled; what it had finished stays finished.

        Raises:
            NotFoundError: The organisation has no such job.
            ConflictError: It has not ended so.
            QueueFullError: The organisation has queued as many as it may.
        """
        return self._change(act, job_id, "operation.resumed")

    def record(self, act: Act, action: str, target: str, after: Fields) -> None:
        """Note in the audit log what changes nothing, but has to be known."""
        with self._writing() as statements:
            audit_log.append(statements, act, action, target, after=after)

    def _change(self, act: Act, job_id: str, action: str) -> Job:
        change = self._jobs.restart if action == "operation.resumed" else self._jobs.cancel
        with self._writing() as statements:
            before = found_job(statements, act.organization_id, job_id, lock=True)
            job = change(act.organization_id, job_id, within=statements)
            if (job.state, job.cancel_requested) != (before.state, before.cancel_requested):
                audit_log.append(
                    statements, act, action, _target(job_id), _fields(before), _fields(job)
                )
        return job


def _target(job_id: str) -> str:
    return f"operation:{job_id}"


def _fields(job: Job) -> dict[str, JobState | bool]:
    return {"state": job.state, "cancel_requested": job.cancel_requested}
