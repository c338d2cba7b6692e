"""Stamping, upgrading and verifying over real sockets: a local calendar, node and explorer, and the published proofs."""

import contextlib
import hashlib
import json
import os
import socketserver
import threading
import time
from pathlib import Path

import pytest

from muniment.adapters.calendars import HttpCalendar, trusted_calendars
from muniment.adapters.header_sources import BitcoinCore, Esplora, ListedHeaders
from muniment.archive import ots, timestamps
from muniment.archive.bitcoin import BlockHeader
from muniment.archive.timestamps import Inconclusive, Verified, Waiting
from muniment.errors import (
    ExternalServiceError,
    FormatError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from muniment.testing.bitcoin_node import LocalChain, LocalNode, no_work
from muniment.testing.calendar import LocalCalendar
from muniment.testing.loopback import LoopbackServer

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ots" / "proofs.json").read_text())
PROOFS = {proof["name"]: bytes.fromhex(proof["proof_hex"]) for proof in VECTORS["proofs"]}
REAL = ListedHeaders(
    {358391: BlockHeader.parse(bytes.fromhex(VECTORS["header_358391"]))}, "vectors"
)

DIGEST = hashlib.sha256(b"a manifest").digest()
NONCE = bytes(range(16))
TIMEOUT_S = 20

needs_ripemd160 = pytest.mark.skipif(
    ots.Operation(ots.RIPEMD160).apply(b"") is None, reason="this OpenSSL has no ripemd160"
)


@pytest.fixture
def chain():
    return LocalChain()


@pytest.fixture
def calendar(chain):
    with LocalCalendar(chain) as calendar:
        yield calendar


@pytest.fixture
def other_calendar(chain):
    with LocalCalendar(chain) as calendar:
        yield calendar


@pytest.fixture
def node(chain):
    with LocalNode(chain) as node:
        yield node


def client(calendar, timeout_s=TIMEOUT_S):
    return HttpCalendar(calendar.url, timeout_s)


def stamped(*calendars, **options):
    return timestamps.stamp(DIGEST, [client(c) for c in calendars], NONCE, **options)


def upgraded(detached, *calendars):
    return timestamps.upgrade(detached, trusted_calendars([c.url for c in calendars], TIMEOUT_S))


def verified(detached, source, digest=DIGEST):
    return timestamps.verify(detached, digest, source, least_work=no_work)


def proof(*paths):
    return ots.DetachedTimestamp(
        ots.Operation(ots.SHA256), DIGEST, ots.Timestamp(frozenset(ots.Path(*p) for p in paths))
    )


def block(height, chain=ots.Chain.BITCOIN):
    return ots.Block(chain, height)


# --- The published proof, against Bitcoin's own header


@needs_ripemd160
def test_a_proof_of_2015_holds_against_the_header_of_its_block():
    detached = ots.DetachedTimestamp.parse(PROOFS["hello-world.txt.ots"])
    status = timestamps.verify(detached, hashlib.sha256(b"Hello World!\n").digest(), REAL)
    assert isinstance(status, Verified)
    assert (status.height, status.time.isoformat()) == (358391, "2015-05-28T15:41:18+00:00")
    assert status.block_hash.startswith("000000000000000003e89288")


@needs_ripemd160
def test_a_proof_that_leads_elsewhere_is_invalid():
    detached = ots.DetachedTimestamp.parse(PROOFS["bad-stamp.txt.ots"])
    with pytest.raises(IntegrityError, match=r"expected Merkle root 8a1b66ec.* got 1bb49db8"):
        timestamps.verify(detached, detached.digest, REAL)


def test_a_proof_of_another_file_is_invalid():
    detached = ots.DetachedTimestamp.parse(PROOFS["hello-world.txt.ots"])
    with pytest.raises(IntegrityError, match="about another file"):
        timestamps.verify(detached, DIGEST, REAL)


def test_a_proof_of_another_kind_of_digest_is_invalid():
    detached = ots.DetachedTimestamp.parse(PROOFS["sha1/a_or_b.ots"])
    with pytest.raises(IntegrityError, match="expected a timestamp of a sha256 digest, got sha1"):
        timestamps.verify(detached, detached.digest, REAL)


def test_a_block_above_a_root_of_bitcoin_verifies_without_any_operation():
    root = REAL.headers[358391].merkle_root
    timestamp = ots.Timestamp(frozenset({ots.Path((), block(358391))}))
    detached = ots.DetachedTimestamp(ots.Operation(ots.SHA256), root, timestamp)
    assert isinstance(timestamps.verify(detached, root, REAL), Verified)


# --- Life of a timestamp


def test_pending_then_complete(calendar, node):
    pending = stamped(calendar)
    assert verified(pending, node.chain) == Waiting((calendar.url,))

    early = upgraded(pending, calendar)
    assert not early.changed
    assert early.detached == pending
    assert early.notes == (f"calendar {calendar.url} has no attestation yet",)

    height = calendar.mine()
    complete = upgraded(pending, calendar)
    assert complete.changed
    assert not complete.notes
    for source in (
        node.chain,
        BitcoinCore(node.rpc_url, TIMEOUT_S),
        Esplora(node.esplora_url, TIMEOUT_S),
    ):
        status = verified(complete.detached, source)
        header = node.chain.headers[height]
        assert status == Verified(height, header.time, header.hash_hex)

    again = upgraded(complete.detached, calendar)
    assert not again.changed
    assert ots.DetachedTimestamp.parse(complete.detached.serialize()) == complete.detached


def test_calendars_see_only_a_blinded_digest(calendar):
    stamped(calendar)
    assert calendar.submitted == [hashlib.sha256(DIGEST + NONCE).digest()]


def test_the_earliest_block_of_several_calendars_counts(calendar, other_calendar, chain):
    pending = stamped(calendar, other_calendar)
    later = other_calendar.mine() + 1
    assert calendar.mine() == later
    complete = upgraded(pending, calendar, other_calendar).detached
    assert {path.attestation for path in complete.timestamp.paths} >= {block(1), block(2)}
    assert verified(complete, chain).height == 1


def test_many_commitments_share_a_block(calendar, chain):
    stamps = [
        timestamps.stamp(hashlib.sha256(bytes([n])).digest(), [client(calendar)], os.urandom(16))
        for n in range(5)
    ]
    calendar.mine()
    for detached in stamps:
        complete = upgraded(detached, calendar).detached
        assert verified(complete, chain, detached.digest).height == 1


def test_one_answer_is_enough_unless_more_are_asked_for(calendar, other_calendar):
    other_calendar.behaviour = "offline"
    assert stamped(calendar, other_calendar)
    with pytest.raises(ExternalServiceError, match=f"1 of 2 .*{other_calendar.url}.* status 503"):
        stamped(calendar, other_calendar, minimum_answers=2)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("offline", "HTTP status 503"),
        ("endless", "more than 10000 bytes"),
        ("nonsense", "did not answer with a timestamp"),
        ("elsewhere", "HTTP status 302"),
    ],
)
def test_a_misbehaving_calendar_is_named_and_changes_nothing(calendar, behaviour, reason):
    pending = stamped(calendar)
    calendar.mine()
    calendar.behaviour = behaviour
    with pytest.raises(ExternalServiceError, match=f"{calendar.url}.*{reason}"):
        stamped(calendar)
    result = upgraded(pending, calendar)
    assert (result.changed, result.detached) == (False, pending)
    assert reason in result.notes[0]


