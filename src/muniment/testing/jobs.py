"""What every `JobStore` must do.

Run it over an adapter by calling each function of `CHECKS` with an `Office` over an empty database::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check, office):
        check(office)

`muniment.testing.jobs_machine` tries sequences of operations that nobody thought of.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from muniment.errors import ConflictError, MunimentError, NotFoundError, UsageError
from muniment.jobs.model import (
    JSON_BYTES,
    Claim,
    Job,
    JobEvent,
    JobState,
    LostClaimError,
    NewJob,
    Progress,
    QueueFullError,
)
from muniment.jobs.ports import JobStore, Standing, Within
from muniment.jobs.schedules import Schedule, daily

LEASE_S = 9.0
BEGIN = 1_700_000_000_000_000
KINDS = ("work", "other")
LIMITED, QUEUE_LIMIT = "limited", 5
"""The stores of an office let no more jobs with this key wait or run."""

E = TypeVar("E", bound=Exception)


@dataclass
class Clock:
    """The database's clock, as the test sets it: microseconds since 1970."""

    now: int = BEGIN

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.now += round(seconds * 1_000_000)


@dataclass
class Office:
    """A store of jobs under test.

    Attributes:
        store: The store.
        other: Another store over the same database, as another process has it.
        clock: The clock of both.
        changes: What `store` told of changes: (event, job's id, job's state).
        writing: Opens a transaction that `within` takes.
        fail_on: An event at which `store`'s listener fails, if set.
    """

    store: JobStore
    other: JobStore
    clock: Clock
    writing: Callable[[], AbstractContextManager[Within]]
    changes: list[tuple[JobEvent, str, JobState]] = field(default_factory=list)
    fail_on: JobEvent | None = None

    def listen(self, _within: Within, job: Job, event: JobEvent) -> None:
        """Take note of a change, or fail."""
        if event is self.fail_on:
            raise RuntimeError("the listener fails")
        self.changes.append((event, job.job_id, job.state))

    def add(self, organization_id: str = "one", **more: Any) -> Job:  # noqa: ANN401  # as in `NewJob`
        """Enqueue a job."""
        return self.store.enqueue(NewJob(organization_id, "work", {}, **more))

    def claim(self, limit: int = 1, worker: str = "w1") -> list[Job]:
        """Claim jobs."""
        return self.store.claim(worker, KINDS, limit=limit, lease_s=LEASE_S)

    def claim_one(self, worker: str = "w1") -> Claim:
        """Claim the one job that there is."""
        (job,) = self.claim(2, worker)
        return job.claim


def refused(error: type[E], function: Callable[..., object], *values: Any, **more: Any) -> E:  # noqa: ANN401  # whatever is called
    """Check that a call raises an error, and return it."""
    try:
        function(*values, **more)
    except error as raised:
        return raised
    raise AssertionError(f"expected {error.__name__}")


def writes(store: JobStore, claim: Claim) -> list[Callable[[], object]]:
    """Return every write of a worker, as calls."""
    return [
        lambda: store.steps(claim),
        lambda: store.finish_step(claim, "late", 1),
        lambda: store.transact_step(claim, "late", lambda _within: 1),
        lambda: store.report(claim, Progress("late", 1, 2, "files")),
        lambda: store.succeed(claim, None),
        lambda: store.succeed_and_claim(claim, None, "w1", KINDS, lease_s=LEASE_S),
        lambda: store.fail(claim, {}, retry_in_s=1),
        lambda: store.fail(claim, {}, retry_in_s=None),
        lambda: store.release(claim),
        lambda: store.end_cancelled(claim),
    ]


def a_job_is_kept_as_it_was_given(office: Office) -> None:
    """All that was given comes back, through any store over the database."""
    payload = {"text": "é\ud800\u0000'; --", "list": [1, 2.5, None, True], "deep": {"a": {}}}
    new = NewJob("one", "work", payload, 3, 60, 5, "key", 2, "unique")
    job = office.store.enqueue(new)
    found = office.other.job("one", job.job_id)
    assert found == job
    assert found.payload == payload
    assert (found.kind, found.priority, found.max_attempts) == ("work", 3, 5)
    assert (found.concurrency_key, found.concurrency_limit, found.unique_key) == (
        "key",
        2,
        "unique",
    )
    assert (found.state, found.token, found.attempts) == (JobState.QUEUED, 0, 0)
    assert (found.created_at, found.run_at) == (BEGIN, BEGIN + 60_000_000)


