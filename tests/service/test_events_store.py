"""Events in SQL: one order that is the order of commits, nothing skipped, nothing told to who may not know it."""

import threading
import time
from contextlib import suppress

import pytest

from muniment.accounts.events import PERMISSIONS, EventsGoneError, kinds_for
from muniment.accounts.organizations import Act, Member, Organization
from muniment.accounts.permissions import ROLES, Permission, Role
from muniment.accounts.principals import PermissionDeniedError, Principal
from muniment.adapters.sql import events as sql_events
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.events import SqlEvents, on_job_change
from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.service import open_service_database
from muniment.adapters.sql.statements import SqlStore
from muniment.errors import UsageError
from muniment.jobs.model import NewJob, Progress

ALL = frozenset(PERMISSIONS)


class Office(SqlStore):
    """A database with two organisations."""

    def __init__(self, url):
        super().__init__(open_service_database(url))
        self.database = self._database
        self.accounts = SqlAccounts(self.database)
        self.events = SqlEvents(self.database)
        self.jobs = SqlJobs(self.database, on_job_change)
        for name in ("one", "two"):
            self.accounts.create_organization(self.act(name), Organization(name, name, 1))

    def act(self, name="one", at_us=1_000_000):
        return Act(name, "system", at_us)

    def append(self, name, number):
        with self._writing() as statements:
            sql_events.append(statements, name, number, "upload.received", f"upload:{number}", "x")

    def all(self, name="one", nouns=ALL, after=0):
        found = []
        while True:
            page, next_after = self.events.events(name, after, 7, nouns)
            found += page
            if next_after == after:
                return found
            after = next_after


@pytest.fixture
def office(database_url):
    office = Office(database_url)
    yield office
    office.database.close()


def test_each_audited_change_is_an_event_of_its_organisation_alone(office):
    office.accounts.add_member(office.act(), Member("m1", "one", "Ada", Role.OWNER, 1))
    kinds = [(event.kind, event.subject) for event in office.all("one")]
    assert kinds == [("organization.created", "organization:one"), ("member.added", "member:m1")]
    assert [event.kind for event in office.all("two")] == ["organization.created"]
    assert office.events.last("one") == 2
    assert office.events.last("nobody") == 0
    assert office.events.last_of(["one", "two", "nobody"]) == {"one": 2, "two": 1}


def test_a_change_that_is_undone_is_none(office):
    with suppress(ZeroDivisionError), office._writing() as statements:
        sql_events.append(statements, "one", 5, "upload.received", "upload:1", "x")
        raise ZeroDivisionError
    assert office.events.last("one") == 1


def test_who_may_not_see_members_learns_nothing_of_them_and_still_goes_on(office):
    for number in range(30):
        member = Member(f"m{number}", "one", "Ada", Role.READER, 1)
        office.accounts.add_member(office.act(), member)
    permissions = frozenset({Permission.FILES_LIST, Permission.EVENTS_READ})
    nouns = kinds_for(Principal("one", "key:x", permissions))
    assert nouns == {"upload"}
    assert office.events.events("one", 0, 5, nouns) == ([], 31)
    assert office.events.events("one", 0, 5, frozenset()) == ([], 31)
    office.append("one", 7)
    found, after = office.events.events("one", 31, 5, nouns)
    assert [event.number for event in found] == [32]
    assert after == 32


def test_jobs_tell_of_every_state_and_the_last_word_of_progress(office):
    job = office.jobs.enqueue(NewJob("one", "archive", {}))
    (claimed,) = office.jobs.claim("w", ["archive"], limit=1, lease_s=60)
    for done in range(5):
        office.jobs.report(claimed.claim, Progress("hash", done, 9, "bytes"))
    office.jobs.succeed(claimed.claim, {})
    office.jobs.enqueue(NewJob("", "upkeep", {}))
    found = [event for event in office.all() if event.subject == f"operation:{job.job_id}"]
    assert [event.kind.partition(".")[2] for event in found] == [
        "queued",
        "started",
        "progressed",
        "succeeded",
    ]
    assert found[2].data["progress"] == {"stage": "hash", "done": 4, "total": 9, "unit": "bytes"}
    assert office.events.last("") == 0


