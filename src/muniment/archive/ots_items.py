"""The two kinds of items in an OpenTimestamps proof, operations and attestations, and their stored forms.

`muniment.archive.ots` makes proofs of them; import them from there.
"""

import binascii
import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from muniment.errors import FormatError

MAX_MESSAGE_BYTES = 4096
MAX_PAYLOAD_BYTES = 8192
MAX_URI_BYTES = 1000

APPEND, PREPEND, REVERSE, HEXLIFY = 0xF0, 0xF1, 0xF2, 0xF3
SHA1, RIPEMD160, SHA256, KECCAK256 = 0x02, 0x03, 0x08, 0x67
DIGEST_BYTES = {SHA1: 20, RIPEMD160: 20, SHA256: 32, KECCAK256: 32}
"""Length of the result of each hash function."""

_NAMES = {
    APPEND: "append",
    PREPEND: "prepend",
    REVERSE: "reverse",
    HEXLIFY: "hexlify",
    SHA1: "sha1",
    RIPEMD160: "ripemd160",
    SHA256: "sha256",
    KECCAK256: "keccak256",
}
_ATTESTATION = 0x00
_TAG_BYTES = 8
_URI_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/:")


def varuint(value: int) -> bytes:
    """Encode an unsigned integer: seven bits a byte, least first, the top bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def varbytes(value: bytes) -> bytes:
    """Encode bytes led by their length."""
    return varuint(len(value)) + value


class Reader:
    """A cursor over hostile bytes; every method raises FormatError where they end or do not fit."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """How many bytes are still unread."""
        return len(self._data) - self._position

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        if length > self.left:
            raise FormatError(
                f"timestamp ends early: expected {length} more bytes, got {self.left}"
            )
        self._position += length
        return self._data[self._position - length : self._position]

    def varuint(self) -> int:
        """Return the next integer, below 2**63 and in its shortest form."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.read(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise FormatError("expected an integer in its shortest form in a timestamp")
                return value
        raise FormatError("expected an integer below 2**63 in a timestamp, got a longer one")

    def varbytes(self, smallest: int, largest: int) -> bytes:
        """Return the next bytes that are led by their length."""
        length = self.varuint()
        if not smallest <= length <= largest:
            raise FormatError(
                f"expected {smallest} to {largest} bytes in a timestamp's item, got {length}"
            )
        return self.read(length)

    def end(self) -> None:
        """Check that nothing is left."""
        if self.left:
            raise FormatError(f"expected a timestamp's end, got {self.left} more bytes")


class Operation(NamedTuple):
    """One step from a message to the next; `argument` is empty unless it appends or prepends."""

    tag: int
    argument: bytes = b""

    def __str__(self) -> str:
        return f"{_NAMES[self.tag]} {self.argument.hex()}".rstrip()

    def serialize(self) -> bytes:
        """Return the stored form: the tag, and the argument if the operation takes one."""
        tag = bytes([self.tag])
        return tag + varbytes(self.argument) if self.tag in (APPEND, PREPEND) else tag

    def result_bytes(self, message_bytes: int) -> int:
        """Return the length of the result for a message of that length.

        Raises:
            FormatError: The result would be longer than any message may be.
        """
        if self.tag in DIGEST_BYTES:
            return DIGEST_BYTES[self.tag]
        length = 2 * message_bytes if self.tag == HEXLIFY else message_bytes + len(self.argument)
        if length > MAX_MESSAGE_BYTES:
            raise FormatError(
                f"expected timestamp messages of at most {MAX_MESSAGE_BYTES} bytes, got {length}"
            )
        return length

    def apply(self, message: bytes) -> bytes | None:
        """Return the result for `message`, or None where this machine lacks the hash function."""
        if self.tag == APPEND:
            return message + self.argument
        if self.tag == PREPEND:
            return self.argument + message
        if self.tag == REVERSE:
            return message[::-1]
        if self.tag == HEXLIFY:
            return binascii.hexlify(message)
        return _digest(_NAMES[self.tag], message)


