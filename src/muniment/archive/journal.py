"""The journal of an unfinished commit: what a resumed run may rely on.

An append-only file in the staging folder. A frame is appended only when everything that it speaks of is durable, so a run
that was killed goes on behind the last whole frame. It holds the file keys until they are sealed in `keys.age`; it is
readable by its owner only and removed with the staging folder.

A frame is u32(length) ‖ u32(CRC-32 of the payload) ‖ payload; a torn last frame is ignored and overwritten,
and so are zeros, which a power cut leaves where a file had grown before its bytes were written (no frame is empty).
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from muniment.archive.catalog import ContentPlace, ScannedFile
from muniment.errors import FormatError

_HEADER_BYTES = 8
_FRAME_BYTES_MAX = 1 << 30


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One placed leaf.

    Attributes:
        file_id: The version's number in the catalogue.
        file_key: 32 bytes.
        fields_digest: 32 bytes: half of the leaf.
        ciphertext_digest: 32 bytes: the other half.
        sealed_record: The record, sealed.
        scanned: The file as it was read.
        digest: BLAKE3 of the plaintext; None for folders and links.
        media_type: Empty for folders and links.
        place: Where its content lies, in this commit or as a copy elsewhere; None when it has none.
    """

    file_id: int
    file_key: bytes
    fields_digest: bytes
    ciphertext_digest: bytes
    sealed_record: bytes
    scanned: ScannedFile
    digest: bytes | None
    media_type: str
    place: ContentPlace | None


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """Leaves that follow those of the batches before; all bytes of the tar up to `end_offset` are durable."""

    first_leaf: int
    end_offset: int
    entries: list[Entry]


class FileDigests(msgspec.Struct, frozen=True, array_like=True, tag="file"):
    """A sealed file that is complete and durable.

    Attributes:
        name: Its name in the commit.
        size: Bytes.
        sha256: 32 bytes.
        blake3: 32 bytes.
        blocks: SHA-256 of each of its 1 MiB blocks, 32 bytes each: the leaves of its UnixFS DAG.
    """

    name: str
    size: int
    sha256: bytes
    blake3: bytes
    blocks: bytes


class TarEnd(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The tar is complete."""

    tar_bytes: int
    leaf_count: int


Frame = Batch | FileDigests | TarEnd
_decoder = msgspec.msgpack.Decoder(Frame)
_encoder = msgspec.msgpack.Encoder()


def append(file: BinaryIO, frame: Frame) -> None:
    """Append a frame at the file's position; the caller makes it durable."""
    payload = _encoder.encode(frame)
    file.write(len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload)


def read(file: BinaryIO) -> Iterator[tuple[Frame, int]]:
    """Iterate over the whole frames from the file's start, each with the position behind it."""
    file.seek(0)
    position = 0
    while True:
        header = file.read(_HEADER_BYTES)
        length = int.from_bytes(header[:4], "big")
        if len(header) < _HEADER_BYTES or not 0 < length <= _FRAME_BYTES_MAX:
            return
        payload = file.read(length)
        if len(payload) < length or zlib.crc32(payload) != int.from_bytes(header[4:], "big"):
            return
        position += _HEADER_BYTES + length
        try:
            frame = _decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise FormatError(
                f"the journal has an unknown frame before byte {position}: {error}"
            ) from error
        yield frame, position
