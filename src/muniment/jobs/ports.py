"""What jobs need of a database."""

from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto
from typing import Any, Protocol

from muniment.jobs.model import Claim, Job, JobState, NewJob, Progress
from muniment.jobs.schedules import Schedule

Within = Any
"""A transaction of the store's database, as its adapter knows it: what the caller writes in it and the job stand or fall together."""


class Standing(Enum):
    """What a renewal found out about a claim."""

    HELD = auto()  # renewed
    CANCELLING = auto()  # renewed, and the job is to be cancelled
    BUSY = auto()  # not renewed, because a transaction is writing the job; ask again
    LOST = auto()


class JobStore(Protocol):
    """Jobs of all organisations. Safe to use from several threads, processes and machines at once."""

    def enqueue(self, new: NewJob, *, within: Within | None = None) -> Job:
        """Add a job, and return it; or the one that is stored with its unique key.

        Raises:
            UsageError: The payload cannot be stored.
            ConflictError: The unique key belongs to a job of another kind.
            QueueFullError: As many with its concurrency key wait or run as there may be.
        """

    def job(self, organization_id: str, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: The organisation has no such job.
        """

    def jobs(
        self,
        organization_id: str,
        *,
        states: Collection[JobState] = (),
        kinds: Collection[str] = (),
        before: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Return the newest jobs that were created before the one with the id `before`, newest first."""

    def cancel(self, organization_id: str, job_id: str, *, within: Within | None = None) -> Job:
        """End a job that waits; ask the handler of a running one to end; leave one that has ended as it is.

        Raises:
            NotFoundError: The organisation has no such job.
        """

    def restart(self, organization_id: str, job_id: str, *, within: Within | None = None) -> Job:
        """Queue a job that failed or was cancelled once more, with all attempts before it; its finished steps stay finished.

        Raises:
            NotFoundError: The organisation has no such job.
            ConflictError: It has not ended so.
            QueueFullError: As `enqueue`.
        """

    def backlog(self) -> dict[tuple[str, JobState], int]:
        """Count the jobs that have not ended, by organisation and state."""

    # For workers

    def claim(
        self, worker: str, kinds: Collection[str], *, limit: int, lease_s: float
    ) -> list[Job]:
        """Claim jobs of some kinds: first those whose worker fell silent, then those that wait, organisations in turn.

        However many jobs an organisation has queued, those of another one come after a few of them.
        """

    def renew(self, claims: Collection[Claim], *, lease_s: float) -> dict[Claim, Standing]:
        """Renew leases, and tell how each claim stands. One that has run out is renewed if nobody has taken over."""

    def steps(self, claim: Claim) -> dict[str, Any]:
        """Return the results of the job's finished steps by name.

        Raises:
            LostClaimError: The claim is lost.
        """

    def finish_step(self, claim: Claim, name: str, result: Any) -> Any:  # noqa: ANN401  # any JSON
        """Store the result of a step, and return it as JSON has it.

        Raises:
            LostClaimError: The claim is lost.
        """

    def transact_step(self, claim: Claim, name: str, function: Callable[[Within], Any]) -> Any:  # noqa: ANN401  # any JSON
        """Run a function in a transaction that commits only if the claim holds, and store its result as a step's in the same.

        Raises:
            LostClaimError: The claim is lost; the function was not run, or all that it wrote is undone.
        """

    def report(self, claim: Claim, progress: Progress) -> None:
        """Store how far a job has come.

        Raises:
            LostClaimError: The claim is lost.
        """

    def succeed(self, claim: Claim, result: Any) -> Job:  # noqa: ANN401  # any JSON
        """End a job well.

        Raises:
            LostClaimError: The claim is lost.
        """

    def succeed_and_claim(
        self,
        claim: Claim,
        result: Any,  # noqa: ANN401  # any JSON
        worker: str,
        kinds: Collection[str],
        *,
        lease_s: float,
    ) -> Job | None:
        """End a job well and claim one that waits, if there is one, in one transaction: both happen, or neither does.

        Neither are silent workers looked for nor jobs whose time has come: who works on like this has to `claim` now and then.

        Raises:
            LostClaimError: The claim is lost.
        """

    def fail(self, claim: Claim, problem: dict[str, Any], *, retry_in_s: float | None) -> Job:
        """Note a failure: try again later if attempts are left and `retry_in_s` is given, and end the job otherwise.

        Raises:
            LostClaimError: The claim is lost.
        """

    def release(self, claim: Claim) -> Job:
        """Give a job back, to be begun by anybody at once; the attempt does not count.

        Raises:
            LostClaimError: The claim is lost.
        """

    def end_cancelled(self, claim: Claim) -> Job:
        """End a job as cancelled.

        Raises:
            LostClaimError: The claim is lost.
        """

    # Upkeep

    def tick(self, schedules: Sequence[Schedule]) -> list[Job]:
        """Enqueue what is due: of each schedule at most one job, whoever else is doing the same."""

    def prune(self, *, older_than_s: float, limit: int = 1_000) -> int:
        """Remove jobs that ended longer ago than that, the oldest first, and return how many."""
