"""The OpenTimestamps proof format: parse, merge, evaluate and serialise, without any library.

A *timestamp* of a message is a set of *paths*: each path is a series of operations (append these bytes, hash, ...)
that turns the message into a commitment, and an attestation that vouches for that commitment: a calendar that promises
to (`Pending`), or the Merkle root in the header of a block (`Block`). Stored, paths that begin alike share their
beginning, so the bytes are a tree::

    node = { 0xff item } item              0xff announces that one more item follows at this node
    item = 0x00 tag(8) varbytes            an attestation
         | op [varbytes] node              an operation, and what is known about its result
    file = magic, version 1, op of the file digest, digest, node

Nothing here is recursive, and parsing computes no hash: lengths alone decide whether bytes are well formed. What a
reader must reject is listed in `docs/spec/timestamps.md`.

Source of the format: the reference implementation, python-opentimestamps 0.4, whose output `serialize` equals.
"""

import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any, NamedTuple, Self

from muniment.errors import FormatError

MAGIC = bytes.fromhex("004f70656e54696d657374616d7073000050726f6f6600bf89e2e884e89294")
VERSION = 1

MAX_FILE_BYTES = 64 * 1024
"""Our own bound on one proof; real ones are 0.2 to 4 KiB."""
MAX_MESSAGE_BYTES = 4096
MAX_PAYLOAD_BYTES = 8192
MAX_URI_BYTES = 1000
MAX_OPERATIONS = 255
"""Operations on one path: the reference reader stops at 256 nested messages."""

_FORK = b"\xff"
_ATTESTATION = b"\x00"
_TAG_BYTES = 8
_URI_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/:")

APPEND, PREPEND, REVERSE, HEXLIFY = 0xF0, 0xF1, 0xF2, 0xF3
SHA1, RIPEMD160, SHA256, KECCAK256 = 0x02, 0x03, 0x08, 0x67

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
_DIGEST_BYTES = {SHA1: 20, RIPEMD160: 20, SHA256: 32, KECCAK256: 32}
_FILE_DIGESTS = (SHA1, RIPEMD160, SHA256)


class Operation(NamedTuple):
    """One step from a message to the next; `argument` is empty unless it appends or prepends."""

    tag: int
    argument: bytes = b""

    def __str__(self) -> str:
        return f"{_NAMES[self.tag]} {self.argument.hex()}".rstrip()

    def serialize(self) -> bytes:
        """Return the stored form: the tag, and the argument if the operation takes one."""
        tag = bytes([self.tag])
        return tag + _varbytes(self.argument) if self.tag in (APPEND, PREPEND) else tag

    def result_bytes(self, message_bytes: int) -> int:
        """Return the length of the result for a message of that length.

        Raises:
            FormatError: The result would be longer than any message may be.
        """
        if self.tag in _DIGEST_BYTES:
            return _DIGEST_BYTES[self.tag]
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
        return _varbytes(self.uri.encode("ascii"))

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
        return _varuint(self.height)

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


class Path(NamedTuple):
    """The operations from the message to a commitment, and the attestation of that commitment."""

    operations: tuple[Operation, ...]
    attestation: Attestation


class Visit(NamedTuple):
    """One item of the tree in stored order."""

    depth: int
    """How many operations lead to the item's node."""
    forks: int
    """How many nodes with several items lie on the way, its own included."""
    is_last: bool
    """Whether the item is the last of its node."""
    item: Operation | Attestation


@dataclass(frozen=True, slots=True)
class Timestamp:
    """What is known about the time of one message: a non-empty set of paths."""

    paths: frozenset[Path]

    def __post_init__(self) -> None:
        if not self.paths:
            raise FormatError("expected a timestamp with at least one attestation, got none")
        longest = max(len(path.operations) for path in self.paths)
        if longest > MAX_OPERATIONS:
            raise FormatError(
                f"expected at most {MAX_OPERATIONS} operations on a timestamp's path, got {longest}"
            )

    @classmethod
    def parse(cls, data: bytes, message_bytes: int) -> Self:
        """Read the timestamp of a message of `message_bytes` bytes, as a calendar returns it.

        Raises:
            FormatError: `data` is anything but one well-formed timestamp.
        """
        return cls(_read_paths(_Reader(data), message_bytes))

    def serialize(self) -> bytes:
        """Return the canonical bytes: those that the reference implementation writes for the same paths."""
        out = bytearray()
        for visit in self.walk():
            out += b"" if visit.is_last else _FORK
            out += _serialize_item(visit.item)
        return bytes(out)

    def merge(self, other: "Timestamp") -> "Timestamp":
        """Return the paths of both, which must be about the same message."""
        return Timestamp(self.paths | other.paths)

    def after(self, *operations: Operation) -> "Timestamp":
        """Return the timestamp of an earlier message that `operations` turn into this one's."""
        return Timestamp(frozenset(Path(operations + path[0], path[1]) for path in self.paths))

    def walk(self) -> Iterator[Visit]:
        """Visit every item once, in stored order: attestations first, then by tag and value."""
        lines = [(*path.operations, path.attestation) for path in self.paths]
        lines.sort(key=lambda line: [_sort_key(item) for item in line])
        todo = _visits(lines, 0, 0)
        while todo:
            visit, members = todo.pop()
            yield visit
            if isinstance(visit.item, Operation):
                todo += _visits(members, visit.depth + 1, visit.forks)

    def commitments(self, message: bytes) -> Iterator[tuple[bytes | None, Path]]:
        """Evaluate every path from `message`; None stands for a hash function that this machine lacks."""
        results: list[bytes | None] = [message]
        operations: list[Operation] = []
        for visit in self.walk():
            del results[visit.depth + 1 :], operations[visit.depth :]
            if isinstance(visit.item, Operation):
                before = results[-1]
                results.append(None if before is None else visit.item.apply(before))
                operations.append(visit.item)
            else:
                yield results[-1], Path(tuple(operations), visit.item)