def what_cannot_be_stored_is_refused(office: Office) -> None:
    """Values that are too large, no JSON or not printable change nothing."""
    for payload in ({"a": "x" * JSON_BYTES}, {"a": float("nan")}, {"a": object()}):
        refused(UsageError, office.store.enqueue, NewJob("one", "work", payload))
    refused(UsageError, NewJob, "one", "", {})
    refused(UsageError, NewJob, "one", "work", {}, unique_key="a\x00b")
    refused(UsageError, NewJob, "one", "work", {}, concurrency_key="\ud800")
    refused(UsageError, NewJob, "one", "work", [])
    refused(UsageError, NewJob, "one", "work", {}, concurrency_limit=0)
    office.add()
    claim = office.claim_one()
    refused(UsageError, office.store.finish_step, claim, "", 1)
    refused(UsageError, office.store.finish_step, claim, "step", "x" * JSON_BYTES)
    refused(UsageError, office.store.succeed, claim, object())
    assert office.store.job("one", claim.job_id).state is JobState.RUNNING


def organisations_do_not_meet(office: Office) -> None:
    """A job of another organisation does not exist."""
    job = office.add("one", unique_key="same")
    other = office.add("two", unique_key="same")
    assert job.job_id != other.job_id
    for act in (office.store.job, office.store.cancel, office.store.restart):
        refused(NotFoundError, act, "two", job.job_id)
        refused(NotFoundError, act, "one", "no such job")
    assert [found.job_id for found in office.store.jobs("one")] == [job.job_id]


def a_unique_key_is_one_job(office: Office) -> None:
    """Enqueuing again gives the first job, until that is pruned."""
    first = office.add(unique_key="key")
    assert office.add(unique_key="key", priority=5) == first
    assert office.other.enqueue(NewJob("one", "work", {"n": 1}, unique_key="key")) == first
    refused(ConflictError, office.store.enqueue, NewJob("one", "other", {}, unique_key="key"))
    office.store.succeed(office.claim_one(), None)
    assert office.add(unique_key="key").job_id == first.job_id
    assert not office.claim()
    office.clock.advance(10)
    office.store.prune(older_than_s=5)
    assert office.add(unique_key="key").job_id != first.job_id


def a_job_is_claimed_once_and_in_order(office: Office) -> None:
    """Higher priorities first, then earlier times."""
    low, late = office.add(priority=-1), office.add()
    office.clock.advance(1)
    high, last = office.add(priority=1), office.add()
    order = [office.claim()[0].job_id for _ in range(4)]
    assert order == [job.job_id for job in (high, late, last, low)]
    assert not office.claim()
    assert not office.other.claim("w2", KINDS, limit=5, lease_s=LEASE_S)


def kinds_are_for_those_who_know_them(office: Office) -> None:
    """A worker gets no job that it has no handler for, and is not stopped by one."""
    office.store.enqueue(NewJob("one", "strange", {}))
    known = office.add()
    assert [job.job_id for job in office.claim(5)] == [known.job_id]
    assert not office.store.claim("w1", (), limit=5, lease_s=LEASE_S)
    assert len(office.store.claim("w2", ["strange"], limit=5, lease_s=LEASE_S)) == 1


def a_delayed_job_waits(office: Office) -> None:
    """Not before its time, and then at once."""
    office.add(delay_s=60)
    assert not office.claim()
    office.clock.advance(59)
    assert not office.claim()
    office.add(delay_s=2)
    office.clock.advance(1)
    office.claim_one()


def organisations_take_turns(office: Office) -> None:
    """Neither many jobs nor high priorities let one organisation starve another."""
    for _ in range(30):
        office.add("a", priority=9)
    for organization_id in ("b", "c", "c"):
        office.add(organization_id)
    order = [job.organization_id for job in office.claim(5)]
    assert order.count("b") == 1
    assert order.count("c") == 2
    assert len(office.claim(100)) == 28


