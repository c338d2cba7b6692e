"""Answers at hand: equal to those that they stand for, bounded, and forgotten as soon as anything changes."""

import asyncio
import re
from pathlib import Path

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID, RAW
from muniment.content.denylist import Denylist
from muniment.content.unixfs import directory_dag
from muniment.entrypoints import gateway as package
from muniment.entrypoints.gateway.asgi import GatewayApp
from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions
from muniment.entrypoints.gateway.hot import MAX_AGE_S, MAX_ANSWER_BYTES, HotAnswers
from muniment.entrypoints.gateway.messages import HEADERS_READ
from muniment.errors import MunimentError

HELLO = b"hello\n"
PAGE = b"<html>a page"
HELLO_CID, PAGE_CID = CID.of(RAW, HELLO), CID.of(RAW, PAGE)


class CountingGateway(Gateway):
    """A gateway that knows how often it was asked."""

    asked = 0

    def respond(self, request):
        self.asked += 1
        return super().respond(request)


class Client:
    """Sends requests to an application, as the server does."""

    def __init__(self, store, **hot):
        self.denylist = Denylist()
        self.now = 0.0
        options = GatewayOptions(hosts={"sub.example": True}, denylist=self.denylist)
        self.gateway = CountingGateway(store, options)
        self.hot = HotAnswers(
            lambda: (store.generation(), self.denylist.generation), clock=lambda: self.now, **hot
        )
        self.app = GatewayApp(self.gateway, hot=self.hot)

    def get(self, target, method="GET", **headers):
        path, _, query = target.partition("?")
        pairs = {"host": "a.example", **headers}
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in pairs.items()
            ],
        }
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.disconnect"}

        asyncio.run(self.app(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:])


@pytest.fixture
def store(tmp_path):
    with EmbeddedBlockStore(tmp_path) as store:
        dag = directory_dag([(b"hello", HELLO_CID, 6), (b"page", PAGE_CID, 12)])
        store.put_many([(HELLO_CID, HELLO), (PAGE_CID, PAGE), *dag.inner])
        store.folder_cid = dag.root
        yield store


@pytest.fixture
def client(store):
    client = Client(store)
    yield client
    client.app.close()


def test_an_answer_is_asked_for_once(client):
    first = client.get(f"/ipfs/{HELLO_CID}")
    assert first[0] == 200
    assert first[2] == HELLO
    assert client.get(f"/ipfs/{HELLO_CID}", user_agent="another") == first
    assert client.gateway.asked == 1


def test_whatever_a_request_says_that_matters_is_told_apart(client, store):
    """Every pair of these is answered from memory as it is answered without."""
    folder, cid = f"/ipfs/{store.folder_cid}", f"/ipfs/{PAGE_CID}"
    etag = f'"{PAGE_CID}"'
    requests = [
        (cid, {}),
        (cid, {"method": "HEAD"}),
        (cid, {"method": "OPTIONS"}),
        (cid, {"method": "POST"}),
        (cid, {"if_none_match": etag}),
        (cid, {"range": "bytes=0-1"}),
        (cid, {"range": "bytes=2-3"}),
        (cid, {"range": "bytes=99-"}),
        (cid, {"range": "bytes=0-1", "if_range": '"other"'}),
        (cid, {"accept": "application/vnd.ipld.raw"}),
        (cid, {"accept": "application/vnd.ipld.car"}),
        (cid, {"service_worker": "script"}),
        (cid, {"cache_control": "only-if-cached"}),
        (cid, {"host": "sub.example"}),
        (cid, {"x_forwarded_host": "sub.example"}),
        (cid, {"host": "sub.example", "x_forwarded_proto": "https"}),
        ("/page", {"host": f"{store.folder_cid}.ipfs.sub.example"}),
        (f"{cid}?format=raw", {}),
        (f"{cid}?filename=a.txt", {}),
        (f"{cid}?download=true", {}),
        (f"{folder}/page", {}),
        (f"{folder}/pag%65", {}),
        (f"{folder}/none", {}),
        (f"{folder}/", {}),
        (folder, {}),
        (f"{folder}?format=car", {}),
        ("/ipfs/nonsense", {}),
    ]
    fresh = []
    for target, options in requests:
        fresh.append(client.get(target, **options))
        client.hot.__init__(client.hot._generation_of, clock=lambda: 0.0)
    for _ in range(2):
        for (target, options), expected in zip(requests, fresh, strict=True):
            assert client.get(target, **options) == expected, (target, options)
    assert client.gateway.asked < 3 * len(requests)  # so that some came from memory
    assert len({repr(answer) for answer in fresh}) > len(requests) - 6