_Line = tuple[Operation | Attestation, ...]


def _visits(lines: list[_Line], depth: int, forks: int) -> list[tuple[Visit, list[_Line]]]:
    """Return the items of the node that `lines` share, last first, each with the lines that go through it."""
    items = [(item, list(members)) for item, members in groupby(lines, lambda line: line[depth])]
    forks += len(items) > 1
    visits = [
        (Visit(depth, forks, position == len(items), item), members)
        for position, (item, members) in enumerate(items, start=1)
    ]
    return visits[::-1]


def _sort_key(item: Operation | Attestation) -> tuple[Any, ...]:
    match item:
        case Operation():
            return (1, item.tag, item.argument)
        case Pending():
            return (0, item.tag, item.uri)
        case Block():
            return (0, item.tag, item.height)
        case Unknown():
            return (0, item.tag, item.payload)


def _serialize_item(item: Operation | Attestation) -> bytes:
    if isinstance(item, Operation):
        return item.serialize()
    return _ATTESTATION + item.tag + _varbytes(item.payload)


@dataclass(frozen=True, slots=True)
class DetachedTimestamp:
    """The content of an `.ots` file: a timestamp of a file's digest, kept apart from the file."""

    digest_operation: Operation
    digest: bytes
    timestamp: Timestamp

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an `.ots` file.

        Raises:
            FormatError: `data` is anything but one well-formed proof of the one known version.
        """
        if len(data) > MAX_FILE_BYTES:
            raise FormatError(
                f"expected a timestamp file of at most {MAX_FILE_BYTES} bytes, got {len(data)}"
            )
        reader = _Reader(data)
        if reader.read(min(len(MAGIC), len(data))) != MAGIC:
            raise FormatError("expected a timestamp file, got other leading bytes")
        version = reader.varuint()
        if version != VERSION:
            raise FormatError(f"expected version {VERSION} of a timestamp file, got {version}")
        tag = reader.read(1)[0]
        if tag not in _FILE_DIGESTS:
            raise FormatError(
                f"expected sha1, ripemd160 or sha256 as the file digest, got tag {tag:#04x}"
            )
        digest = reader.read(_DIGEST_BYTES[tag])
        return cls(Operation(tag), digest, Timestamp(_read_paths(reader, len(digest))))

    def serialize(self) -> bytes:
        """Return the bytes of the `.ots` file.

        Raises:
            FormatError: The proof is longer than any that `parse` reads back.
        """
        head = MAGIC + _varuint(VERSION) + self.digest_operation.serialize() + self.digest
        data = head + self.timestamp.serialize()
        if len(data) > MAX_FILE_BYTES:
            raise FormatError(
                f"expected a timestamp file of at most {MAX_FILE_BYTES} bytes, got {len(data)}"
            )
        return data

    def commitments(self) -> Iterator[tuple[bytes | None, Path]]:
        """Evaluate every path of the proof from the file's digest."""
        return self.timestamp.commitments(self.digest)


def _varuint(value: int) -> bytes:
    """Encode an unsigned integer: seven bits a byte, least first, the top bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varbytes(value: bytes) -> bytes:
    return _varuint(len(value)) + value


class _Reader:
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


def _read_paths(reader: _Reader, message_bytes: int) -> frozenset[Path]:
    """Read a node and everything below it; the list holds the nodes that still expect an item, deepest last."""
    paths: list[Path] = []
    todo = [_Node((), message_bytes, set())]
    while todo:
        node = todo.pop()
        tag = reader.read(1)
        if tag == _FORK:
            todo.append(node)
            tag = reader.read(1)
        item = _read_attestation(reader) if tag == _ATTESTATION else _read_operation(reader, tag[0])
        if item in node.seen:
            raise FormatError(
                f"expected the items of a timestamp's node once each, got {item} twice"
            )
        node.seen.add(item)
        if isinstance(item, Operation):
            todo.append(node.child(item))
        else:
            paths.append(Path(node.operations, item))
    reader.end()
    return frozenset(paths)


class _Node(NamedTuple):
    """A node that is being read: how it is reached, how long its message is, and its items so far."""

    operations: tuple[Operation, ...]
    message_bytes: int
    seen: set[Operation | Attestation]

    def child(self, operation: Operation) -> "_Node":
        if len(self.operations) == MAX_OPERATIONS:
            raise FormatError(f"expected at most {MAX_OPERATIONS} operations on a timestamp's path")
        result_bytes = operation.result_bytes(self.message_bytes)
        return _Node((*self.operations, operation), result_bytes, set())


def _read_operation(reader: _Reader, tag: int) -> Operation:
    if tag not in _NAMES:
        raise FormatError(f"expected a timestamp operation, got tag {tag:#04x}")
    if tag in (APPEND, PREPEND):
        return Operation(tag, reader.varbytes(1, MAX_MESSAGE_BYTES))
    return Operation(tag)


def _read_attestation(reader: _Reader) -> Attestation:
    tag = reader.read(_TAG_BYTES)
    payload = reader.varbytes(0, MAX_PAYLOAD_BYTES)
    inner = _Reader(payload)
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
