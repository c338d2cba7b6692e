"""A job store against a model of it: workers that claim, crash, hang and come back, while clients enqueue and cancel.

Subclass `JobsMachine`, say how an `Office` over an empty database is opened, and run it with `run_state_machine_as_test`.
"""

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from muniment.jobs.model import Claim, Job, JobState, LostClaimError, NewJob
from muniment.jobs.ports import JobStore, Standing
from muniment.jobs.schedules import Schedule
from muniment.testing.jobs import KINDS, LEASE_S, Office

ORGANIZATIONS = ("a", "b", "c")
LIMITS = {None: 10**6, "k1": 1, "k2": 2}
"""How many jobs of a concurrency key may run at once, in each organisation."""

STEPS = ("first", "second")
_LEASE_US = int(LEASE_S * 1_000_000)


@dataclass(eq=False, slots=True)
class Known:
    """A job, as the model has it."""

    job: Job
    state: JobState = JobState.QUEUED
    run_at: int = 0
    lease_until: int = 0
    token: int = 0
    attempts: int = 0
    is_to_cancel: bool = False
    steps: dict[str, int] = field(default_factory=dict)

    @property
    def lane(self) -> tuple[str, str | None]:
        """What shares its places."""
        return self.job.organization_id, self.job.concurrency_key

    def is_held_by(self, claim: Claim) -> bool:
        """Tell whether a claim still is the right one."""
        return self.state is JobState.RUNNING and self.token == claim.token


