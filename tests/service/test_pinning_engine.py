"""The engine that keeps the content of pins: what it fetches, what it refuses, what it lets go of, and that it goes on where it was killed."""

import io
import signal
import threading
import time

import pytest

from muniment.accounts.organizations import Act
from muniment.accounts.quotas import Amount, Quota, QuotaExceededError
from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.adapters.embedded_pins import PIN_NAME, EmbeddedPins
from muniment.adapters.retrieval import FetchLimits
from muniment.bootstrap.service import Service
from muniment.content.cid import CID, RAW
from muniment.content.unixfs import import_file
from muniment.errors import FormatError, NotFoundError
from muniment.jobs.model import JobState
from muniment.pinning.model import PinStatus
from muniment.pinning.ports import ContentUnavailableError, Kept
from muniment.testing.lying_gateway import LyingGateway, answer
from muniment.testing.service import LocalService

PATIENCE_S = 60
QUICK = FetchLimits(backoff_s=0.01, failures=2, max_wait_s=0.1)


class Content:
    """A file of many blocks, none of which is like another."""

    def __init__(self, size_bytes):
        self.blocks = {}
        data = b"".join(n.to_bytes(8) for n in range(size_bytes // 8))
        self.root = import_file(io.BytesIO(data), self.put).root
        self.size_bytes = sum(map(len, self.blocks.values()))

    def put(self, cid, data):
        self.blocks[cid] = bytes(data)

    def get(self, wanted):
        try:
            return self.blocks[wanted]
        except KeyError:
            raise NotFoundError("not here") from None


@pytest.fixture(scope="module")
def content():
    return Content(24_000_000)


def origin_of(gateway):
    return f"/ip4/127.0.0.1/tcp/{gateway.url.rpartition(':')[2]}/http"


def ignore(_blocks, _size_bytes):
    pass


def always():
    return True


class Engine:
    def __init__(self, folder, **options):
        self.folder = folder
        self.pins = EmbeddedPins(lambda name: folder / name, limits=QUICK, **options)

    def pin(self, cid, *origins, name="example", tell=ignore, is_wanted=always):
        return self.pins.pin(name, cid, origins, tell, lambda _kept: is_wanted())

    def kept(self, name="example"):
        with EmbeddedBlockStore(self.folder / name) as store:
            return {pin.cid: pin.name for pin in store.pins()}


def test_it_fetches_from_gateways_and_origins_and_tells_how_far(content, tmp_path):
    told = []
    with LyingGateway(content.get) as gateway:
        engine = Engine(tmp_path, gateways=[gateway.url])
        kept = engine.pin(content.root, tell=lambda *far: told.append(far))
    assert kept == Kept(len(content.blocks), content.size_bytes)
    assert told[-1] == (len(content.blocks), content.size_bytes)
    assert engine.kept() == {content.root: PIN_NAME}
    assert engine.pins.has("example", content.root)
    assert engine.pin(content.root) == kept  # nobody has to be asked


def test_a_lying_gateway_is_not_believed(content, tmp_path):
    def lie(honest):
        return answer(200, honest.body[:-1] + b"!")

    with LyingGateway(content.get, lie) as liar:
        engine = Engine(tmp_path, gateways=[liar.url])
        with pytest.raises(ContentUnavailableError, match="not the block"):
            engine.pin(content.root)
    assert engine.kept() == {}


def test_what_another_organization_has_plays_no_part(content, tmp_path):
    with LyingGateway(content.get) as gateway:
        Engine(tmp_path, gateways=[gateway.url]).pin(content.root, name="another")
    engine = Engine(tmp_path)
    with pytest.raises(ContentUnavailableError, match="nobody is known to have it"):
        engine.pin(content.root)
    assert engine.kept() == {}
    assert not engine.pins.unpin("example", content.root, lambda: False)
    assert engine.kept("another") == {content.root: PIN_NAME}


def test_private_addresses_are_not_asked(content, tmp_path):
    with LyingGateway(content.get) as gateway:
        port = gateway.url.rpartition(":")[2]
        origins = [
            f"/dns/localhost/tcp/{port}/http",
            f"/ip6/::1/tcp/{port}/http",
            origin_of(gateway),
        ]
        origins += ["/ip4/169.254.169.254/http", "/ip4/10.0.0.1/tcp/1/http", "nonsense"]
        for origin in origins:
            with pytest.raises(ContentUnavailableError):
                Engine(tmp_path).pin(content.root, origin)
        assert gateway.asked == []


def test_a_redirect_does_not_lead_inside(content, tmp_path):
    with LyingGateway(content.get) as inner:

        def redirect(honest):
            return answer(302, location=inner.url + honest.target)

        with LyingGateway(content.get, redirect) as outer:
            engine = Engine(tmp_path, allow_private=True)
            with pytest.raises(ContentUnavailableError, match="no public address"):
                engine.pin(content.root, origin_of(outer))
        assert inner.asked == []


def test_too_much_is_not_fetched(content, tmp_path):
    with LyingGateway(content.get) as gateway:
        engine = Engine(tmp_path, gateways=[gateway.url], size_bytes_max=1_000_000)
        with pytest.raises(FormatError, match="at most 1000000 bytes"):
            engine.pin(content.root)
    assert engine.kept() == {}


def test_an_unknown_hash_function_is_refused(tmp_path):
    with pytest.raises(FormatError, match="hash function"):
        Engine(tmp_path).pin(CID(b"\x01\x55\x7f\x04abcd"))


def test_what_others_pinned_in_the_store_stays(tmp_path):
    block = CID.of(RAW, b"of a commit")
    with EmbeddedBlockStore(tmp_path / "example") as store:
        store.put(block, b"of a commit")
        store.pin(block, "a commit")
    engine = Engine(tmp_path)
    assert engine.pin(block) == Kept(1, 11)
    assert not engine.pins.unpin("example", block, lambda: False)
    assert engine.kept() == {block: "a commit"}


def test_what_is_wanted_again_is_not_let_go_of(tmp_path):
    block = CID.of(RAW, b"x")
    with EmbeddedBlockStore(tmp_path / "example") as store:
        store.put(block, b"x")
    engine = Engine(tmp_path)
    engine.pin(block, is_wanted=lambda: False)
    assert engine.kept() == {}
    engine.pin(block)
    assert not engine.pins.unpin("example", block, always)
    assert engine.kept() == {block: PIN_NAME}
    assert engine.pins.unpin("example", block, lambda: False)
    assert engine.kept() == {}


def add(service, cid):
    from muniment.pinning.model import NewPin  # noqa: PLC0415

    return service.pins.create(Act("example", "test", time.time_ns() // 1000), NewPin(str(cid)))


def test_pinned_content_counts_once_until_nobody_wants_it(content, tmp_path, database_url):
    with LyingGateway(content.get) as gateway:
        service = counting_service(tmp_path, database_url, gateway)

        def end_of(pin):
            wait_until(lambda: service.pins.get("example", pin.request_id).status.is_end)
            return service.pins.get("example", pin.request_id)

        def pinned_bytes():
            return service.accounts.organization("example").pinned_bytes

        with service.worker(1):
            service.operator.set_quota("example", Quota(content.size_bytes - 1, None))
            refused = end_of(add(service, content.root))
            assert refused.status is PinStatus.FAILED
            assert f"quota of the organisation is {content.size_bytes - 1}" in refused.detail
            assert (pinned_bytes(), service.pin_engine.has("example", content.root)) == (0, False)
            service.operator.set_quota("example", Quota(content.size_bytes, None))
            pins = [add(service, content.root) for _ in range(2)]
            assert {end_of(pin).status for pin in pins} == {PinStatus.PINNED}
            assert pinned_bytes() == content.size_bytes
            with pytest.raises(QuotaExceededError):
                service.accounts.reserve("example", "upload", Amount(1, 1), 0)
            act = Act("example", "test", 1)
            service.pins.remove(act, refused.request_id)
            service.pins.remove(act, pins[0].request_id)
            assert pinned_bytes() == content.size_bytes
            service.pins.remove(act, pins[1].request_id)
            assert pinned_bytes() == 0
        service.close()


def test_fetching_stops_when_there_is_no_room(content, tmp_path, database_url):
    with LyingGateway(content.get, slowly) as gateway:
        service = counting_service(tmp_path, database_url, gateway)
        service.operator.set_quota("example", Quota(1, None))
        with service.worker(1):
            pin = add(service, content.root)
            wait_until(lambda: service.pins.get("example", pin.request_id).status.is_end)
        assert "quota" in service.pins.get("example", pin.request_id).detail
        assert len(gateway.asked) < len(content.blocks)
        service.close()


def counting_service(tmp_path, database_url, gateway):
    home = tmp_path / "service"
    home.mkdir()
    url = "" if "sqlite" in database_url else database_url
    (home / "service.toml").write_text(f"database = {url!r}\ngateways = [{gateway.url!r}]\n")
    service = Service(home)
    service.operator.create_organization("example", "An Example", recovery=False)
    return service


def slowly(honest):
    time.sleep(0.2)
    return answer(406) if honest.is_car else honest.send()


def test_removing_a_pin_ends_its_fetching(content, tmp_path, monkeypatch):
    with LyingGateway(content.get, slowly) as gateway:
        monkeypatch.setenv("MUNIMENT_SERVICE_GATEWAYS", gateway.url)
        monkeypatch.setenv("MUNIMENT_SERVICE_LEASE_S", "3")
        service = Service(tmp_path / "service")
        service.operator.create_organization("example", "An Example", recovery=False)
        with service.worker(1):
            pin = add(service, content.root)
            wait_until(lambda: len(gateway.asked) > 4)
            assert service.pins.get("example", pin.request_id).status is PinStatus.PINNING
            service.pins.remove(Act("example", "test", 1), pin.request_id)
            wait_until(lambda: service.jobs.job("example", pin.job_id).state is JobState.CANCELLED)
        assert len(gateway.asked) < len(content.blocks)
        assert not service.pin_engine.has("example", content.root)
        service.close()


@pytest.mark.slow
def test_a_killed_service_goes_on_where_it_was(content, tmp_path):
    with LyingGateway(content.get, slowly) as gateway:
        settings = {"MUNIMENT_SERVICE_GATEWAYS": gateway.url, "MUNIMENT_SERVICE_LEASE_S": "2"}
        local = LocalService(tmp_path / "service", settings=settings)
        local.create_organization()
        service = Service(tmp_path / "service")
        pin = add(service, content.root)
        local.start()
        store = tmp_path / "service/organizations/example/store"
        wait_until(lambda: stored(store) >= 4)
        local.stop(signal.SIGKILL)
        before = stored(store)
        assert before < len(content.blocks)
        asked = len(gateway.asked)
        with local:
            wait_until(
                lambda: service.pins.get("example", pin.request_id).status is PinStatus.PINNED
            )
        again = {target.partition("?")[0] for target in gateway.asked[asked:]}
        assert len(again) <= len(content.blocks) - before
        done = service.pins.get("example", pin.request_id)
        assert (done.blocks, done.size_bytes) == (len(content.blocks), content.size_bytes)
        assert service.pins.totals("example").pinned == 1
        service.close()


def stored(folder):
    try:
        with EmbeddedBlockStore.open_reader(folder) as store:
            return sum(1 for _ in store.cids())
    except NotFoundError:
        return 0


def wait_until(is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
