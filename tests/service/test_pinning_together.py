"""Pins that several threads and processes create, list and remove at the same time, on both databases."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from muniment.accounts.organizations import Act, Organization
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.checking import check_audit
from muniment.adapters.sql.events import SqlEvents, on_job_change
from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.pins import SqlPins
from muniment.adapters.sql.service import open_service_database
from muniment.content.cid import CID, RAW
from muniment.pinning.filters import PinFilter
from muniment.pinning.model import NewPin

NAMES = ("example", "another")
ACT = Act("example", "key:k", 1_700_000_000_000_000)
EACH = 15


class Process:
    """What one process of the service has of a database."""

    def __init__(self, url):
        self.database = open_service_database(url)
        self.jobs = SqlJobs(self.database, self.changed)
        self.pins = SqlPins(self.database, self.jobs, concurrency=100)

    def changed(self, statements, job, event):
        on_job_change(statements, job, event)
        self.pins.follow(statements, job, event)

    def create(self, word, organization_id="example"):
        # All at the same time, by the clock of who asks.
        return self.pins.create(Act(organization_id, "key:k", ACT.at_us), new(word))


def new(word):
    return NewPin(str(CID.of(RAW, word.encode())))


@pytest.fixture
def processes(database_url):
    both = [Process(database_url), Process(database_url)]
    for name in NAMES:
        act = Act(name, "key:k", ACT.at_us)
        SqlAccounts(both[0].database).create_organization(act, Organization(name, name, 0))
    yield both
    for process in both:
        process.database.close()


def test_who_pages_by_time_misses_no_pin_that_comes_meanwhile(processes):
    seen, is_over = [], threading.Event()

    def follow():
        after_ms = -1
        while True:
            was_over = is_over.is_set()  # asked first: what came before it is there
            pins = processes[0].pins.page("example", PinFilter(after_ms=after_ms), 1_000)[0]
            seen.extend(pin.request_id for pin in reversed(pins))
            after_ms = max([after_ms, *(pin.created_ms for pin in pins)])
            if was_over:
                return

    def create(number):
        process = processes[number % 2]
        return [process.create(f"{number} {n}", NAMES[n % 3 == 0]) for n in range(EACH)]

    with ThreadPoolExecutor() as pool:
        following = pool.submit(follow)
        created = [pin for pins in pool.map(create, range(8)) for pin in pins]
        is_over.set()
        following.result()
    own = [pin for pin in created if pin.organization_id == "example"]
    assert len(set(seen)) == len(seen)
    assert set(seen) == {pin.request_id for pin in own}
    assert len({pin.created_ms for pin in own}) == len(own)
    for name in NAMES:
        check_audit(processes[0].database, name)
        pins = [pin for pin in created if pin.organization_id == name]
        assert processes[0].pins.totals(name).queued == len(pins)
        for pin in pins:  # each got its own
            assert processes[1].pins.get(name, pin.request_id) == pin
            assert processes[1].jobs.job(name, pin.job_id).payload["cid"] == pin.wanted.cid
        events = SqlEvents(processes[0].database).events(name, 0, 10_000, frozenset({"pin"}))[0]
        numbers = [event.number for event in events]
        assert numbers == sorted(set(numbers))
        assert {event.subject for event in events} == {f"pin:{pin.request_id}" for pin in pins}


def test_of_two_who_remove_the_last_pins_of_content_at_once_one_lets_go_of_it(processes):
    first, second = processes
    one, other = (process.create("same") for process in processes)
    with ThreadPoolExecutor() as pool:
        with first.pins.transaction() as statements:
            first.pins.remove(ACT, one.request_id, within=statements)
            removing = pool.submit(second.pins.remove, ACT, other.request_id)
            # PostgreSQL finishes it now; SQLite lets it wait for the end of this one.
            threading.Event().wait(0.3)
        removing.result()
    unpins = first.jobs.jobs("example", kinds=["unpin"])
    assert [job.payload for job in unpins] == [{"cid": one.wanted.cid}]


def test_many_who_remove_at_once_let_go_once(processes):
    for round_number in range(3):
        pins = [processes[n % 2].create(f"same {round_number}") for n in range(6)]
        barrier = threading.Barrier(len(pins))

        def remove(number, pins=pins, barrier=barrier):
            barrier.wait(30)
            processes[number % 2].pins.remove(ACT, pins[number].request_id)

        with ThreadPoolExecutor(len(pins)) as pool:
            list(pool.map(remove, range(len(pins))))
        unpins = processes[0].jobs.jobs("example", kinds=["unpin"])
        assert [job.payload["cid"] for job in unpins[:1]] == [pins[0].wanted.cid]
        assert len(unpins) == round_number + 1
