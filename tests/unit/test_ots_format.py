"""The OpenTimestamps format: published proofs, and every way in which bytes can fail to be one."""

import hashlib
import json
from pathlib import Path

import pytest

from muniment.archive import ots
from muniment.errors import FormatError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ots" / "proofs.json").read_text())
PROOFS = {proof["name"]: bytes.fromhex(proof["proof_hex"]) for proof in VECTORS["proofs"]}

HEAD = ots.MAGIC + b"\x01\x08" + bytes(32)
PENDING = b"\x00" + ots.Pending.TAG
BITCOIN = b"\x00" + ots.Chain.BITCOIN.value


def varbytes(value: bytes) -> bytes:
    assert len(value) < 0x4000
    if len(value) < 0x80:
        return bytes([len(value)]) + value
    return bytes([0x80 | len(value) & 0x7F, len(value) >> 7]) + value


def pending(uri: bytes = b"https://a.example") -> bytes:
    return PENDING + varbytes(varbytes(uri))


def bitcoin(height: bytes = b"\x05") -> bytes:
    return BITCOIN + varbytes(height)


@pytest.mark.parametrize("name", PROOFS)
def test_published_proofs_are_read(name):
    detached = ots.DetachedTimestamp.parse(PROOFS[name])
    again = ots.DetachedTimestamp.parse(detached.serialize())
    assert again == detached
    assert (detached.serialize() == PROOFS[name]) == (name != "ripemd160/README.md.ots")


def test_a_proof_leads_from_the_digest_to_the_merkle_root():
    detached = ots.DetachedTimestamp.parse(PROOFS["hello-world.txt.ots"])
    assert detached.digest == hashlib.sha256(b"Hello World!\n").digest()
    ((commitment, path),) = detached.commitments()
    if commitment is not None:  # the proof needs ripemd160
        root = "8a1b66ecb7cbd07d8139a7e7d7f2c41aab1f5009b8364aaf61d03ad245e47e00"
        assert commitment[::-1].hex() == root
    assert path.attestation == ots.Block(ots.Chain.BITCOIN, 358391)


def test_the_example_of_the_specification_is_what_we_write():
    page = (Path(__file__).parents[2] / "docs" / "spec" / "timestamps.md").read_text()
    data = bytes.fromhex(page.split("```ots-example")[1].split("```")[0])
    blinding = (ots.Operation(ots.APPEND, bytes(range(16))), ots.Operation(ots.SHA256))
    block = (ots.Operation(ots.PREPEND, b"\x01\x02"), ots.Operation(ots.SHA256))
    timestamp = ots.Timestamp(
        frozenset(
            {
                ots.Path(blinding, ots.Pending("https://a.example")),
                ots.Path(blinding + block, ots.Block(ots.Chain.BITCOIN, 900_000)),
            }
        )
    )
    digest = hashlib.sha256(b"Hello World!\n").digest()
    expected = ots.DetachedTimestamp(ots.Operation(ots.SHA256), digest, timestamp)
    assert ots.DetachedTimestamp.parse(data) == expected
    assert expected.serialize() == data


def test_an_unknown_attestation_is_kept_byte_for_byte():
    detached = ots.DetachedTimestamp.parse(PROOFS["known-and-unknown-notary.txt.ots"])
    unknown = [a for _, a in detached.timestamp.paths if isinstance(a, ots.Unknown)]
    assert unknown == [ots.Unknown(bytes(range(1, 9)), b"x" * 46)]