def lanes_take_turns(office: Office) -> None:
    """Neither another organisation nor another kind of work waits behind all that one has queued, though all of it has to be let through first."""
    with office.writing() as within:
        for _ in range(600):
            new = NewJob("a", "work", {}, concurrency_key="key", concurrency_limit=1_000)
            office.store.enqueue(new, within=within)
    office.clock.advance(1)
    office.add("b", concurrency_key="key")
    office.add("a", concurrency_key="another", priority=1)
    office.add("c", delay_s=1)
    office.clock.advance(1)
    order = [office.claim()[0] for _ in range(4)]
    assert {"b", "c"} <= {job.organization_id for job in order}
    assert "another" in [job.concurrency_key for job in order]
    assert len(office.store.jobs("a", states=[JobState.RUNNING])) == 2
    while office.claim(200):
        pass
    assert not office.store.jobs("a", states=[JobState.QUEUED])


def a_queue_has_an_end(office: Office) -> None:
    """Of each organisation and key for itself, whoever asks at once; what has ended makes room."""
    for number in range(QUEUE_LIMIT):
        office.add(concurrency_key=LIMITED, delay_s=number % 2)
    refused(QueueFullError, office.add, concurrency_key=LIMITED)
    assert len(office.store.jobs("one")) == QUEUE_LIMIT
    office.add("two", concurrency_key=LIMITED)
    office.add(concurrency_key="key")
    office.add()
    first = next(job for job in office.store.jobs("one") if job.concurrency_key == LIMITED)
    office.store.cancel("one", first.job_id)
    again = office.add(concurrency_key=LIMITED, unique_key="again")
    assert office.add(concurrency_key=LIMITED, unique_key="again") == again
    refused(QueueFullError, office.store.restart, "one", first.job_id)
    assert office.store.job("one", first.job_id).state is JobState.CANCELLED
    claims = [job.claim for job in office.claim(10) if job.concurrency_key == LIMITED]
    refused(QueueFullError, office.add, concurrency_key=LIMITED)
    for claim in claims:
        office.store.succeed(claim, None)
    with ThreadPoolExecutor(4) as threads:
        stores = [office.store, office.other]

        def enqueue(number: int) -> bool:
            new = NewJob("one", "work", {}, concurrency_key=LIMITED)
            with suppress(QueueFullError):
                stores[number % 2].enqueue(new)
                return True
            return False

        assert sum(threads.map(enqueue, range(12))) == 1


def cancelling_what_waits_gets_in_nobodys_way(office: Office) -> None:
    """Who cancels jobs that wait for a place, and who gives them places at the same time, do not wait for each other, and no place is lost."""
    waiting = [office.add(concurrency_key="key").job_id for _ in range(60)]
    claims = [office.claim_one()]

    def work() -> None:
        while claims:
            office.store.succeed(claims.pop(), None)
            claims.extend(job.claim for job in office.claim())

    def cancel() -> None:
        for job_id in waiting:
            office.other.cancel("one", job_id)

    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(work), threads.submit(cancel)]:
            future.result()
    while claimed := office.claim():
        office.store.succeed(claimed[0].claim, None)
    assert not office.store.jobs("one", states=[JobState.QUEUED, JobState.RUNNING])


def a_concurrency_key_limits_what_runs(office: Office) -> None:
    """However a job leaves, its place goes to exactly one other of its key and organisation."""
    for _ in range(6):
        office.add(concurrency_key="key", concurrency_limit=2)
    office.add("two", concurrency_key="key")
    claimed = office.claim(20)
    assert sorted(job.organization_id for job in claimed) == ["one", "one", "two"]
    first, second = (job.claim for job in claimed if job.organization_id == "one")
    assert not office.claim()
    office.store.succeed(first, None)
    third = office.claim_one()
    office.store.fail(second, {}, retry_in_s=600)
    fourth = office.claim_one()
    office.store.fail(third, {}, retry_in_s=None)
    fifth = office.claim_one()
    office.store.cancel("one", fourth.job_id)
    assert not office.claim()
    office.store.end_cancelled(fourth)
    sixth = office.claim_one()
    office.store.succeed(fifth, None)
    office.store.release(sixth)
    again = office.claim_one()
    assert again == Claim(sixth.job_id, sixth.token + 1)
    office.store.succeed(again, None)
    for job in claimed:
        if job.organization_id == "two":
            office.store.succeed(job.claim, None)
    office.clock.advance(601)
    assert office.claim_one().job_id == second.job_id