class JobsMachine(RuleBasedStateMachine):
    """Three workers and their ghosts: claims of workers that crashed or hung stay, and are tried again later."""

    def open_office(self) -> Office:
        """Open an office over the machine's own database, which is empty at first."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """Open the office."""
        self.office = self.open_office()
        self.known: dict[str, Known] = {}
        self.claims: list[Claim] = []
        self.unique: dict[tuple[str, str], str] = {}
        self.schedule = Schedule("tick", "work", 60, organization_id="c")
        for organization_id in ORGANIZATIONS:
            self.enqueue(organization_id, "k1", 0, 0, 4, None, 0)

    @property
    def now(self) -> int:
        """The time."""
        return self.office.clock.now

    def store(self, number: int) -> JobStore:
        """Return one of the two stores."""
        return self.office.other if number % 2 else self.office.store

    # Clients

    @rule(
        organization_id=st.sampled_from(ORGANIZATIONS),
        key=st.sampled_from(tuple(LIMITS)),
        priority=st.integers(-1, 1),
        delay_s=st.sampled_from((0, 0, 0, 3, 30)),
        max_attempts=st.integers(1, 4),
        unique_key=st.sampled_from((None, None, None, "u1", "u2")),
        number=st.integers(0, 1),
    )
    def enqueue(
        self,
        organization_id: str,
        key: str | None,
        priority: int,
        delay_s: int,
        max_attempts: int,
        unique_key: str | None,
        number: int,
    ) -> None:
        """Add a job, or meet one with the same unique key."""
        limit = LIMITS[key] if key else 1
        new = NewJob(
            organization_id, "work", {}, priority, delay_s, max_attempts, key, limit, unique_key
        )
        self.learn(self.store(number).enqueue(new), unique_key)

    def learn(self, job: Job, unique_key: str | None = None) -> None:
        """Take note of an enqueued job."""
        place = (job.organization_id, unique_key or "")
        if unique_key is not None and place in self.unique:
            assert job.job_id == self.unique[place]
            return
        assert job.job_id not in self.known
        self.known[job.job_id] = Known(job, run_at=job.run_at)
        if unique_key is not None:
            self.unique[place] = job.job_id

    @precondition(lambda self: self.known)
    @rule(data=st.data(), number=st.integers(0, 1))
    def cancel(self, data: st.DataObject, number: int) -> None:
        """Ask for a job to be cancelled."""
        known = self.known[data.draw(st.sampled_from(sorted(self.known)))]
        self.store(number).cancel(known.job.organization_id, known.job.job_id)
        if known.state is JobState.QUEUED:
            known.state = JobState.CANCELLED
        elif known.state is JobState.RUNNING:
            known.is_to_cancel = True

    @rule(seconds=st.sampled_from((0.5, 4, 10, 61)))
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.office.clock.advance(seconds)

    @rule(number=st.integers(0, 1))
    def tick(self, number: int) -> None:
        """Let the schedule enqueue what is due, twice."""
        jobs = [*self.store(number).tick([self.schedule]), *self.store(1).tick([self.schedule])]
        assert len(jobs) <= 1
        for job in jobs:
            self.learn(job)

    # Workers

    @rule(worker=st.integers(0, 2), limit=st.integers(1, 4))
    def claim(self, worker: int, limit: int) -> None:
        """Claim jobs: each must have been free to claim, and none may be left while there is room."""
        free = {id_ for id_, known in self.known.items() if self.may_begin(known)}
        silent = {id_ for id_, known in self.known.items() if self.is_silent(known)}
        jobs = self.store(worker).claim(f"w{worker}", KINDS, limit=limit, lease_s=LEASE_S)
        assert len(jobs) <= limit
        self.end_silent(silent - {job.job_id for job in jobs}, is_done=len(jobs) < limit)
        for job in jobs:
            known = self.known[job.job_id]
            assert job.job_id in free | silent
            if job.job_id in silent:
                assert not known.is_to_cancel
                assert known.attempts < job.max_attempts
            self.begun(job)
        if len(jobs) < limit:
            for job_id in free - {job.job_id for job in jobs}:
                known = self.known[job_id]
                assert self.places(known.lane) <= 0, "a place is free, and a job waits for it"

    def begun(self, job: Job) -> None:
        """Take note of a claim."""
        known = self.known[job.job_id]
        assert job.token == known.token + 1
        known.state, known.token = JobState.RUNNING, job.token
        known.attempts, known.lease_until = known.attempts + 1, self.now + _LEASE_US
        self.claims.append(job.claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), worker=st.integers(0, 1))
    def go_on(self, data: st.DataObject, worker: int) -> None:
        """End a job well and claim the next one with it, by a worker that may have lost the job long ago."""
        claim = data.draw(st.sampled_from(self.claims))
        known, store = self.known[claim.job_id], self.store(worker)
        free = {id_ for id_, known in self.known.items() if self.may_begin(known)}
        try:
            job = store.succeed_and_claim(claim, claim.token, f"w{worker}", KINDS, lease_s=LEASE_S)
        except LostClaimError:
            assert not known.is_held_by(claim)
            return
        assert known.is_held_by(claim)
        known.state, known.run_at = self.expected_end(known, "succeed")
        if job is not None:
            assert job.job_id in free
            self.begun(job)

    @precondition(lambda self: self.claims)
    @rule(worker=st.integers(0, 2))
    def hang(self, worker: int) -> None:
        """Let all workers hang for longer than their leases, and one take over what it can."""
        self.office.clock.advance(LEASE_S + 1)
        self.claim(worker, 4)

    def end_silent(self, job_ids: set[str], *, is_done: bool) -> None:
        """Take note of silent jobs that a claim ended instead of beginning them."""
        for job_id in job_ids:
            known = self.known[job_id]
            found = self.office.store.job(known.job.organization_id, job_id)
            if found.state is JobState.RUNNING:
                assert not is_done, "a silent job was left"
                continue
            if known.is_to_cancel:
                assert found.state is JobState.CANCELLED
            else:
                assert found.state is JobState.FAILED
                assert known.attempts >= known.job.max_attempts
            known.state = found.state

    def may_begin(self, known: Known) -> bool:
        """Tell whether a job waits and its time has come."""
        return known.state is JobState.QUEUED and known.run_at <= self.now

    def is_silent(self, known: Known) -> bool:
        """Tell whether the lease of a job has run out."""
        return known.state is JobState.RUNNING and known.lease_until < self.now

    def places(self, lane: tuple[str, str | None]) -> int:
        """Count the free places."""
        taken = sum(k.lane == lane and k.state is JobState.RUNNING for k in self.known.values())
        return LIMITS[lane[1]] - taken

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), number=st.integers(0, 1))
    def renew(self, data: st.DataObject, number: int) -> None:
        """Renew some claims, lost ones among them."""
        chosen = data.draw(st.lists(st.sampled_from(self.claims), max_size=4, unique=True))
        standings = self.store(number).renew(chosen, lease_s=LEASE_S)
        assert set(standings) == set(chosen)
        for claim, standing in standings.items():
            known = self.known[claim.job_id]
            if not known.is_held_by(claim):
                assert standing is Standing.LOST
                continue
            known.lease_until = self.now + _LEASE_US
            assert standing is (Standing.CANCELLING if known.is_to_cancel else Standing.HELD)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        name=st.sampled_from(STEPS),
        way=st.sampled_from(("plain", "in a transaction")),
        number=st.integers(0, 1),
    )
    def finish_step(self, data: st.DataObject, name: str, way: str, number: int) -> None:
        """Finish a step, by a worker that may have lost the job long ago."""
        claim = data.draw(st.sampled_from(self.claims))
        known, store = self.known[claim.job_id], self.store(number)
        try:
            if name in store.steps(claim):
                assert known.steps[name] <= claim.token
                return
            if way == "in a transaction":
                store.transact_step(claim, name, lambda _within: claim.token)
            else:
                store.finish_step(claim, name, claim.token)
        except LostClaimError:
            assert not known.is_held_by(claim)
        else:
            assert known.is_held_by(claim)
            assert name not in known.steps, "a step was done twice"
            known.steps[name] = claim.token

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        how=st.sampled_from(("succeed", "retry", "fail", "release", "end_cancelled")),
        number=st.integers(0, 1),
    )
    def end(self, data: st.DataObject, how: str, number: int) -> None:
        """End an attempt, by a worker that may have lost the job long ago."""
        claim = data.draw(st.sampled_from(self.claims))
        known, store = self.known[claim.job_id], self.store(number)
        try:
            job = self.tell(store, claim, how)
        except LostClaimError:
            assert not known.is_held_by(claim)
            return
        assert known.is_held_by(claim)
        known.state, known.run_at = self.expected_end(known, how)
        known.attempts -= how == "release" and known.state is JobState.QUEUED
        assert (job.state, job.worker, job.token) == (known.state, None, claim.token)

    def tell(self, store: JobStore, claim: Claim, how: str) -> Job:
        """Tell the store how an attempt ended."""
        match how:
            case "succeed":
                return store.succeed(claim, claim.token)
            case "retry":
                return store.fail(claim, {"code": "bad"}, retry_in_s=5)
            case "fail":
                return store.fail(claim, {"code": "bad"}, retry_in_s=None)
            case "release":
                return store.release(claim)
            case _:
                return store.end_cancelled(claim)

    def expected_end(self, known: Known, how: str) -> tuple[JobState, int]:
        """Return the state that an ending leads to, and when the job may begin again."""
        if how == "succeed":
            return JobState.SUCCEEDED, 0
        if how == "end_cancelled" or known.is_to_cancel:
            return JobState.CANCELLED, 0
        if how == "release":
            return JobState.QUEUED, self.now
        if how == "retry" and known.attempts < known.job.max_attempts:
            return JobState.QUEUED, self.now + 5_000_000
        return JobState.FAILED, 0

    @invariant()
    def places_are_kept(self) -> None:
        """No more jobs of a key run than it has places."""
        if hasattr(self, "known"):
            for lane in {known.lane for known in self.known.values()}:
                assert self.places(lane) >= 0

    def teardown(self) -> None:
        """Let one healthy worker go on alone: every job must end, and be as the model has it."""
        if not hasattr(self, "known"):
            return
        for _ in range(10 * len(self.known) + 10):
            self.office.clock.advance(LEASE_S + 1)
            for job in self.office.other.claim("last", KINDS, limit=10, lease_s=LEASE_S):
                self.office.other.succeed(job.claim, job.token)
                self.known[job.job_id].state = JobState.SUCCEEDED
            if not self.office.store.backlog():
                break
        assert not self.office.store.backlog(), "jobs are stuck"
        stored = {
            job.job_id: job
            for organization_id in ORGANIZATIONS
            for job in self.office.store.jobs(organization_id, limit=10_000)
        }
        assert stored.keys() == self.known.keys(), "jobs were lost"
        for job_id, known in self.known.items():
            if known.state.is_end:
                assert stored[job_id].state is known.state
            assert stored[job_id].finished_at is not None
