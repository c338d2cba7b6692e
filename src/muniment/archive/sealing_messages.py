"""What a sealing run and its workers say to each other; all of it can be pickled."""

from typing import NamedTuple

from muniment.archive.catalog import ClaimedFile, ContentPlace, ScannedFile
from muniment.archive.journal import Entry, FileDigests
from muniment.archive.sealed_stream import sealed_size

LARGE_FILE_BYTES = 8 << 20
"""A file larger than this is not held in memory, but sealed straight to its place."""

EMPTY_MEMBER_BYTES = sealed_size(0)
"""Size of the member of a leaf without content of its own."""


class Copy(NamedTuple):
    """Content that is stored already: where, and the key that opens it."""

    place: ContentPlace
    content_key: bytes


class SealUnit(NamedTuple):
    """Ask a worker to read, hash, compress and encrypt some small files and hold the result."""

    unit: int
    files: list[tuple[ClaimedFile, bytes]]
    compression: str


class SealedFile(NamedTuple):
    """One file of a sealed unit: as it was read. Content-less kinds have no digest and nothing packed."""

    file_id: int
    scanned: ScannedFile
    digest: bytes | None
    compression: str
    packed_size: int
    sealed_size: int


class SealedUnit(NamedTuple):
    """A worker's answer: what it holds now, in order, and what could not be read."""

    unit: int
    files: list[SealedFile]
    failures: list["Failure"]


class Failure(NamedTuple):
    """A file that could not be sealed; `vanished` when it is simply no longer there."""

    file_id: int
    path: bytes
    message: str
    vanished: bool


class PlaceUnit(NamedTuple):
    """Ask the worker that holds a unit to write it at its place; a copy's own content is dropped."""

    unit: int
    first_leaf: int
    offset: int
    copies: list[Copy | None]


class HashLarge(NamedTuple):
    """Ask for the digest of a large file that may be stored already: its size is known.

    The worker then holds it as a unit that has nothing packed, to be placed as a copy or else sealed.
    """

    unit: int
    file: ClaimedFile
    file_key: bytes


class SealLarge(NamedTuple):
    """Ask a worker to seal one large file straight to its place."""

    unit: int
    leaf: int
    offset: int
    file: ClaimedFile
    file_key: bytes
    compression: str


class PlacedUnit(NamedTuple):
    """A worker's answer: the unit is written (not yet durable) up to `end_offset`."""

    unit: int
    entries: list[Entry]
    end_offset: int
    failures: list[Failure]


class HashedLarge(NamedTuple):
    """A worker's answer to `HashLarge`; no digest when the file could not be read."""

    unit: int
    digest: bytes | None


class DigestChunk(NamedTuple):
    """Ask a worker for the digests of a chunk whose bytes are all written."""

    name: str


class ChunkDigested(NamedTuple):
    """A worker's answer to `DigestChunk`."""

    digests: FileDigests


Request = SealUnit | PlaceUnit | HashLarge | SealLarge | DigestChunk
Answer = SealedUnit | PlacedUnit | HashedLarge | ChunkDigested
