"""Limits by themselves: rates that processes share, requests that are sent again, what goes on at once; in SQL on both databases."""

import asyncio
import threading
from contextlib import suppress
from contextvars import copy_context

import pytest

from muniment.accounts.idempotency import LostRequestError, RequestKey, Standing, parse_key
from muniment.accounts.organizations import Act, Organization
from muniment.accounts.rate_batches import BatchedRateCounters
from muniment.accounts.rate_limits import MemoryRateCounters, RatePolicy
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.idempotency import SqlRequests
from muniment.adapters.sql.rate_limits import SqlRateCounters
from muniment.adapters.sql.service import open_service_database
from muniment.adapters.sql.statements import with_every_write
from muniment.adapters.sql.uploads import SqlUploads
from muniment.adapters.sql.workers import SqlWorkers
from muniment.entrypoints.http.admission import AdaptiveLimit, AdmissionRules, Room
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.rates import RequestRates
from muniment.errors import UsageError
from muniment.uploads.upload import Upload

POLICY = RatePolicy("key", 100, 60)
KEY = RequestKey("example", "key", "one")
PRINT, OTHER = b"1" * 32, b"2" * 32


@pytest.fixture
def database(database_url):
    database = open_service_database(database_url)
    yield database
    database.close()


# Rates


def test_processes_share_a_quota(database):
    counters = [BatchedRateCounters(SqlRateCounters(database)) for _ in range(3)]
    allowed = [counters[number % 3].take(POLICY, "client", 0.0).is_allowed for number in range(150)]
    # What one process holds in hand is not at hand for the others: a few less, never one more than regained meanwhile.
    assert 94 <= sum(allowed) <= 110
    assert counters[0].take(POLICY, "another", 0.0).is_allowed


def test_threads_do_not_count_the_same_request(database):
    counters, allowed = SqlRateCounters(database), []

    def take():
        for _ in range(15):
            allowed.append(counters.take(RatePolicy("key", 20, 36_000), "c", 0.0).is_allowed)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 20
    assert counters.prune() == 0


def failures_until_refused(processes, address):
    """Fail in one process after the other until one refuses; returns how often that went well."""

    async def fail():
        for number in range(100):
            try:
                await processes[number % len(processes)].check(address)
                await processes[number % len(processes)].fail(address)
            except ProblemError as error:
                return number, error.kind.code
        raise AssertionError("nobody was refused")

    number, code = asyncio.run(fail())
    assert code == "too-many-requests"
    return number


def test_processes_share_how_often_an_address_may_fail(database):
    shared = SqlRateCounters(database)
    processes = [RequestRates(100, 12, shared) for _ in range(3)]
    assert failures_until_refused(processes, "192.0.2.1") in (12, 13)  # one may come back meanwhile
    assert failures_until_refused([RequestRates(100, 12)], "192.0.2.1") in (12, 13)
    assert failures_until_refused(processes, "192.0.2.2") in (12, 13)


def test_who_is_refused_costs_the_shared_counters_nothing():
    shared = Counting()
    rates = RequestRates(100, 2, shared)
    failures_until_refused([rates], "192.0.2.1")
    asked = shared.asked
    for _ in range(20):
        with pytest.raises(ProblemError):
            asyncio.run(rates.check("192.0.2.1"))
    assert shared.asked == asked


def test_a_look_at_the_counters_changes_nothing(database):
    counters = SqlRateCounters(database)
    for _ in range(3):
        assert counters.take(POLICY, "client", 0.0, 0).remaining == 100
    counters.take(POLICY, "client", 0.0, 10)
    assert counters.take(POLICY, "client", 0.0, 0).remaining in (90, 91)


def test_a_client_that_is_whole_again_is_forgotten(database):
    counters = SqlRateCounters(database)
    counters.take(RatePolicy("quick", 1_000_000, 1), "client", 0.0)
    deadline = 1000
    while not counters.prune() and deadline:
        deadline -= 1
    assert deadline


class Counting(MemoryRateCounters):
    asked = 0

    def take(self, *arguments, **more):
        self.asked += 1
        return super().take(*arguments, **more)


def test_one_look_at_the_shared_counters_is_for_many_requests():
    shared, now = Counting(), [0.0]
    counters = BatchedRateCounters(shared, lambda: now[0])
    for _ in range(100):
        assert counters.take(POLICY, "client", 0.0).is_allowed
    assert shared.asked == 50
    refused = counters.take(POLICY, "client", 0.0)
    assert not refused.is_allowed
    assert refused.reset_s >= 1
    now[0] += 100
    assert counters.take_at_hand(POLICY, "client") is None