def a_job_is_claimed_as_another_ends(office: Office) -> None:
    """Both happen, or neither does; the place of the one is the other's, and organisations take turns."""
    for organization_id in ("one", "one", "two"):
        office.add(organization_id, concurrency_key="key", concurrency_limit=1)
    first = next(job for job in office.claim(2) if job.organization_id == "one")
    office.fail_on = JobEvent.STARTED
    refused(RuntimeError, _end_and_claim, office, first)
    office.fail_on = None
    assert office.store.job("one", first.job_id).state is JobState.RUNNING
    second = _end_and_claim(office, first)
    assert second is not None
    assert (second.organization_id, second.worker, second.token) == ("one", "w1", 1)
    assert office.store.job("one", first.job_id).state is JobState.SUCCEEDED
    assert _end_and_claim(office, second) is None


def _end_and_claim(office: Office, job: Job) -> Job | None:
    return office.store.succeed_and_claim(job.claim, None, "w1", KINDS, lease_s=LEASE_S)


def a_cancelled_job_frees_its_place(office: Office) -> None:
    """Also one that had a place, but no worker yet."""
    first = office.add(concurrency_key="key")
    second = office.add(concurrency_key="key")
    assert not office.store.claim("w1", ["other"], limit=1, lease_s=LEASE_S)
    claim = office.claim_one()
    office.store.release(claim)
    office.store.cancel("one", claim.job_id)
    assert office.claim_one().job_id == ({first.job_id, second.job_id} - {claim.job_id}).pop()


def tokens_grow_and_stale_claims_are_refused(office: Office) -> None:
    """Once a job was taken over, its former workers can neither write nor learn anything."""
    job = office.add(max_attempts=20)
    stale: list[Claim] = []
    for _ in range(3):
        claim = office.claim_one()
        assert claim.token == len(stale) + 1
        for old in stale:
            for write in writes(office.store, old):
                refused(LostClaimError, write)
            assert office.store.renew([old], lease_s=LEASE_S) == {old: Standing.LOST}
        stale.append(claim)
        office.clock.advance(LEASE_S + 1)
    assert office.store.job("one", job.job_id).state is JobState.RUNNING
    office.store.succeed(stale[-1], {"sum": 3})
    for write in writes(office.store, stale[-1]):
        refused(LostClaimError, write)
    found = office.store.job("one", job.job_id)
    assert (found.state, found.result, found.worker) == (JobState.SUCCEEDED, {"sum": 3}, None)


def a_lease_holds_while_it_is_renewed(office: Office) -> None:
    """Even too late, as long as nobody has taken over."""
    office.add()
    claim = office.claim_one()
    for _ in range(4):
        office.clock.advance(LEASE_S - 1)
        assert office.other.renew([claim], lease_s=LEASE_S) == {claim: Standing.HELD}
        assert not office.claim(worker="w2")
    office.clock.advance(LEASE_S + 1)
    assert office.store.renew([claim], lease_s=LEASE_S) == {claim: Standing.HELD}
    assert not office.claim(worker="w2")
    office.clock.advance(LEASE_S + 1)
    taken = office.claim_one("w2")
    assert taken == Claim(claim.job_id, claim.token + 1)
    assert office.store.job("one", claim.job_id).worker == "w2"


def only_silent_jobs_are_taken_over(office: Office) -> None:
    """Not those beside them."""
    silent = office.add()
    office.claim_one()
    office.clock.advance(2)
    office.add()
    office.claim_one()
    office.clock.advance(LEASE_S - 1)
    assert office.claim_one("w2").job_id == silent.job_id