def test_a_stalled_calendar_is_given_up(calendar):
    calendar.behaviour = "stalled"
    with pytest.raises(ExternalServiceError, match=r"no answer within 0\.2 s"):
        timestamps.stamp(DIGEST, [client(calendar, timeout_s=0.2)], NONCE)


class Dripping(socketserver.BaseRequestHandler):
    """Sends a header without end, one byte now and then: every single wait for bytes is short."""

    def handle(self):
        self.request.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        with contextlib.suppress(ConnectionError):
            while True:
                self.request.sendall(b"x")
                time.sleep(0.01)


def test_a_calendar_that_answers_without_end_is_given_up():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        calendar = HttpCalendar(f"http://127.0.0.1:{server.server_address[1]}", timeout_s=0.2)
        with pytest.raises(ExternalServiceError, match=r"no answer within 0\.2 s"):
            calendar.fetch(DIGEST)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://a.example", "http://[", "a", ""])
def test_an_address_that_leads_nowhere_is_an_external_failure(url):
    with pytest.raises(ExternalServiceError):
        timestamps.stamp(DIGEST, [HttpCalendar(url, TIMEOUT_S)], NONCE)


@pytest.mark.parametrize("attestations", [1, 40])
def test_an_answer_of_unknown_attestations_only_is_refused(attestations):
    paths = frozenset(
        ots.Path((), ots.Unknown(bytes([n] * 8), b"")) for n in range(1, 1 + attestations)
    )
    answer = ots.Timestamp(paths).serialize()
    with (
        LoopbackServer(lambda *_: (200, {}, [answer])) as server,
        pytest.raises(ExternalServiceError, match="no known attestation"),
    ):
        timestamps.stamp(DIGEST, [client(server)], NONCE)


