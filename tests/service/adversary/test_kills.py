"""Processes that answer and processes that work, killed at random while clients bring, archive, verify, pin and cancel: nothing
acknowledged is lost, nothing is done twice, nothing is stuck, and all counts are right. On each database; PostgreSQL is killed as well.

`MUNIMENT_KILLS` is how many operations the clients make, `MUNIMENT_KILLS_LEASE` the lease of their jobs in seconds.
"""

import hashlib
import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest
from tests.service.adversary.clients import PATIENCE_S, Client
from tests.service.adversary.fleet import Fleet
from tests.service.adversary.house import House
from tests.service.adversary.takeovers import Takeovers, told

from muniment.accounts.audit import verify_chain
from muniment.adapters.sql.statements import Statements
from muniment.content.cid import CID, RAW
from muniment.errors import ExternalServiceError
from muniment.jobs.model import JobState
from muniment.testing.postgresql import LocalPostgres

OPERATIONS = int(os.environ.get("MUNIMENT_KILLS", "150"))
LEASE_S = int(os.environ.get("MUNIMENT_KILLS_LEASE", "2"))
CLIENTS = max(3, min(12, OPERATIONS // 80))  # whose request dies may wait a minute for its answer
WORKERS, PINS, TAKEOVER_S = 3, 12, 15
ORGANIZATION = "example"
ENDS = [f"operation.{state}" for state in JobState if state.is_end]


class Failing:
    """A PostgreSQL of its own, which fails in one way or another; its counts are by the way.

    `thread` starts it again, and outlives it: a server ends with the thread that began it.
    """

    def __init__(self, server, url, thread):
        self._thread = thread
        self._server, self._database = server, url.partition("@/")[2].partition("?")[0]
        self._chance, self.counts = random.Random(3), Counter()

    def __call__(self):
        way = self._chance.choice([self.kill_one_backend, self.end_connections, self.restart])
        way()
        self.counts[way.__name__] += 1

    def kill_one_backend(self):
        """The server then ends all the others, and recovers as after a crash."""
        told = self._server.run_sql(self._backends("pid") + " ORDER BY random() LIMIT 1")
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.kill(int(told), signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            time.sleep(0.1)
            with suppress(ExternalServiceError):
                self._server.run_sql("SELECT 1")
                return
        raise AssertionError("PostgreSQL does not come back")

    def end_connections(self):
        self._server.run_sql(self._backends("pg_terminate_backend(pid)"))

    def restart(self):
        self._server.stop()
        time.sleep(self._chance.uniform(0, 3))
        self._thread.submit(self._server.start).result()

    def _backends(self, what):
        return f"SELECT {what} FROM pg_stat_activity WHERE datname = '{self._database}'"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.engine)])
def house(request, tmp_path):
    """A service over a database of its own."""
    if request.param == "sqlite":
        yield from _house(tmp_path, "", None)
        return
    with ExitStack() as running:
        try:
            # It is killed: what it has not written by then is lost, unless it waits for the disk at every commit.
            server = running.enter_context(LocalPostgres(durable=True))
        except ExternalServiceError as error:
            pytest.skip(str(error))
        url, thread = server.create_database(), running.enter_context(ThreadPoolExecutor(1))
        yield from _house(tmp_path, url, Failing(server, url, thread))


def _house(folder, url, failing):
    house = House(folder / "service", url)
    house.failing = failing
    house.add(ORGANIZATION)
    yield house
    house.close()


@pytest.mark.slow
def test_whatever_is_killed_nothing_is_lost_done_twice_or_stuck(house):
    cids, key = put_content(house.service), house.tenants.owners[ORGANIZATION]
    takeovers = Takeovers(house.service)
    with Fleet(house.service.home, WORKERS, lease_s=LEASE_S) as fleet:
        fleet.killed = takeovers.killed
        clients = [Client(fleet.url, key, number, cids) for number in range(CLIENTS)]
        with (
            fleet.dying(0.2, 1, house.failing),
            ThreadPoolExecutor(CLIENTS) as threads,
        ):
            count = itertools.count(1)

            def tell_how_far():
                if (done := next(count)) % 100 == 0:
                    far = f"kills on {house.kind}: {done} operations, {fleet.kills} kills"
                    print(far, file=sys.stderr, flush=True)

            each = OPERATIONS // CLIENTS
            list(threads.map(lambda client: client.run(each, tell_how_far), clients))
        wait_until_idle(house.service)
        with closing(Client(fleet.url, key, CLIENTS, cids)) as last:
            house.service.recover_uploads()
            last.archive()
            wait_until_idle(house.service)
        assert fleet.kills >= 3
        assert fleet.stop() == [0] * (WORKERS + 1)
    assert not fleet.defects()
    check_everything(house, [*clients, last])
    tell(house, fleet, clients, takeovers.seconds())


def tell(house, fleet, clients, waits):
    """Say what was done, and check that others took over in time."""
    acts = sum((Counter(client.acts) for client in clients), Counter())
    retries, unsure = sum(one.retries for one in clients), sum(len(one.begun) for one in clients)
    failing = dict(house.failing.counts) if house.failing else {}
    print(f"\nsummary: {house.kind}: {acts.total()} operations: {dict(acts)}")
    print(
        f"summary:   {fleet.kills} kills, of the database {failing}, {retries} requests sent again"
    )
    print(f"summary:   0 lost, done twice or stuck ({unsure} uploads never told of); {told(waits)}")
    assert max(waits, default=0) < TAKEOVER_S


def put_content(service):
    """Put blocks into the block store of the organisation, so that pins find their content there."""
    blocks = [(CID.of(RAW, data), data) for data in (b"content %d" % n for n in range(PINS))]
    with service.pin_engine._store(ORGANIZATION) as store:
        store.put_many(blocks)
    return [str(cid) for cid, _data in blocks]


