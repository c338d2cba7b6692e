"""The service benchmark's instruments: what is filled in is what the service would have kept, and a failed request is never measured."""

import sqlite3
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat

import pytest
from benchmarks import service_fill
from benchmarks.measure import CommandFailedError
from benchmarks.service_aims import verdicts
from benchmarks.service_client import Target, at_once, at_rate
from benchmarks.service_loads import CREATE, LIST, PUT_LARGE, Figure, identity_cid

from muniment.accounts.organizations import Act
from muniment.bootstrap.service import DATABASE, Service
from muniment.content.cid import CID
from muniment.pinning.filters import PinFilter
from muniment.pinning.model import NewPin, PinStatus, PinTotals

PINS = service_fill.BUCKET_PINS + 3


@contextmanager
def answering(status=200, body=b"{}", *, chunked=False, delay_s=0.0, every=1):
    """A server that answers every so many requests like this, and the others as they should be."""
    turns, lock = [0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            with lock:
                turns[0] += 1
                is_ours = turns[0] % every == 0
            threading.Event().wait(delay_s)
            self.send_response(status if is_ours else 200)
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body)

        do_GET = do_POST = answer  # noqa: N815  # names that http.server asks for

        def log_message(self, *_words):
            pass

    class Quiet(ThreadingHTTPServer):
        request_queue_size = 128

        def handle_error(self, *_words):  # clients hang up at the end of a load
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class TestClient:
    @pytest.mark.parametrize("chunked", [False, True])
    def test_every_request_at_a_rate_is_counted_once(self, chunked):
        with answering(chunked=chunked) as url:
            target = Target(url, "GET", 200)
            times_ms, shed = at_rate(target, repeat(target.request("/")), 200, 0.25)
        assert (len(times_ms), shed) == (50, 0)
        assert min(times_ms) > 0

    def test_waiting_for_a_connection_is_counted(self):
        """128 at once over 64 connections: the second half waits for the first, and that time is theirs."""
        with answering(delay_s=0.2) as url:
            target = Target(url, "GET", 200)
            times_ms, _shed = at_rate(target, repeat(target.request("/")), 1e6, 128e-6)
        assert sum(time_ms > 390 for time_ms in times_ms) >= 64

    def test_what_a_service_sheds_is_told_apart(self):
        with answering(503, every=5) as url:
            target = Target(url, "POST", 200)
            times_ms, shed = at_rate(target, repeat(target.request("/", b"x")), 200, 0.25)
            assert (len(times_ms), shed) == (40, 10)
            times_ms, shed = at_once(target, repeat(target.request("/", b"x"), 50), 4)
            assert (len(times_ms), shed) == (40, 10)

    @pytest.mark.parametrize("status", [404, 429, 500])
    def test_any_other_status_fails_both_loads(self, status):
        with answering(status, b"no", every=3) as url:
            target = Target(url, "GET", 200)
            with pytest.raises(CommandFailedError, match=f"expected status 200, got {status}: no"):
                at_rate(target, repeat(target.request("/")), 200, 0.25)
            with pytest.raises(CommandFailedError, match=f"expected status 200, got {status}"):
                at_once(target, repeat(target.request("/"), 20), 2)

    def test_as_many_as_there_are_and_another_size_fails(self):
        with answering(body=b"abc") as url:
            right, wrong = (Target(url, "GET", 200, size_bytes=size) for size in (3, 4))
            times_ms, shed = at_once(right, repeat(right.request("/"), 20), 4)
            assert (len(times_ms), shed) == (20, 0)
            with pytest.raises(CommandFailedError, match="expected 4 bytes, got 3"):
                at_once(wrong, repeat(wrong.request("/"), 20), 4)

    def test_a_server_that_is_not_there_fails(self):
        target = Target("http://127.0.0.1:9", "GET", 200)
        with pytest.raises(CommandFailedError, match="requests failed"):
            at_once(target, repeat(target.request("/"), 2), 1)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    home = tmp_path_factory.mktemp("service")
    with closing(Service(home)) as made:
        made.operator.create_organization("example", "An Example", recovery=False)
        service_fill.fill(home / DATABASE, "example", PINS)
        yield made


