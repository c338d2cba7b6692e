"""Fetching over real HTTP from gateways that answer, fail and lie."""

import io
import json
import random
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.adapters.retrieval import (
    FetchCancelledError,
    FetchFailedError,
    FetchLimits,
    HttpSource,
    fetch_dag,
    find_sources,
    walk,
)
from muniment.adapters.retrieval.car_feed import CarFeed
from muniment.adapters.retrieval.connections import is_public
from muniment.content import car, codecs, varint
from muniment.content.cid import CID, DAG_PB, RAW, verify_block
from muniment.content.dag_pb import MAX_BLOCK_BYTES
from muniment.content.links import block_links, has_links
from muniment.content.path_resolution import NoSuchPathError
from muniment.content.routing import GATEWAY_PROTOCOL
from muniment.content.unixfs import directory_dag, import_file
from muniment.errors import ConflictError, FormatError, UsageError
from muniment.testing.block_store import MemoryBlockStore
from muniment.testing.loopback import LoopbackServer
from muniment.testing.lying_gateway import (
    FAILURES,
    LIES,
    Honest,
    LyingGateway,
    answer,
    gives_no_cars,
    has_nothing,
    leaves_out_blocks,
)

QUICK = FetchLimits(backoff_s=0.01, hedge_s=0.3, failures=4)
MIB = 1 << 20


class Store(MemoryBlockStore):
    """Takes what it is given, so that a test sees what that was."""

    def __init__(self):
        super().__init__()
        self.given = []

    def hold(self):
        return nullcontext()

    def put_many(self, blocks):
        blocks = list(blocks)
        self.given += blocks
        return super().put_many(blocks)


class Library:
    """A store with a file, a folder of small files, and a folder of both."""

    def __init__(self):
        self.store = MemoryBlockStore()
        blocks = []
        self.data = random.Random(4).randbytes(3 * MIB + 17)
        self.file = import_file(io.BytesIO(self.data), lambda *block: blocks.append(block)).root
        self.small = {b"%03d" % i: b"content of %d\n" % i for i in range(200)}
        entries = []
        for name, data in self.small.items():
            cid = CID.of(RAW, data)
            blocks.append((cid, data))
            entries.append((name, cid, len(data)))
        folder = directory_dag(entries)
        blocks += folder.inner
        self.folder = folder.root
        top = directory_dag([(b"file", self.file, len(self.data)), (b"small", folder.root, 9000)])
        blocks += top.inner
        self.top = top.root
        tree = {"file": self.file, "top": self.top, "list": [self.folder, 1]}
        data = codecs.encode(codecs.DAG_CBOR, tree)
        self.tree = CID.of(codecs.DAG_CBOR, data)
        blocks.append((self.tree, data))
        self.store.put_many(blocks)
        self.blocks = dict(blocks)


LIBRARY = Library()


class Server(LyingGateway):
    """A gateway, and how to ask it."""

    def __init__(self, store=LIBRARY.store, twist=Honest.send):
        super().__init__(store.get, twist)

    def source(self, **options):
        options = {"answer_timeout_s": 2.0} | options
        return HttpSource(self.url, is_trusted_address=True, **options)


@contextmanager
def servers(*twists):
    with ExitStack() as stack:
        yield [stack.enter_context(Server(twist=twist)) for twist in twists]


def slowly(delay_s):
    def twist(honest):
        time.sleep(delay_s)
        return honest.send()

    return twist


def check_right(store):
    for cid, data in store.given:
        verify_block(cid, data)


def fetch(store, root, *sources, limits=QUICK, **options):
    try:
        return fetch_dag(store, root, sources, limits=limits, **options)
    finally:
        check_right(store)


def reach(root, blocks=LIBRARY.store):
    """Return the CIDs below and including `root`."""
    found, todo = set(), [root]
    while todo:
        cid = todo.pop()
        if cid not in found:
            found.add(cid)
            todo += block_links(cid, blocks.get(cid)) if has_links(cid) else ()
    return found