def a_job_that_ends_its_workers_ends(office: Office) -> None:
    """A worker that dies uses up an attempt."""
    job = office.add(max_attempts=2)
    for _ in range(2):
        office.claim_one()
        office.clock.advance(LEASE_S + 1)
    assert not office.claim()
    found = office.store.job("one", job.job_id)
    assert found.state is JobState.FAILED
    assert found.problem is not None
    assert found.problem["code"] == "worker-lost"
    assert found.finished_at == office.clock.now


def a_failure_is_tried_again_until_attempts_end(office: Office) -> None:
    """Not before the time asked for."""
    job = office.add(max_attempts=3)
    for attempt in (1, 2, 3):
        claim = office.claim_one()
        found = office.store.fail(claim, {"code": "bad", "detail": "no"}, retry_in_s=30)
        assert found.attempts == attempt
        assert found.problem == {"code": "bad", "detail": "no"}
        assert not office.claim()
        office.clock.advance(31)
    assert office.store.job("one", job.job_id).state is JobState.FAILED
    office.add()
    assert office.store.fail(office.claim_one(), {}, retry_in_s=None).state is JobState.FAILED


def what_is_given_back_begins_anew_at_once(office: Office) -> None:
    """And costs no attempt."""
    office.add(max_attempts=1)
    for _ in range(5):
        office.store.release(office.claim_one())
    assert office.store.succeed(office.claim_one(), 1).attempts == 1


def a_job_is_cancelled(office: Office) -> None:
    """At once if it waits, by its handler if it runs, by the next worker if it fell silent."""
    waiting, running, silent = office.add(priority=-1), office.add(), office.add()
    claims = {job.job_id: job.claim for job in office.claim(2)}
    assert office.store.cancel("one", waiting.job_id).state is JobState.CANCELLED
    for job in (running, silent, silent):
        found = office.store.cancel("one", job.job_id)
        assert (found.state, found.cancel_requested) == (JobState.RUNNING, True)
    claim = claims[running.job_id]
    assert office.store.renew([claim], lease_s=LEASE_S) == {claim: Standing.CANCELLING}
    assert office.store.end_cancelled(claim).state is JobState.CANCELLED
    office.clock.advance(LEASE_S + 1)
    assert not office.claim()
    for job in (waiting, running, silent):
        found = office.store.cancel("one", job.job_id)
        assert found.state is JobState.CANCELLED
        assert found.finished_at is not None
    events = [event for event, job_id, _state in office.changes if job_id == silent.job_id]
    assert events[-2:] == [JobEvent.CANCEL_REQUESTED, JobEvent.CANCELLED]


def a_cancelled_job_is_not_tried_again(office: Office) -> None:
    """Whatever its handler says instead."""
    for _ in range(2):
        office.add()
    first, second = office.claim(2)
    for job in (first, second):
        office.store.cancel("one", job.job_id)
    assert office.store.fail(first.claim, {}, retry_in_s=1).state is JobState.CANCELLED
    assert office.store.release(second.claim).state is JobState.CANCELLED


def an_ended_job_can_be_restarted(office: Office) -> None:
    """With all attempts before it, and without doing finished steps again."""
    job = office.add(max_attempts=1)
    refused(ConflictError, office.store.restart, "one", job.job_id)
    claim = office.claim_one()
    office.store.finish_step(claim, "first", [1])
    refused(ConflictError, office.store.restart, "one", job.job_id)
    office.store.fail(claim, {"code": "bad"}, retry_in_s=None)
    again = office.store.restart("one", job.job_id)
    assert (again.state, again.attempts, again.problem) == (JobState.QUEUED, 0, None)
    claim = office.claim_one()
    assert office.store.steps(claim) == {"first": [1]}
    office.store.succeed(claim, None)
    refused(ConflictError, office.store.restart, "one", job.job_id)


