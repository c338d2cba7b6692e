"""Coverage-guided fuzzing of whole requests over a store of hostile DAGs: `python tests/fuzz/fuzz_gateway.py -max_total_time=60`.

Needs atheris; takes the options of libFuzzer. An input is a method, a target and headers, each of them chosen from what clients send,
or any bytes. Every answer must be one: a status that says what is wrong, headers that a server can send, and a body that ends, or
fails with an error of ours. A 500 is a finding, but for a `_redirects` file that cannot be read, where the specification wants one.
"""

import logging
import sys
from itertools import islice

import atheris

with atheris.instrument_imports(include=["muniment.content", "muniment.entrypoints.gateway"]):
    from muniment.content import codecs
    from muniment.content.cid import CID, RAW
    from muniment.content.dag_pb import PBLink
    from muniment.content.unixfs import symlink_node
    from muniment.content.unixfs.node import encode_directory
    from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions, error_response
    from muniment.entrypoints.gateway.messages import HttpError, begin, read_scope
    from muniment.errors import MunimentError
    from muniment.testing import hostile
    from muniment.testing.block_store import MemoryBlockStore

MAX_READS = 20_000
"""Blocks that one request may read for the few portions of its body that are looked at."""
STATUSES = {200, 204, 206, 301, 302, 303, 304, 307, 308, 400, 404, 405, 406, 410, 412, 413, 414, 416, 431, 451, 501, 502, 504}  # fmt: skip

METHODS = ["GET", "HEAD", "OPTIONS", "POST", "CONNECT", "get"]
HOSTS = ["localhost", "example.com", "{cid}.ipfs.example.com", "{cid}.ipns.example.com", "site.org", "[::1]:8080", ""]  # fmt: skip
PATHS = ["/ipfs/{cid}", "/ipfs/{cid}/", "/ipfs/{cid}/0/1/name", "/ipfs/{cid}/..%2F/%00/a", "/ipns/{cid}", "/ipns/site.org/x", "/", "/x", "/ipfs/", "/ipfs/{cid}/index.html/x", "/routing/v1/providers/{cid}", "/routing/v1/ipns/{cid}"]  # fmt: skip
QUERIES = ["", "format=raw", "format=car", "format=car&dag-scope=entity&entity-bytes=1:9", "format=car&car-dups=y", "format=tar", "format=dag-json", "format=ipns-record", "filename=%22%0a.txt&download=true", "uri=ipfs%3A%2F%2F{cid}%2F%2e%2e"]  # fmt: skip
HEADERS = [
    ("accept", "application/vnd.ipld.car; dups=y; order=dfs, text/html;q=0.1"),
    ("accept", "text/html"),
    ("range", "bytes=0-9,20-29,-5"),
    ("range", "bytes=99999999999999999-"),
    ("if-none-match", '"x", W/"{cid}.raw"'),
    ("cache-control", "only-if-cached"),
    ("service-worker", "script"),
    ("x-forwarded-host", "{cid}.ipfs.example.com"),
    ("x-forwarded-proto", "https"),
]


class CountingStore(MemoryBlockStore):
    """Counts what a request reads, and refuses to go on for ever."""

    reads = 0

    def get(self, cid):
        self.reads += 1
        assert self.reads <= MAX_READS, "more work than what comes of it"
        return super().get(cid)


class Links:
    """DNSLinks that lead to content, in circles, and nowhere."""

    def __init__(self, root):
        self._links = {"site.org": (f"/ipfs/{root}", 60), "loop.org": ("/ipns/loop.org", None)}

    def find(self, domain):
        return self._links.get(domain, ("/ipfs/%", None) if domain.startswith("bad") else None)