# What a fetch does


@pytest.mark.parametrize("name", ["file", "folder", "top", "tree"])
def test_a_dag_comes_whole(name):
    root = getattr(LIBRARY, name)
    store = Store()
    with servers(Honest.send, Honest.send) as (one, two):
        report = fetch(store, root, one.source(), two.source(), pin_name="kept")
    assert set(store.cids()) == reach(root)
    assert report.cid == root
    assert report.blocks >= len(reach(root))
    assert [source.lies for source in report.sources] == [0, 0]
    assert [tuple(pin) for pin in store.pins()] == [(root, "kept")]


def test_many_small_files_come_in_one_answer():
    store = Store()
    with Server() as server:
        fetch(store, LIBRARY.folder, server.source())
        assert len(server.asked) == 2
        assert "format=car" in server.asked[1]


def test_a_large_file_comes_from_all_sources():
    limits = FetchLimits(connections=1)
    with servers(Honest.send, Honest.send) as (one, two):
        report = fetch(Store(), LIBRARY.file, one.source(), two.source(), limits=limits)
    assert all(source.blocks for source in report.sources)


def test_a_path_brings_its_way_and_its_end():
    store = Store()
    with Server() as server:
        report = fetch(store, LIBRARY.top, server.source(), path=[b"small", b"007"])
    end = CID.of(RAW, LIBRARY.small[b"007"])
    assert report.cid == end
    assert set(store.cids()) == {LIBRARY.top, LIBRARY.folder, end}


def test_a_path_that_leads_nowhere():
    with Server() as server, pytest.raises(NoSuchPathError):
        fetch(Store(), LIBRARY.top, server.source(), path=[b"nothing"])


@pytest.mark.parametrize(
    ("name", "scope", "wanted"),
    [
        ("top", "block", lambda: {LIBRARY.top}),
        ("top", "entity", lambda: {LIBRARY.top}),
        ("file", "entity", lambda: reach(LIBRARY.file)),
        ("tree", "entity", lambda: {LIBRARY.tree}),
    ],
)
def test_scopes(name, scope, wanted):
    store = Store()
    with Server() as server:
        fetch(store, getattr(LIBRARY, name), server.source(), scope=scope)
    assert set(store.cids()) == wanted()


def test_the_entity_of_a_sharded_folder_is_its_shards():
    names = [(b"%05d" % i, CID.of(RAW, b"%d" % i), 5) for i in range(6500)]
    dag = directory_dag(names)
    library = MemoryBlockStore()
    library.put_many(dag.inner)
    store = Store()
    with Server(library) as server:
        fetch(store, dag.root, server.source(), scope="entity")
    assert set(store.cids()) == set(library.cids())
    assert len(set(store.cids())) > 1


def test_what_the_store_has_is_not_fetched_again():
    store = Store()
    leaves = [cid for cid in reach(LIBRARY.file) if cid.codec == RAW]
    store.put_many((cid, LIBRARY.store.get(cid)) for cid in [LIBRARY.file, *leaves[:2]])
    with Server() as server:
        report = fetch(store, LIBRARY.file, server.source())
        asked = {target.split("/")[2].split("?")[0] for target in server.asked}
        assert asked == {str(cid) for cid in leaves[2:]}
        assert (report.blocks, report.present_blocks) == (len(leaves) - 2, 3)
        server.asked.clear()
        report = fetch(store, LIBRARY.file, server.source())
        assert (report.blocks, server.asked) == (0, [])


def test_identity_blocks_are_not_asked_for():
    inner = CID(b"\x01\x55\x00\x05hello")
    data = codecs.encode(codecs.DAG_CBOR, [inner])
    root = CID.of(codecs.DAG_CBOR, data)
    library = MemoryBlockStore()
    library.put(root, data)
    with Server(library) as server:
        report = fetch(Store(), root, server.source())
        assert (report.blocks, report.present_blocks, len(server.asked)) == (1, 0, 1)


