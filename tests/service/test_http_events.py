"""The events of an organisation over HTTP: on a real server, as a stream and a page at a time."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import httpx
import pytest
from litestar.testing import TestClient

from muniment.accounts.events import Event
from muniment.accounts.permissions import Permission, Role
from muniment.bootstrap.service import Service
from muniment.entrypoints.http import events as http_events
from muniment.entrypoints.http.app import create_app
from muniment.entrypoints.http.events import PAGE, STREAMS_MAX, STREAMS_OF_ONE_MAX, Streams
from muniment.entrypoints.http.problems import ProblemError
from muniment.jobs.model import NewJob


class Caller:
    def __init__(self, home):
        self.service = Service(home)
        self.token, _ = self.service.operator.create_organization(
            "example", "An Example", recovery=False
        )
        self.client = TestClient(create_app(self.service))

    def __call__(self, path, token=None, **more):
        headers = {"authorization": f"Bearer {token or self.token}"} | more.pop("headers", {})
        return self.client.get(path, headers=headers, **more)

    def robot(self, name="robot", role=Role.OWNER, scopes=None):
        return self.service.operator.create_key("example", name, role, scopes)


@pytest.fixture
def call(tmp_path):
    caller = Caller(tmp_path)
    with caller.client:
        yield caller
    caller.service.close()


def test_pages_begin_now_or_at_the_beginning_and_go_on(call):
    now = call("/v1/events").json()
    assert now["items"] == []
    whole = call("/v1/events?after=0").json()
    assert [event["kind"] for event in whole["items"]] == ["organization.created", "key.created"]
    assert whole["next"] == now["next"]
    first = call("/v1/events?after=0&limit=1").json()
    second = call(f"/v1/events?after={first['next']}&limit=1").json()
    assert first["items"] + second["items"] == whole["items"]
    call.robot()
    assert [
        event["data"]["name"] for event in call(f"/v1/events?after={now['next']}").json()["items"]
    ] == ["robot"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("after=-1", 400), ("after=x", 400), ("after=99", 400), ("wait_s=61", 400), ("limit=0", 400)],
)
def test_what_makes_no_sense_is_refused(call, query, status):
    assert call(f"/v1/events?{query}").status_code == status


def test_events_that_are_gone_are_a_problem_in_both_forms(call):
    call.robot()
    call.service.events.prune(time.time_ns() // 1000)
    for accept in ("application/json", "text/event-stream"):
        answer = call("/v1/events?after=1", headers={"accept": accept})
        assert (answer.status_code, answer.json()["code"]) == (410, "gone")
    assert call("/v1/events?after=0").json()["items"] == []


def test_a_reader_learns_nothing_of_keys_and_members(call):
    reader = call.robot("reader", Role.READER)
    found = call("/v1/events?after=0", token=reader).json()
    assert [event["kind"] for event in found["items"]] == ["organization.created"]
    assert found["next"] == 3
    contributor = call.robot("contributor", Role.CONTRIBUTOR)
    assert call("/v1/events", token=contributor).status_code == 403


def test_kinds_can_be_chosen(call):
    member = call.client.post(
        "/v1/members",
        json={"name": "Ada", "role": "reader"},
        headers={"authorization": f"Bearer {call.token}"},
    )
    assert member.status_code == 201
    found = call("/v1/events?after=0&kind=member,organization.created").json()["items"]
    assert [event["kind"] for event in found] == ["organization.created", "member.added"]
    reader = call.robot("reader", Role.READER)
    refused = call("/v1/events?after=0&kind=member.added", token=reader)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    for wrong in ("a..b", "x" * 1001, "Upload", "uploads"):
        assert call(f"/v1/events?kind={wrong}").status_code == 400


def test_what_one_does_not_wait_for_ends_no_wait(call):
    now = call("/v1/events").json()["next"]
    timers = [threading.Timer(0.3, call.robot), threading.Timer(1.2, upload, (call,))]
    for timer in timers:
        timer.start()
    answer = call(f"/v1/events?after={now}&wait_s=30&kind=upload").json()
    for timer in timers:
        timer.join()
    assert [event["kind"] for event in answer["items"]] == ["upload.received"]


def upload(call):
    headers = {"authorization": f"Bearer {call.token}"}
    assert call.client.put("/v1/files/a", content=b"a", headers=headers).status_code == 201


class Store:
    """Events in memory that are counted; every other one is an upload."""

    def __init__(self):
        self.count, self.reads = 0, 0

    def last_of(self, names):
        return dict.fromkeys(names, self.count)

    def events(self, _name, after, limit, kinds):
        self.reads += 1
        numbers = [n for n in range(after + 1, self.count + 1) if n % 2 or "pin" in kinds]
        found = [Event(n, 0, "x.y", "x:1", "x", {}) for n in numbers[:limit]]
        return found, found[-1].number if len(found) == limit else self.count


def test_a_reader_that_takes_nothing_costs_nothing():
    async def scenario():
        store = Store()
        streams = Streams(store, look_s=0.001)
        following = streams.follow("one", 0, frozenset({"pin"}), 60)
        store.count = 5_000
        assert len(await anext(following)) == PAGE
        reads = store.reads
        store.count = 10_000
        await asyncio.sleep(0.05)
        assert store.reads == reads  # nothing is read for it, and so nothing is kept
        assert (await anext(following))[0].number == PAGE + 1
        await following.aclose()

    asyncio.run(scenario())


def test_a_stream_says_that_it_lives_however_much_happens_that_it_does_not_tell():
    async def scenario():
        store = Store()
        store.count = 1
        streams = Streams(store, look_s=0.001)
        following = streams.follow("one", 1, frozenset(), 0.1)

        async def be_busy():
            while True:
                store.count += 2 - store.count % 2  # never one that is told
                await asyncio.sleep(0.002)

        busy = asyncio.create_task(be_busy())
        store.events = lambda _name, after, _limit, _kinds: ([], max(after, store.count))
        assert await asyncio.wait_for(anext(following), 10) == []
        busy.cancel()
        await following.aclose()

    asyncio.run(scenario())


def test_no_organisation_takes_all_places():
    streams = Streams(Store())
    with ExitStack() as places:
        for _ in range(STREAMS_OF_ONE_MAX):
            places.enter_context(streams.place("one"))
        with pytest.raises(ProblemError, match="this organisation"):
            places.enter_context(streams.place("one"))
        places.enter_context(streams.place("two"))
        for number in range(STREAMS_MAX - STREAMS_OF_ONE_MAX - 1):
            places.enter_context(streams.place(f"other {number}"))
        with pytest.raises(ProblemError, match="this service"):
            places.enter_context(streams.place("two"))
    with streams.place("one"):
        pass


def test_who_comes_too_late_gets_a_problem_and_no_stream(call, monkeypatch):
    monkeypatch.setattr(http_events, "STREAMS_OF_ONE_MAX", 0)
    answer = call("/v1/events", headers={"accept": "text/event-stream"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "5"


def test_nothing_of_another_organisation_is_told(call):
    stranger, _ = call.service.operator.create_organization(
        "stranger", "A Stranger", recovery=False
    )
    call.robot("ours")
    text = call("/v1/events?after=0", token=stranger).text
    assert "ours" not in text
    assert "example" not in text


def test_waiting_ends_with_the_first_event(call):
    now = call("/v1/events").json()["next"]
    timer = threading.Timer(0.3, call.robot)
    timer.start()
    answer = call(f"/v1/events?after={now}&wait_s=30").json()
    timer.join()
    assert [event["kind"] for event in answer["items"]] == ["key.created"]
    assert call(f"/v1/events?after={answer['next']}&wait_s=1").json()["items"] == []


# A real server


@pytest.fixture
def serving(tmp_path):
    """A service that somebody serves: `muniment serve`, in a process of its own."""
    call = Caller(tmp_path)
    command = [sys.executable, "-m", "muniment", "serve", "--home", str(tmp_path), "--port", "0"]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    yield call, json.loads(text)["url"]
    process.terminate()
    process.communicate(timeout=60)
    call.service.close()


class Following:
    """Reads a stream of events."""

    def __init__(self, url, token, **headers):
        fields = {"accept": "text/event-stream", "authorization": f"Bearer {token}"} | headers
        self._stream = httpx.stream("GET", url, headers=fields, timeout=60)
        self.answer = self._stream.__enter__()
        assert self.answer.headers["content-type"].startswith("text/event-stream")
        self._lines = self.answer.iter_lines()
        assert next(self._lines) == "retry: 2000"

    def next(self):
        """Return the next event: its id, its kind and its data."""
        fields = {}
        for line in self._lines:
            if not line and fields:
                data = json.loads(fields["data"])
                assert data["number"] == int(fields["id"])
                assert data["kind"] == fields["event"]
                return data
            name, colon, value = line.partition(": ")
            if colon and name:
                fields[name] = value
        return None

    def close(self):
        self._stream.__exit__(None, None, None)


def test_a_stream_is_resumed_where_it_broke_off(serving):
    call, url = serving
    following = Following(f"{url}/v1/events", call.token)
    for number in range(5):
        call.robot(f"robot {number}")
    seen = [following.next() for _ in range(3)]
    following.close()
    call.robot("robot 5")
    again = Following(f"{url}/v1/events", call.token, **{"last-event-id": str(seen[-1]["number"])})
    seen += [again.next() for _ in range(3)]
    again.close()
    assert [event["data"]["name"] for event in seen] == [f"robot {n}" for n in range(6)]
    numbers = [event["number"] for event in seen]
    assert numbers == sorted(set(numbers))


def test_a_job_can_be_followed_to_its_end(serving):
    call, url = serving
    following = Following(f"{url}/v1/events", call.token)
    call.service.jobs.enqueue(NewJob("example", "nobody-does-this", {}))
    event = following.next()
    assert (event["kind"], event["data"]["state"]) == ("operation.queued", "queued")
    following.close()


@pytest.mark.slow
def test_a_revoked_key_loses_its_stream(serving):
    call, url = serving
    token = call.robot("follower", scopes=frozenset({Permission.EVENTS_READ, Permission.KEYS_READ}))
    following = Following(f"{url}/v1/events", token)
    call.service.operator.revoke_key("example", token.split("_")[1])
    assert following.next()["kind"] == "key.revoked"
    assert following.next() is None  # at the next look, which is at most 15 s later
    following.close()
    assert httpx.get(f"{url}/v1/events", headers={"authorization": f"Bearer {token}"}).is_error
