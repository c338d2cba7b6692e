"""CAR: blocks one after another in one file or stream (https://ipld.io/specs/transport/car/carv1/ and /carv2/).

A CAR is `varint(length) header` and then sections `varint(length) CID data`, where each length counts what follows it. The
header is the DAG-CBOR map `{"roots": [CIDs], "version": 1}`. A CAR protects nothing by itself, so the reader verifies the hash
of every block. Written here, equal roots and blocks in equal order are equal bytes.

That is version 1, the only one written here. A CARv2 is one within an envelope: a fixed beginning, a header that says where the CARv1
lies, and perhaps an index behind it. It is read as the CARv1 in it; the index says nothing that its blocks do not, and is not read.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, Protocol

from muniment.content import codecs, varint
from muniment.content.cid import CID, verify_block
from muniment.content.dag_pb import MAX_BLOCK_BYTES
from muniment.errors import FormatError

MAX_HEADER_BYTES = 1024 * 1024
"""Longest header that is read: room for some 25,000 roots."""
MAX_CID_BYTES = 9 + 9 + 9 + 9 + 128
MAX_SECTION_BYTES = MAX_BLOCK_BYTES + MAX_CID_BYTES
PIECE_BYTES = 1 << 20
"""CARs are written in pieces of this size."""

_V2_PRAGMA = b"\xa1\x67version\x02"
"""What a CARv2 has in the place of a header: the DAG-CBOR map `{"version": 2}`."""
_V2_HEADER = struct.Struct("<16xQQQ")
"""Characteristics (none of which matters to a reader), offset and size of the CARv1, offset of the index or 0."""
_V2_HEADER_END = 1 + len(_V2_PRAGMA) + _V2_HEADER.size
_SKIP_BYTES = 64 * 1024
MAX_PADDING_BYTES = 16 * 1024 * 1024
"""Most bytes between the header of a CARv2 and its data, which align it to pages or disk sectors."""


class Readable(Protocol):
    """What a CAR is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none only at the end."""
        ...


class Section(NamedTuple):
    """One block of a CAR.

    `offset` is where `data` begins and `end` where the section ends, both counted from the beginning of the stream that was read.
    """

    cid: CID
    data: bytes
    offset: int
    end: int


class CarReader:
    """Reads a CAR from a stream of bytes, verifying every block; never holds more than one block.

    Attributes:
        version: 1 or 2. In version 2, what lies behind the CARv1 is left unread in the stream.
        roots: The roots of the header; they need not be among the blocks.

    Raises:
        FormatError: The header is not that of a CAR of version 1 or 2.
    """

    def __init__(self, stream: Readable, *, max_blocks: int | None = None) -> None:
        self._stream = stream
        self._max_blocks = max_blocks
        self.version = 1
        header, self._position = _read_header(stream, 0)
        if header == _V2_PRAGMA:
            self.version = 2
            self._stream, start = _enter_v2(stream)
            header, self._position = _read_header(self._stream, start)
        self.roots = _decode_header(header)

    def __iter__(self) -> Iterator[tuple[CID, bytes]]:
        """Yield (CID, data) of every block.

        Raises:
            FormatError: A section is malformed or cut off, or there are more than `max_blocks`.
            IntegrityError: A block does not hash to its CID.
        """
        for section in self.sections():
            verify_block(section.cid, section.data)
            yield section.cid, section.data

    def sections(self) -> Iterator[Section]:
        """Yield every section with its place, without verifying the hashes.

        Raises:
            FormatError: A section is malformed or cut off, or there are more than `max_blocks`.
        """
        count = 0
        while (section := read_section(self._stream, self._position)) is not None:
            count += 1
            if self._max_blocks is not None and count > self._max_blocks:
                raise FormatError(
                    f"expected at most {self._max_blocks} blocks in the CAR, got more"
                )
            self._position = section.end
            yield section


def read_section(stream: Readable, position: int) -> Section | None:
    """Read the section that `stream` is at, which is byte `position` of the CAR; None at the end of the stream.

    Raises:
        FormatError: The section is malformed, too large or cut off.
    """
    frame = read_frame(stream, position)
    return None if frame is None else split_frame(*frame)


def read_frame(stream: Readable, position: int) -> tuple[bytes, int] | None:
    """Read one section without looking into it; return its bytes behind the length, and where it ends.

    Raises:
        FormatError: The length is malformed or too large, or the section is cut off.
    """
    body, end = _read_prefixed(stream, position, MAX_SECTION_BYTES, "CAR section")
    return None if body is None else (body, end)


def split_frame(body: bytes, end: int) -> Section:
    """Split what `read_frame` returned into CID and data.

    Raises:
        FormatError: It does not begin with a CID.
    """
    cid, data_start = CID.read(body)
    data = body[data_start:]
    return Section(cid, data, end - len(data), end)


def encode_header(roots: Sequence[CID]) -> bytes:
    """Return the beginning of a CAR: the header behind its length."""
    header = codecs.encode(codecs.DAG_CBOR, {"roots": list(roots), "version": 1})
    return varint.encode(len(header)) + header


def encode_section_head(cid: CID, size: int) -> bytes:
    """Return what stands before the data of a block of `size` bytes: the section's length and the CID."""
    return varint.encode(len(cid.raw) + size) + cid.raw


