"""Delegated routing: its records, and the node's answers over HTTP."""

import contextlib
import json
import stat
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.gateway_names import RecordFolder
from muniment.adapters.node_key import load_node_key, node_id
from muniment.adapters.published_records import PublishedRecords
from muniment.content import codecs, multiaddr, varint
from muniment.content.cid import CID, RAW
from muniment.content.denylist import Denylist
from muniment.content.ipns import name_text, parse_name
from muniment.content.routing import (
    GATEWAY_PROTOCOL,
    MAX_ANSWER_BYTES,
    MAX_RECORDS,
    Filters,
    PeerRecord,
    decode_json,
    decode_ndjson,
    encode_json,
    encode_ndjson,
    peer_id,
    peer_id_text,
)
from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions
from muniment.entrypoints.gateway.messages import Request
from muniment.entrypoints.gateway.routing import RoutingOptions
from muniment.errors import FormatError, KeyUnavailableError
from muniment.testing.block_store import MemoryBlockStore

HELLO = b"hello\n"
HELLO_CID = CID.of(RAW, HELLO)
ABSENT = CID.of(RAW, b"absent")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEER = peer_id(KEY.public_key().public_bytes_raw())
NAME = name_text(PEER)
NOW = 1_800_000_000
NODE = PeerRecord(
    peer_id_text(PEER),
    ("/ip4/127.0.0.1/tcp/8080/http", "/dns/example.org/tcp/443/tls/http"),
    (GATEWAY_PROTOCOL,),
)
RECORD_TYPE = "application/vnd.ipfs.ipns-record"


def make_record(sequence=1, key=KEY, ttl_s=300, validity=b"2030-01-01T00:00:00Z"):
    said = {
        "Sequence": sequence,
        "TTL": ttl_s * 10**9,
        "Validity": validity,
        "ValidityType": 0,
        "Value": b"/ipfs/bafkqaaa",
    }
    data = codecs.encode(codecs.DAG_CBOR, said)
    signature = key.sign(b"ipns-signature:" + data)
    return b"".join(
        varint.encode(number << 3 | 2) + varint.encode(len(value)) + value
        for number, value in ((8, signature), (9, data))
    )


class Node:
    """A gateway that answers for itself."""

    def __init__(self, node=NODE, writable=None, names=(), **options):
        self.store = MemoryBlockStore()
        self.store.put(HELLO_CID, HELLO)
        routing = RoutingOptions(node, writable, frozenset(names))
        if writable is not None:
            options["records"] = writable
        self.gateway = Gateway(
            self.store, GatewayOptions(routing=routing, clock=lambda: NOW, **options)
        )

    def ask(self, target, method="GET", body=b"", **headers):
        path, _, query = target.partition("?")
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method, path, query, headers, body=body)
        answer = self.gateway.respond(request)
        return answer.status, dict(answer.headers), answer.first + b"".join(answer.rest or ())

    def providers(self, cid=HELLO_CID, query="", **headers):
        status, _, body = self.ask(f"/routing/v1/providers/{cid}{query}", **headers)
        assert status == 200
        return decode_json("Providers", body)