def test_what_changes_is_not_kept(client):
    for target in ("/ipfs/bafkqaaa/x", f"/ipfs/{CID.of(RAW, b'not here')}", "/ipns/example.org"):
        before = client.gateway.asked
        assert client.get(target) == client.get(target)
        assert client.gateway.asked == before + 2


def test_what_was_removed_is_gone_at_once(client, store):
    assert client.get(f"/ipfs/{HELLO_CID}")[0] == 200
    store.pin(PAGE_CID)
    store.gc()
    assert client.get(f"/ipfs/{HELLO_CID}")[0] == 404
    assert client.get(f"/ipfs/{PAGE_CID}")[0] == 200


def test_what_was_removed_by_another_process_is_gone_at_once(store):
    with EmbeddedBlockStore.open_reader(store.folder, reverify_after_s=600) as reader:
        test_what_was_removed_is_gone_at_once(Client(reader), store)


def test_what_was_blocked_is_gone_at_once(client):
    assert client.get(f"/ipfs/{HELLO_CID}")[0] == 200
    client.denylist.add(f"/ipfs/{HELLO_CID}".encode())
    assert client.get(f"/ipfs/{HELLO_CID}")[0] == 410


def test_a_change_while_an_answer_is_made_keeps_it_from_being_kept(client, store, monkeypatch):
    respond = client.gateway.respond

    def respond_late(request):
        answer = respond(request)
        store.pin(PAGE_CID)
        store.gc()
        return answer

    monkeypatch.setattr(client.gateway, "respond", respond_late)
    assert client.get(f"/ipfs/{HELLO_CID}")[0] == 200
    monkeypatch.undo()
    assert client.get(f"/ipfs/{HELLO_CID}")[0] == 404


def test_an_answer_is_kept_for_a_minute(client):
    client.get(f"/ipfs/{HELLO_CID}")
    client.now = MAX_AGE_S - 1
    client.get(f"/ipfs/{HELLO_CID}")
    assert client.gateway.asked == 1
    client.now = MAX_AGE_S
    client.get(f"/ipfs/{HELLO_CID}")
    assert client.gateway.asked == 2


def test_nothing_is_kept_while_the_store_cannot_be_watched(client, monkeypatch):
    def fail():
        raise MunimentError("the index is busy")

    client.get(f"/ipfs/{HELLO_CID}")
    monkeypatch.setattr(client.hot, "_generation_of", fail)
    for _ in range(2):
        assert client.get(f"/ipfs/{HELLO_CID}")[2] == HELLO
    assert client.gateway.asked == 3


def test_memory_is_bounded(store):
    blocks = [bytes([i]) * 10_000 for i in range(20)]
    store.put_many((CID.of(RAW, data), data) for data in blocks)
    client = Client(store, max_bytes=100_000)
    for data in blocks:
        client.get(f"/ipfs/{CID.of(RAW, data)}")
    assert 80_000 < client.hot._kept_bytes <= 100_000
    assert client.hot._kept_bytes == sum(kept.size_bytes for kept in client.hot._kept.values())
    client.get(f"/ipfs/{CID.of(RAW, blocks[-1])}")
    assert client.gateway.asked == 20
    client.get(f"/ipfs/{CID.of(RAW, blocks[0])}")  # the one that was not asked for longest
    assert client.gateway.asked == 21
    client.app.close()


def test_large_answers_are_not_kept(client, store):
    large = bytes(MAX_ANSWER_BYTES)
    cid = CID.of(RAW, large)
    store.put(cid, large)
    for _ in range(2):
        assert client.get(f"/ipfs/{cid}")[2] == large
    assert client.gateway.asked == 2


def test_a_gateway_looks_at_no_header_that_it_is_not_shown():
    """Else an answer could depend on what it is not kept under."""
    (folder,) = package.__path__
    sources = [path.read_text() for path in Path(folder).glob("*.py")]
    looked_at = {
        name for source in sources for name in re.findall(r'request\.header\("(.*?)"\)', source)
    }
    assert looked_at
    assert looked_at <= HEADERS_READ
    assert not any(re.search(r"request\.headers\b", source) for source in sources)