def test_progress_is_told_and_a_wish_to_stop_is_granted():
    told = []
    with Server() as server:
        report = fetch(Store(), LIBRARY.top, server.source(), progress=told.append)
        assert (told[-1].blocks, told[-1].bytes) == (report.blocks, report.bytes)

        store = Store()
        slow = Server(twist=slowly(0.2))
        with slow, pytest.raises(FetchCancelledError) as stopped:
            fetch(store, LIBRARY.file, slow.source(), cancelled=lambda: len(slow.asked) > 1)
        assert stopped.value.report.blocks == len(store.given)


def test_a_fetch_has_a_deadline():
    with (
        Server(twist=slowly(0.6)) as server,
        pytest.raises(FetchFailedError, match=r"more than 0\.1 s"),
    ):
        fetch(Store(), LIBRARY.file, server.source(), limits=FetchLimits(deadline_s=0.1))


def test_garbage_is_not_collected_meanwhile(tmp_path):
    with EmbeddedBlockStore(tmp_path, lock_timeout_s=0.05) as store:

        def try_to_collect(_progress):
            with pytest.raises(ConflictError) as refused:
                store.gc(remove_everything=True)
            problems.append(refused.value)

        problems = []
        with Server() as server:
            report = fetch_dag(
                store, LIBRARY.file, [server.source()], progress=try_to_collect, pin_name=""
            )
        assert problems
        assert store.verify().blocks == report.blocks
        assert store.gc().removed_blocks == 0


# Sources that fail and lie. Each twist is given to one of two sources; the other is honest.


@pytest.mark.parametrize("root", [LIBRARY.file, LIBRARY.folder], ids=["file", "folder"])
@pytest.mark.parametrize("twist", LIES, ids=lambda twist: twist.__name__)
def test_a_liar_is_named_and_the_other_goes_on(twist, root):
    store = Store()
    with servers(twist, Honest.send) as (liar, honest):
        report = fetch(store, root, liar.source(), honest.source())
        assert set(store.cids()) == reach(root)
        bad, good = report.sources
        if bad.requests:  # else the honest one was faster
            assert bad.lies >= 1
            assert bad.is_dropped
            assert bad.problem
        assert (good.lies, good.failures, good.is_dropped) == (0, 0, False)


@pytest.mark.parametrize("twist", LIES, ids=lambda twist: twist.__name__)
def test_a_liar_alone_brings_nothing(twist):
    store = Store()
    with Server(twist=twist) as liar, pytest.raises(FetchFailedError) as failed:
        fetch(store, LIBRARY.file, liar.source())
    assert liar.url in str(failed.value)
    (report,) = failed.value.report.sources
    assert (report.lies >= 1, report.is_dropped, report.blocks) == (True, True, 0)
    assert store.given == []


@pytest.mark.parametrize("twist", FAILURES, ids=lambda twist: twist.__name__)
def test_a_failing_source_is_named_and_the_other_goes_on(twist):
    store = Store()
    with servers(twist, Honest.send) as (failing, honest):
        report = fetch(store, LIBRARY.top, failing.source(), honest.source())
    assert set(store.cids()) == reach(LIBRARY.top)
    assert report.sources[0].lies == 0


@pytest.mark.parametrize("twist", FAILURES, ids=lambda twist: twist.__name__)
def test_a_failing_source_alone_brings_nothing(twist):
    with Server(twist=twist) as failing, pytest.raises(FetchFailedError) as failed:
        fetch(Store(), LIBRARY.file, failing.source())
    (report,) = failed.value.report.sources
    assert (report.failures >= 1, report.lies) == (True, 0)
    assert report.problem in str(failed.value)


def test_a_source_thathas_nothing_is_no_liar():
    with servers(has_nothing, Honest.send) as (poor, rich):
        report = fetch(Store(), LIBRARY.top, poor.source(), rich.source())
        assert report.sources[0].lies == 0
    with (
        Server(twist=has_nothing) as poor,
        pytest.raises(FetchFailedError, match="no source gives"),
    ):
        fetch(Store(), LIBRARY.top, poor.source())