def test_the_node_provides_what_its_store_holds_and_nothing_else():
    node = Node()
    status, headers, body = node.ask(f"/routing/v1/providers/{HELLO_CID}")
    assert status == 200
    assert json.loads(body) == {
        "Providers": [
            {
                "Schema": "peer",
                "ID": NODE.id,
                "Addrs": list(NODE.addrs),
                "Protocols": [GATEWAY_PROTOCOL],
            }
        ]
    }
    assert headers["content-type"] == "application/json"
    assert headers["vary"] == "Accept"
    assert headers["last-modified"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert headers["cache-control"].startswith("public, max-age=300, ")
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-methods"] == "GET, OPTIONS"

    status, headers, body = node.ask(f"/routing/v1/providers/{ABSENT}")
    assert (status, json.loads(body)) == (200, {"Providers": []})
    assert headers["cache-control"].startswith("public, max-age=15, ")
    assert Node(node=None).providers() == []


def test_what_a_denylist_forbids_is_not_provided():
    denylist = Denylist()
    denylist.add(f"/ipfs/{HELLO_CID}\n".encode())
    assert Node(denylist=denylist).providers() == []


def test_lines_come_to_those_alone_who_ask_for_them():
    target = f"/routing/v1/providers/{HELLO_CID}"
    for accept in ("application/x-ndjson", "application/json, application/x-ndjson;q=0.1"):
        status, headers, body = Node().ask(target, accept=accept)
        assert (status, headers["content-type"]) == (200, "application/x-ndjson")
        assert decode_ndjson(body) == [NODE]
    for accept in ("", "*/*", "text/html, */*", "application/json"):
        assert Node().ask(target, accept=accept)[1]["content-type"] == "application/json"
    assert Node().ask(target, accept="text/html")[0] == 406
    assert Node().ask(f"/routing/v1/providers/{ABSENT}", accept="application/x-ndjson")[2] == b""


@pytest.mark.parametrize("text", [NODE.id, NAME, str(PEER)])
def test_the_node_tells_where_it_is_whatever_way_its_id_is_written(text):
    status, _, body = Node().ask(f"/routing/v1/peers/{text}")
    assert (status, decode_json("Peers", body)) == (200, [NODE])


def test_other_peers_are_not_known():
    other = peer_id_text(peer_id(bytes(32)))
    assert json.loads(Node().ask(f"/routing/v1/peers/{other}")[2]) == {"Peers": []}


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/routing/v1/providers/nonsense", "GET", 422),
        ("/routing/v1/peers/nonsense", "GET", 422),
        ("/routing/v1/ipns/nonsense", "GET", 400),
        ("/routing/v1", "GET", 400),
        ("/routing/v1/", "GET", 400),
        ("/routing/v1/other", "GET", 400),
        ("/routing/v2/providers/x", "GET", 400),
        ("/routing/v1/providers", "GET", 501),
        ("/routing/v1/providers/", "PUT", 501),
        (f"/routing/v1/providers/{HELLO_CID}", "POST", 501),
        (f"/routing/v1/ipns/{NAME}", "PUT", 501),
        (f"/routing/v1/dht/closest/peers/{HELLO_CID}", "GET", 501),
        (f"/routing/v1/providers/{HELLO_CID}?filter-addrs=" + "a," * 99, "GET", 422),
        (f"/routing/v1/providers/{HELLO_CID}?filter-protocols=" + "a" * 99, "GET", 422),
        (f"/routing/v1/providers/{HELLO_CID}", "OPTIONS", 204),
    ],
)
def test_requests_that_get_nothing(target, method, status):
    answer = Node().ask(target, method)
    assert answer[0] == status
    assert answer[1]["access-control-allow-origin"] == "*"


def test_head_is_get_without_the_body():
    target = f"/routing/v1/providers/{HELLO_CID}"
    status, headers, body = Node().ask(target, "HEAD")
    assert (status, headers, body) == (200, Node().ask(target)[1], b"")


