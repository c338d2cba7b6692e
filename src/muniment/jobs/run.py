"""`Run`: what a handler sees of its job, and the only way in which it should change anything."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from muniment.jobs.model import (
    Job,
    JobCancelledError,
    LostClaimError,
    Progress,
    WorkerStoppingError,
    require_name,
)
from muniment.jobs.ports import JobStore, Standing, Within


@dataclass(frozen=True, slots=True)
class Step:
    """What names one run of a step, for whatever it does outside the database.

    Attributes:
        job_id: The job.
        name: The step; together with the job's id an idempotency key that every attempt shares.
        token: Of the claim that runs it: where the outside can compare, it should refuse what comes with a lower one than before.
    """

    job_id: str
    name: str
    token: int


class Run:
    """One attempt at a job, by the thread that runs its handler.

    A worker that loses touch with the database for the length of a lease counts its claims as lost before anybody else can take
    them over, as long as its clock runs at the speed of the database's.

    Args:
        store: Where the job is.
        job: The job, as it was claimed.
        lease_s: How long the claim holds without renewal.
        began_s: When the claim was asked for, by `clock`.
        clock: A clock in seconds that is never set.

    Attributes:
        job: The job, as it was claimed.
    """

    def __init__(
        self,
        store: JobStore,
        job: Job,
        *,
        lease_s: float,
        began_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self._store = store
        self._lease_s = lease_s
        self._clock = clock
        self._lost_at_s = began_s + lease_s
        self._steps: dict[str, Any] | None = None
        self._progress: Progress | None = None
        self._is_cancelled = self._is_stopping = self._is_lost = False
        self._disturbed = threading.Event()

    # For handlers

    def check(self) -> None:
        """Go on only if the job is still to be done, and by this worker. Call it between any two pieces of work.

        Raises:
            LostClaimError: Another worker has taken the job over, or may do so at any moment.
            JobCancelledError: Somebody asked for the job to be cancelled. Clean up, and let the error through.
            WorkerStoppingError: The worker is to stop. Let the error through; what was done in steps is kept.
        """
        if self._is_lost or self._clock() >= self._lost_at_s:
            raise LostClaimError(f"job {self.job.job_id} may be another worker's by now")
        if self._is_cancelled:
            raise JobCancelledError(f"job {self.job.job_id} is to be cancelled")
        if self._is_stopping:
            raise WorkerStoppingError("the worker is to stop")

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than the job is to be done.

        Raises:
            LostClaimError, JobCancelledError, WorkerStoppingError: As `check`.
        """
        self.check()
        self._disturbed.wait(seconds)
        self.check()

    def step(self, name: str, function: Callable[[Step], Any]) -> Any:  # noqa: ANN401  # any JSON
        """Run a function and keep its result, or return the result that an earlier attempt kept.

        At most one result of a step is ever kept, and none by a worker that has lost the job. The function itself can run more
        than once: a worker can die after its effect and before its result is kept, and a worker that hangs for longer than the
        lease can wake up beside its successor. So effects outside the database have to be idempotent: use the
        `Step` as a key. Effects inside the database belong in `transact`, which has neither gap.

        Args:
            name: Its name, of which a job has one step.
            function: Does the work. Its result must be JSON and small; it comes back as JSON has it (tuples as lists).

        Raises:
            LostClaimError, JobCancelledError, WorkerStoppingError: As `check`.
        """
        steps = self._known_steps()
        if name not in steps:
            self.check()
            result = function(Step(self.job.job_id, name, self.job.token))
            steps[name] = self._store.finish_step(self.job.claim, name, result)
        return steps[name]

    def transact(self, name: str, function: Callable[[Within], Any]) -> Any:  # noqa: ANN401  # any JSON
        """Run a function within a transaction as a step: what it writes and that it is done stand or fall together.

        So its effects happen exactly once, whatever dies when. Keep it short: nobody can renew the lease of the job meanwhile
        (nor, on SQLite, write anything at all).

        Raises:
            LostClaimError, JobCancelledError, WorkerStoppingError: As `check`.
        """
        steps = self._known_steps()
        if name not in steps:
            self.check()
            begun_s = self._clock()
            steps[name] = self._store.transact_step(self.job.claim, name, function)
            self._lost_at_s += self._clock() - begun_s
        return steps[name]

    def progress(
        self, stage: str, done: int, total: int | None = None, unit: str = "bytes"
    ) -> None:
        """Say how far the job has come. It costs nothing: the worker writes the last word down once a second."""
        require_name(stage, "stage")
        require_name(unit, "unit")
        self._progress = Progress(stage, done, total, unit)

    # For the worker

    @property
    def seconds_left(self) -> float:
        """How long the claim still holds."""
        return 0 if self._is_lost else self._lost_at_s - self._clock()

    def note(self, standing: Standing, asked_s: float) -> None:
        """Take note of how the claim stood when its renewal was asked for."""
        if standing is Standing.LOST:
            self._is_lost = True
        elif standing is not Standing.BUSY:
            self._lost_at_s = max(self._lost_at_s, asked_s + self._lease_s)
            self._is_cancelled |= standing is Standing.CANCELLING
        if self._is_lost or self._is_cancelled:
            self._disturbed.set()

    def stop(self) -> None:
        """Have the handler give the job back."""
        self._is_stopping = True
        self._disturbed.set()

    def write_progress(self) -> None:
        """Store what the handler said last, if it is new."""
        progress, self._progress = self._progress, None
        if progress is not None and not self._is_lost:
            self._store.report(self.job.claim, progress)

    def _known_steps(self) -> dict[str, Any]:
        if self._steps is None:
            self._steps = self._store.steps(self.job.claim)
        return self._steps