def test_two_halves_make_a_whole():
    halves = (MemoryBlockStore(), MemoryBlockStore())
    for i, cid in enumerate(sorted(LIBRARY.blocks, key=lambda cid: cid.raw)):
        halves[i % 2].put(cid, LIBRARY.blocks[cid])
    store = Store()
    with Server(halves[0]) as one, Server(halves[1]) as two:
        fetch(store, LIBRARY.tree, one.source(), two.source())
    assert set(store.cids()) == reach(LIBRARY.tree)


def test_what_nobody_has_is_named_and_the_rest_comes():
    lost = next(cid for cid in reach(LIBRARY.file) if cid.codec == RAW)
    library = MemoryBlockStore()
    library.put_many((cid, data) for cid, data in LIBRARY.blocks.items() if cid != lost)
    store = Store()
    with Server(library) as server, pytest.raises(FetchFailedError, match=str(lost)) as failed:
        fetch(store, LIBRARY.top, server.source(), pin_name="never")
    assert failed.value.report.missing_blocks == 1
    assert set(store.cids()) == reach(LIBRARY.top) - {lost}
    assert list(store.pins()) == []
    with Server() as server:  # and another run, with another source, brings that block alone
        report = fetch(store, LIBRARY.top, server.source())
        assert report.blocks == len(server.asked) == 1


@pytest.mark.parametrize("headers", [{}, {"retry_after": "0"}])
def test_a_short_outage_is_waited_for(headers):
    outage = iter([503, 503])

    def sometimes(honest):
        down = next(outage, None)
        return honest.send() if down is None else answer(down, **headers)

    limits = FetchLimits(connections=1, backoff_s=0.01)
    store = Store()
    with Server(twist=sometimes) as server:
        report = fetch(store, LIBRARY.folder, server.source(), limits=limits)
    assert set(store.cids()) == reach(LIBRARY.folder)
    (source,) = report.sources
    assert (source.failures, source.is_dropped) == (2, False)


def test_a_slow_source_does_not_hold_up_the_end():
    asked_slow = threading.Event()

    def slow(honest):
        asked_slow.set()
        time.sleep(1.5)
        return honest.send()

    def quick(honest):
        asked_slow.wait(5)  # so that the slow one has something to do
        return honest.send()

    with servers(slow, quick) as (snail, hare):
        report = fetch(Store(), LIBRARY.file, snail.source(answer_timeout_s=30), hare.source())
    assert report.sources[0].requests
    assert report.sources[0].blocks == 0


def test_one_byte_now_and_then_is_no_answer():
    def drip(honest):
        def pieces():
            for byte in honest.body[:5]:
                time.sleep(0.1)
                yield bytes([byte])

        return 200, {"content-length": str(len(honest.body))}, pieces()

    with (
        Server(twist=drip) as server,
        pytest.raises(FetchFailedError, match=r"took more than 0\.3 s"),
    ):
        fetch(Store(), LIBRARY.file, server.source(block_timeout_s=0.3))


def test_a_source_that_gives_no_cars_gives_blocks():
    store = Store()
    with Server(twist=gives_no_cars) as server:
        report = fetch(store, LIBRARY.top, server.source())
    assert set(store.cids()) == reach(LIBRARY.top)
    assert (report.sources[0].failures, report.sources[0].lies) == (0, 0)


def test_a_car_that_leaves_out_blocks_is_completed():
    store = Store()
    with Server(twist=leaves_out_blocks) as server:
        fetch(store, LIBRARY.folder, server.source())
    assert set(store.cids()) == reach(LIBRARY.folder)


def test_nothing_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(FetchFailedError, match="no source"):
            fetch(Store(), LIBRARY.file, HttpSource(url, is_trusted_address=True))


def test_a_dag_that_is_malformed_is_not_the_sources_fault():
    data = b"\xff not protobuf"
    root = CID.of(DAG_PB, data)
    library = MemoryBlockStore()
    library.put(root, data)
    with Server(library) as server, pytest.raises(FormatError):
        fetch(Store(), root, server.source())


