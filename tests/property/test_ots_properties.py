"""Whatever happens to a proof's bytes, it is rejected or proves nothing that it did not prove before."""

import hashlib
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.archive import ots, timestamps
from muniment.archive.timestamps import Verified
from muniment.errors import FormatError, IntegrityError, NotFoundError
from muniment.testing.bitcoin_node import LocalChain, no_work
from muniment.testing.calendar import LocalCalendar

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ots" / "proofs.json").read_text())
PUBLISHED = [bytes.fromhex(proof["proof_hex"]) for proof in VECTORS["proofs"]]

DIGEST = hashlib.sha256(b"a manifest").digest()


class Headers:
    """A chain that has no block beyond those that it has."""

    def __init__(self, chain):
        self.chain = chain

    def header(self, height):
        if height >= len(self.chain.headers):
            raise NotFoundError("no such block")
        return self.chain.header(height)


def anchored():
    """A complete proof with one attestation, as a calendar makes it, and the headers it is checked against."""
    calendar = LocalCalendar(LocalChain())
    with calendar:
        for number in range(5):
            calendar.submit(bytes([number] * 32))
        promise = calendar.submit(DIGEST)
        calendar.mine()
    (path,) = promise.paths
    ((commitment, _),) = promise.commitments(DIGEST)
    timestamp = calendar.attested(commitment).after(*path.operations)
    return ots.DetachedTimestamp(ots.Operation(ots.SHA256), DIGEST, timestamp), Headers(
        calendar.chain
    )


PROOF, HEADERS = anchored()
DATA = PROOF.serialize()


def proves_anything(data: bytes) -> bool:
    try:
        detached = ots.DetachedTimestamp.parse(data)
        status = timestamps.verify(detached, DIGEST, HEADERS, least_work=no_work)
    except IntegrityError:  # FormatError is one
        return False
    return isinstance(status, Verified)


def test_the_proof_holds():
    assert proves_anything(DATA)


def test_no_truncation_holds():
    for length in range(len(DATA)):
        assert not proves_anything(DATA[:length])


def test_no_flipped_bit_holds():
    for position in range(len(DATA)):
        for bit in range(8):
            changed = bytearray(DATA)
            changed[position] ^= 1 << bit
            assert not proves_anything(bytes(changed)), (position, bit)


@given(st.integers(0, len(DATA)), st.binary(min_size=1, max_size=4))
def test_no_inserted_bytes_hold(position, inserted):
    assert not proves_anything(DATA[:position] + inserted + DATA[position:])


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda b: DATA[:65] + b)))
def test_any_bytes_are_read_or_rejected(data):
    try:
        detached = ots.DetachedTimestamp.parse(data)
    except FormatError:
        return
    assert ots.DetachedTimestamp.parse(detached.serialize()) == detached


@given(st.sampled_from(PUBLISHED), st.integers(0, 4000), st.integers(0, 255))
def test_published_proofs_survive_damage_as_errors(data, position, value):
    changed = bytearray(data)
    changed[position % len(data)] = value
    try:
        detached = ots.DetachedTimestamp.parse(bytes(changed))
        list(detached.commitments())
        timestamps.info(detached)
    except FormatError:
        return
    assert ots.DetachedTimestamp.parse(detached.serialize()) == detached


BINARY = st.sampled_from([ots.APPEND, ots.PREPEND])
UNARY = st.sampled_from([ots.SHA256, ots.SHA1, ots.HEXLIFY, ots.REVERSE])
OPERATIONS = st.builds(ots.Operation, BINARY, st.binary(min_size=1, max_size=2)) | st.builds(
    ots.Operation, UNARY, st.just(b"")
)
ATTESTATIONS = (
    st.builds(ots.Pending, st.sampled_from(["https://a.example", "https://b.example/"]))
    | st.builds(ots.Block, st.sampled_from(ots.Chain), st.integers(0, 2**40))
    | st.builds(ots.Unknown, st.just(b"\x01" * 8), st.binary(max_size=200))
)
PATHS = st.builds(ots.Path, st.lists(OPERATIONS, max_size=6).map(tuple), ATTESTATIONS)
TIMESTAMPS = st.builds(ots.Timestamp, st.frozensets(PATHS, min_size=1, max_size=10))


@given(TIMESTAMPS)
def test_any_timestamp_round_trips(timestamp):
    data = timestamp.serialize()
    again = ots.Timestamp.parse(data, 32)
    assert again == timestamp
    assert again.serialize() == data


@given(TIMESTAMPS, TIMESTAMPS, TIMESTAMPS)
@settings(max_examples=50)
def test_merging_is_a_union(a, b, c):
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a
    assert a.merge(b).paths == a.paths | b.paths


@given(TIMESTAMPS)
def test_each_path_is_evaluated_as_if_it_were_alone(timestamp):
    evaluated = list(timestamp.commitments(DIGEST))
    assert {path for _, path in evaluated} == timestamp.paths
    assert len(evaluated) == len(timestamp.paths)
    for commitment, path in evaluated:
        message = DIGEST
        for operation in path.operations:
            message = operation.apply(message)
        assert message == commitment
