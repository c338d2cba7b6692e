"""Clients that send slowly, and clients that send too much, beside one that goes on working.

`MUNIMENT_FLOODS` is how many times as long as usual they do.
"""

import os
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import httpx
import pytest
from tests.service.adversary.fleet import Fleet
from tests.service.adversary.house import House

LONG = int(os.environ.get("MUNIMENT_FLOODS", "1"))
WORK, SLOW, FLOODERS, FLOOD = 10 * LONG, 60, 4, 400
RATE = max(300, 100 * LONG)
BODY_TIMEOUT_S = 2


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A service that has little patience; its URL's port, and two keys."""
    house = House(tmp_path_factory.mktemp("floods") / "home")
    house.owner = house.add("one")
    house.other = house.add("other")
    house.close()
    with Fleet(
        house.service.home, 0, body_timeout_s=BODY_TIMEOUT_S, stall_timeout_s=BODY_TIMEOUT_S,
        rate_per_minute=RATE, failures_per_minute=50,
    ) as fleet:  # fmt: skip
        house.fleet = fleet
        yield house


def works(place, count, beside=""):
    """Have a client do its work: everything succeeds; tells how long it took."""
    headers, times = {"authorization": f"Bearer {place.owner}"}, []
    with httpx.Client(base_url=place.fleet.url, headers=headers, trust_env=False) as client:
        for number in range(count):
            began = time.perf_counter()
            answer = client.put(f"/v1/files/{time.time_ns()}-{number}", content=b"x" * 10_000)
            assert answer.status_code == 201, answer.text
            assert client.get("/v1/organization").status_code == 200
            times.append((time.perf_counter() - began) * 1000)
    middle, late = sorted(times)[count // 2], sorted(times)[count * 95 // 100]
    print(
        f"\nsummary: an upload and a look {beside}: {middle:.0f} ms (median), {late:.0f} ms (p95), {count} times"
    )


def told(connection):
    """Return all that a server says until it closes the connection."""
    data = b""
    with closing(connection):
        while part := connection.recv(65536):
            data += part
    return data


def begin(place, key, target, length):
    connection = socket.create_connection(("127.0.0.1", place.fleet.port), timeout=30)
    connection.sendall(
        f"POST {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n{{".encode()
    )
    return connection


def test_who_sends_slowly_is_told_so_while_others_work(place):
    with ExitStack() as open_connections:
        slow = [begin(place, place.other, "/v1/keys", 1000) for _ in range(SLOW)]
        heads = [
            open_connections.enter_context(
                socket.create_connection(("127.0.0.1", place.fleet.port), timeout=30)
            )
            for _ in range(SLOW)
        ]
        for head in heads:
            head.sendall(b"GET /v1/keys HTTP/1.1\r\nhost: local")
        works(place, WORK, f"beside {2 * SLOW} slow senders")
        answers = [told(connection) for connection in slow]
    assert all(answer.startswith(b"HTTP/1.1 408") for answer in answers), Counter(
        answer[:40] for answer in answers
    )
    assert all(b"request-timeout" in answer for answer in answers)


def test_who_sends_too_much_is_told_so_while_others_work(place):
    def flood(_number):
        headers = {"authorization": f"Bearer {place.other}"}
        with httpx.Client(base_url=place.fleet.url, headers=headers, trust_env=False) as client:
            answers = []
            while len(answers) < FLOOD or not has_worked.is_set():
                answers.append(client.get("/v1/organization"))
            return answers

    has_worked = threading.Event()
    works(place, WORK, "beside nobody")
    with ThreadPoolExecutor(FLOODERS) as threads:
        floods = [threads.submit(flood, number) for number in range(FLOODERS)]
        works(place, WORK, f"beside a flood of {FLOODERS} clients")
        has_worked.set()
        answers = [answer for running in floods for answer in running.result()]
    statuses = Counter(answer.status_code for answer in answers)
    print(f"summary: the flood was answered {dict(statuses)}")
    assert set(statuses) <= {200, 429, 503}
    assert statuses[429] > 0
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["code"] == "too-many-requests"


def test_who_guesses_keys_is_stopped(place):
    with httpx.Client(base_url=place.fleet.url, trust_env=False) as client:
        headers = {"authorization": f"Bearer {place.owner[:-1]}x"}
        statuses = [client.get("/v1/keys", headers=headers).status_code for _ in range(80)]
    assert set(statuses) == {401, 429}
    assert statuses[-1] == 429