def test_what_is_left_is_told_with_what_is_at_hand():
    counters = BatchedRateCounters(MemoryRateCounters())
    left = [counters.take(POLICY, "client", 0.0).remaining for _ in range(6)]
    assert left == [99, 98, 97, 96, 95, 94]


# Requests that are sent again


def test_the_first_is_done_and_the_others_wait_or_get_its_answer(database):
    requests = SqlRequests(database)
    assert requests.begin(KEY, PRINT, "a").standing is Standing.FIRST
    assert requests.begin(KEY, PRINT, "b").standing is Standing.RUNNING
    assert requests.begin(KEY, OTHER, "b").standing is Standing.OTHER
    requests.finish(KEY, "b", b"not the one who began it")
    assert requests.begin(KEY, PRINT, "b").standing is Standing.RUNNING
    requests.finish(KEY, "a", b"answer")
    found = requests.begin(KEY, PRINT, "b")
    assert (found.standing, found.answer) == (Standing.DONE, b"answer")
    assert requests.prune() == 0


def test_of_many_at_once_one_is_the_first(database):
    requests, found = SqlRequests(database), []

    def begin(token):
        found.append(requests.begin(KEY, PRINT, token).standing)

    threads = [threading.Thread(target=begin, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(Standing.FIRST) == 1
    assert found.count(Standing.RUNNING) == 7


def write(database, requests, token, name):
    """Make an organisation as the request with this token."""
    with_every_write.set((database, requests.marker(KEY, token)))
    act = Act(name, "system", 1_000_000)
    SqlAccounts(database).create_organization(act, Organization(name, name, 1))


def expire(requests):
    with requests._writing() as statements:
        statements.run("UPDATE idempotency_keys SET lease_until = 0")


def test_who_was_given_up_changes_nothing_any_more(database):
    requests = SqlRequests(database)
    requests.begin(KEY, PRINT, "slow")
    expire(requests)
    assert requests.begin(KEY, PRINT, "quick").standing is Standing.FIRST
    with pytest.raises(LostRequestError):
        copy_context().run(write, database, requests, "slow", "slow")
    copy_context().run(write, database, requests, "quick", "quick")
    assert [o.organization_id for o in SqlAccounts(database).organizations()] == ["quick"]


def test_a_request_that_goes_on_is_not_given_up(database):
    requests = SqlRequests(database, lease_s=3600)
    requests.begin(KEY, PRINT, "long")
    expire(requests)
    requests.renew(KEY, "long")
    assert requests.begin(KEY, PRINT, "again").standing is Standing.RUNNING
    expire(requests)
    assert requests.begin(KEY, PRINT, "again").standing is Standing.FIRST
    expire(requests)
    requests.renew(KEY, "long")  # too late: it is another one's
    assert requests.begin(KEY, PRINT, "third").standing is Standing.FIRST


def test_what_only_prepares_is_no_effect(database):
    requests, store = SqlRequests(database), SqlUploads(database)
    act = Act("example", "system", 1_000_000)
    SqlAccounts(database).create_organization(act, Organization("example", "Example", 1))
    requests.begin(KEY, PRINT, "a")

    def prepare():
        with_every_write.set((database, requests.marker(KEY, "a")))
        store.begin(upload := Upload("example", "1", b"a", 5, 1, 2, "key:k"))
        store.cancel(act, upload, is_wanted=False)

    copy_context().run(prepare)
    expire(requests)
    assert requests.begin(KEY, PRINT, "b").standing is Standing.FIRST

    def upload():
        with_every_write.set((database, requests.marker(KEY, "b")))
        store.begin(entered := Upload("example", "2", b"a", 5, 1, 2, "key:k"))
        store.receive(act, entered, "0" * 64, b"day")

    copy_context().run(upload)
    expire(requests)
    assert requests.begin(KEY, PRINT, "c").standing is Standing.LOST


def test_what_took_effect_is_never_begun_again(database):
    requests = SqlRequests(database)
    requests.begin(KEY, PRINT, "a")
    copy_context().run(write, database, requests, "a", "made")
    expire(requests)  # as after a kill between the change and its answer
    assert requests.begin(KEY, PRINT, "b").standing is Standing.LOST
    requests.give_up(KEY, "a")
    assert requests.begin(KEY, PRINT, "b").standing is Standing.LOST


def test_what_changed_nothing_is_begun_again_once_it_is_given_up(database):
    requests = SqlRequests(database)
    requests.begin(KEY, PRINT, "a")
    requests.give_up(KEY, "a")
    assert requests.begin(KEY, OTHER, "b").standing is Standing.FIRST


def test_an_answer_is_kept_for_a_day(database):
    requests = SqlRequests(database)
    requests.begin(KEY, PRINT, "a")
    requests.finish(KEY, "a", b"answer")
    with requests._writing() as statements:
        statements.run("UPDATE idempotency_keys SET expires_at = 1")
    assert requests.begin(KEY, OTHER, "b").standing is Standing.FIRST
    with requests._writing() as statements:
        statements.run("UPDATE idempotency_keys SET expires_at = 1")
    assert requests.prune() == 1


@pytest.mark.parametrize(
    ("field", "key"), [('"a b"', "a b"), ('"a\\"b\\\\"', 'a"b\\'), ("a-b_c.9:~", "a-b_c.9:~")]
)
def test_keys_are_strings_or_words(field, key):
    assert parse_key(field) == key


@pytest.mark.parametrize(
    "field", ["", '""', '"', "a b", '"a', '"a"b"', '"\x7f"', "x" * 256, '"\\a"']
)
def test_anything_else_is_no_key(field):
    with pytest.raises(UsageError):
        parse_key(field)


# Workers


def test_who_says_nothing_is_gone(database):
    workers = SqlWorkers(database)
    assert workers.alive() == 0
    workers.beat("a")
    workers.beat("b")
    workers.beat("b")
    assert workers.alive() == 2
    with workers._writing() as statements:
        statements.run("UPDATE service_workers SET seen_at = 0 WHERE name = 'a'")
    assert workers.alive() == 1
    workers.end("b")
    assert workers.alive() == 0


# What goes on at once


class Site:
    """Requests that take a time which depends on how many there are."""

    def __init__(self, rules):
        self.now_s = 0.0
        self.limit = AdaptiveLimit(rules, lambda: self.now_s)

    def round(self, wanted, latency_s, *, is_read=False):
        """Have so many arrive at once, and end after a while; returns how many were let in."""
        began = []
        for _ in range(wanted):
            with suppress(ProblemError):
                began.append(self.limit.enter(is_read=is_read))
        self.now_s += latency_s(len(began))
        for began_s in began:
            self.limit.leave(began_s)
        return len(began)


def test_the_limit_grows_while_it_is_reached_and_all_is_quick():
    site = Site(AdmissionRules(most=100))
    for _ in range(500):
        site.round(1000, lambda _: 0.01)
    assert site.limit.limit == 100
    idle = Site(AdmissionRules(most=100))
    for _ in range(500):
        idle.round(2, lambda _: 0.01)
    assert idle.limit.limit == 32


def test_the_limit_shrinks_to_what_can_be_answered_in_time():
    site = Site(AdmissionRules(most=256, tolerance_s=0.05))

    def slower_with_more(count):
        return 0.01 if count <= 20 else 0.01 * count

    for _ in range(20):
        site.round(4, slower_with_more)
    for _ in range(300):
        site.round(1000, slower_with_more)
    assert 8 <= site.limit.limit <= 24
    for _ in range(300):
        site.round(1000, lambda _: 0.01)
    assert site.limit.limit > 60


def test_one_can_still_look_when_one_cannot_act():
    site = Site(AdmissionRules())
    writes = [site.limit.enter(is_read=False) for _ in range(32)]
    with pytest.raises(ProblemError):
        site.limit.enter(is_read=False)
    reads = [site.limit.enter(is_read=True) for _ in range(32)]
    with pytest.raises(ProblemError) as caught:
        site.limit.enter(is_read=True)
    assert (caught.value.kind.status, caught.value.headers) == (503, {"retry-after": "1"})
    for began_s in writes + reads:
        site.limit.leave(began_s)
    assert site.limit.active == 0


def test_room_is_taken_and_given_back():
    room = Room(10)
    room.take(7)
    with pytest.raises(ProblemError, match="receives too much"):
        room.take(4)
    room.give_back(7)
    room.take(10)