def steps_outlive_their_worker(office: Office) -> None:
    """The next worker gets the results as JSON has them; a step is kept once."""
    office.add()
    claim = office.claim_one()
    office.store.finish_step(claim, "first", {"a": [1, None]})
    assert office.store.transact_step(claim, "second", lambda _within: (1, 2)) == [1, 2]
    refused(ConflictError, office.store.finish_step, claim, "first", 2)
    office.clock.advance(LEASE_S + 1)
    claim = office.claim_one("w2")
    assert office.store.steps(claim) == {"first": {"a": [1, None]}, "second": [1, 2]}


def a_transaction_stands_or_falls_with_its_claim(office: Office) -> None:
    """What a lost claim or an error leaves behind is nothing."""
    office.add()
    stale = office.claim_one()
    office.clock.advance(LEASE_S + 1)
    claim = office.claim_one("w2")

    def enqueue(within: Within) -> str:
        return office.store.enqueue(NewJob("two", "work", {}), within=within).job_id

    def enqueue_and_fail(within: Within) -> None:
        enqueue(within)
        raise RuntimeError("half-way")

    refused(LostClaimError, office.store.transact_step, stale, "step", enqueue)
    refused(RuntimeError, office.store.transact_step, claim, "step", enqueue_and_fail)
    assert not office.store.jobs("two")
    assert office.store.steps(claim) == {}
    job_id = office.store.transact_step(claim, "step", enqueue)
    assert [job.job_id for job in office.store.jobs("two")] == [job_id]


def a_long_transaction_does_not_cost_the_lease(office: Office) -> None:
    """Time that it takes does not count."""
    office.add()
    claim = office.claim_one()
    office.store.transact_step(claim, "long", lambda _within: office.clock.advance(10 * LEASE_S))
    assert not office.claim(worker="w2")
    office.clock.advance(LEASE_S + 1)
    office.claim_one("w2")


def jobs_join_the_callers_transaction(office: Office) -> None:
    """A job stands or falls with what its caller wrote."""
    kept = office.add()
    with suppress(RuntimeError), office.writing() as within:
        office.store.enqueue(NewJob("one", "work", {}), within=within)
        office.store.cancel("one", kept.job_id, within=within)
        raise RuntimeError("the caller fails")
    assert office.store.jobs("one") == [kept]
    with office.writing() as within:
        office.store.cancel("one", kept.job_id, within=within)
        office.store.enqueue(NewJob("one", "work", {}), within=within)
    assert len(office.store.jobs("one", states=[JobState.QUEUED])) == 1


def changes_are_told_in_their_transaction(office: Office) -> None:
    """Each once, in order; a listener that fails undoes the change."""
    job = office.add()
    claim = office.claim_one()
    office.store.report(claim, Progress("reading", 5, None, "bytes"))
    office.store.fail(claim, {}, retry_in_s=0)
    office.store.release(office.claim_one())
    office.store.succeed(office.claim_one(), None)
    assert [event for event, job_id, _state in office.changes if job_id == job.job_id] == [
        JobEvent.QUEUED,
        JobEvent.STARTED,
        JobEvent.PROGRESSED,
        JobEvent.RETRYING,
        JobEvent.STARTED,
        JobEvent.RELEASED,
        JobEvent.STARTED,
        JobEvent.SUCCEEDED,
    ]
    assert office.store.job("one", job.job_id).progress == Progress("reading", 5, None, "bytes")
    office.fail_on = JobEvent.QUEUED
    refused(RuntimeError, office.add)
    assert len(office.store.jobs("one")) == 1
    office.fail_on = JobEvent.STARTED
    waiting = office.other.enqueue(NewJob("one", "work", {}))
    refused(RuntimeError, office.claim)
    assert office.store.job("one", waiting.job_id) == waiting


def lists_are_pages_newest_first(office: Office) -> None:
    """Filtered by state and kind; the backlog counts what has not ended."""
    jobs = []
    for number in range(7):
        office.clock.advance(0.001)
        jobs.append(office.add(priority=number % 2).job_id)
    jobs.reverse()
    first = office.store.jobs("one", limit=4)
    rest = office.store.jobs("one", before=first[-1].job_id, limit=4)
    assert [job.job_id for job in first + rest] == jobs
    office.claim(2)
    running = office.store.jobs("one", states=[JobState.RUNNING])
    assert len(running) == 2
    assert len(office.store.jobs("one", states=[JobState.QUEUED, JobState.RUNNING])) == 7
    assert not office.store.jobs("one", kinds=["other"])
    assert office.store.backlog() == {("one", JobState.QUEUED): 5, ("one", JobState.RUNNING): 2}


