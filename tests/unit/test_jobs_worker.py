"""The worker and what surrounds it: backoff, ticks, ids, runs, handlers, and the loop over a real database."""

import logging
import sqlite3
import threading
import time
from random import Random

import pytest

from muniment.adapters.sql import job_changes, job_queue, job_work, jobs
from muniment.adapters.sql.job_rows import QUEUED
from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.service import open_service_database
from muniment.errors import FormatError, UsageError
from muniment.jobs.backoff import Backoff
from muniment.jobs.handlers import Handlers, describe, pruning
from muniment.jobs.model import (
    JSON_BYTES,
    JobCancelledError,
    JobState,
    LostClaimError,
    NewJob,
    PermanentFailureError,
    Progress,
    WorkerStoppingError,
    new_job_id,
)
from muniment.jobs.ports import Standing
from muniment.jobs.run import Run
from muniment.jobs.schedules import Schedule
from muniment.jobs.worker import Worker

QUICK = Backoff(0.01, 0.02)


@pytest.fixture
def store(tmp_path):
    database = open_service_database(tmp_path / "service.sqlite3")
    yield SqlJobs(database)
    database.close()


@pytest.fixture
def work(store):
    """Enqueue a job for a handler, let a worker end it, and return it."""

    def work(function, **more):
        handlers = Handlers()
        handlers.add("test", function, backoff=QUICK)
        job = store.enqueue(NewJob("one", "test", {}, **more))
        with Worker(store, handlers, name="w", threads=2, lease_s=2) as worker:
            worker.wake()
            return ended(store, job)

    return work


def ended(store, job, deadline_s=30):
    return until(store, job, lambda found: found.state.is_end, deadline_s)


def until(store, job, condition, deadline_s=30):
    deadline = time.monotonic() + deadline_s
    while not condition(found := store.job(job.organization_id, job.job_id)):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def test_backoff_grows_to_its_cap_and_is_jittered():
    backoff, random = Backoff(1, 60), Random(1)
    waits = [[backoff.delay_s(attempt, random) for _ in range(300)] for attempt in range(1, 12)]
    for attempt, found in enumerate(waits, 1):
        longest = min(60, 2 ** (attempt - 1))
        assert 0 <= min(found) < 0.1 * longest
        assert 0.9 * longest < max(found) <= longest
    assert backoff.delay_s(10**9, random) <= 60


def test_ids_sort_by_time_and_are_uuids_of_version_7():
    ids = [new_job_id(1_700_000_000_000_000 + us, b"\xff" * 8) for us in range(0, 5_000, 7)]
    assert sorted(ids) == ids
    assert len(set(ids)) == len(ids)
    assert {(id_[14], id_[19]) for id_ in ids} == {("7", "b")}
    # The time of the example in RFC 9562, appendix A.6: 017F22E2-79B0 is 2022-02-22 19:22:22 UTC.
    assert new_job_id(1_645_557_742_000_000, bytes(8)).startswith("017f22e2-79b0-7000-8000")


def test_ticks_are_aligned():
    hourly = Schedule("a", "work", 3600, 60)
    assert hourly.next_tick(0) == 60_000_000
    assert hourly.next_tick(60_000_000) == 3_660_000_000
    assert hourly.next_tick(3_659_999_999) == 3_660_000_000
    for wrong in ({"every_s": 0}, {"every_s": 5, "offset_s": 5}, {"every_s": 5, "offset_s": -1}):
        with pytest.raises(UsageError):
            Schedule("a", "work", **wrong)
    with pytest.raises(UsageError):
        Schedule("a" * 250, "work", 5)


def test_a_kind_has_one_handler():
    handlers = Handlers()
    handlers.add("a", print)
    with pytest.raises(UsageError, match="already"):
        handlers.add("a", print)


def test_only_errors_raised_on_purpose_are_told():
    assert describe(FormatError("bad bytes")) == {"code": "format", "detail": "bad bytes"}
    assert describe(LostClaimError("x"))["code"] == "lost-claim"
    assert "secret" not in str(describe(KeyError("secret")))


class Clock:
    seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def claimed(store):
    store.enqueue(NewJob("one", "test", {}))
    return store.claim("w", ["test"], limit=1, lease_s=9)[0]


def test_a_run_without_renewal_counts_itself_as_lost(store, claimed):
    clock = Clock()
    run = Run(store, claimed, lease_s=9, began_s=100, clock=clock)
    clock.seconds = 108.9
    run.check()
    run.note(Standing.BUSY, 108)
    clock.seconds = 109
    with pytest.raises(LostClaimError):
        run.check()
    run.note(Standing.HELD, 108)
    run.check()
    run.note(Standing.LOST, 109)
    with pytest.raises(LostClaimError):
        run.step("never", lambda _step: pytest.fail("a lost job goes on"))


def test_a_disturbed_run_does_not_sleep_on(store, claimed):
    for disturb, error in (
        (lambda run: run.stop(), WorkerStoppingError),
        (lambda run: run.note(Standing.CANCELLING, time.monotonic()), JobCancelledError),
        (lambda run: run.note(Standing.LOST, time.monotonic()), LostClaimError),
    ):
        run = Run(store, claimed, lease_s=900, began_s=time.monotonic())
        timer = threading.Timer(0.05, disturb, [run])
        timer.start()
        with pytest.raises(error):
            run.wait(600)
        timer.join()


