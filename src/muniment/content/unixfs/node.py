"""The UnixFS message: what the data field of a DAG-PB node says about the node.

Written with the fields in order of their numbers and block sizes unpacked, as all implementations do, because the CID
depends on it. Field numbers are those of `unixfs.proto` in the UnixFS specification.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from muniment.content import varint
from muniment.content.dag_pb import PBLink, decode_node, encode_node
from muniment.errors import FormatError

MAX_FILE_BYTES = (1 << 63) - 1
"""Largest file: what a signed 64-bit offset can reach."""


class Kind(IntEnum):
    """The type of a node."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT_SHARD = 5


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a node may say about its file, directory or link (UnixFS 1.5); it changes the CID, so it is rarely stored.

    Attributes:
        mode: Permission bits (1 to 0o7777), or None.
        mtime_ns: Modification time, nanoseconds since 1970, or None.
    """

    mode: int | None = None
    mtime_ns: int | None = None


NO_METADATA = Metadata()


@dataclass(frozen=True, slots=True)
class UnixFSNode:
    """A DAG-PB node read as UnixFS.

    Attributes:
        kind: What it is.
        data: File bytes, a link's target, or a shard's bitfield.
        file_size: Bytes of the file below this node, or None where the node does not say.
        block_sizes: File bytes below each link, in the order of the links.
        hash_type: Multicodec number of a shard's hash function.
        fanout: Slots of a shard.
        links: The links, in wire order.
        metadata: Mode and modification time, where it says them.
    """

    kind: Kind
    data: bytes = b""
    file_size: int | None = None
    block_sizes: tuple[int, ...] = ()
    hash_type: int | None = None
    fanout: int | None = None
    links: tuple[PBLink, ...] = field(default=())
    metadata: Metadata = NO_METADATA

    @property
    def file_bytes(self) -> int:
        """Bytes of the file in this node and below it.

        Raises:
            FormatError: It is no file.
        """
        if self.kind not in (Kind.FILE, Kind.RAW):
            raise FormatError(f"expected a file, got {self.kind.name}")
        return len(self.data) + sum(self.block_sizes)


def encode_file(
    links: Sequence[PBLink], sizes: Sequence[int], metadata: Metadata | None = None
) -> bytes:
    """Return the block of a file's inner node with these children and their file bytes."""
    encode = varint.encode
    parts = [b"\x08\x02\x18", encode(sum(sizes))]
    for size in sizes:
        parts += (b"\x20", encode(size))
    parts.append(_encode_metadata(metadata))
    return encode_node(links, b"".join(parts))


def encode_wrapped_leaf(data: bytes, metadata: Metadata | None = None) -> bytes:
    """Return the block of a leaf that wraps its bytes in a node (profiles without raw leaves)."""
    size = varint.encode(len(data))
    end = b"\x18" + size + _encode_metadata(metadata)
    begin = b"\x08\x02\x12" + size if data else b"\x08\x02"
    message_bytes = len(begin) + len(data) + len(end)
    return b"".join((b"\x0a", varint.encode(message_bytes), begin, data, end))


def encode_directory(links: Sequence[PBLink], metadata: Metadata | None = None) -> bytes:
    """Return the block of a directory that is one node."""
    return encode_node(links, b"\x08\x01" + _encode_metadata(metadata))


def encode_symlink(target: bytes, metadata: Metadata | None = None) -> bytes:
    """Return the block of a symbolic link."""
    message = b"\x08\x04\x12" + varint.encode(len(target)) + target
    return encode_node((), message + _encode_metadata(metadata))


def encode_shard(
    links: Sequence[PBLink],
    bitfield: bytes,
    fanout: int,
    hash_type: int,
    metadata: Metadata | None = None,
) -> bytes:
    """Return the block of one shard of a sharded directory; the root alone has the directory's metadata."""
    message = b"\x08\x05\x12" + varint.encode(len(bitfield)) + bitfield
    message += b"\x28" + varint.encode(hash_type) + b"\x30" + varint.encode(fanout)
    return encode_node(links, message + _encode_metadata(metadata))


_NS = 1_000_000_000
_NANOSECONDS = struct.Struct("<I")


def _encode_metadata(metadata: Metadata | None) -> bytes:
    """Return the fields of mode and time; a mode of 0 is left out, as if there were none."""
    if metadata is None:
        return b""
    out = b"\x38" + varint.encode(metadata.mode) if metadata.mode else b""
    if metadata.mtime_ns is not None:
        seconds, nanoseconds = divmod(metadata.mtime_ns, _NS)
        time = b"\x08" + _encode_int64(seconds)
        if nanoseconds:
            time += b"\x15" + _NANOSECONDS.pack(nanoseconds)
        out += b"\x42" + varint.encode(len(time)) + time
    return out


def _encode_int64(value: int) -> bytes:
    """Return a protobuf int64: negative ones as their two's complement of 64 bits, 10 bytes long."""
    if value >= 0:
        return varint.encode(value)
    value &= (1 << 64) - 1
    return bytes(value >> shift & 0x7F | 0x80 for shift in range(0, 63, 7)) + b"\x01"