def a_schedule_ticks_once_for_all(office: Office) -> None:
    """However many workers ask; what was missed becomes one."""
    schedule = Schedule("hourly", "work", 3600, payload={"a": 1})
    for store in (office.store, office.other):
        assert not store.tick([schedule])
    office.clock.advance(3600)
    jobs = [*office.store.tick([schedule]), *office.other.tick([schedule])]
    assert [job.payload for job in jobs] == [{"a": 1}]
    office.clock.advance(3600)
    assert not office.store.tick([schedule]), "the job of the last tick has not ended"
    office.store.succeed(office.claim_one(), None)
    office.clock.advance(10 * 3600)
    assert len(office.other.tick([schedule])) == 1, "missed ticks are one"
    assert not office.store.tick([schedule])
    changed = Schedule("hourly", "work", 60)
    office.store.succeed(office.claim_one(), None)
    assert not office.store.tick([changed])
    office.clock.advance(60)
    assert len(office.store.tick([changed])) == 1


def a_daily_schedule_keeps_its_hour(office: Office) -> None:
    """In UTC."""
    schedule = daily("nightly", "work", hour=3, minute=30)
    office.store.tick([schedule])
    for _ in range(3):
        office.clock.now = schedule.next_tick(office.clock.now)
        assert office.clock.now // 1_000_000 % 86_400 == 3 * 3600 + 30 * 60
        office.clock.advance(-1)
        assert not office.store.tick([schedule])
        office.clock.advance(1)
        assert len(office.store.tick([schedule])) == 1
        office.store.succeed(office.claim_one(), None)


def old_ends_are_pruned(office: Office) -> None:
    """With their steps; what waits or ended lately stays."""
    office.add()
    claim = office.claim_one()
    office.store.finish_step(claim, "step", 1)
    office.store.succeed(claim, None)
    office.clock.advance(100)
    kept = [office.add(), office.add(delay_s=5)]
    office.store.succeed(office.claim_one(), None)
    assert office.store.prune(older_than_s=50) == 1
    assert office.store.prune(older_than_s=50) == 0
    assert {job.job_id for job in office.store.jobs("one")} == {job.job_id for job in kept}


def errors_are_our_own(office: Office) -> None:
    """A claim on nothing is a lost claim."""
    for write in writes(office.store, Claim("no such job", 1)):
        assert isinstance(refused(LostClaimError, write), MunimentError)


CHECKS = (
    a_job_is_kept_as_it_was_given,
    what_cannot_be_stored_is_refused,
    organisations_do_not_meet,
    a_unique_key_is_one_job,
    a_job_is_claimed_once_and_in_order,
    kinds_are_for_those_who_know_them,
    a_delayed_job_waits,
    organisations_take_turns,
    lanes_take_turns,
    a_queue_has_an_end,
    a_concurrency_key_limits_what_runs,
    cancelling_what_waits_gets_in_nobodys_way,
    a_job_is_claimed_as_another_ends,
    a_cancelled_job_frees_its_place,
    tokens_grow_and_stale_claims_are_refused,
    a_lease_holds_while_it_is_renewed,
    only_silent_jobs_are_taken_over,
    a_job_that_ends_its_workers_ends,
    a_failure_is_tried_again_until_attempts_end,
    what_is_given_back_begins_anew_at_once,
    a_job_is_cancelled,
    a_cancelled_job_is_not_tried_again,
    an_ended_job_can_be_restarted,
    steps_outlive_their_worker,
    a_transaction_stands_or_falls_with_its_claim,
    a_long_transaction_does_not_cost_the_lease,
    jobs_join_the_callers_transaction,
    changes_are_told_in_their_transaction,
    lists_are_pages_newest_first,
    a_schedule_ticks_once_for_all,
    a_daily_schedule_keeps_its_hour,
    old_ends_are_pruned,
    errors_are_our_own,
)
