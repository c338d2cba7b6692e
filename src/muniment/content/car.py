"""CARv1: blocks one after another in one file or stream (https://ipld.io/specs/transport/car/carv1/).

A CAR is `varint(length) header` and then sections `varint(length) CID data`, where each length counts what follows it. The
header is the DAG-CBOR map `{"roots": [CIDs], "version": 1}`. A CAR protects nothing by itself, so the reader verifies the hash
of every block. Written here, equal roots and blocks in equal order are equal bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from muniment.content import varint
from muniment.content.cid import CID, verify_block
from muniment.content.dag_pb import MAX_BLOCK_BYTES
from muniment.errors import FormatError

MAX_HEADER_BYTES = 64 * 1024
"""Longest header that is read: room for some 1,500 roots."""
MAX_CID_BYTES = 9 + 9 + 9 + 9 + 128
MAX_SECTION_BYTES = MAX_BLOCK_BYTES + MAX_CID_BYTES


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
        roots: The roots of the header; they need not be among the blocks.

    Raises:
        FormatError: The header is not that of a CARv1.
    """

    def __init__(self, stream: BinaryIO, *, max_blocks: int | None = None) -> None:
        self._stream = stream
        self._max_blocks = max_blocks
        header, self._position = _read_prefixed(stream, 0, MAX_HEADER_BYTES, "CAR header")
        if header is None:
            raise FormatError("CAR is empty")
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


def read_section(stream: BinaryIO, position: int) -> Section | None:
    """Read the section that `stream` is at, which is byte `position` of the CAR; None at the end of the stream.

    Raises:
        FormatError: The section is malformed, too large or cut off.
    """
    frame = read_frame(stream, position)
    return None if frame is None else split_frame(*frame)


def read_frame(stream: BinaryIO, position: int) -> tuple[bytes, int] | None:
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
    parts = [b"\xa2\x65roots", _cbor_head(0x80, len(roots))]
    for root in roots:
        parts += (b"\xd8\x2a", _cbor_head(0x40, len(root.raw) + 1), b"\0", root.raw)
    header = b"".join([*parts, b"\x67version\x01"])
    return varint.encode(len(header)) + header


def encode_section_head(cid: CID, size: int) -> bytes:
    """Return what stands before the data of a block of `size` bytes: the section's length and the CID."""
    return varint.encode(len(cid.raw) + size) + cid.raw


def write_car(stream: BinaryIO, roots: Sequence[CID], blocks: Iterable[tuple[CID, bytes]]) -> int:
    """Write a CAR and return its size in bytes; blocks are taken as they come and are not verified."""
    size = stream.write(encode_header(roots))
    for cid, data in blocks:
        size += stream.write(encode_section_head(cid, len(data)))
        size += stream.write(data)
    return size


def _read_prefixed(
    stream: BinaryIO, position: int, limit: int, what: str
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


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    body = stream.read(length)
    while len(body) < length and (more := stream.read(length - len(body))):
        body += more
    return body


def _decode_header(header: bytes) -> tuple[CID, ...]:
    """Read the one form of DAG-CBOR that a header has; the rest of DAG-CBOR is not needed for it."""
    if header[:7] != b"\xa2\x65roots":
        if header == b"\xa1\x67version\x02":
            raise FormatError("expected a CARv1, got a CARv2")
        raise FormatError("CAR header is not the DAG-CBOR map of roots and version")
    count, offset = _read_cbor_head(header, 7, 0x80)
    roots = []
    for _ in range(count):
        if header[offset : offset + 2] != b"\xd8\x2a":
            raise FormatError("CAR header has a root that is not a DAG-CBOR link")
        length, offset = _read_cbor_head(header, offset + 2, 0x40)
        link, offset = header[offset : offset + length], offset + length
        if link[:1] != b"\0":
            raise FormatError("CAR header has a root that is not a DAG-CBOR link")
        roots.append(CID.from_bytes(link[1:]))
    if header[offset:] != b"\x67version\x01":
        raise FormatError("expected version 1 at the end of the CAR header")
    return tuple(roots)


def _cbor_head(major: int, length: int) -> bytes:
    if length < 24:
        return bytes([major | length])
    if length < 0x100:
        return bytes([major | 24, length])
    return bytes([major | 25]) + length.to_bytes(2, "big")


def _read_cbor_head(data: bytes, offset: int, major: int) -> tuple[int, int]:
    """Read the length of an array (major 0x80) or byte string (0x40) in its shortest form."""
    first = data[offset : offset + 1]
    extra = {24: 1, 25: 2}.get(first[0] & 0x1F, 0) if first else 0
    end = offset + 1 + extra
    length = int.from_bytes(data[offset + 1 : end], "big") if extra else (first or b"\0")[0] & 0x1F
    if data[offset:end] != _cbor_head(major, length):
        raise FormatError("CAR header has a malformed length")
    return length, end