def test_a_large_subject_is_left_out(office):
    with office._writing() as statements:
        sql_events.append(statements, "one", 5, "upload.x", "upload:1", "x", {"a": "b" * 5000})
    assert office.all()[-1].data == {}


def test_old_events_go_and_who_missed_them_is_told(office):
    office.append("one", 2_000_000)
    office.append("one", 3_000_000)
    office.append("one", 9_000_000)
    assert office.events.prune(5_000_000) == 4  # the first one of the other organisation as well
    assert [event.at for event in office.all()] == [9_000_000]
    with pytest.raises(EventsGoneError, match="up to number 3"):
        office.events.events("one", 2, 10, ALL)
    assert office.events.events("one", 3, 10, ALL)[1] == 4
    assert office.events.prune(5_000_000) == 0
    with pytest.raises(UsageError, match="no event with number 5"):
        office.events.events("one", 5, 10, ALL)


def test_a_reader_skips_nothing_while_writers_commit_in_any_order(office):
    """Writers hold their transactions open for different times; a reader that goes on from the last number sees every event."""
    writers, each = 4, 12

    def write(seed):
        for number in range(each):
            with office._writing() as statements:
                sql_events.append(statements, "one", seed, "upload.received", f"u:{number}", "x")
                time.sleep(0.001 * ((seed * 7 + number) % 3))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(writers)]
    for thread in threads:
        thread.start()
    seen, after = [], 1
    while len(seen) < writers * each:
        page, after = office.events.events("one", after, 5, ALL)
        seen += [event.number for event in page]
        if not page and not any(thread.is_alive() for thread in threads):
            page, after = office.events.events("one", after, 1000, ALL)
            seen += [event.number for event in page]
            break
    for thread in threads:
        thread.join()
    assert seen == list(range(2, 2 + writers * each))


@pytest.mark.parametrize("is_undone", [False, True])
def test_a_lower_number_that_is_committed_later_is_not_passed_over(office, is_undone):
    """Who was given a number, and has not committed, keeps all with higher ones waiting."""
    committed = threading.Event()

    def overtake():
        office.append("one", 222)
        committed.set()

    other = threading.Thread(target=overtake)
    with suppress(ZeroDivisionError), office._writing() as statements:
        sql_events.append(statements, "one", 111, "upload.received", "upload:1", "x")
        statements.end()  # it has its number now
        other.start()
        assert not committed.wait(0.5)
        assert office.events.events("one", 1, 10, ALL) == ([], 1)
        if is_undone:
            raise ZeroDivisionError
    other.join()
    found, after = office.events.events("one", 1, 10, ALL)
    assert [event.at for event in found] == ([222] if is_undone else [111, 222])
    assert after == found[-1].number == office.events.last("one")


def test_events_are_told_by_noun_or_by_kind(office):
    office.accounts.add_member(office.act(), Member("m1", "one", "Ada", Role.OWNER, 1))
    office.accounts.set_role(office.act(), "m1", Role.OWNER)
    office.append("one", 5)

    def told(*kinds):
        found, after = office.events.events("one", 0, 10, frozenset(kinds))
        assert after == 4
        return [event.kind for event in found]

    assert told("member") == ["member.added", "member.role_changed"]
    assert told("member.added", "upload") == ["member.added", "upload.received"]
    assert told("member.removed") == told("nobody") == told("nobody.x") == []


def test_one_may_ask_for_what_one_may_see():
    reader = Principal("one", "key:x", ROLES[Role.READER])
    assert kinds_for(reader, "upload,pin.created") == {"upload", "pin.created"}
    for wanted in ("key", "upload,member.added"):
        with pytest.raises(PermissionDeniedError):
            kinds_for(reader, wanted)
    for wanted in ("nothing", "upload,", "uploads.received", ","):
        with pytest.raises(UsageError, match="kinds of events of"):
            kinds_for(reader, wanted)


def test_two_logs_are_always_written_in_one_order(office):
    """Transactions that write to the logs of both organisations, in either order, do not wait for each other for ever."""

    def write(names):
        for _ in range(10):
            with office._writing() as statements:
                for name in names:
                    sql_events.append(statements, name, 5, "upload.received", "upload:1", "x")

    threads = [
        threading.Thread(target=write, args=(names,)) for names in (("one", "two"), ("two", "one"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert office.events.last_of(["one", "two"]) == {"one": 21, "two": 21}