def wait_until_idle(service):
    deadline = time.monotonic() + PATIENCE_S
    while open_jobs(service):
        assert time.monotonic() < deadline, f"stuck: {open_jobs(service)}"
        time.sleep(0.1)


def open_jobs(service):
    states = [state for state in JobState if not state.is_end]
    return service.jobs.jobs(ORGANIZATION, states=states, limit=100)


def check_everything(house, clients):
    """Check all that was promised."""
    service = house.service

    def query(sql):
        with service.database.transaction() as connection:
            return Statements(connection, service.database.dialect).rows(sql)

    check_uploads(house, query, clients)
    jobs = {job.job_id: job for job in service.jobs.jobs(ORGANIZATION, limit=10_000)}
    check_jobs(jobs, query, clients)
    check_commits(house)
    check_pins(service, query, clients)
    check_log(service, query)
    keys = {key.key_id: key.revoked_at is not None for key in service.accounts.keys(ORGANIZATION)}
    for client in clients:
        assert client.keys.items() <= keys.items()


def check_jobs(jobs, query, clients):
    """Every operation ended once and well, but for those that were to end before; no attempt was made twice."""
    assert {one for client in clients for one in client.started} <= jobs.keys()
    cancelled = {one for client in clients for one in client.cancelled}
    wanted = {job_id for (job_id,) in query("SELECT job_id FROM pins")}
    for job in jobs.values():
        may_end = job.job_id in cancelled or (job.kind == "pin" and job.job_id not in wanted)
        good = {JobState.SUCCEEDED} | ({JobState.CANCELLED} if may_end else set())
        assert job.state in good, job
    happened = Counter(query("SELECT subject, kind FROM events WHERE noun = 'operation'"))
    for job in jobs.values():
        subject = f"operation:{job.job_id}"
        assert sum(happened[subject, kind] for kind in ENDS) == 1, f"it ended twice: {job}"
        assert happened[subject, "operation.started"] == job.token, f"begun twice: {job}"


def check_commits(house):
    """The chain of commits has no gap and no fork, and each commit is whole."""
    archive = house.service.archives.get(ORGANIZATION)
    commits = list(archive.catalog.commits())
    assert sorted(commit.sequence for commit in commits) == list(range(1, len(commits) + 1))


def check_uploads(house, query, clients):
    brought = {path: digest for client in clients for path, digest in client.brought.items()}
    rows = query("SELECT path, sha256, state, size_bytes FROM uploads")
    kept = [
        (bytes(path).decode(), digest) for path, digest, state, _size in rows if state == "archived"
    ]
    assert {row[2] for row in rows} <= {"archived", "cancelled", "receiving"}
    begun = {path: digest for client in clients for path, digest in client.begun.items()}
    assert max(Counter(kept).values()) == 1, "an upload arrived twice"
    assert brought.items() <= set(kept) <= (brought | begun).items(), "an upload was lost"
    stored = Counter(stored_digests(house))
    assert stored == Counter(digest for _path, digest in kept), "a file was lost, or is two"
    sizes = [size for _path, _digest, state, size in rows if state == "archived"]
    organization = house.service.accounts.organization(ORGANIZATION)
    assert (organization.used.size_bytes, organization.used.files) == (sum(sizes), len(sizes))
    (promised,) = query("SELECT COALESCE(SUM(size_bytes), 0), COUNT(*) FROM reservations")
    reserved = (organization.reserved.size_bytes, organization.reserved.files)
    assert reserved == tuple(map(int, promised))
    is_open = [row for row in rows if row[2] == "receiving"]
    assert len(is_open) == reserved[1], "room is promised to nobody"


def stored_digests(house):
    """Read every archived file, as a client would."""
    key, cursor = house.tenants.owners[ORGANIZATION], ""
    while cursor is not None:
        page = house.call("GET", f"/v1/files?limit=1000&cursor={cursor}", key).json()
        for item in page["items"]:
            if item["kind"] == "file":
                answer = house.call("GET", f"{item['address']}/content", key)
                assert answer.status == 200, answer
                yield hashlib.sha256(answer.body).hexdigest()
        cursor = page["next"]


def check_pins(service, query, clients):
    states = dict(query("SELECT request_id, status FROM pins"))
    assert set(states.values()) <= {"pinned"}
    assert {one for client in clients for one in client.pinned} <= states.keys()
    names = Counter(name for (name,) in query("SELECT name FROM pins"))
    assert max(names.values(), default=1) == 1, "a pin was made twice"
    batches = {one: count for client in clients for one, count in client.batches.items()}
    cancelled = {one for client in clients for one in client.cancelled}
    for operation_id, count in batches.items():
        results = service.pin_batches.results(ORGANIZATION, operation_id, 0, count + 1)
        done = [result for result in results if result.state == "done"]
        assert len(results) == count
        assert len(done) == count or operation_id in cancelled, results


def check_log(service, query):
    entries = list(service.accounts.export_audit(ORGANIZATION))
    verify_chain(entries)
    received = Counter(entry.target for entry in entries if entry.action == "upload.received")
    assert set(received.values()) == {1}, "an upload was acknowledged twice"
    numbers = [number for (number,) in query("SELECT number FROM events ORDER BY number")]
    assert len(numbers) == len(set(numbers))
    (head,) = query("SELECT number FROM event_heads WHERE organization_id = 'example'")[0]
    assert numbers[-1] == head
    told = Counter(query("SELECT kind, subject FROM events"))
    for entry in entries:
        assert told[entry.action, entry.target] >= 1, f"nobody was told of {entry}"
