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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from muniment.archive.ots_items import (
    APPEND,
    DIGEST_BYTES,
    HEXLIFY,
    KECCAK256,
    PREPEND,
    REVERSE,
    RIPEMD160,
    SHA1,
    SHA256,
    Attestation,
    Block,
    Chain,
    Item,
    Operation,
    Pending,
    Reader,
    Unknown,
    read_item,
    serialize_item,
    sort_key,
    varuint,
)
from muniment.errors import FormatError

__all__ = [
    "APPEND",
    "HEXLIFY",
    "KECCAK256",
    "PREPEND",
    "REVERSE",
    "RIPEMD160",
    "SHA1",
    "SHA256",
    "Attestation",
    "Block",
    "Chain",
    "DetachedTimestamp",
    "Item",
    "Operation",
    "Path",
    "Pending",
    "Timestamp",
    "Unknown",
    "Visit",
]

MAGIC = bytes.fromhex("004f70656e54696d657374616d7073000050726f6f6600bf89e2e884e89294")
VERSION = 1

MAX_FILE_BYTES = 64 * 1024
"""Our own bound on one proof; real ones are 0.2 to 4 KiB."""
MAX_OPERATIONS = 255
"""Operations on one path: the reference reader stops at 256 nested messages."""

_FORK = b"\xff"
_FILE_DIGESTS = (SHA1, RIPEMD160, SHA256)


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
    item: Item


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
        return cls(_read_paths(Reader(data), message_bytes))

    def serialize(self) -> bytes:
        """Return the canonical bytes: those that the reference implementation writes for the same paths."""
        out = bytearray()
        for visit in self.walk():
            out += b"" if visit.is_last else _FORK
            out += serialize_item(visit.item)
        return bytes(out)

    def merge(self, other: "Timestamp") -> "Timestamp":
        """Return the paths of both, which must be about the same message."""
        return Timestamp(self.paths | other.paths)

    def after(self, *operations: Operation) -> "Timestamp":
        """Return the timestamp of an earlier message that `operations` turn into this one's."""
        return Timestamp(frozenset(Path(operations + path[0], path[1]) for path in self.paths))

    def walk(self) -> Iterator[Visit]:
        """Visit every item once, in stored order: attestations first, then by tag and value."""
        todo = _visits([(*path.operations, path.attestation) for path in self.paths], 0, 0)
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


_Line = tuple[Item, ...]


def _visits(lines: list[_Line], depth: int, forks: int) -> list[tuple[Visit, list[_Line]]]:
    """Return the items of the node that `lines` share, last first, each with the lines that go through it."""
    branches: dict[Item, list[_Line]] = {}
    for line in lines:
        branches.setdefault(line[depth], []).append(line)
    forks += len(branches) > 1
    visits = [
        (Visit(depth, forks, position == len(branches), item), branches[item])
        for position, item in enumerate(sorted(branches, key=sort_key), start=1)
    ]
    return visits[::-1]


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
        reader = Reader(data)
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
        digest = reader.read(DIGEST_BYTES[tag])
        return cls(Operation(tag), digest, Timestamp(_read_paths(reader, len(digest))))

    def serialize(self) -> bytes:
        """Return the bytes of the `.ots` file.

        Raises:
            FormatError: The proof is longer than any that `parse` reads back.
        """
        head = MAGIC + varuint(VERSION) + self.digest_operation.serialize() + self.digest
        data = head + self.timestamp.serialize()
        if len(data) > MAX_FILE_BYTES:
            raise FormatError(
                f"expected a timestamp file of at most {MAX_FILE_BYTES} bytes, got {len(data)}"
            )
        return data

    def commitments(self) -> Iterator[tuple[bytes | None, Path]]:
        """Evaluate every path of the proof from the file's digest."""
        return self.timestamp.commitments(self.digest)


def _read_paths(reader: Reader, message_bytes: int) -> frozenset[Path]:
    """Read a node and everything below it; the list holds the nodes that still expect an item, deepest last."""
    paths: list[Path] = []
    todo = [_Node((), message_bytes, set())]
    while todo:
        node = todo.pop()
        tag = reader.read(1)
        if tag == _FORK:
            todo.append(node)
            tag = reader.read(1)
        item = read_item(reader, tag[0])
        if item in node.seen:
            raise FormatError("expected the items of a timestamp's node once each, got one twice")
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
    seen: set[Item]

    def child(self, operation: Operation) -> "_Node":
        if len(self.operations) == MAX_OPERATIONS:
            raise FormatError(f"expected at most {MAX_OPERATIONS} operations on a timestamp's path")
        result_bytes = operation.result_bytes(self.message_bytes)
        return _Node((*self.operations, operation), result_bytes, set())