def make_store():
    """Return a store of DAGs that mean harm, and their roots."""
    store = CountingStore()
    put = store.put
    leaf = bytes(60_000)
    link, block = symlink_node(b"../" * 10)
    put(link, block)
    rules = b"/a/:x/* /:x/:splat 200\n/b /x 404\n/* /index.html 302\n"
    site = encode_directory(
        [
            PBLink(hostile.put_node(put, rules, RAW), b"_redirects", 1),
            PBLink(hostile.put_node(put, b"<html>", RAW), b"x", 1),
            PBLink(link, b"loop", 1),
        ]
    )
    names = [b"..", b"a/b", b"\0", b"\xff", b"<script>", b"0", b'"', b"n" * 1000]
    roots = [
        hostile.put_node(put, site),
        hostile.bomb_file(put, 4, 100, leaf),
        hostile.bomb_directory(put, 5, 20),
        hostile.bomb_data(put, 5, 20),
        hostile.shard_bomb(put, 3),
        hostile.put_node(put, hostile.shard_node([(b"00x", hostile.NOTHING)], 3)),
        hostile.put_node(put, hostile.file_node([5, 7], [hostile.NOTHING] * 2, 12)),
        hostile.put_node(put, hostile.file_node([1 << 60], [hostile.NOWHERE], 1 << 60)),
        hostile.put_node(put, encode_directory([PBLink(link, name, 1) for name in names])),
        hostile.chain(put, 40, hostile.directory_link),
        hostile.chain(put, 40, hostile.file_link),
        hostile.put_node(put, b'{"/":{"bytes":"x"}}', codecs.DAG_JSON),
        hostile.put_node(put, b"\x81" * 1000, codecs.CBOR),
        hostile.identity(codecs.DAG_CBOR, b"\xa1\x61a\x01"),
        hostile.put_node(put, b"\xff"),
        CID(hostile.put_node(put, b"").multihash),
        hostile.put_node(put, b"x", 0x1234),
        hostile.NOWHERE,
    ]
    return store, roots


STORE, ROOTS = make_store()
GATEWAY = Gateway(
    STORE,
    GatewayOptions(
        hosts={"example.com": True, "localhost": False}, dnslinks=Links(ROOTS[0]), time_limit_s=5
    ),
)


def scope_of(provider):
    """Return what a server would hand on."""
    cid = str(ROOTS[provider.ConsumeIntInRange(0, len(ROOTS) - 1)])

    def choose(options):
        choice = provider.ConsumeIntInRange(0, len(options))
        if choice == len(options):
            return provider.ConsumeBytes(provider.ConsumeIntInRange(0, 60))
        return options[choice].replace("{cid}", cid).encode()

    method = METHODS[provider.ConsumeIntInRange(0, len(METHODS) - 1)]
    raw_path, query, host = choose(PATHS), choose(QUERIES), choose(HOSTS)
    headers = [(b"host", host)]
    for _ in range(provider.ConsumeIntInRange(0, 3)):
        name, value = HEADERS[provider.ConsumeIntInRange(0, len(HEADERS) - 1)]
        headers.append((name.encode(), choose([value])))
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": raw_path.decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query,
        "headers": headers,
    }


def fuzz_one(data):
    provider = atheris.FuzzedDataProvider(data)
    STORE.reads = 0
    try:
        request = read_scope(scope_of(provider))
    except HttpError as error:
        check(begin(error_response(error)), None)
        return
    check(GATEWAY.respond(request), request)


def check(answer, request):
    is_redirects_file = answer.first.startswith(b"could not parse _redirects")
    assert answer.status in STATUSES or is_redirects_file, (answer, request)
    for name, value in answer.headers:
        assert name.isascii()
        assert name == name.lower()
        assert not set(value) & {"\r", "\n", "\0"}, value
    size = len(answer.first)
    try:
        size += sum(len(portion) for portion in islice(answer.rest or (), 3))
    except MunimentError:
        return
    declared = [int(value) for name, value in answer.headers if name == "content-length"]
    if declared and not (request and request.method == "HEAD"):
        assert size == declared[0] if answer.rest is None else size <= declared[0]


if __name__ == "__main__":
    logging.disable()
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()