def _digest(name: str, message: bytes) -> bytes | None:
    try:
        return hashlib.new(name, message, usedforsecurity=False).digest()
    except ValueError:  # keccak256 always; ripemd160 under an OpenSSL 3 without its legacy provider
        return None


class Chain(Enum):
    """A block chain whose headers attest times, by its attestation tag."""

    BITCOIN = bytes.fromhex("0588960d73d71901")
    LITECOIN = bytes.fromhex("06869a0d73d71b45")
    ETHEREUM = bytes.fromhex("30fe8087b5c7ead7")


@dataclass(frozen=True, slots=True)
class Pending:
    """A calendar at `uri` has promised to have the commitment attested."""

    uri: str

    TAG = bytes.fromhex("83dfe30d2ef90c8e")

    @property
    def tag(self) -> bytes:
        """The eight bytes that name this kind of attestation."""
        return self.TAG

    @property
    def payload(self) -> bytes:
        """The stored bytes behind the tag."""
        return varbytes(self.uri.encode("ascii"))

    def __str__(self) -> str:
        return f"pending at {self.uri}"


@dataclass(frozen=True, slots=True)
class Block:
    """The commitment is the Merkle root in the header of the block at `height` of `chain`."""

    chain: Chain
    height: int

    @property
    def tag(self) -> bytes:
        """The eight bytes that name this kind of attestation."""
        return self.chain.value

    @property
    def payload(self) -> bytes:
        """The stored bytes behind the tag."""
        return varuint(self.height)

    def __str__(self) -> str:
        return f"{self.chain.name.lower()} block {self.height}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """An attestation of a kind that this software does not know: kept byte for byte, never counted."""

    tag: bytes
    payload: bytes

    def __str__(self) -> str:
        return f"unknown attestation {self.tag.hex()} {self.payload.hex()}"


Attestation = Pending | Block | Unknown


Item = Operation | Attestation


def serialize_item(item: Item) -> bytes:
    """Return the stored form of an item; that of an operation is followed by what is known about its result."""
    if isinstance(item, Operation):
        return item.serialize()
    return bytes([_ATTESTATION]) + item.tag + varbytes(item.payload)


def sort_key(item: Item) -> tuple[Any, ...]:
    """Return what the items of one node are ordered by: attestations first, then by tag and value."""
    match item:
        case Operation():
            return (1, item.tag, item.argument)
        case Pending():
            return (0, item.tag, item.uri)
        case Block():
            return (0, item.tag, item.height)
        case Unknown():
            return (0, item.tag, item.payload)


def read_item(reader: Reader, tag: int) -> Item:
    """Read the item that begins with the byte `tag`, which has been read.

    Raises:
        FormatError: It is neither an operation nor an attestation.
    """
    return _read_attestation(reader) if tag == _ATTESTATION else _read_operation(reader, tag)


def _read_operation(reader: Reader, tag: int) -> Operation:
    if tag not in _NAMES:
        raise FormatError(f"expected a timestamp operation, got tag {tag:#04x}")
    if tag in (APPEND, PREPEND):
        return Operation(tag, reader.varbytes(1, MAX_MESSAGE_BYTES))
    return Operation(tag)


def _read_attestation(reader: Reader) -> Attestation:
    tag = reader.read(_TAG_BYTES)
    payload = reader.varbytes(0, MAX_PAYLOAD_BYTES)
    inner = Reader(payload)
    if tag == Pending.TAG:
        uri = inner.varbytes(0, MAX_URI_BYTES)
        inner.end()
        if not _URI_CHARACTERS.issuperset(uri):
            raise FormatError(f"expected a plain calendar address in a timestamp, got {uri!r}")
        return Pending(uri.decode("ascii"))
    try:
        chain = Chain(tag)
    except ValueError:
        return Unknown(tag, payload)
    height = inner.varuint()
    inner.end()
    return Block(chain, height)