def test_arguments_are_checked(calendar):
    with pytest.raises(UsageError, match="at least 1 calendars, got 0"):
        timestamps.stamp(DIGEST, [], NONCE)
    with pytest.raises(UsageError, match="a digest of 32"):
        timestamps.stamp(DIGEST[1:], [client(calendar)], NONCE)
    with pytest.raises(UsageError, match="a nonce of 16"):
        timestamps.stamp(DIGEST, [client(calendar)], b"")


# --- Which calendars a proof may make us ask


@pytest.mark.parametrize(
    ("uri", "trusted"),
    [
        ("https://alice.btc.calendar.opentimestamps.org", True),
        ("https://finney.calendar.eternitywall.com/", True),
        ("https://btc.calendar.catallaxy.com", True),
        ("http://alice.btc.calendar.opentimestamps.org", False),
        ("https://calendar.opentimestamps.org", False),
        ("https://a.calendar.opentimestamps.org.evil.example", False),
        ("https://evil.example/a.calendar.opentimestamps.org", False),
        ("https://a.calendar.opentimestamps.org/path", False),
        ("https://a.calendar.opentimestamps.org:444", False),
        ("https://evilcalendar.opentimestamps.org", False),
        ("http://own.example:80", True),
        ("http://own.example:80/", True),
        ("http://own.example:80/x", False),
        ("", False),
    ],
)
def test_only_public_and_configured_calendars_are_trusted(uri, trusted):
    assert timestamps.is_trusted_calendar(uri, ["http://own.example:80/"]) is trusted


def test_other_calendars_are_not_asked(calendar):
    pending = stamped(calendar)
    asked = len(calendar.submitted)
    calendar.mine()
    result = timestamps.upgrade(pending, trusted_calendars([], TIMEOUT_S))
    assert not result.changed
    assert result.notes == (
        f"calendar {calendar.url} is not trusted: add it to the setting 'calendars'",
    )
    assert len(calendar.submitted) == asked


def test_an_upgrade_about_something_else_does_not_verify(calendar, chain):
    first, second = stamped(calendar), stamped(calendar)
    calendar.mine()
    complete = upgraded(first, calendar).detached
    (block_path,) = (p for p in complete.timestamp.paths if isinstance(p.attestation, ots.Block))
    (promise,) = second.timestamp.paths
    moved = ots.Timestamp(
        frozenset({ots.Path(promise.operations + block_path.operations[4:], block(1))})
    )
    with pytest.raises(IntegrityError, match="does not hold"):
        verified(ots.DetachedTimestamp(first.digest_operation, DIGEST, moved), chain)


def test_a_proof_cannot_make_us_ask_without_end(chain):
    many = [((), ots.Pending(f"https://a{n}.example")) for n in range(33)]
    with pytest.raises(FormatError, match="at most 32"):
        timestamps.upgrade(proof(*many), trusted_calendars([], TIMEOUT_S))
    with pytest.raises(FormatError, match="at most 32"):
        verified(proof(*[((), block(n)) for n in range(33)]), chain)


def test_answers_cannot_grow_a_proof_beyond_what_a_reader_accepts():
    """Each answer is within bounds, and all together would not be."""
    filler = [ots.Path((), ots.Unknown(bytes([n] * 8), bytes(1000))) for n in range(9)]
    answer = ots.Timestamp(frozenset([*filler, ots.Path((), block(1))])).serialize()
    with LoopbackServer(lambda *_: (200, {}, [answer])) as server:
        paths = [
            ((ots.Operation(ots.APPEND, bytes([n])),), ots.Pending(server.url)) for n in range(20)
        ]
        result = timestamps.upgrade(proof(*paths), trusted_calendars([server.url], TIMEOUT_S))
    assert result.changed
    assert ots.DetachedTimestamp.parse(result.detached.serialize()) == result.detached
    assert all("at most 65536" in note for note in result.notes)
    assert result.notes


# --- The three answers


def test_without_a_source_of_headers_nothing_is_claimed():
    status = verified(proof(((), block(5))), None)
    assert status == Inconclusive(("block 5: no source of block headers is set up",))


def test_a_source_that_cannot_answer_is_no_verdict(node):
    status = verified(proof(((), block(5))), BitcoinCore(node.rpc_url, TIMEOUT_S))
    assert isinstance(status, Inconclusive)
    assert "no block at that height" in status.reasons[0]
    assert "password" not in status.reasons[0]