class TestFill:
    def test_the_service_finds_what_was_filled_in(self, service):
        names = service_fill.sample(PINS)
        pin = service.pins.get("example", names[0])
        assert (pin.status, pin.wanted.name, pin.request_id) == (
            PinStatus.PINNED,
            "file 0.bin",
            names[0],
        )
        assert CID.parse(pin.wanted.cid).raw == pin.wanted.key
        newest = service.pins.page("example", PinFilter(), 2)[0]
        assert [pin.wanted.name for pin in newest] == [
            f"file {PINS - 1}.bin",
            f"file {PINS - 2}.bin",
        ]

    def test_counts_are_those_of_the_rows(self, service):
        assert service.pins.totals("example") == PinTotals(pinned=PINS)
        later = PinFilter(after_ms=newest_ms(2))
        assert service.pins.page("example", later, 1)[1] == 2
        with closing(sqlite3.connect(service.home / DATABASE)) as connection:
            rows = connection.execute(
                "SELECT bucket, COUNT(*) FROM pins GROUP BY bucket ORDER BY bucket"
            ).fetchall()
            counts = connection.execute(
                "SELECT bucket, pinned FROM pin_counts ORDER BY bucket"
            ).fetchall()
            indexes = connection.execute(
                "SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'pins_by_%'"
            ).fetchone()
        assert [(-1, PINS), *rows] == counts
        assert [pins for _bucket, pins in rows] == [service_fill.BUCKET_PINS, 3]
        assert indexes == (3,)

    def test_new_pins_follow_those_that_were_filled_in(self, service):
        now_us = (newest_ms(0) + 5_000) * 1_000
        pin = service.pins.create(
            Act("example", "system", now_us), NewPin(identity_cid(b"new")), within=None
        )
        assert service.pins.page("example", PinFilter(), 1)[0] == [pin]
        assert service.pins.totals("example") == PinTotals(queued=1, pinned=PINS)


def newest_ms(before):
    return service_fill.FIRST_MS + (PINS - 1 - before) * service_fill.STEP_MS


def test_identity_cids_hold_their_content():
    cid = CID.parse(identity_cid(b"12345678"))
    assert (cid.hash_function, cid.digest) == (0, b"12345678")


class TestAims:
    def figures(self, p95_ms=10.0, shed=0.0, cpu_ms=1.0):
        return Figure(1_000, 5, p95_ms, 20, cpu_ms, 100, 1_200, shed)

    def judge(self, few, many):
        load = f"{LIST}, at rate"
        figures = {"sqlite, 10 pins": {load: few}, "sqlite, 100 pins": {load: many}}
        return {row[0]: row[3] for row in verdicts(figures, ["sqlite"], [10, 100])}

    def test_met_and_missed(self):
        found = self.judge(self.figures(), self.figures(51, cpu_ms=1.4))
        assert found == {
            f"sqlite, 10 pins: {LIST} at 1,000/s, p95 ms": "met",
            f"sqlite, 100 pins: {LIST} at 1,000/s, p95 ms": "MISSED",
            f"sqlite: {LIST}, 100 to 10 pins: p95": "MISSED",
            f"sqlite: {LIST}, 100 to 10 pins: CPU": "met",
        }

    def test_who_refuses_requests_does_not_meet_the_aim(self):
        found = self.judge(self.figures(shed=0.01), self.figures())
        assert found[f"sqlite, 10 pins: {LIST} at 1,000/s, p95 ms"] == "MISSED"

    def test_beside_the_peer(self):
        ours, theirs = self.figures(), self.figures()
        figures = {
            "sqlite, 10 pins": {f"{CREATE}, most": ours},
            "ipfs-cluster": {f"{CREATE}, most": theirs},
            "sqlite": {PUT_LARGE: ours},
        }
        verdict = {row[0]: row[2:] for row in verdicts(figures, ["sqlite"], [10])}
        assert verdict[f"sqlite: {CREATE}, requests/s to ipfs-cluster"] == ("1.00", "met")
        assert verdict[f"sqlite: {PUT_LARGE}, MB/s"] == ("1200.00", "met")
