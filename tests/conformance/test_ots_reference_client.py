"""The reference client and library, unmodified, read what we write, and we read what they write."""

import hashlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.adapters.calendars import HttpCalendar, trusted_calendars
from muniment.adapters.header_sources import BitcoinCore
from muniment.archive import ots, timestamps
from muniment.archive.timestamps import Verified, Waiting
from muniment.errors import FormatError
from muniment.testing.bitcoin_node import LocalChain, LocalNode, no_work
from muniment.testing.calendar import LocalCalendar

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library and what it imports are not ours to repair
    from opentimestamps.core.serialize import (
        BytesDeserializationContext,
        BytesSerializationContext,
        DeserializationError,
    )
    from opentimestamps.core.timestamp import DetachedTimestampFile

CLIENT = Path(sys.executable).parent / "ots"
TIMEOUT_S = 20


@pytest.fixture
def node():
    with LocalNode(LocalChain()) as node:
        yield node


@pytest.fixture
def calendar(node):
    with LocalCalendar(node.chain) as calendar:
        yield calendar


@pytest.fixture
def manifest(tmp_path):
    file = tmp_path / "manifest.json"
    file.write_bytes(b'{"commit":1}')
    return file


@pytest.fixture
def proof(manifest):
    return manifest.with_name("manifest.json.ots")


@pytest.fixture
def client(calendar, node):
    def run(*arguments, expect):
        common = ["--no-cache", "-l", calendar.url, "--bitcoin-node", node.rpc_url]
        command = [CLIENT, *common, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == expect, done.stderr
        return done.stdout + done.stderr

    return run


def digest_of(manifest):
    return hashlib.sha256(manifest.read_bytes()).digest()


def stamp(manifest, calendar):
    calendars = [HttpCalendar(calendar.url, TIMEOUT_S)]
    return timestamps.stamp(digest_of(manifest), calendars, bytes(range(16)))


def upgrade(detached, calendar):
    return timestamps.upgrade(detached, trusted_calendars([calendar.url], TIMEOUT_S)).detached


def verify(detached, manifest, node):
    source = BitcoinCore(node.rpc_url, TIMEOUT_S)
    return timestamps.verify(detached, digest_of(manifest), source, least_work=no_work)


def test_what_we_stamp_the_client_upgrades_and_verifies(client, calendar, node, manifest, proof):
    proof.write_bytes(stamp(manifest, calendar).serialize())
    assert f"PendingAttestation('{calendar.url}')" in client("info", proof, expect=0)
    client("verify", proof, expect=1)
    assert "Pending confirmation" in client("upgrade", proof, expect=1)
    height = calendar.mine()
    assert "Timestamp complete" in client("upgrade", proof, expect=0)
    assert f"Success! Bitcoin block {height}" in client("verify", proof, expect=0)

    upgraded = ots.DetachedTimestamp.parse(proof.read_bytes())
    assert upgraded.serialize() == proof.read_bytes()
    assert verify(upgraded, manifest, node).height == height


def test_what_the_client_stamps_we_upgrade_and_verify(client, calendar, node, manifest, proof):
    client("stamp", "-c", calendar.url, "-m", "1", manifest, expect=0)
    pending = ots.DetachedTimestamp.parse(proof.read_bytes())
    assert pending.serialize() == proof.read_bytes()
    assert verify(pending, manifest, node) == Waiting((calendar.url,))
    height = calendar.mine()
    complete = upgrade(pending, calendar)
    assert isinstance(verify(complete, manifest, node), Verified)

    proof.write_bytes(complete.serialize())
    assert f"Success! Bitcoin block {height}" in client("verify", proof, expect=0)
    manifest.write_bytes(b'{"commit":2}')
    assert "File does not match original" in client("verify", proof, expect=1)


def test_the_client_and_we_upgrade_to_the_same_bytes(client, calendar, manifest, proof):
    pending = stamp(manifest, calendar)
    proof.write_bytes(pending.serialize())
    calendar.mine()
    client("upgrade", proof, expect=0)
    assert upgrade(pending, calendar).serialize() == proof.read_bytes()


def test_the_client_tells_what_to_compare_by_hand(client, calendar, node, manifest, proof):
    pending = stamp(manifest, calendar)
    height = calendar.mine()
    proof.write_bytes(upgrade(pending, calendar).serialize())
    output = client("--no-bitcoin", "verify", proof, expect=1)
    root = node.chain.headers[height].merkle_root_hex
    assert f"Bitcoin block {height} has merkleroot {root}" in output
    shown = "\n".join(timestamps.info(ots.DetachedTimestamp.parse(proof.read_bytes())))
    assert f"Merkle root {root}" in shown


# --- The library, on proofs of any shape

BINARY = st.sampled_from([ots.APPEND, ots.PREPEND])
UNARY = st.sampled_from([ots.SHA1, ots.SHA256, ots.REVERSE, ots.HEXLIFY, ots.KECCAK256])
OPERATIONS = st.builds(ots.Operation, BINARY, st.binary(min_size=1, max_size=4)) | st.builds(
    ots.Operation, UNARY, st.just(b"")
)
HEIGHTS = st.integers(0, 2**62)
KNOWN_TAGS = {ots.Pending.TAG, *(chain.value for chain in ots.Chain)}
ATTESTATIONS = st.one_of(
    st.builds(ots.Pending, st.from_regex(r"[A-Za-z0-9._/:-]{0,30}", fullmatch=True)),
    st.builds(ots.Block, st.sampled_from(ots.Chain), HEIGHTS),
    st.builds(
        ots.Unknown,
        st.binary(min_size=8, max_size=8).filter(lambda tag: tag not in KNOWN_TAGS),
        st.binary(max_size=20),
    ),
)
PATHS = st.builds(ots.Path, st.lists(OPERATIONS, max_size=5).map(tuple), ATTESTATIONS)
PROOFS = st.builds(
    ots.DetachedTimestamp,
    st.just(ots.Operation(ots.SHA256)),
    st.binary(min_size=32, max_size=32),
    st.builds(ots.Timestamp, st.frozensets(PATHS, min_size=1, max_size=12)),
)


def by_library(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces that `reverse` may be removed
        return DetachedTimestampFile.deserialize(BytesDeserializationContext(data))


@given(PROOFS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_library_writes_the_same_bytes_and_sees_the_same_commitments(proof):
    data = proof.serialize()
    theirs = by_library(data)
    context = BytesSerializationContext()
    theirs.serialize(context)
    assert context.getbytes() == data

    commitments = {commitment for commitment, _ in proof.commitments() if commitment is not None}
    assert commitments <= {message for message, _ in theirs.timestamp.all_attestations()}


@given(PROOFS, st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_we_accept_the_library_accepts(proof, data):
    changed = bytearray(proof.serialize())
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] = data.draw(st.integers(0, 255))
    changed = bytes(changed[: data.draw(st.integers(position, len(changed)))])
    try:
        ours = ots.DetachedTimestamp.parse(changed)
    except FormatError:
        return
    try:
        theirs = by_library(changed)
    except DeserializationError:
        pytest.fail("the library rejects what we accept")
    assert ours.digest == theirs.file_digest
