"""The worker: claims jobs, runs their handlers in threads, keeps the claims alive, and stops without losing anything."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from types import TracebackType
from typing import Any, Self

from muniment.errors import MunimentError, UsageError
from muniment.jobs.handlers import Handlers, describe
from muniment.jobs.model import (
    Claim,
    Job,
    JobCancelledError,
    LostClaimError,
    WorkerStoppingError,
    require_name,
)
from muniment.jobs.ports import JobStore, Standing
from muniment.jobs.run import Run
from muniment.jobs.schedules import Schedule

LEASE_S = 9.0
"""A job whose worker fell silent is taken over after that, plus the time of one look: under 15 seconds in all."""

GRACE_S = 20.0
"""How long `stop` lets running handlers finish before it has them give their jobs back."""

_RENEWALS = 3  # in the length of a lease: two may fail
_PROGRESS_S = 1.0
_IDLE_S = (0.02, 0.5)  # looks for jobs begin at the one interval and slow down to the other
_TICK_S = 1.0
_LOOK_S = 0.2  # for so long after a look for all jobs, a thread goes on to the next one that is ready by itself
_SETTLE_RETRY_S = 0.2
_ABANDON_S = 5.0  # how long a handler has to notice that it is to give its job back

_log = logging.getLogger(__name__)


class Worker:
    """A worker of one process, as a context manager: it works until the block ends.

    Args:
        store: Where the jobs are.
        handlers: What it can do; it leaves jobs of other kinds to others.
        name: Names it in the jobs it has: unique among all workers, past ones too.
        threads: Jobs that it works on at once.
        lease_s: Seconds of silence after which others take its jobs over.
        schedules: Schedules that it knows; all workers may know all of them.
        random: Where jitter comes from.
        clock: A clock in seconds that is never set.
        describe: What a job's owner may know of an error.
    """

    def __init__(
        self,
        store: JobStore,
        handlers: Handlers,
        *,
        name: str,
        threads: int = 4,
        lease_s: float = LEASE_S,
        schedules: Sequence[Schedule] = (),
        random: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        describe: Callable[[Exception], dict[str, Any]] = describe,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._name = require_name(name, "name of a worker")
        self._threads = threads
        self._lease_s = lease_s
        self._schedules = schedules
        self._random = random or Random()  # noqa: S311  # jitter is no secret
        self._clock = clock
        self._describe = describe
        self._runs: dict[str, Run] = {}
        self._looked_s = clock()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._is_over = threading.Event()
        self._dispatcher = threading.Thread(target=self._dispatch, name="jobs", daemon=True)
        self._heart = threading.Thread(target=self._heartbeat, name="jobs-heart", daemon=True)

    def __enter__(self) -> Self:
        """Begin to work."""
        self._heart.start()
        self._dispatcher.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop, unless it has stopped."""
        self.stop()

    def wake(self) -> None:
        """Look for jobs now: for whoever has just committed one in the same process."""
        with self._changed:
            self._changed.notify_all()

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Claim nothing more, let what runs finish for so long, have the rest given back, and return."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._dispatcher.join()
        with self._changed:
            self._changed.wait_for(lambda: not self._runs, grace_s)
            left = list(self._runs.values())
            for run in left:
                run.stop()
            self._changed.wait_for(lambda: not self._runs, _ABANDON_S)
            left = list(self._runs.values())
        for run in left:  # its handler does not listen; whatever it still writes will be refused
            with suppress(MunimentError):
                self._store.release(run.job.claim)
        self._is_over.set()
        self._heart.join()

    def _dispatch(self) -> None:
        """Claim jobs as long as there is room for them."""
        idle_s, tick_at_s = _IDLE_S[0], self._clock()
        while not self._stopping.is_set():
            claimed = 0
            try:
                if self._clock() >= tick_at_s:
                    self._store.tick(self._schedules)
                    tick_at_s = self._clock() + _TICK_S
                claimed = self._claim()
            except MunimentError as error:
                _log.warning("jobs cannot be claimed for now: %s", error)
                idle_s = _IDLE_S[1]
            except Exception:  # noqa: BLE001  # a worker that is alive but claims nothing would be the worse end
                _log.exception("jobs cannot be claimed")
                idle_s = _IDLE_S[1]
            if claimed:
                idle_s = _IDLE_S[0]
                continue
            with self._changed:
                if self._stopping.is_set():
                    return
                woken = self._changed.wait(idle_s)
            idle_s = _IDLE_S[0] if woken else min(2 * idle_s, _IDLE_S[1])

    def _claim(self) -> int:
        room = self._threads - len(self._runs)
        if room < 1:
            return 0
        asked_s = self._looked_s = self._clock()
        jobs = self._store.claim(self._name, self._handlers, limit=room, lease_s=self._lease_s)
        for job in jobs:
            run = self._begin(job, asked_s)
            name = f"job-{job.kind}"
            threading.Thread(target=self._work, args=(run,), name=name, daemon=True).start()
        return len(jobs)

    def _begin(self, job: Job, asked_s: float) -> Run:
        run = Run(self._store, job, lease_s=self._lease_s, began_s=asked_s, clock=self._clock)
        with self._changed:
            displaced = self._runs.get(job.job_id)
            self._runs[job.job_id] = run
            if self._stopping.is_set():
                run.stop()
        if (
            displaced is not None
        ):  # our own claim ran out, and we were the first to take the job over
            displaced.note(Standing.LOST, asked_s)
        return run

    def _work(self, run: Run) -> None:
        """Do a job, and those that are claimed when it ends."""
        current: Run | None = run
        while current is not None:
            following = None
            try:
                following = self._settle(current, self._attempt(current))
            finally:
                with self._changed:
                    if self._runs.get(current.job.job_id) is current:
                        del self._runs[current.job.job_id]
                    if following is None:
                        self._changed.notify_all()
            current = following

    def _attempt(self, run: Run) -> Callable[[], Run | Job | None]:
        """Run the handler, and return what is to be told to the store."""
        job, claim, store = run.job, run.job.claim, self._store
        handler = self._handlers[job.kind]
        try:
            result = handler.function(run)
        except JobCancelledError:
            return partial(store.end_cancelled, claim)
        except (WorkerStoppingError, LostClaimError):
            return partial(store.release, claim)
        except handler.permanent as error:
            return partial(store.fail, claim, self._describe(error), retry_in_s=None)
        except Exception as error:  # noqa: BLE001  # whatever a handler raises is a failure of its job
            # What has words of its own needs no traceback: content that nobody has is everyday business.
            trace = None if isinstance(error, MunimentError) else error
            what = (job.attempts, job.job_id, job.kind, error)
            _log.warning("attempt %s at job %s (%s) failed: %s", *what, exc_info=trace)
            delay_s = handler.backoff.delay_s(job.attempts, self._random)
            return partial(store.fail, claim, self._describe(error), retry_in_s=delay_s)
        return partial(self._succeed, claim, result)

    def _succeed(self, claim: Claim, result: object) -> Run | None:
        """End a job, and claim the next one with it, unless it is time to look for all of them again."""
        asked_s = self._clock()
        if self._stopping.is_set() or asked_s >= self._looked_s + _LOOK_S:
            self._store.succeed(claim, result)
            return None
        job = self._store.succeed_and_claim(
            claim, result, self._name, self._handlers, lease_s=self._lease_s
        )
        return None if job is None else self._begin(job, asked_s)

    def _settle(self, run: Run, tell: Callable[[], Run | Job | None]) -> Run | None:
        """Tell the store how the attempt ended, for as long as the claim holds; after that, another worker will find out.

        Returns:
            What was claimed with that.
        """
        claim = run.job.claim
        with suppress(LostClaimError, MunimentError):
            run.write_progress()
        while True:
            try:
                told = tell()
            except LostClaimError:
                _log.warning("job %s was taken over by another worker", claim.job_id)
                return None
            except UsageError as error:  # the result cannot be stored, and never will be
                tell = partial(self._store.fail, claim, self._describe(error), retry_in_s=None)
            except MunimentError as error:
                if run.seconds_left <= 0:
                    _log.warning("the end of job %s could not be stored: %s", claim.job_id, error)
                    return None
                self._is_over.wait(_SETTLE_RETRY_S)
            else:
                return told if isinstance(told, Run) else None

    def _heartbeat(self) -> None:
        """Renew the claims and write progress down, until nothing runs any more."""
        renew_at_s = self._clock()
        pause_s = min(_PROGRESS_S, self._lease_s / _RENEWALS)
        while not self._is_over.wait(pause_s):
            try:
                if self._clock() >= renew_at_s:
                    renew_at_s = self._clock() + self._lease_s / _RENEWALS
                    self._renew()
                self._write_progress()
            except MunimentError as error:
                _log.warning("claims cannot be renewed for now: %s", error)
                renew_at_s = self._clock()
            except Exception:  # noqa: BLE001  # likewise
                _log.exception("claims cannot be renewed")

    def _renew(self) -> None:
        with self._changed:
            runs = {run.job.claim: run for run in self._runs.values()}
        if runs:
            asked_s = self._clock()
            standings = self._store.renew(runs, lease_s=self._lease_s)
            for claim, standing in standings.items():
                runs[claim].note(standing, asked_s)

    def _write_progress(self) -> None:
        with self._changed:
            runs = list(self._runs.values())
        for run in runs:
            with suppress(LostClaimError):
                run.write_progress()