def test_a_website_keeps_its_own_paths():
    node = Node(hosts={"gateway.example": True})
    target = f"/routing/v1/providers/{HELLO_CID}"
    assert node.ask(target, host="gateway.example")[0] == 200
    assert node.ask(target, host="anything.example:8080")[0] == 200
    status, headers, _ = node.ask(target, host=f"{HELLO_CID}.ipfs.gateway.example")
    assert (status, headers.get("access-control-allow-methods")) == (404, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_probe_of_other_nodes_finds_a_gateway(method):
    status, headers, body = Node().ask("/ipfs/bafkqaaa?format=raw", method)
    assert (status, body, headers["content-length"]) == (200, b"", "0")
    # Kubo reads no more of the headers than this.
    assert sum(len(name) + len(value) + 4 for name, value in headers.items()) < 2048


# Filters: examples of IPIP-484.

OTHER = PeerRecord("QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt", (), ())
QUIC = PeerRecord(NODE.id, ("/ip4/1.2.3.4/udp/4001/quic-v1",), ("transport-bitswap",))


@pytest.mark.parametrize(
    ("addrs", "protocols", "expected"),
    [
        ("", "", [NODE, OTHER, QUIC]),
        ("", "transport-ipfs-gateway-http", [NODE]),
        ("", "Transport-IPFS-Gateway-HTTP,unknown", [NODE, OTHER]),
        ("", "nothing", []),
        ("unknown", "", [OTHER]),
        ("tls", "", [PeerRecord(NODE.id, NODE.addrs[1:], NODE.protocols)]),
        ("TLS,unknown", "", [PeerRecord(NODE.id, NODE.addrs[1:], NODE.protocols), OTHER]),
        ("!tls", "", [PeerRecord(NODE.id, NODE.addrs[:1], NODE.protocols), QUIC]),
        ("http,!dns", "", [PeerRecord(NODE.id, NODE.addrs[:1], NODE.protocols)]),
        ("!tcp,!udp,unknown", "", [OTHER]),
        ("udp", "transport-bitswap", [QUIC]),
    ],
)
def test_filters(addrs, protocols, expected):
    filters = Filters.parse(addrs, protocols)
    assert list(filters.apply([NODE, OTHER, QUIC])) == expected


def test_filters_of_a_request():
    node = Node()
    assert node.providers(query="?filter-addrs=quic-v1") == []
    (record,) = node.providers(query="?filter-addrs=tls%2Cquic-v1&filter-protocols=unknown,X")[
        :1
    ] or [None]
    assert record is None
    (record,) = node.providers(query="?filter-addrs=tls%2Cquic-v1")
    assert record.addrs == NODE.addrs[1:]


# IPNS


def publish(node, record, name=NAME, content_type=RECORD_TYPE):
    return node.ask(f"/routing/v1/ipns/{name}", "PUT", record, content_type=content_type)[0]


@pytest.fixture
def publisher(tmp_path):
    return Node(writable=PublishedRecords(tmp_path), names=[PEER])


def test_a_published_record_is_found_and_survives(publisher, tmp_path):
    record = make_record()
    assert publish(publisher, record) == 200
    status, headers, body = publisher.ask(f"/routing/v1/ipns/{NAME}", accept=RECORD_TYPE)
    assert (status, body, headers["content-type"]) == (200, record, RECORD_TYPE)
    left_s = 1_893_456_000 - NOW - 300
    assert headers["cache-control"] == (
        f"public, max-age=300, stale-while-revalidate={left_s}, stale-if-error={left_s}"
    )
    assert headers["expires"] == "Tue, 01 Jan 2030 00:00:00 GMT"
    assert headers["etag"]
    assert headers["access-control-allow-methods"] == "GET, PUT, OPTIONS"
    assert RecordFolder(tmp_path).find(PEER) == record
    # The gateway itself serves it, too.
    assert publisher.ask(f"/ipns/{NAME}", accept=RECORD_TYPE)[2] == record


def test_what_one_process_published_the_others_find_and_heed(publisher, tmp_path):
    other = Node(writable=PublishedRecords(tmp_path), names=[PEER])  # opened before
    newer = make_record(sequence=2)
    assert publish(publisher, newer) == 200
    assert other.ask(f"/routing/v1/ipns/{NAME}")[2] == newer
    assert publish(other, make_record(sequence=1)) == 400
    with PublishedRecords(tmp_path).changing():
        waiting = threading.Thread(target=publish, args=(other, make_record(sequence=3)))
        waiting.start()
        waiting.join(0.1)
        assert publisher.ask(f"/routing/v1/ipns/{NAME}")[2] == newer
    waiting.join()
    assert publisher.ask(f"/routing/v1/ipns/{NAME}")[2] == make_record(sequence=3)


def test_of_two_records_the_newer_one_stays(publisher):
    newer, older = make_record(sequence=2), make_record(sequence=1)
    longer = make_record(sequence=2, validity=b"2031-01-01T00:00:00Z")
    for record, status, stays in (
        (newer, 200, newer),
        (newer, 200, newer),
        (older, 400, newer),
        (longer, 200, longer),
        (newer, 400, longer),
    ):
        assert publish(publisher, record) == status
        assert publisher.ask(f"/routing/v1/ipns/{NAME}")[2] == stays


def test_what_is_not_published(publisher, tmp_path):
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    other_name = name_text(peer_id(other.public_key().public_bytes_raw()))
    assert publish(publisher, make_record(key=other)) == 400
    assert publish(publisher, make_record(key=other), name=other_name) == 403
    assert publish(publisher, make_record(validity=b"2020-01-01T00:00:00Z")) == 400
    assert publish(publisher, b"") == 400
    assert publish(publisher, bytes(64 * 1024)) == 400
    assert publish(publisher, make_record(), content_type="text/plain") == 406
    assert publish(publisher, make_record(), name="nonsense") == 400
    assert list(tmp_path.iterdir()) == []


def test_no_record_is_an_answer_of_another_type(publisher):
    status, headers, _ = publisher.ask(f"/routing/v1/ipns/{NAME}")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert publisher.ask(f"/routing/v1/ipns/{NAME}", accept="text/html")[0] == 406


def test_a_record_that_expired_is_none(publisher, tmp_path):
    record = make_record(validity=b"2020-01-01T00:00:00Z")
    (tmp_path / f"{NAME}.ipns-record").write_bytes(record)
    node = Node(records=RecordFolder(tmp_path))
    assert node.ask(f"/routing/v1/ipns/{NAME}")[1]["content-type"].startswith("text/plain")


# Reading what others answer


def test_answers_are_read_back():
    records = [NODE, OTHER, QUIC]
    assert decode_json("Providers", encode_json("Providers", records)) == records
    assert decode_ndjson(encode_ndjson(records)) == records


def test_one_senseless_record_does_not_spoil_the_others():
    good = {"Schema": "peer", "ID": NODE.id, "Extra": {"a": [1]}}
    older = {"Schema": "bitswap", "ID": NODE.id, "Protocol": "transport-bitswap"}
    bad = [
        1,
        None,
        {},
        {"Schema": "peer"},
        {"Schema": "x", "ID": NODE.id},
        {"ID": 1, "Schema": "peer"},
    ]
    answer = json.dumps({"Providers": [*bad, good, older]}).encode()
    assert decode_json("Providers", answer) == [
        PeerRecord(NODE.id),
        PeerRecord(NODE.id, (), ("transport-bitswap",)),
    ]
    odd = {"Schema": "peer", "ID": NODE.id, "Addrs": ["/x", 3, "y" * 5000], "Protocols": "no"}
    (record,) = decode_ndjson(json.dumps(odd).encode())
    assert record == PeerRecord(NODE.id, ("/x",))
    assert record.gateway_urls == ()
    assert decode_json("Providers", b'{"Providers": null}') == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"Providers": {}}',
        b"[" * 100_000,
        b"\xff",
        b"1" * (MAX_ANSWER_BYTES + 1),
    ],
)
def test_malformed_answers(answer):
    with pytest.raises(FormatError):
        decode_json("Providers", answer)