def test_a_dag_of_many_equal_links_is_walked_once():
    data = b"leaf"
    cid = CID.of(RAW, data)
    library = MemoryBlockStore()
    library.put(cid, data)
    for _ in range(60):  # 2 to the 60th ways to the leaf
        data = codecs.encode(codecs.DAG_CBOR, [cid, cid])
        cid = CID.of(codecs.DAG_CBOR, data)
        library.put(cid, data)
    store = Store()
    with Server(library) as server:
        fetch(store, cid, server.source())
    assert len(set(store.cids())) == 61


def test_a_dag_that_is_too_deep_or_wide_is_refused(monkeypatch):
    monkeypatch.setattr(walk, "MAX_DAG_DEPTH", 50)
    cid = CID.of(RAW, b"")
    library = MemoryBlockStore()
    for _ in range(60):
        data = codecs.encode(codecs.DAG_CBOR, [cid])
        cid = CID.of(codecs.DAG_CBOR, data)
        library.put(cid, data)
    with Server(library) as server, pytest.raises(FormatError, match="levels"):
        fetch(Store(), cid, server.source())
    with Server() as server, pytest.raises(FormatError, match="wait at once"):
        fetch(Store(), LIBRARY.file, server.source(), limits=FetchLimits(waiting_nodes=2))
    with Server() as server, pytest.raises(FormatError, match="inner nodes"):
        fetch(Store(), LIBRARY.tree, server.source(), limits=FetchLimits(known_nodes=1))


def test_a_hash_that_is_unknown_is_no_lie():
    root = CID(b"\x01\x55\x1b\x20" + bytes(32))  # Keccak-256
    with Server() as server, pytest.raises(FormatError, match="unknown hash function"):
        fetch(Store(), root, server.source())


