"""IPNS names and the signed records that say what they point to (https://specs.ipfs.tech/ipns/ipns-record/).

A name is the multihash of a public key, written as a CIDv1 of codec libp2p-key in base36. A record counts only by its V2 signature,
over the DAG-CBOR in its `data` field; copies of the same values in the older V1 fields must agree, and the V1 signature proves
nothing (IPIP-428).
"""

import calendar
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muniment.content import codecs, multibase, varint
from muniment.content.cid import CID, DAG_PB, IDENTITY, SHA2_256
from muniment.errors import FormatError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

LIBP2P_KEY = 0x72
"""Codec of a CID whose multihash is that of a public key."""
MAX_RECORD_BYTES = 10 * 1024
NANOSECONDS = 10**9

_SIGNED_PREFIX = b"ipns-signature:"
_RSA, _ED25519 = 0, 1
_RSA_BITS = range(2048, 8192 + 1)
_EOL = 0
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|([+-])(\d\d):(\d\d))"
)


@dataclass(frozen=True, slots=True)
class IpnsRecord:
    """What a verified record says.

    Attributes:
        value: The content path that the name points to.
        expires_at: Seconds since 1970 from which on the record is void.
        sequence: Its number: of two valid records, the higher one holds.
        ttl_s: For how many seconds it may be cached.
    """

    value: str
    expires_at: int
    sequence: int
    ttl_s: int


def parse_name(text: str) -> CID:
    """Read an IPNS name: a CIDv1, or the bare multihash in base58 as peer ids are written; return it as CIDv1 of codec libp2p-key.

    Raises:
        FormatError: It is neither.
    """
    if text.startswith(("Qm", "1")):
        multihash = multibase.decode_base58(text)
        return _key_cid(CID.from_bytes(b"\x01" + varint.encode(LIBP2P_KEY) + multihash))
    cid = CID.parse(text)
    if cid.codec not in (LIBP2P_KEY, DAG_PB):
        raise FormatError(f"expected a CID of codec libp2p-key, got codec 0x{cid.codec:x}")
    return _key_cid(cid)


def name_text(name: CID) -> str:
    """Return a name as it is written: base36."""
    return multibase.encode_base36(name.raw)


def _key_cid(cid: CID) -> CID:
    if cid.hash_function not in (IDENTITY, SHA2_256) or not cid.digest:
        raise FormatError("expected the identity or SHA-256 multihash of a public key")
    return CID(b"\x01" + varint.encode(LIBP2P_KEY) + cid.multihash)


def verify_record(record: bytes, name: CID, now_s: float) -> IpnsRecord:
    """Check a record of `name` and return what it says.

    Raises:
        FormatError: It is malformed, has no V2 signature, its V1 and V2 values differ, or it has expired.
        SignatureError: It was not signed by the key of `name`.
    """
    if len(record) > MAX_RECORD_BYTES:
        raise FormatError(f"expected an IPNS record of at most {MAX_RECORD_BYTES} bytes, got more")
    fields = _read_fields(record)
    signature, data = fields.get(8), fields.get(9)
    if not isinstance(signature, bytes) or not isinstance(data, bytes):
        raise FormatError("IPNS record has no V2 signature: older ones are not secure (IPIP-428)")
    _verify_signature(_public_key(name, fields.get(7)), signature, _SIGNED_PREFIX + data)
    said = _read_data(data)
    _check_copies(fields, said)
    expires_at = _parse_time(_bytes(said, "Validity"))
    if expires_at <= now_s:
        raise FormatError("IPNS record has expired")
    try:
        value = _bytes(said, "Value").decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("IPNS record's value is not UTF-8") from None
    ttl_s = _integer(said, "TTL") // NANOSECONDS
    return IpnsRecord(value, expires_at, _integer(said, "Sequence"), ttl_s)


# Protobuf: key number -> the name of the same value in the CBOR document. Those are the V1 fields.
_COPIES = {1: "Value", 3: "ValidityType", 4: "Validity", 5: "Sequence", 6: "TTL"}
_INTEGERS, _BYTES = frozenset((3, 5, 6)), frozenset((1, 2, 4, 7, 8, 9))


