"""Any request over a store of hostile DAGs gets an answer that says what is wrong, after few reads; never 500."""

import logging
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.content import codecs
from muniment.content.cid import RAW
from muniment.content.dag_pb import PBLink
from muniment.content.unixfs import symlink_node
from muniment.content.unixfs.node import encode_directory
from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions, error_response
from muniment.entrypoints.gateway.messages import HttpError, begin, read_scope
from muniment.errors import MunimentError
from muniment.testing import hostile
from muniment.testing.block_store import MemoryBlockStore

MAX_READS = 10_000


class CountingStore(MemoryBlockStore):
    """Counts what is read."""

    reads = 0

    def get(self, cid):
        self.reads += 1
        return super().get(cid)


def make_store():
    store = CountingStore()
    put = store.put
    link, block = symlink_node(b"../..")
    put(link, block)
    names = [b"..", b"a/b", b"\0", b"\xff", b"<b>", b"0", b"index.html"]
    roots = [
        hostile.bomb_file(put, 4, 100, bytes(60_000)),
        hostile.bomb_directory(put, 5, 20),
        hostile.bomb_data(put, 5, 20),
        hostile.shard_bomb(put, 3),
        hostile.chain(put, 40, hostile.directory_link),
        hostile.chain(put, 40, hostile.file_link),
        hostile.put_node(put, hostile.shard_node([(b"00x", hostile.NOTHING)], 3)),
        hostile.put_node(put, hostile.file_node([1 << 60], [hostile.NOTHING], 1 << 60)),
        hostile.put_node(put, encode_directory([PBLink(link, name, 1) for name in names])),
        hostile.put_node(put, b'{"a": 1e999}', codecs.DAG_JSON),
        hostile.put_node(put, b"\x81" * 1000, codecs.CBOR),
        hostile.put_node(put, b"x", RAW),
        hostile.put_node(put, b"\xff"),
        hostile.NOWHERE,
    ]
    return store, roots


STORE, ROOTS = make_store()
GATEWAY = Gateway(STORE, GatewayOptions(hosts={"example.com": True}, time_limit_s=20))

cids = st.sampled_from(ROOTS).map(str)
segments = st.sampled_from(["", "/", "/0", "/0/1/2", "/name", "/..%2F", "/%00", "/a%2Fb", "/index.html/x"])  # fmt: skip
formats = st.sampled_from(["", "raw", "car", "tar", "dag-json", "dag-cbor", "json", "cbor", "ipns-record", "x"])  # fmt: skip
queries = st.one_of(
    st.binary(max_size=20),
    formats.map(lambda name: f"format={name}".encode()),
    st.sampled_from(
        [
            b"format=car&car-dups=y",
            b"format=car&dag-scope=entity&entity-bytes=1:-1",
            b"filename=%0a%22",
        ]
    ),
)
headers = st.lists(
    st.tuples(
        st.sampled_from([b"accept", b"range", b"if-none-match", b"cache-control", b"if-range"]),
        st.sampled_from([b"text/html", b"application/vnd.ipld.car;dups=y", b"bytes=0-1,5-9,-3", b"bytes=9-", b"*", b"only-if-cached"])
        | st.binary(max_size=20),
    ),
    max_size=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "PUT"]), cids, segments | st.text(max_size=9), queries, headers, st.booleans())  # fmt: skip
def test_any_request_gets_its_answer(method, cid, below, query, fields, has_own_host):
    path = below if has_own_host else f"/ipfs/{cid}{below}"
    host = f"{cid}.ipfs.example.com" if has_own_host else "localhost"
    raw_path = path.encode("utf-8", "surrogatepass")
    scope = {
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": raw_path or b"/",
        "query_string": query,
        "headers": [(b"host", host.encode()), *fields],
    }
    STORE.reads = 0
    try:
        answer = GATEWAY.respond(read_scope(scope))
    except HttpError as error:
        answer = begin(error_response(error))
    assert 200 <= answer.status < 500 or answer.status in (501, 504), answer
    for name, value in answer.headers:
        assert name.isascii()
        assert not set(value) & {"\r", "\n", "\0"}
    try:
        for _ in islice(answer.rest or (), 2):
            pass
    except MunimentError:
        pass
    assert STORE.reads < MAX_READS