def test_a_full_store_ends_the_fetch():
    class Full(Store):
        def put_many(self, blocks):
            raise OSError(28, "No space left on device")

    with Server() as server, pytest.raises(OSError, match="No space"):
        fetch_dag(Full(), LIBRARY.file, [server.source()])


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x.org",
        "http://",
        "http://user:secret@x.org",
        "http://x.org?a",
        "http://x.org#a",
        "http://x.org:99999",
        "http://ü.org",
        "http://x y",
        "http://x.org/" + "a" * 5000,
    ],
)
def test_what_is_no_gateway(url):
    with pytest.raises(UsageError) as refused:
        HttpSource(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::101:101", True),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
    ],
)
def test_public_addresses(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_gateway_that_nobody_named_is_not_sought_on_this_machine(host):
    with Server() as server:
        source = HttpSource(server.url.replace("127.0.0.1", host), answer_timeout_s=2)
        with pytest.raises(FetchFailedError, match="no public address"):
            fetch(Store(), LIBRARY.file, source)
        assert server.asked == []


def test_a_redirect_within_the_gateway_is_followed():
    def elsewhere(honest):
        if honest.target.startswith("/ipfs/"):
            return answer(301, location=f"/moved{honest.target}")
        return honest.send()

    store = Store()
    with Server(twist=elsewhere) as server:
        fetch(store, LIBRARY.file, server.source())
    assert set(store.cids()) == reach(LIBRARY.file)


# Routing


def _router(answer, content_type="application/json", status=200):
    def respond(method, target, body):
        asked.append(target)
        return status, {"content-type": content_type, "content-length": str(len(answer))}, [answer]

    asked = []
    server = LoopbackServer(respond)
    server.asked = asked
    return server


def _record(*addrs):
    return {
        "Schema": "peer",
        "ID": "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
        "Addrs": list(addrs),
        "Protocols": [GATEWAY_PROTOCOL],
    }


ADDRS = ["/dns/a.example/tcp/443/tls/http", "/ip4/127.0.0.1/tcp/1/http", "/ip4/1.1.1.1/tcp/81/http"]


@pytest.mark.parametrize("streamed", [False, True])
def test_routing_names_gateways(streamed):
    answer = json.dumps(_record(*ADDRS) if streamed else {"Providers": [_record(*ADDRS)]}).encode()
    media_type = "application/x-ndjson" if streamed else "application/json; charset=utf-8"
    with _router(answer + b"\n", media_type) as router:
        found = find_sources(LIBRARY.file, [router.url, router.url + "/routing/v1/"])
        assert [source.name for source in found.sources] == [
            "https://a.example",
            "http://1.1.1.1:81",
        ]
        found = find_sources(LIBRARY.file, [router.url], allow_private=True)
        assert len(found.sources) == 3
        path, _, query = router.asked[0].partition("?")
        assert path == f"/routing/v1/providers/{LIBRARY.file}"
        assert query == "filter-protocols=transport-ipfs-gateway-http"


@pytest.mark.parametrize(
    ("answer", "media_type", "status"),
    [
        (b"nonsense", "application/json", 200),
        (b"nonsense\n", "application/x-ndjson", 200),
        (b"", "application/json", 500),
        (b" " * 2_000_000, "application/json", 200),
    ],
)
def test_a_router_that_talks_nonsense_is_a_problem(answer, media_type, status):
    good = json.dumps({"Providers": [_record(*ADDRS)]}).encode()
    with _router(answer, media_type, status) as bad, _router(good) as router:
        found = find_sources(LIBRARY.file, [bad.url, router.url])
    assert len(found.sources) == 2
    assert [problem.startswith(bad.url) for problem in found.problems] == [True]


def test_a_router_that_knows_nobody_is_no_problem():
    with _router(b"", status=404) as old, _router(b'{"Providers":[]}') as new:
        found = find_sources(LIBRARY.file, [old.url, new.url])
    assert found == type(found)((), ())
    with pytest.raises(UsageError):
        find_sources(LIBRARY.file, ["nonsense"])


def test_what_routing_names_is_fetched_from():
    with Server() as server:
        address = f"/ip4/127.0.0.1/tcp/{server.url.rpartition(':')[2]}/http"
        answer = json.dumps({"Providers": [_record(address)]}).encode()
        with _router(answer) as router:
            found = find_sources(LIBRARY.top, [router.url], allow_private=True)
            public = find_sources(LIBRARY.top, [router.url])
            assert (public.sources, public.private) == ((), (server.url,))
        store = Store()
        fetch(store, LIBRARY.top, *found.sources)
    assert set(store.cids()) == reach(LIBRARY.top)


# The CAR reader


def _car(*blocks, roots=(LIBRARY.file,)):
    out = io.BytesIO()
    car.write_car(out, roots, blocks)
    return out.getvalue()


@pytest.mark.parametrize("step", [1, 7, 1000, 10**6])
def test_a_car_is_read_in_any_pieces(step):
    blocks = [(CID.of(RAW, data), data) for data in (b"", b"a", b"b" * 5000)]
    data = _car(*blocks)
    feed = CarFeed()
    pieces = (data[i : i + step] for i in range(0, len(data), step))
    assert [block for piece in pieces for block in feed.feed(piece)] == blocks
    feed.finish()


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_car_that_is_cut_off(cut):
    feed = CarFeed()
    list(feed.feed(_car((CID.of(RAW, b"abc"), b"abc"))[:cut]))
    with pytest.raises(FormatError):
        feed.finish()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 20,
        b"\x00",
        b"\x0a\xa1\x67version\x02",
        b"<html><body>",
        _car() + varint.encode(MAX_BLOCK_BYTES * 2),
        _car() + b"\x00",
        _car() + b"\x03abc",
    ],
    ids=["noise", "empty", "header", "html", "long", "nothing", "short"],
)
def test_what_is_no_car(data):
    def read():
        feed = CarFeed()
        yield from feed.feed(data)
        feed.finish()

    with pytest.raises(FormatError):
        list(read())
