"""What the client tries again, how often, and after which time: against a real server that misbehaves on purpose."""

import pytest

from muniment.client import ApiError, Client, ConnectionFailedError
from muniment.client.errors import api_error
from muniment.client.flows import Answer, Request, Send, Sleep
from muniment.client.retrying import Patience, exchange
from muniment.errors import ExternalServiceError, FormatError, NotFoundError
from muniment.testing.loopback import LoopbackServer

READ = Request("GET", "/x")
ONCE = Request("PUT", "/x", is_repeatable=False)


def perform(request, *outcomes, attempts=5):
    """Drive an exchange by what comes of each sending; returns its answer or error, and the waits."""
    flow, waits, outcomes = (
        exchange(request, Patience(attempts, jitter=lambda: 0.5)),
        [],
        list(outcomes),
    )
    effect = next(flow)
    while True:
        try:
            if isinstance(effect, Sleep):
                waits.append(effect.seconds)
                effect = flow.send(None)
                continue
            assert effect == Send(request)
            outcome = outcomes.pop(0)
            effect = flow.throw(outcome) if isinstance(outcome, Exception) else flow.send(outcome)
        except StopIteration as end:
            assert not outcomes
            return end.value, waits
        except ExternalServiceError as error:
            assert not outcomes
            return error, waits


FINE = Answer(200, {}, b"fine")
BUSY = Answer(503, {})
BROKEN = ConnectionFailedError("broken")


def test_what_passes_is_tried_again_after_growing_waits():
    assert perform(READ, BUSY, BROKEN, BUSY, FINE) == (FINE, [0.25, 0.5, 1.0])


def test_the_service_says_when():
    asked = Answer(429, {"retry-after": "7"})
    assert perform(READ, asked, FINE) == (FINE, [7.25])
    error, waits = perform(READ, Answer(429, {"retry-after": "3600"}))
    assert (error.status, error.retry_after_s, waits) == (429, 3600, [])


def test_it_ends():
    error, waits = perform(READ, BUSY, BUSY, BUSY, attempts=3)
    assert (error.status, len(waits)) == (503, 2)
    error, waits = perform(READ, BROKEN, BROKEN, attempts=2)
    assert (error, len(waits)) == (BROKEN, 1)


def test_what_must_not_happen_twice_is_sent_once():
    assert perform(ONCE, BROKEN) == (BROKEN, [])
    assert perform(ONCE, BUSY)[1] == []


def test_a_defect_is_not_tried_again():
    assert perform(READ, Answer(500, {}))[1] == []


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        (b'{"code": "not-found", "detail": "no such key"}', "not-found", "no such key"),
        (b'{"error": {"reason": "NOT_FOUND", "details": "no pin"}}', "not-found", "no pin"),
    ],
)
def test_whoever_wrote_the_answer_it_is_understood(body, code, detail):
    error = api_error(404, body)
    assert isinstance(error, NotFoundError)
    assert (error.code, error.detail) == (code, detail)


@pytest.mark.parametrize("body", [b"<html>", b"\xff", b'{"code": 7}', b""])
def test_what_is_no_service_is_not_taken_for_one_that_has_nothing(body):
    error = api_error(404, body)
    assert isinstance(error, ExternalServiceError)
    assert (error.code, error.status) == ("status-404", 404)
    assert "version 1 of the API" in error.detail


def test_writes_carry_the_same_idempotency_key_each_time():
    seen = []

    def respond(method, path, body):
        seen.append((method, path, body))
        status = 503 if len(seen) < 3 else 200
        return (
            status,
            {"connection": "close"},
            [b'{"member_id": "m", "name": "Ana", "role": "reader", "created_at": 1}'],
        )

    with LoopbackServer(respond) as server, Client(server.url, "k") as client:
        client._patience = Patience(first_wait_s=0.001)
        assert client.add_member("Ana", "reader").name == "Ana"
    assert len(seen) == 3
    assert len(set(seen)) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, {}, [b"not json"]), FormatError),
        ((200, {}, [b'{"status": 7}']), FormatError),
        ((204, {}, []), FormatError),
        ((301, {"location": "http://192.0.2.1/"}, []), ApiError),
        ((200, {"content-length": "1000"}, [b"{"]), ConnectionFailedError),
    ],
)
def test_a_server_that_is_no_service(answer, error):
    with (
        LoopbackServer(lambda *_: answer) as server,
        Client(server.url, attempts=1) as client,
        pytest.raises(error),
    ):
        client.live()


def test_an_endless_answer_is_given_up(monkeypatch):
    monkeypatch.setattr("muniment.client.drivers.ANSWER_BYTES_MAX", 100_000)
    answer = (200, {}, (b" " * 10_000 for _ in iter(int, 1)))
    with (
        LoopbackServer(lambda *_: answer) as server,
        Client(server.url, attempts=1) as client,
        pytest.raises(FormatError, match="at most 100000 bytes"),
    ):
        client.live()
