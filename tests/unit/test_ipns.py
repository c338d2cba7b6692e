"""IPNS names and records, made here with real keys; the published ones are in the conformance tests."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from muniment.content import codecs, multibase, varint
from muniment.content.cid import CID
from muniment.content.ipns import (
    MAX_RECORD_BYTES,
    IpnsRecord,
    name_text,
    parse_name,
    verify_record,
)
from muniment.errors import FormatError, IntegrityError, SignatureError

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = b"\x08\x01\x12\x20" + KEY.public_key().public_bytes_raw()
NAME = CID(b"\x01\x72\x00" + varint.encode(len(PUBLIC)) + PUBLIC)
SAID = {
    "Sequence": 3,
    "TTL": 300 * 10**9,
    "Validity": b"2030-01-01T00:00:00.000000001Z",
    "ValidityType": 0,
    "Value": b"/ipfs/bafkqaaa",
}
NUMBERS = {"Value": 1, "ValidityType": 3, "Validity": 4, "Sequence": 5, "TTL": 6}


def field(number, value):
    if isinstance(value, int):
        return varint.encode(number << 3) + varint.encode(value)
    return varint.encode(number << 3 | 2) + varint.encode(len(value)) + value


def make(said=SAID, *, sign=KEY.sign, copies=None, extra=b""):
    data = codecs.encode(codecs.DAG_CBOR, said)
    old = b"".join(field(NUMBERS[name], value) for name, value in (copies or {}).items())
    return old + field(8, sign(b"ipns-signature:" + data)) + field(9, data) + extra


def test_a_record_says_what_its_key_signed():
    expected = IpnsRecord("/ipfs/bafkqaaa", 1_893_456_000, 3, 300)
    assert verify_record(make(), NAME, NOW) == expected
    assert verify_record(make(copies=SAID), NAME, NOW) == expected


def test_an_rsa_key_comes_with_the_record():
    key = rsa.generate_private_key(65537, 2048)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public = b"\x08\x00\x12" + varint.encode(len(der)) + der
    name = CID(b"\x01\x72\x12\x20" + hashlib.sha256(public).digest())
    record = make(sign=lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
    assert verify_record(record + field(7, public), name, NOW).sequence == 3
    with pytest.raises(FormatError, match="lacks the public key"):
        verify_record(record, name, NOW)
    with pytest.raises(SignatureError, match="another key"):
        verify_record(record + field(7, PUBLIC), name, NOW)


def test_another_key_proves_nothing():
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(SignatureError):
        verify_record(make(sign=other.sign), NAME, NOW)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_older_readers_must_be_told_the_same(name):
    changed = SAID | {name: SAID[name] + (1 if isinstance(SAID[name], int) else b"x")}
    with pytest.raises(FormatError, match=f"values of {name} differ"):
        verify_record(make(copies=changed), NAME, NOW)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"Validity": b"2020-01-01T00:00:00Z"}, "expired"),
        ({"Validity": b"2030-13-01T00:00:00Z"}, "RFC 3339"),
        ({"Validity": b"tomorrow"}, "RFC 3339"),
        ({"ValidityType": 1}, "validity type"),
        ({"Value": b"\xff"}, "UTF-8"),
        ({"Value": "text"}, "Value is not bytes"),
        ({"TTL": -1}, "TTL is not a number"),
    ],
)
def test_what_is_said_must_make_sense(said, message):
    with pytest.raises(FormatError, match=message):
        verify_record(make(SAID | said), NAME, NOW)


@pytest.mark.parametrize(
    "record",
    [b"", field(9, b"\xa0"), make() + field(8, b"x"), make() + b"\x0b", make()[:-1], bytes(MAX_RECORD_BYTES + 1)],
)  # fmt: skip
def test_what_is_no_record_is_refused(record):
    with pytest.raises(FormatError):
        verify_record(record, NAME, NOW)


def test_a_record_has_at_most_ten_kibibytes():
    """The largest is read; the same with one byte more in a field that nobody knows is not."""
    room = MAX_RECORD_BYTES - len(make()) - 3
    assert len(make(extra=field(15, bytes(room)))) == MAX_RECORD_BYTES == 10 * 1024
    assert verify_record(make(extra=field(15, bytes(room))), NAME, NOW).sequence == 3
    with pytest.raises(FormatError, match="at most"):
        verify_record(make(extra=field(15, bytes(room + 1))), NAME, NOW)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(IntegrityError):
        verify_record(data, NAME, NOW)


@given(st.integers(0, len(make()) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position, change):
    record = bytearray(make())
    record[position] ^= change
    with pytest.raises(IntegrityError):
        verify_record(bytes(record), NAME, NOW)


def test_names_are_read_in_every_form():
    text = name_text(NAME)
    assert text.startswith("k51qzi5uqu5d")
    for form in (text, multibase.encode_base58(NAME.multihash), multibase.encode_base32(NAME.raw)):
        assert parse_name(form) == NAME
    assert name_text(parse_name("QmcJM7PRfkSbcM5cf1QugM5R37TLRKyJGgBEhXjLTB8uA2")) == (
        "k2k4r8ol4m8kkcqz509c1rcjwunebj02gcnm5excpx842u736nja8ger"
    )


@pytest.mark.parametrize("text", ["", "example.org", "bafkqaaa", "Qm", "1", "12D3KooW0", "k"])
def test_other_text_is_no_name(text):
    with pytest.raises(FormatError):
        parse_name(text)