MALFORMED = {
    "empty": b"",
    "other magic": b"\x01" + (HEAD + bitcoin())[1:],
    "magic alone": ots.MAGIC,
    "other version": ots.MAGIC + b"\x02\x08" + bytes(32) + bitcoin(),
    "keccak file digest": ots.MAGIC + b"\x01\x67" + bytes(32) + bitcoin(),
    "append as file digest": ots.MAGIC + b"\x01\xf0" + bytes(32) + bitcoin(),
    "no timestamp": HEAD,
    "fork without a second item": HEAD + b"\xff" + bitcoin(),
    "double fork": HEAD + b"\xff\xff" + bitcoin() + bitcoin(b"\x06"),
    "unknown operation": HEAD + b"\x09" + bitcoin(),
    "operation without result": HEAD + b"\x08",
    "trailing byte": HEAD + bitcoin() + b"\x00",
    "trailing attestation": HEAD + bitcoin() + bitcoin(b"\x06"),
    "same attestation twice": HEAD + b"\xff" + bitcoin() + bitcoin(),
    "same operation twice": HEAD + b"\xff\x08" + bitcoin() + b"\x08" + bitcoin(b"\x06"),
    "empty append": HEAD + b"\xf0\x00" + bitcoin(),
    "append beyond the message": HEAD + b"\xf0" + varbytes(bytes(4065)) + bitcoin(),
    "hexlify beyond the message": HEAD + b"\xf0" + varbytes(bytes(2017)) + b"\xf3" + bitcoin(),
    "too many operations": HEAD + b"\x08" * 256 + bitcoin(),
    "payload too long": HEAD + b"\x00" + bytes(8) + varbytes(bytes(8193)),
    "truncated tag": HEAD + BITCOIN[:5],
    "height not minimal": HEAD + bitcoin(b"\x85\x00"),
    "height unfinished": HEAD + bitcoin(b"\x85"),
    "height endless": HEAD + bitcoin(b"\xff" * 9 + b"\x01"),
    "height with more": HEAD + bitcoin(b"\x05\x00"),
    "height missing": HEAD + bitcoin(b""),
    "uri with query": HEAD + pending(b"https://a.example/?x"),
    "uri with user": HEAD + pending(b"https://user@a.example"),
    "uri not ascii": HEAD + pending("https://é.example".encode()),
    "uri too long": HEAD + pending(b"a" * 1001),
    "uri with more": HEAD + PENDING + varbytes(varbytes(b"https://a.example") + b"\x00"),
    "file too long": HEAD + b"\xff\x00" + bytes(8) + varbytes(bytes(8192)) + bytes(70_000),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bytes_are_rejected(data):
    with pytest.raises(FormatError):
        ots.DetachedTimestamp.parse(data)


BOUNDARIES = {
    "longest append": HEAD + b"\xf0" + varbytes(bytes(4064)) + bitcoin(),
    "longest hexlify": HEAD + b"\xf0" + varbytes(bytes(2016)) + b"\xf3" + bitcoin(),
    "most operations": HEAD + b"\x08" * 255 + bitcoin(),
    "longest payload": HEAD + b"\x00" + bytes(8) + varbytes(bytes(8192)),
    "longest uri": HEAD + pending(b"a" * 1000),
    "highest height": HEAD + bitcoin(b"\xff" * 8 + b"\x7f"),
    "unknown tag": HEAD + b"\x00" + bytes(8) + b"\x00",
}


@pytest.mark.parametrize("data", BOUNDARIES.values(), ids=BOUNDARIES.keys())
def test_bytes_at_the_bounds_are_accepted(data):
    assert ots.DetachedTimestamp.parse(data).serialize() == data


def test_items_may_come_in_any_order_and_are_written_in_one():
    scrambled = HEAD + b"\xff\x08" + bitcoin() + b"\xff" + bitcoin(b"\x07") + bitcoin(b"\x06")
    ordered = HEAD + b"\xff" + bitcoin(b"\x06") + b"\xff" + bitcoin(b"\x07") + b"\x08" + bitcoin()
    assert ots.DetachedTimestamp.parse(scrambled).serialize() == ordered


def test_a_timestamp_without_attestation_cannot_exist():
    with pytest.raises(FormatError, match="at least one attestation"):
        ots.Timestamp(frozenset())


def test_a_path_cannot_grow_beyond_what_a_reader_accepts():
    timestamp = ots.Timestamp.parse(b"\x08" * 200 + bitcoin(), 32)
    steps = (ots.Operation(ots.SHA256),)
    assert timestamp.after(*steps * 55)
    with pytest.raises(FormatError, match="at most 255"):
        timestamp.after(*steps * 56)


def test_a_proof_too_long_to_be_read_back_is_not_written():
    unknown = [ots.Unknown(bytes([n] * 8), bytes(8192)) for n in range(9)]
    timestamp = ots.Timestamp(frozenset(ots.Path((), attestation) for attestation in unknown))
    with pytest.raises(FormatError, match="at most 65536"):
        ots.DetachedTimestamp(ots.Operation(ots.SHA256), bytes(32), timestamp).serialize()


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (ots.Operation(ots.APPEND, b"c"), b"abc"),
        (ots.Operation(ots.PREPEND, b"c"), b"cab"),
        (ots.Operation(ots.REVERSE), b"ba"),
        (ots.Operation(ots.HEXLIFY), b"6162"),
        (ots.Operation(ots.SHA1), bytes.fromhex("da23614e02469a0d7c7bd1bdab5c9c474b1904dc")),
        (ots.Operation(ots.SHA256), hashlib.sha256(b"ab").digest()),
        (ots.Operation(ots.KECCAK256), None),
    ],
    ids=str,
)
def test_operations(operation, expected):
    result = operation.apply(b"ab")
    assert result == expected
    if result is not None:
        assert operation.result_bytes(2) == len(result)


def test_what_this_machine_cannot_compute_is_told_apart_from_what_is_wrong():
    keccak = HEAD + b"\xff\x08" + bitcoin() + b"\x67\x08" + bitcoin(b"\x06")
    results = {
        path.attestation.height: commitment
        for commitment, path in ots.DetachedTimestamp.parse(keccak).commitments()
    }
    assert results == {5: hashlib.sha256(bytes(32)).digest(), 6: None}
