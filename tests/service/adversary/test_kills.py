"""Processes that answer and processes that work, killed at random while clients bring, archive and pin: nothing acknowledged is lost,
nothing is done twice, nothing is stuck, and all counts are right. On each database.

`MUNIMENT_KILLS` is how many operations the clients make.
"""

import base64
import hashlib
import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest
from tests.service.adversary.fleet import Fleet
from tests.service.adversary.house import House

from muniment.accounts.audit import verify_chain
from muniment.adapters.sql.statements import Statements
from muniment.content.cid import CID, RAW
from muniment.jobs.model import JobState

OPERATIONS = int(os.environ.get("MUNIMENT_KILLS", "150"))
CLIENTS, WORKERS, PINS, LEASE_S = 3, 2, 12, 2
PATIENCE_S = 120
ORGANIZATION = "example"
_TUS = {"tus-resumable": "1.0.0"}


class Client:
    """A client that sends everything again until it knows what became of it.

    Attributes:
        brought: Digest of each file that was acknowledged, by path.
        begun: The same of each file of which is only known that its upload had begun.
        started: Operations that were acknowledged.
        pinned: Pins that were acknowledged.
        keys: Keys that were acknowledged, by whether they were revoked.
    """

    def __init__(self, url, key, number, cids):
        self._http = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=30, trust_env=False
        )
        self._chance, self._number, self._count = random.Random(number), number, 0
        self._cids = cids
        self.begun = {}
        self.brought, self.started, self.pinned, self.keys = {}, set(), set(), {}
        self.retries, self.done = 0, 0

    def close(self):
        self._http.close()

    def run(self, operations):
        acts = [self.bring, self.bring, self.bring_in_parts, self.archive, self.pin, self.make_key]
        with self._http:
            for _ in range(operations):
                self._chance.choice(acts)()
                self.done += 1

    def bring(self):
        path, data = self._file()
        answer = self._ask("PUT", f"/v1/files/{path}", (201,), content=data)
        kept = self.brought if answer is not None else self.begun
        kept[path] = hashlib.sha256(data).hexdigest()

    def bring_in_parts(self):
        path, data = self._file()
        name = base64.b64encode(path.encode()).decode()
        headers = {"upload-length": str(len(data)), "upload-metadata": f"filename {name}"} | _TUS
        answer = self._ask("POST", "/v1/tus", (201,), headers=headers)
        if answer is None:
            return  # it was made, and nobody knows its name: it ends by itself one day
        where, offset = answer.headers["location"], 0
        while offset < len(data):
            size = self._chance.randrange(1, len(data) // 2 + 1)
            part = {"upload-offset": str(offset), "content-type": "application/offset+octet-stream"}
            try:
                answer = self._http.patch(
                    where, headers=part | _TUS, content=data[offset : offset + size]
                )
            except httpx.TransportError:
                answer = None
            if answer is None or answer.status_code != 204:
                self.retries += 1
                time.sleep(0.1)
                answer = self._ask("HEAD", where, (200,), headers=_TUS)
            offset = int(answer.headers["upload-offset"])
        self.brought[path] = hashlib.sha256(data).hexdigest()

    def archive(self):
        answer = self._ask("POST", "/v1/archive", (202,))
        if answer is not None:
            self.started.add(answer.json()["operation_id"])

    def pin(self):
        name = f"pin {self._number}-{self._count}"
        self._count += 1
        body = {"cid": self._chance.choice(self._cids), "name": name}
        answer = self._ask("POST", "/psa/pins", (202,), json=body)
        if answer is not None:
            self.pinned.add(answer.json()["requestid"])

    def make_key(self):
        answer = self._ask("POST", "/v1/keys", (201,), json={"name": "a key", "role": "reader"})
        if answer is not None:
            key_id = answer.json()["key_id"]
            self.keys[key_id] = False
            if self._chance.random() < 0.5:
                self._ask("DELETE", f"/v1/keys/{key_id}", (204,))
                self.keys[key_id] = True

    def _file(self):
        self._count += 1
        size = self._chance.choice([3, 1_000, 50_000, 400_000])
        return f"{self._number}/{self._count}.bin", self._chance.randbytes(size)

    def _ask(self, method, path, wanted, headers=None, **more):
        """Ask until there is an answer; None if it is only known that it was done."""
        headers = {"idempotency-key": f'"{self._chance.randbytes(8).hex()}"'} | (headers or {})
        deadline, told = time.monotonic() + PATIENCE_S, ""
        while time.monotonic() < deadline:
            try:
                answer = self._http.request(method, path, headers=headers, **more)
            except httpx.TransportError as error:
                told = repr(error)
            else:
                if answer.status_code in wanted:
                    return answer
                told = f"{answer.status_code} {answer.text}"
                if answer.status_code == 409 and "took effect" in answer.text:
                    return None
                assert answer.status_code in (409, 423, 429, 503), f"{method} {path}: {told}"
            self.retries += 1
            time.sleep(0.1)
        raise AssertionError(f"{method} {path} was never answered: {told}")


@pytest.fixture
def house(database_url, tmp_path):
    url = "" if database_url.startswith("sqlite") else database_url
    house = House(tmp_path / "service", url)
    house.add(ORGANIZATION)
    yield house
    house.close()


@pytest.mark.slow
def test_whatever_is_killed_nothing_is_lost_done_twice_or_stuck(house):
    cids, key = put_content(house.service), house.tenants.owners[ORGANIZATION]
    with Fleet(house.service.home, WORKERS, lease_s=LEASE_S) as fleet:
        clients = [Client(fleet.url, key, number, cids) for number in range(CLIENTS)]
        with fleet.dying(0.3, 2), ThreadPoolExecutor(CLIENTS) as threads:
            list(threads.map(lambda client: client.run(OPERATIONS // CLIENTS), clients))
        wait_until_idle(house.service)
        with closing(Client(fleet.url, key, CLIENTS, cids)) as last:
            house.service.recover_uploads()
            last.archive()
            wait_until_idle(house.service)
        assert fleet.kills >= 3
        assert fleet.stop() == [0] * (WORKERS + 1)
    check_everything(house, [*clients, last])
    retries, unsure = sum(one.retries for one in clients), sum(len(one.begun) for one in clients)
    print(f"{OPERATIONS} operations, {fleet.kills} kills, {retries} retries, {unsure} unsure")


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
    ended = Counter(job.state for job in jobs.values())
    assert set(ended) == {JobState.SUCCEEDED}, (
        ended,
        [j.problem for j in jobs.values() if j.problem],
    )
    assert {one for client in clients for one in client.started} <= jobs.keys()
    check_pins(service, query, clients)
    check_log(service, query)
    keys = {key.key_id: key.revoked_at is not None for key in service.accounts.keys(ORGANIZATION)}
    for client in clients:
        assert client.keys.items() <= keys.items()


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
    for client in clients:
        for request_id in client.pinned:
            assert states[request_id] == "pinned"


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