def test_a_header_without_work_is_no_verdict(chain):
    height = chain.append(DIGEST)
    detached = proof(((), block(height)))
    assert isinstance(verified(detached, chain), Verified)
    status = timestamps.verify(detached, DIGEST, chain)
    assert isinstance(status, Inconclusive)
    assert "too little work" in status.reasons[0]


def test_one_attestation_that_holds_is_enough(chain):
    wrong, right = chain.append(bytes(32)), chain.append(DIGEST)
    detached = proof(((), block(wrong)), ((), block(right)), ((), block(99)))
    assert verified(detached, HeadersUpTo(chain, right)).height == right


def test_a_contradicted_attestation_is_invalid_unless_another_holds(chain):
    wrong = chain.append(bytes(32))
    detached = proof(((), block(wrong)), ((), block(99)), ((), ots.Pending("https://a.example")))
    with pytest.raises(IntegrityError, match="does not hold: expected Merkle root 0000"):
        verified(detached, HeadersUpTo(chain, wrong))


def test_attestations_of_other_kinds_are_never_counted(chain):
    chain.append(DIGEST)
    others = [((), block(1, ots.Chain.LITECOIN)), ((), ots.Unknown(bytes(8), b"\x01"))]
    status = verified(proof(*others), chain)
    assert isinstance(status, Inconclusive)
    assert len(status.reasons) == 2


def test_a_missing_hash_function_is_no_verdict(chain):
    keccak = ((ots.Operation(ots.KECCAK256),), block(0))
    status = verified(proof(keccak), chain)
    assert status == Inconclusive(("block 0: a hash function is missing here",))


class HeadersUpTo:
    def __init__(self, chain, height):
        self.chain, self.height = chain, height

    def header(self, height):
        if height > self.height:
            raise NotFoundError("no such block")
        return self.chain.header(height)


def test_a_proof_is_described_line_by_line(calendar, other_calendar):
    pending = stamped(calendar, other_calendar)
    calendar.mine()
    lines = timestamps.info(upgraded(pending, calendar, other_calendar).detached)
    assert lines[0] == f"sha256 of the file: {DIGEST.hex()}"
    assert lines[1:3] == [f"  append {NONCE.hex()}", "  sha256"]
    assert f"pending at {calendar.url}" in "\n".join(lines)
    assert "bitcoin block 1" in lines[-2]
    assert "Merkle root" in lines[-1]


# --- Servers that lie about headers


def rpc(*results):
    answers = iter(results)
    return lambda *_: (200, {}, [json.dumps(next(answers)).encode()])


@pytest.mark.parametrize(
    "answers",
    [
        [{"result": "00", "error": None}],
        [{"result": None, "error": None}],
        [{"result": 5, "error": None}],
        [{"result": None, "error": {"code": -28, "message": "Loading block index..."}}],
        [{"result": None, "error": "x"}],
        [[]],
        ["no object"],
        [{"result": "11" * 32, "error": None}, {"result": "22" * 80, "error": None}],
        [{"result": "11" * 32, "error": None}, {"result": "22" * 79, "error": None}],
    ],
)
def test_a_node_that_answers_nonsense(answers):
    with LoopbackServer(rpc(*answers)) as server, pytest.raises(ExternalServiceError):
        BitcoinCore(server.url, TIMEOUT_S).header(1)


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, b""), (503, b"Work queue depth exceeded"), (200, b"["), (200, b"\xff")],
)
def test_a_node_that_fails(status, body):
    with LoopbackServer(lambda *_: (status, {}, [body])) as server:
        url = server.url.replace("//", "//user:secret@")
        with pytest.raises(ExternalServiceError) as caught:
            BitcoinCore(url, TIMEOUT_S).header(1)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"11" * 31, "é".encode() * 32, b"11" * 32])
def test_an_explorer_that_answers_nonsense(body):
    with (
        LoopbackServer(lambda *_: (200, {}, [body])) as server,
        pytest.raises(ExternalServiceError),
    ):
        Esplora(server.url, TIMEOUT_S).header(1)


@pytest.mark.parametrize(("status", "error"), [(500, ExternalServiceError), (404, NotFoundError)])
def test_an_explorer_that_fails(status, error):
    with LoopbackServer(lambda *_: (status, {}, [])) as server, pytest.raises(error):
        Esplora(server.url, TIMEOUT_S).header(1)