def test_steps_are_run_once_and_told_alike(store, claimed):
    run = Run(store, claimed, lease_s=9, began_s=time.monotonic())
    keys = []

    def effect(step):
        keys.append(step)
        return (1, 2)

    assert run.step("a", effect) == [1, 2]
    assert run.step("a", effect) == [1, 2]
    again = Run(store, claimed, lease_s=9, began_s=time.monotonic())
    assert again.step("a", effect) == [1, 2]
    assert [(step.job_id, step.name, step.token) for step in keys] == [(claimed.job_id, "a", 1)]


def test_a_result_is_kept(work):
    def function(run):
        run.progress("reading", 7, 9, "files")
        return {"sum": 3}

    job = work(function)
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"sum": 3})
    assert job.progress == Progress("reading", 7, 9, "files")


def test_a_failure_is_tried_again(work, caplog):
    def function(run):
        if run.job.attempts < 3:
            raise OSError("not for everybody's eyes")
        return run.job.attempts

    with caplog.at_level(logging.WARNING):
        job = work(function)
    assert (job.state, job.result, job.problem) == (JobState.SUCCEEDED, 3, None)
    assert "not for everybody's eyes" in caplog.text


def test_a_failure_ends_when_attempts_do(work):
    def function(_run):
        raise ValueError("secret")

    job = work(function, max_attempts=2)
    assert (job.state, job.attempts) == (JobState.FAILED, 2)
    assert job.problem["code"] == "internal"
    assert "secret" not in str(job.problem)


@pytest.mark.parametrize("error", [PermanentFailureError("for good"), UsageError("for good")])
def test_a_permanent_failure_is_not_tried_again(work, error):
    def function(_run):
        raise error

    job = work(function)
    assert (job.state, job.attempts, job.problem["detail"]) == (JobState.FAILED, 1, "for good")


@pytest.mark.parametrize("result", [object(), "x" * JSON_BYTES, float("nan")])
def test_a_result_that_cannot_be_stored_fails_the_job(work, result):
    job = work(lambda _run: result)
    assert (job.state, job.problem["code"]) == (JobState.FAILED, "usage")


def test_a_running_job_is_cancelled(store):
    handlers, cleaned = Handlers(), []

    def function(run):
        try:
            run.wait(60)
        except JobCancelledError:
            cleaned.append(run.job.job_id)
            raise

    handlers.add("test", function)
    job = store.enqueue(NewJob("one", "test", {}))
    with Worker(store, handlers, name="w", lease_s=0.3):
        until(store, job, lambda found: found.state is JobState.RUNNING)
        store.cancel("one", job.job_id)
        assert ended(store, job).state is JobState.CANCELLED
    assert cleaned == [job.job_id]


def test_stopping_gives_back_what_does_not_finish(store):
    handlers = Handlers()
    handlers.add("test", lambda run: run.wait(60))
    job = store.enqueue(NewJob("one", "test", {}, max_attempts=1))
    with Worker(store, handlers, name="w") as worker:
        until(store, job, lambda found: found.state is JobState.RUNNING)
        worker.stop(grace_s=0.05)
    found = store.job("one", job.job_id)
    assert (found.state, found.attempts, found.worker) == (JobState.QUEUED, 0, None)


def test_a_long_job_keeps_its_claim(store):
    handlers = Handlers()
    handlers.add("test", lambda run: run.wait(1.5))
    job = store.enqueue(NewJob("one", "test", {}))
    with (
        Worker(store, handlers, name="w1", lease_s=0.6),
        Worker(store, handlers, name="w2", lease_s=0.6),
    ):
        assert ended(store, job).state is JobState.SUCCEEDED


def test_schedules_and_pruning_run_by_themselves(store):
    handlers = Handlers()
    handlers.add("prune", pruning(store, older_than_s=0))
    done = store.enqueue(NewJob("one", "test", {}))
    (claim,) = (job.claim for job in store.claim("w", ["test"], limit=1, lease_s=9))
    store.succeed(claim, None)
    with Worker(store, handlers, name="w", schedules=[Schedule("prune", "prune", 1)]):
        deadline = time.monotonic() + 30
        while store.jobs("one"):
            assert time.monotonic() < deadline, done
            time.sleep(0.05)


def statements_over_jobs():
    for module in (job_queue, job_changes, job_work, jobs):
        for name, value in vars(module).items():
            if name.startswith("_") and isinstance(value, str) and " FROM jobs " in value:
                text = value.replace("{kinds}", "?, ?")
                text = text.replace("{skip_locked}", "").replace("{lock}", "")
                yield from ((name, text.replace("{phase}", phase)) for phase in QUEUED)


def test_no_statement_reads_jobs_that_have_ended(tmp_path):
    file = tmp_path / "service.sqlite3"
    open_service_database(file).close()
    seen = set()
    with sqlite3.connect(file) as connection:
        for name, sql in statements_over_jobs():
            rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * sql.count("?"))
            steps = [row[3] for row in rows if " jobs" in row[3]]
            assert steps, name
            # A scan is one of an index of what waits; that of `jobs_listed` would be one of everything.
            assert all(" INDEX " in step for step in steps), (name, steps)
            assert not any("SCAN" in step and "jobs_listed" in step for step in steps), name
            seen.add(name)
    connection.close()
    assert len(seen) >= 9


def test_many_may_open_a_new_database_at_once(database_url):
    errors = []

    def open_one():
        try:
            open_service_database(database_url).close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