def _decode_mtime(message: bytes) -> int:
    """Read a time message as nanoseconds since 1970.

    Raises:
        FormatError: It is not one, or its fraction is not within a second.
    """
    if message[:1] != b"\x08":
        raise FormatError("UnixFS modification time does not begin with its seconds")
    seconds, offset = _decode_int64(message, 1)
    rest = message[offset:]
    nanoseconds = 0
    if rest:
        if len(rest) != 5 or rest[:1] != b"\x15":
            raise FormatError("UnixFS modification time has an unknown field")
        (nanoseconds,) = _NANOSECONDS.unpack(rest[1:])
    if nanoseconds >= _NS:
        raise FormatError(f"expected nanoseconds below {_NS}, got {nanoseconds}")
    return seconds * _NS + nanoseconds


def _decode_int64(data: bytes, offset: int) -> tuple[int, int]:
    end = offset + 10
    if (
        len(data) >= end
        and data[end - 1] == 1
        and all(byte & 0x80 for byte in data[offset : end - 1])
    ):
        low = sum((data[offset + i] & 0x7F) << 7 * i for i in range(9))
        return low - (1 << 63), end
    return varint.decode(data, offset)


def decode_unixfs(block: bytes) -> UnixFSNode:
    """Read a DAG-PB block as UnixFS and check that what it says about itself agrees.

    Raises:
        FormatError: It is no DAG-PB node, no UnixFS message, or its sizes and links contradict each other.
    """
    node = decode_node(block)
    if node.data is None:
        raise FormatError("DAG-PB node has no UnixFS data")
    fields = _Fields()
    _read_fields(node.data, fields)
    if fields.kind is None:
        raise FormatError("UnixFS message has no type")
    unixfs = UnixFSNode(
        kind=_kind(fields.kind),
        data=fields.data or b"",
        file_size=fields.file_size,
        block_sizes=tuple(fields.block_sizes),
        hash_type=fields.hash_type,
        fanout=fields.fanout,
        links=node.links,
        metadata=_metadata(fields),
    )
    _check(unixfs)
    return unixfs


class _Fields:
    """The fields found so far while a message is read."""

    __slots__ = ("block_sizes", "data", "fanout", "file_size", "hash_type", "kind", "mode", "mtime")

    def __init__(self) -> None:
        self.kind: int | None = None
        self.data: bytes | None = None
        self.file_size: int | None = None
        self.block_sizes: list[int] = []
        self.hash_type: int | None = None
        self.fanout: int | None = None
        self.mode: int | None = None
        self.mtime: bytes | None = None


def _metadata(fields: _Fields) -> Metadata:
    if fields.mode is None and fields.mtime is None:
        return NO_METADATA
    mode = None if fields.mode is None else fields.mode & 0o7777  # the other bits are reserved
    return Metadata(mode, None if fields.mtime is None else _decode_mtime(fields.mtime))


# Protobuf key -> attribute; block sizes (4) may be packed or not and are handled apart.
_INTEGERS = {0x08: "kind", 0x18: "file_size", 0x28: "hash_type", 0x30: "fanout", 0x38: "mode"}
_BYTES = {0x12: "data", 0x42: "mtime"}
_BLOCK_SIZE, _BLOCK_SIZES_PACKED = 0x20, 0x22


def _read_fields(message: bytes, fields: _Fields) -> None:
    offset = 0
    while offset < len(message):
        key = message[offset]
        value, offset = varint.decode(message, offset + 1)
        if key == _BLOCK_SIZE:
            fields.block_sizes.append(value)
            continue
        if key in _INTEGERS:
            _set_once(fields, _INTEGERS[key], value)
            continue
        body, offset = message[offset : offset + value], offset + value
        if offset > len(message):
            raise FormatError("UnixFS field is cut off")
        if key == _BLOCK_SIZES_PACKED and not fields.block_sizes:
            fields.block_sizes = _read_packed(body)
        elif key in _BYTES:
            _set_once(fields, _BYTES[key], body)
        else:
            raise FormatError(f"UnixFS message has an unknown or repeated field 0x{key:02x}")


def _read_packed(body: bytes) -> list[int]:
    values, offset = [], 0
    while offset < len(body):
        value, offset = varint.decode(body, offset)
        values.append(value)
    return values


def _set_once(fields: _Fields, name: str, value: int | bytes) -> None:
    if getattr(fields, name) is not None:
        raise FormatError(f"UnixFS message has its {name} twice")
    setattr(fields, name, value)


def _kind(value: int) -> Kind:
    try:
        return Kind(value)
    except ValueError:
        raise FormatError(f"expected a UnixFS type from 0 to 5, got {value}") from None


def _check(node: UnixFSNode) -> None:
    if node.kind in (Kind.FILE, Kind.RAW):
        if len(node.block_sizes) != len(node.links):
            raise FormatError(
                f"UnixFS file has {len(node.links)} links, but block sizes for {len(node.block_sizes)}"
            )
        total = len(node.data) + sum(node.block_sizes)
        if total > MAX_FILE_BYTES:
            raise FormatError(f"expected a file of at most {MAX_FILE_BYTES} bytes, got {total}")
        if node.file_size is not None and node.file_size != total:
            raise FormatError(
                f"UnixFS file says {node.file_size} bytes, but its parts have {total}"
            )
    elif node.block_sizes:
        raise FormatError(f"UnixFS {node.kind.name.lower()} has block sizes")
    if node.kind is Kind.SYMLINK and node.links:
        raise FormatError("UnixFS symlink has links")