def car_pieces(
    roots: Sequence[CID], blocks: Iterable[tuple[CID, bytes]], piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """Yield a CAR in pieces of at least `piece_bytes`, but the last; blocks are taken as they come and are not verified.

    A block costs many times less to append than to hand on, be that to a file or to another thread.
    """
    parts = [encode_header(roots)]
    held_bytes = len(parts[0])
    for cid, data in blocks:
        head = encode_section_head(cid, len(data))
        parts += (head, data)
        held_bytes += len(head) + len(data)
        if held_bytes >= piece_bytes:
            yield b"".join(parts)
            parts, held_bytes = [], 0
    if parts:
        yield b"".join(parts)


def write_car(stream: BinaryIO, roots: Sequence[CID], blocks: Iterable[tuple[CID, bytes]]) -> int:
    """Write a CAR and return its size in bytes; blocks are taken as they come and are not verified."""
    return sum(map(stream.write, car_pieces(roots, blocks)))


def _read_prefixed(
    stream: Readable, position: int, limit: int, what: str
) -> tuple[bytes | None, int]:
    """Read a varint and that many bytes; return them and the position behind, or None at a clean end."""
    prefix = b""
    while len(prefix) < varint.MAX_BYTES:
        byte = stream.read(1)
        if not byte:
            if prefix:
                raise FormatError(f"{what} at byte {position} is cut off")
            return None, position
        prefix += byte
        if byte[0] < 0x80:
            break
    length, _ = varint.decode(prefix)
    if not 0 < length <= limit:
        raise FormatError(
            f"expected a {what} of 1 to {limit} bytes at byte {position}, got {length}"
        )
    body = _read_exactly(stream, length)
    if len(body) != length:
        raise FormatError(
            f"{what} at byte {position} is cut off: expected {length} bytes, got {len(body)}"
        )
    return body, position + len(prefix) + length


def _read_exactly(stream: Readable, length: int) -> bytes:
    body = stream.read(length)
    if len(body) == length or not body:
        return body
    parts, missing = [body], length - len(body)
    while missing and (body := stream.read(missing)):
        parts.append(body)
        missing -= len(body)
    return b"".join(parts)


def _read_header(stream: Readable, position: int) -> tuple[bytes, int]:
    header, end = _read_prefixed(stream, position, MAX_HEADER_BYTES, "CAR header")
    if header is None:
        raise FormatError("CAR is empty")
    return header, end


def _decode_header(header: bytes) -> tuple[CID, ...]:
    fields = codecs.decode(codecs.DAG_CBOR, header)
    if not isinstance(fields, dict) or fields.keys() != {"roots", "version"}:
        raise FormatError("CAR header is not the DAG-CBOR map of roots and version")
    version, roots = fields["version"], fields["roots"]
    if version != 1 or not isinstance(version, int) or isinstance(version, bool):
        raise FormatError(f"expected version 1 in the CAR header, got {str(version)[:80]}")
    if not isinstance(roots, list):
        raise FormatError("CAR header has roots that are not a list")
    cids = tuple(root for root in roots if isinstance(root, CID))
    if len(cids) != len(roots):
        raise FormatError("CAR header has a root that is not a link")
    return cids


class _Window:
    """The CARv1 in a CARv2: the next `size` bytes of a stream, which must be there."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none only at the end of the window."""
        data = self._stream.read(min(size, self._left))
        if not data and size and self._left:
            raise FormatError(f"CARv2 is cut off: expected {self._left} more bytes")
        self._left -= len(data)
        return data


def _enter_v2(stream: Readable) -> tuple[_Window, int]:
    """Read the header of a CARv2 behind its pragma and go to the CARv1; return that, and where it begins."""
    header = _read_exactly(stream, _V2_HEADER.size)
    if len(header) != _V2_HEADER.size:
        raise FormatError("CARv2 header is cut off")
    offset, size, index_offset = _V2_HEADER.unpack(header)
    if offset < _V2_HEADER_END or size == 0:
        raise FormatError(f"CARv2 header has no place for its data: offset {offset}, {size} bytes")
    if index_offset and index_offset < offset + size:
        raise FormatError("CARv2 header has an index that begins within the data")
    gap = offset - _V2_HEADER_END
    if gap > MAX_PADDING_BYTES:
        raise FormatError(
            f"expected CARv2 data within {MAX_PADDING_BYTES} bytes, got byte {offset}"
        )
    while gap:
        skipped = len(stream.read(min(gap, _SKIP_BYTES)))
        if not skipped:
            raise FormatError(f"CARv2 is cut off: expected its data at byte {offset}")
        gap -= skipped
    return _Window(stream, size), offset