def test_long_answers_are_cut():
    line = encode_ndjson([NODE])
    assert len(decode_ndjson(line * (MAX_RECORDS + 50))) == MAX_RECORDS
    with pytest.raises(FormatError):
        decode_ndjson(line * 10_000)
    with pytest.raises(FormatError):
        decode_ndjson(b"{}\n[")


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reader_fail_otherwise(data):
    for read in (lambda: decode_json("Peers", data), lambda: decode_ndjson(data)):
        with contextlib.suppress(FormatError):
            read()


def test_gateway_addresses_of_a_record():
    assert NODE.gateway_urls == ("http://127.0.0.1:8080", "https://example.org")
    assert PeerRecord(NODE.id, NODE.addrs).gateway_urls == NODE.gateway_urls
    assert PeerRecord(NODE.id, NODE.addrs, ("transport-bitswap",)).gateway_urls == ()


# Multiaddrs


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:8080", "/ip4/127.0.0.1/tcp/8080/http"),
        ("http://10.0.0.1/", "/ip4/10.0.0.1/tcp/80/http"),
        ("https://Example.org", "/dns/example.org/tcp/443/tls/http"),
        ("https://[2001:db8::1]:8443", "/ip6/2001:db8::1/tcp/8443/tls/http"),
        ("http://archive:81", "/dns/archive/tcp/81/http"),
    ],
)
def test_multiaddrs_of_addresses(url, text):
    assert multiaddr.from_url(url) == text
    assert multiaddr.to_url(text) == url.lower().removesuffix("/")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/dns4/example.org/tcp/443/https", "https://example.org"),
        ("/dns6/example.org/tcp/8443/https/p2p/12D3KooW", "https://example.org:8443"),
        ("/dns/example.org/https", "https://example.org"),
        ("/dns/example.org/tcp/443/tls/sni/example.org/http", "https://example.org"),
        ("/ip4/1.2.3.4/tcp/4001", None),
        ("/ip4/1.2.3.4/udp/4001/quic-v1/webtransport/certhash/uEi", None),
        ("/ip4/1.2.3.4/tcp/80/http/http-path/x", None),
        ("/dnsaddr/example.org/p2p/Qm", None),
        ("/p2p/Qm", None),
    ],
)
def test_addresses_of_multiaddrs(text, url):
    assert multiaddr.to_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "/",
        "/nonsense/1",
        "/ip4",
        "/ip4/1.2.3/tcp/80/http",
        "/ip4/::1/tcp/80/http",
        "/ip6/::1%25eth0/tcp/80/http",
        "/dns/a..b/tcp/80/http",
        "/dns/-a/tcp/80/http",
        "/dns/a@b/tcp/80/http",
        "/ip4/1.2.3.4/tcp/0/http",
        "/ip4/1.2.3.4/tcp/65536/http",
        "/ip4/1.2.3.4/tcp/٣/http",
        "/http" * 40,
        "/dns/" + "a" * 2000,
    ],
)
def test_malformed_multiaddrs(text):
    with pytest.raises(FormatError):
        multiaddr.to_url(text)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x.org",
        "http://",
        "http://u@x.org",
        "http://x.org/p",
        "http://x.org?q",
        "http://x:0",
        "http://x.org#f",
        "http://x.org:99999",
        "http://1.2.3",
        "http://a b",
        "http://[::1",
    ],
)
def test_what_is_no_address_of_a_gateway(url):
    with pytest.raises(FormatError):
        multiaddr.from_url(url)


@given(st.text(max_size=60))
def test_no_text_makes_a_multiaddr_fail_otherwise(text):
    for read in (multiaddr.to_url, multiaddr.from_url):
        with contextlib.suppress(FormatError):
            read(text)


# The node's key


def test_a_peer_id_is_written_as_libp2p_does():
    # From the libp2p specification of peer IDs: that of an Ed25519 key holds the key.
    published = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
    public_key = parse_name(published).digest[4:]
    assert peer_id_text(peer_id(public_key)) == published


def test_the_node_keeps_its_key(tmp_path):
    path = tmp_path / "home" / "node-key.pem"
    first = node_id(path)
    assert node_id(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert [file.name for file in path.parent.iterdir()] == ["node-key.pem"]


def test_a_key_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "node-key.pem"
    load_node_key(path)
    path.chmod(0o644)
    with pytest.raises(KeyUnavailableError, match="chmod 600"):
        load_node_key(path)
    path.chmod(0o600)
    path.write_bytes(b"nonsense")
    with pytest.raises(KeyUnavailableError, match="no private key"):
        load_node_key(path)
    path.unlink()
    path.symlink_to("elsewhere")
    with pytest.raises(KeyUnavailableError, match="symbolic link"):
        load_node_key(path)