def _read_fields(message: bytes) -> dict[int, int | bytes]:
    """Read the protobuf message `IpnsEntry`; fields of other numbers are let through, repeated ones are not."""
    fields: dict[int, int | bytes] = {}
    offset = 0
    while offset < len(message):
        key, offset = varint.decode(message, offset)
        number, wire = key >> 3, key & 7
        value: int | bytes
        if wire == 0:
            value, offset = varint.decode(message, offset)
        elif wire == 2:
            length, offset = varint.decode(message, offset)
            value, offset = message[offset : offset + length], offset + length
            if offset > len(message):
                raise FormatError("IPNS record is cut off")
        else:
            raise FormatError(f"IPNS record has a field of wire type {wire}")
        misplaced = number in (_BYTES if wire == 0 else _INTEGERS)
        if number in fields or misplaced:
            raise FormatError(f"IPNS record has field {number} twice, or of another type")
        fields[number] = value
    return fields


def _read_data(data: bytes) -> Mapping[str, object]:
    said = codecs.decode(codecs.DAG_CBOR, data)
    if not isinstance(said, Mapping):
        raise FormatError("IPNS record's data is not a map")
    if said.get("ValidityType") != _EOL:
        raise FormatError("IPNS record has an unknown validity type")
    return said


def _bytes(said: Mapping[str, object], name: str) -> bytes:
    value = said.get(name)
    if not isinstance(value, bytes):
        raise FormatError(f"IPNS record's {name} is not bytes")
    return value


def _integer(said: Mapping[str, object], name: str) -> int:
    value = said.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FormatError(f"IPNS record's {name} is not a number")
    return value


def _check_copies(fields: Mapping[int, int | bytes], said: Mapping[str, object]) -> None:
    """Check that a record for older readers tells them the same."""
    if not fields.get(1) and not fields.get(2):
        return  # V2 only
    for number, name in _COPIES.items():
        default: int | bytes = 0 if number in _INTEGERS else b""
        if fields.get(number, default) != said.get(name):
            raise FormatError(f"IPNS record's V1 and V2 values of {name} differ")


def _public_key(name: CID, embedded: int | bytes | None) -> "Ed25519PublicKey | RSAPublicKey":
    """Return the key that `name` is the hash of, or holds."""
    if name.hash_function == IDENTITY:
        serialized = name.digest
    elif isinstance(embedded, bytes):
        serialized = embedded
        if hashlib.sha256(serialized).digest() != name.digest:
            raise SignatureError("IPNS record holds another key than that of its name")
    else:
        raise FormatError("IPNS record lacks the public key of its name")
    kind, data = _read_key(serialized)
    return _ed25519_key(data) if kind == _ED25519 else _rsa_key(kind, data)


def _read_key(message: bytes) -> tuple[int, bytes]:
    """Read the protobuf message `PublicKey`: 1 type, 2 data, in this order and nothing else."""
    if message[:1] != b"\x08":
        raise FormatError("public key does not begin with its type")
    kind, offset = varint.decode(message, 1)
    if message[offset : offset + 1] != b"\x12":
        raise FormatError("public key has no data")
    length, offset = varint.decode(message, offset + 1)
    if offset + length != len(message):
        raise FormatError("public key has another length than it says")
    return kind, message[offset:]


def _ed25519_key(data: bytes) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  # takes time to import
        Ed25519PublicKey,
    )

    try:
        return Ed25519PublicKey.from_public_bytes(data)
    except ValueError as error:
        raise FormatError(f"malformed Ed25519 key: {error}") from None


def _rsa_key(kind: int, data: bytes) -> "RSAPublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # takes time to import
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    if kind != _RSA:
        raise FormatError(f"expected an Ed25519 or RSA key, got key type {kind}")
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError(f"malformed RSA key: {error}") from None
    if not isinstance(key, RSAPublicKey) or key.key_size not in _RSA_BITS:
        raise FormatError("expected an RSA key of 2048 to 8192 bits")
    return key


def _verify_signature(
    key: "Ed25519PublicKey | RSAPublicKey", signature: bytes, signed: bytes
) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # takes time to import
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    try:
        if isinstance(key, RSAPublicKey):
            from cryptography.hazmat.primitives.asymmetric.padding import (  # noqa: PLC0415
                PKCS1v15,
            )
            from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

            key.verify(signature, signed, PKCS1v15(), SHA256())
        else:
            key.verify(signature, signed)
    except InvalidSignature:
        raise SignatureError("IPNS record was not signed by the key of its name") from None


def _parse_time(text: bytes) -> int:
    match = _RFC3339.fullmatch(text.decode("ascii", "replace"))
    if match is None:
        raise FormatError("IPNS record's validity is not a time (RFC 3339)")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    if not (
        year and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60
    ):
        raise FormatError("IPNS record's validity is not a time (RFC 3339)")
    offset_s = (int(match[8]) * 3600 + int(match[9]) * 60) if match[7] else 0
    at = calendar.timegm((year, month, day, hour, minute, second))
    return at + offset_s if match[7] == "-" else at - offset_s
