"""Pins in a database, on both kinds: their order, their filters, their counts, and how they follow their jobs."""

import time
from collections import Counter

import pytest

from muniment.accounts.organizations import Act, Organization
from muniment.adapters.sql import pin_counts, pin_queries
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.events import SqlEvents, on_job_change
from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.pins import SqlPins
from muniment.adapters.sql.service import open_service_database
from muniment.content.cid import CID, RAW
from muniment.errors import NotFoundError
from muniment.jobs.model import JobState
from muniment.pinning.filters import Match, PinFilter
from muniment.pinning.model import NewPin, PinChange, PinStatus, PinTotals, Priority
from muniment.pinning.ports import Label, TooBroadError

ALL = PinFilter()
KINDS = ("pin", "unpin")


class World:
    """A database with two organisations, and what works on it."""

    def __init__(self, url):
        self.database = open_service_database(url)
        self.accounts = SqlAccounts(self.database)
        self.jobs = SqlJobs(self.database, self.changed)
        self.pins = SqlPins(self.database, self.jobs, concurrency=100)
        self.events = SqlEvents(self.database)
        for name in ("example", "another"):
            self.accounts.create_organization(self.act(name), Organization(name, name, 0))

    def changed(self, statements, job, event):
        on_job_change(statements, job, event)
        self.pins.follow(statements, job, event)

    def act(self, organization_id="example", actor="key:k"):
        return Act(organization_id, actor, time.time_ns() // 1000)

    def add(self, word="content", organization_id="example", **fields):
        return self.pins.create(self.act(organization_id), NewPin(cid(word), **fields))

    def get(self, pin):
        return self.pins.get(pin.organization_id, pin.request_id)

    def ids(self, wanted=ALL, limit=100, organization_id="example"):
        return [pin.request_id for pin in self.pins.page(organization_id, wanted, limit)[0]]

    def claim(self, kind="pin"):
        jobs = []
        while found := self.jobs.claim("worker", [kind], limit=50, lease_s=60):
            jobs += found
        return jobs

    def succeed(self, job, **result):
        return self.jobs.succeed(job.claim, result or {"blocks": 2, "size_bytes": 30})

    def released(self):
        return [job.payload["cid"] for job in self.claim("unpin")]

    def check_counts(self, organization_id="example"):
        """Check the kept counts against the pins themselves."""
        pins = self.pins.page(organization_id, ALL, 100_000)[0]
        counted = Counter(pin.status for pin in pins)
        kept = self.pins.totals(organization_id)
        assert {status: getattr(kept, status) for status in PinStatus} == {
            status: counted[status] for status in PinStatus
        }
        return kept


def cid(word):
    return str(CID.of(RAW, word.encode()))


@pytest.fixture
def world(database_url):
    world = World(database_url)
    yield world
    world.database.close()


def test_pins_are_listed_newest_first_and_never_at_the_same_time(world):
    pins = [world.add(f"content {number}") for number in range(12)]
    assert world.ids() == [pin.request_id for pin in reversed(pins)]
    times = [pin.created_ms for pin in pins]
    assert times == sorted(set(times))
    middle = pins[5]
    assert world.ids(PinFilter(before_ms=middle.created_ms)) == [
        pin.request_id for pin in reversed(pins[:5])
    ]
    assert world.ids(PinFilter(after_ms=middle.created_ms)) == [
        pin.request_id for pin in reversed(pins[6:])
    ]
    assert world.ids(limit=3) == [pin.request_id for pin in reversed(pins[-3:])]
    assert world.get(middle) == middle


def test_what_another_organization_pins_is_not_there(world):
    pin = world.add()
    for name in ("another", "nobody"):
        assert world.ids(organization_id=name) == []
        assert world.pins.page(name, ALL, 1)[1] == 0
        with pytest.raises(NotFoundError):
            world.pins.get(name, pin.request_id)
    for change in (
        lambda: world.pins.remove(world.act("another"), pin.request_id),
        lambda: world.pins.replace(world.act("another"), pin.request_id, NewPin(cid("x"))),
        lambda: world.pins.change(world.act("another"), pin.request_id, PinChange(name="x")),
    ):
        with pytest.raises(NotFoundError):
            change()
    assert world.get(pin) == pin


@pytest.mark.parametrize(
    "request_id", ["", "x", "\0", "018f3f6e-7a5b-4c3d-9e21-aabbccddeeff", "0" * 36, "é" * 36]
)
def test_what_is_no_request_id_is_not_found(world, request_id):
    with pytest.raises(NotFoundError):
        world.pins.get("example", request_id)


def test_a_pin_follows_its_job(world):
    pin = world.add()
    (job,) = world.claim()
    assert world.get(pin).status is PinStatus.PINNING
    world.jobs.fail(job.claim, {"code": "x", "detail": "nobody has it"}, retry_in_s=0)
    waiting = world.get(pin)
    assert (waiting.status, waiting.detail) == (PinStatus.QUEUED, "nobody has it")
    (job,) = world.claim()
    world.succeed(job)
    done = world.get(pin)
    assert (done.status, done.detail) == (PinStatus.PINNED, "")
    assert (done.blocks, done.size_bytes) == (2, 30)
    events, _last = world.events.events("example", 0, 100, frozenset({"pin"}))
    assert [event.kind for event in events] == [
        "pin.created",
        "pin.pinning",
        "pin.queued",
        "pin.pinning",
        "pin.pinned",
    ]
    assert world.check_counts() == PinTotals(pinned=1)


def test_a_pin_whose_job_fails_has_failed(world):
    pin = world.add()
    (job,) = world.claim()
    world.jobs.fail(job.claim, {"code": "x", "detail": "given up"}, retry_in_s=None)
    failed = world.get(pin)
    assert (failed.status, failed.detail) == (PinStatus.FAILED, "given up")
    assert world.released() == []  # it is still on record, and may be tried again
    world.jobs.restart("example", pin.job_id)
    assert world.get(pin).status is PinStatus.QUEUED
    assert world.check_counts() == PinTotals(queued=1)


def test_removing_lets_go_of_what_no_other_pin_wants(world):
    first, second, other = world.add("same"), world.add("same"), world.add("other")
    foreign = world.add("other", "another")
    world.pins.remove(world.act(), first.request_id)
    assert world.released() == []
    world.pins.remove(world.act(), second.request_id)
    world.pins.remove(world.act(), other.request_id)
    assert sorted(world.released()) == sorted([cid("same"), cid("other")])
    with pytest.raises(NotFoundError):
        world.get(first)
    with pytest.raises(NotFoundError):
        world.pins.remove(world.act(), first.request_id)
    assert world.jobs.job("example", first.job_id).state is JobState.CANCELLED
    assert world.get(foreign) == foreign
    assert world.check_counts() == PinTotals()


def test_what_was_replaced_is_kept_until_the_new_pin_is_done(world):
    first = world.add("first", meta={"k": "v"}, tags=("t",))
    second = world.pins.replace(world.act(), first.request_id, NewPin(cid("second")))
    third = world.pins.replace(world.act(), second.request_id, NewPin(cid("third")))
    assert len({first.request_id, second.request_id, third.request_id}) == 3
    for gone in (first, second):
        with pytest.raises(NotFoundError):
            world.get(gone)
    assert world.released() == []
    assert all(
        world.pins.is_wanted("example", NewPin(cid(word)).key) for word in ("first", "second")
    )
    (job,) = world.claim()
    assert job.job_id == third.job_id
    world.succeed(job)
    assert sorted(world.released()) == sorted([cid("first"), cid("second")])
    assert not world.pins.is_wanted("example", NewPin(cid("first")).key)
    assert world.ids(PinFilter(tags=("t",))) == []
    assert world.check_counts() == PinTotals(pinned=1)


@pytest.mark.parametrize("is_running", [False, True])
def test_removing_the_new_pin_lets_go_of_both(world, is_running):
    old = world.add("old")
    new = world.pins.replace(world.act(), old.request_id, NewPin(cid("new")))
    jobs = world.claim() if is_running else []
    world.pins.remove(world.act(), new.request_id)
    for job in jobs:
        world.jobs.end_cancelled(job.claim)
    assert sorted(world.released()) == sorted([cid("old"), cid("new")])


def test_replacing_by_the_same_content_lets_go_of_nothing(world):
    old = world.add("same", name="old")
    new = world.pins.replace(world.act(), old.request_id, NewPin(cid("same"), "new"))
    (job,) = world.claim()
    world.succeed(job)
    assert world.released() == []
    assert world.get(new).wanted.name == "new"


def test_changes_are_found_and_told(world):
    pin = world.add(name="Übung", meta={"a": "1"}, tags=("red", "blue"), group="one")
    world.add(tags=("red",))
    change = PinChange(meta={"a": "2"}, tags=("red",), group="two", priority=Priority.HIGH)
    changed = world.pins.change(world.act(), pin.request_id, change)
    assert world.get(pin) == changed
    assert changed.wanted.name == "Übung"
    assert world.ids(PinFilter(meta={"a": "1"})) == []
    assert world.ids(PinFilter(meta={"a": "2"}, tags=("red",), group="two")) == [pin.request_id]
    assert world.ids(PinFilter(tags=("blue",))) == []
    assert world.pins.labels("example", "tag", "", 10) == [Label("red", 2)]
    assert world.pins.labels("example", "group", "", 10) == [Label("two", 1)]
    assert world.jobs.job("example", pin.job_id).priority == 10
    entry = world.accounts.audit("example", 0, 100)[-1]
    assert entry.action == "pin.changed"
    assert entry.before == {
        "meta": {"a": "1"},
        "tags": ["red", "blue"],
        "group": "one",
        "priority": "normal",
    }
    assert entry.after["group"] == "two"
    assert world.pins.change(world.act(), pin.request_id, change) == changed
    assert world.accounts.audit("example", 0, 100)[-1] == entry


NAMES = ["Straße", "STRASSE", "strasse 1", "50%_off", "50x off", "", None, "a\u0301", "\u00e1"]


@pytest.mark.parametrize(
    ("match", "name", "found"),
    [
        (Match.EXACT, "Straße", {"Straße"}),
        (Match.IEXACT, "straSSe", {"Straße", "STRASSE"}),
        (Match.PARTIAL, "ASS", {"STRASSE"}),
        (Match.IPARTIAL, "ASS", {"Straße", "STRASSE", "strasse 1"}),
        (Match.PARTIAL, "%_", {"50%_off"}),
        (Match.IPARTIAL, "% OFF", set()),
        (Match.EXACT, "", {""}),
        (Match.PARTIAL, "", {name for name in NAMES if name is not None}),
        (Match.EXACT, "a\u0301", {"a\u0301"}),
        (Match.IEXACT, "A\u0301", {"a\u0301", "\u00e1"}),
    ],
)
def test_names_match(world, match, name, found):
    for each in NAMES:
        world.add(name=each)
    wanted = PinFilter(name=name, match=match)
    pins = world.pins.page("example", wanted, 100)[0]
    assert {pin.wanted.name for pin in pins} == found
    assert world.pins.page("example", wanted, 1)[1] == len(pins) == len(found)
    assert world.pins.part("example", wanted, 100) == (pins, None)


def few_at_a_time(monkeypatch, first=2, more=3):
    monkeypatch.setattr(pin_queries, "_FIRST_WINDOW", first)
    monkeypatch.setattr(pin_queries, "_WINDOW", more)


def test_filters_hold_together(world, monkeypatch):
    few_at_a_time(monkeypatch)  # so that what is looked for lies in many windows
    for number in range(30):
        fields = {"name": f"name {number % 3}", "meta": {"m": str(number % 2)}}
        world.add(f"content {number % 5}", tags=("t", f"t{number % 2}"), **fields)
    for job in world.claim()[::3]:
        world.succeed(job)
    pins = world.pins.page("example", ALL, 100)[0]
    middle = pins[14]
    for statuses in ({}, {PinStatus.PINNED}, {PinStatus.PINNED, PinStatus.PINNING}):
        for keys in ((), (pins[0].wanted.key,), (pins[0].wanted.key, pins[1].wanted.key)):
            for name in (None, "name 1"):
                for meta in ({}, {"m": "1"}):
                    for tags in ((), ("t",), ("t", "t1")):
                        for before_ms in (middle.created_ms, 1 << 48):
                            wanted = PinFilter(
                                frozenset(statuses), keys, name, meta=meta, tags=tags
                            )
                            wanted = PinFilter(
                                wanted.statuses,
                                keys,
                                name,
                                meta=meta,
                                tags=tags,
                                before_ms=before_ms,
                            )
                            check(world, wanted, pins)
    world.check_counts()


def check(world, wanted, pins):
    expected = [
        pin.request_id
        for pin in pins
        if (not wanted.statuses or pin.status in wanted.statuses)
        and (not wanted.cid_keys or pin.wanted.key in wanted.cid_keys)
        and (wanted.name is None or pin.wanted.name == wanted.name)
        and wanted.meta.items() <= pin.wanted.meta.items()
        and set(wanted.tags) <= set(pin.wanted.tags)
        and pin.created_ms < wanted.before_ms
    ]
    assert world.ids(wanted) == expected
    assert world.ids(wanted, 2) == expected[:2]
    assert world.pins.page("example", wanted, 1)[1] == len(expected)


def test_counts_hold_across_buckets(world, monkeypatch):
    sql = pin_counts._TAKE_PLACES.replace(">= 4096", ">= 4")
    assert sql != pin_counts._TAKE_PLACES
    monkeypatch.setattr(pin_counts, "_TAKE_PLACES", sql)
    pins = [world.add(f"content {number}") for number in range(21)]
    for pin in (pins[0], pins[4], pins[11]):
        world.pins.remove(world.act(), pin.request_id)
        pins.remove(pin)
    for job in world.claim()[::2]:
        world.succeed(job)
    pins = [world.get(pin) for pin in pins]
    for first in (-1, *(pin.created_ms for pin in pins)):
        for last in (*(pin.created_ms for pin in pins), 1 << 48):
            for statuses in (frozenset(), frozenset({PinStatus.PINNED})):
                expected = sum(
                    first < pin.created_ms < last and (not statuses or pin.status in statuses)
                    for pin in pins
                )
                wanted = PinFilter(statuses, after_ms=first, before_ms=last)
                assert world.pins.page("example", wanted, 1)[1] == expected


def test_a_part_of_a_name_is_not_looked_for_without_end(world, monkeypatch):
    few_at_a_time(monkeypatch)
    monkeypatch.setattr(pin_queries, "SCANNED_MAX", 4)
    pins = [world.add(name=f"name {number}") for number in range(10)]
    wanted = PinFilter(name="name 0", match=Match.PARTIAL)
    with pytest.raises(TooBroadError):
        world.pins.page("example", wanted, 10)
    with pytest.raises(TooBroadError):
        world.pins.page("example", wanted, 1)[1]
    near = PinFilter(name="name 0", match=Match.PARTIAL, before_ms=pins[3].created_ms)
    assert world.ids(near) == [pins[0].request_id]
    assert world.ids(PinFilter(name="name 0")) == [pins[0].request_id]
    found, before_ms, looks = [], 1 << 48, 0
    while before_ms is not None:
        part = PinFilter(name="name 0", match=Match.PARTIAL, before_ms=before_ms)
        page, before_ms = world.pins.part("example", part, 10)
        found += page
        looks += 1
    assert [pin.request_id for pin in found] == [pins[0].request_id]
    assert looks == 3


def test_the_shortest_way_is_taken(world, monkeypatch):
    few_at_a_time(monkeypatch)
    monkeypatch.setattr(pin_queries, "SCANNED_MAX", 4)
    rare = world.add("rare", name="Same", tags=("all", "few"), meta={"all": "", "few": ""})
    for number in range(20):
        tags = ("all", "odd" if number % 2 else "even")
        world.add("common", name="same", tags=tags, meta={"all": ""}, group="one")
    for wanted in (
        PinFilter(cid_keys=(rare.wanted.key,), name="ame", match=Match.PARTIAL),
        PinFilter(cid_keys=(rare.wanted.key,), tags=("all",)),
        PinFilter(tags=("all", "few"), name="Same"),
        PinFilter(meta={"all": "", "few": ""}, name="same", match=Match.IEXACT),
        PinFilter(frozenset({PinStatus.QUEUED}), tags=("few",), meta={"all": ""}),
    ):
        assert world.pins.page("example", wanted, 10) == ([rare], 1)
    for wanted in (
        PinFilter(name="Same"),
        PinFilter(tags=("odd", "even")),
        PinFilter(group="one", name="nothing", match=Match.IPARTIAL),
    ):
        with pytest.raises(TooBroadError):
            world.pins.page("example", wanted, 10)
    nothing_failed = PinFilter(frozenset({PinStatus.FAILED}), tags=("all",))
    assert world.pins.page("example", nothing_failed, 10) == ([], 0)
    many = PinFilter(tags=("all", "odd"))
    pins, count = world.pins.page("example", many, 2)
    assert len(pins) == 2
    assert count == 5  # of four looked at all are such, and there may be more: who pages goes on
