"""What a worker process does for `muniment.archive.sealing`: reads, compresses, encrypts, writes and digests."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
from blake3 import blake3

from muniment.adapters.file_digests import digest_file
from muniment.adapters.source_file import ChangedError, SourceFile, UnreadableError, retrying
from muniment.archive import compression as comp
from muniment.archive import record as records
from muniment.archive import sealed_stream, tarball
from muniment.archive.catalog import ClaimedFile, ContentPlace, Kind
from muniment.archive.journal import Entry
from muniment.archive.media_type import HEAD_BYTES, media_type
from muniment.archive.sealing_messages import (
    EMPTY_MEMBER_BYTES,
    LARGE_FILE_BYTES,
    Answer,
    ChunkDigested,
    Copy,
    DigestChunk,
    Failure,
    HashedLarge,
    HashLarge,
    PlacedUnit,
    PlaceUnit,
    Request,
    SealedFile,
    SealedUnit,
    SealLarge,
    SealUnit,
)

_PIECE_BYTES = 1 << 20
_WRITES_AHEAD = 4
_HEADER_BYTES = tarball.BLOCK_BYTES


class _Held(NamedTuple):
    """A sealed file waiting for its place."""

    sealed: SealedFile
    file_key: bytes
    media_type: str
    member: bytes


class SealingWorker:
    """Answers the requests of a sealing run.

    Args:
        folder: Where the chunks are.
        commit_id: The commit.
        chunk_bytes: Size of its chunks.
    """

    def __init__(self, folder: Path, commit_id: str, chunk_bytes: int) -> None:
        self._folder, self._commit_id, self._chunk_bytes = folder, commit_id, chunk_bytes
        self._held: dict[int, list[_Held]] = {}
        self._chunks: dict[int, int] = {}
        self._parent = os.getppid()

    def __call__(self, request: Request) -> Answer:
        """Do what is asked."""
        if isinstance(request, SealUnit):
            return self._seal_unit(request)
        if isinstance(request, PlaceUnit):
            return self._place_unit(request)
        if isinstance(request, HashLarge):
            return self._hash_large(request)
        if isinstance(request, SealLarge):
            return self._seal_large(request)
        return self._digest_chunk(request)

    def _seal_unit(self, request: SealUnit) -> SealedUnit:
        held: list[_Held] = []
        failures: list[Failure] = []
        for file, file_key in request.files:
            try:
                held.append(retrying(partial(_seal_small, file, file_key, request.compression)))
            except UnreadableError as error:
                failures.append(
                    Failure(file.file_id, file.scanned.path, str(error), error.vanished)
                )
        self._held[request.unit] = held
        return SealedUnit(request.unit, [item.sealed for item in held], failures)

    def _place_unit(self, request: PlaceUnit) -> PlacedUnit:
        entries: list[Entry] = []
        parts: list[bytes] = []
        offset, leaf = request.offset, request.first_leaf
        for item, copy in zip(self._held.pop(request.unit), request.copies, strict=True):
            member = item.member if copy is None else _empty_member(item.file_key)
            parts.append(tarball.header(leaf, len(member)))
            parts.append(member)
            digest = blake3(member).digest()
            entries.append(_entry(item, self._place(leaf, offset, item.sealed), copy, digest))
            offset += _HEADER_BYTES + len(member)
            leaf += 1
        self._write(request.offset, parts)
        return PlacedUnit(request.unit, entries, offset, [])

    def _hash_large(self, request: HashLarge) -> HashedLarge:
        try:
            held = retrying(lambda: _hash_once(request.file, request.file_key, self._alive))
        except UnreadableError:
            return HashedLarge(request.unit, None)  # sealing it will say why
        self._held[request.unit] = [held]
        return HashedLarge(request.unit, held.sealed.digest)

    def _seal_large(self, request: SealLarge) -> PlacedUnit:
        self._held.pop(request.unit, None)
        file = request.file
        try:
            entry, end = retrying(lambda: self._seal_large_once(request))
        except UnreadableError as error:
            failure = Failure(file.file_id, file.scanned.path, str(error), error.vanished)
            return PlacedUnit(request.unit, [], request.offset, [failure])
        return PlacedUnit(request.unit, [entry], end, [])

    def _seal_large_once(self, request: SealLarge) -> tuple[Entry, int]:
        start = request.offset + _HEADER_BYTES
        with SourceFile(request.file.scanned.path) as source:
            head = source.peek(0, HEAD_BYTES)
            name = _choose_compression(source, request.compression)
            plain = _Hashed(self._alive(source.pieces()))
            packed = _Counted(
                iter(plain) if name == "none" else comp.compress_stream(iter(plain), name)
            )
            pieces = _seal_pieces(records.content_key(request.file_key), iter(packed))
            end, ciphertext_digest = self._write_stream(start, pieces)
            scanned = source.unchanged(request.file.scanned)
        self._write(request.offset, [tarball.header(request.leaf, end - start)])
        sealed = SealedFile(
            request.file.file_id, scanned, plain.digest(), name, packed.size, end - start
        )
        held = _Held(sealed, request.file_key, media_type(scanned.path, head), b"")
        place = self._place(request.leaf, request.offset, sealed)
        return _entry(held, place, None, ciphertext_digest), end

    def _write_stream(self, offset: int, pieces: Iterator[bytes]) -> tuple[int, bytes]:
        """Write pieces one behind the other while the next are sealed; returns where they end, and their BLAKE3."""
        hasher = blake3()

        def write(position: int, piece: bytes) -> None:
            hasher.update(piece)
            self._write(position, [piece])

        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1) as writer:
            for piece in pieces:
                waiting.append(writer.submit(write, offset, piece))
                offset += len(piece)
                if len(waiting) > _WRITES_AHEAD:
                    waiting.popleft().result()
        for written in waiting:
            written.result()
        return offset, hasher.digest()

    def _place(self, leaf: int, offset: int, file: SealedFile) -> ContentPlace:
        start = offset + _HEADER_BYTES
        return ContentPlace(
            self._commit_id, leaf, start, file.sealed_size, file.packed_size, file.compression
        )

    def _alive(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Stop when the run that asked for this is gone: the next run must not meet a writer of the last one."""
        for piece in pieces:
            if os.getppid() != self._parent:
                os._exit(1)
            yield piece

    def _write(self, offset: int, parts: list[bytes]) -> None:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        view = memoryview(data)
        while view:
            index, within = divmod(offset, self._chunk_bytes)
            written = os.pwrite(self._chunk(index), view[: self._chunk_bytes - within], within)
            view = view[written:]
            offset += written

    def _chunk(self, index: int) -> int:
        descriptor = self._chunks.get(index)
        if descriptor is None:
            while len(self._chunks) >= 8:
                os.close(self._chunks.pop(next(iter(self._chunks))))
            path = self._folder / f"{self._commit_id}_{tarball.chunk_suffix(index)}"
            descriptor = self._chunks[index] = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644
            )
        return descriptor

    def _digest_chunk(self, request: DigestChunk) -> ChunkDigested:
        return ChunkDigested(digest_file(self._folder / request.name))


class _Counted:
    """Passes pieces on and counts their bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self.size = pieces, 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            yield piece


class _Hashed:
    """Passes pieces on and hashes them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._hasher = pieces, blake3()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._hasher.update(piece)
            yield piece

    def digest(self) -> bytes:
        """Return the BLAKE3 of all that passed."""
        return self._hasher.digest()


def _seal_small(file: ClaimedFile, file_key: bytes, compression: str) -> _Held:
    """Read and seal a file that fits in memory, or a folder or link, which have no content."""
    scanned = file.scanned
    if scanned.kind is not Kind.FILE:
        sealed = SealedFile(file.file_id, scanned, None, "none", 0, EMPTY_MEMBER_BYTES)
        return _Held(sealed, file_key, "", _empty_member(file_key))
    with SourceFile(scanned.path) as source:
        if source.size > LARGE_FILE_BYTES:
            raise UnreadableError(f"it grew to {source.size} bytes since it was scanned")
        data = source.whole()
        scanned = source.unchanged(scanned)
    if len(data) != scanned.size:
        raise ChangedError("it changed while it was read")
    name, packed = comp.pack(data, compression)
    member = sealed_stream.seal(records.content_key(file_key), packed)
    digest = blake3(data).digest()
    sealed = SealedFile(file.file_id, scanned, digest, name, len(packed), len(member))
    return _Held(sealed, file_key, media_type(scanned.path, data[:HEAD_BYTES]), member)


def _hash_once(
    file: ClaimedFile, file_key: bytes, alive: Callable[[Iterator[bytes]], Iterator[bytes]]
) -> _Held:
    hasher = blake3()
    with SourceFile(file.scanned.path) as source:
        head = source.peek(0, HEAD_BYTES)
        for piece in alive(source.pieces()):
            hasher.update(piece)
        scanned = source.unchanged(file.scanned)
    sealed = SealedFile(file.file_id, scanned, hasher.digest(), "none", 0, EMPTY_MEMBER_BYTES)
    return _Held(sealed, file_key, media_type(scanned.path, head), b"")


def _choose_compression(source: SourceFile, compression: str) -> str:
    """Sample a large file at its start, middle and end."""
    last = max(0, source.size - comp.SAMPLE_BYTES)
    samples = [source.peek(offset, comp.SAMPLE_BYTES) for offset in (0, last // 2, last)]
    return compression if comp.helps(samples, compression) else "none"


def _seal_pieces(key: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    sealer = sealed_stream.StreamSealer(key)
    yield sealer.start()
    for piece in pieces:
        yield from sealer.update(piece)
    yield from sealer.finish()


def _empty_member(file_key: bytes) -> bytes:
    return sealed_stream.seal(records.content_key(file_key), b"")


def _entry(held: _Held, place: ContentPlace, copy: Copy | None, ciphertext_digest: bytes) -> Entry:
    """Make the journal's entry of a file placed at `place`, with its record sealed."""
    file = held.sealed
    has_content = file.scanned.kind is Kind.FILE and file.scanned.size > 0
    content = _content(place, copy) if has_content else None
    fields = records.fields(records.build(file.scanned, file.digest, held.media_type, content))
    return Entry(
        file_id=file.file_id,
        file_key=held.file_key,
        fields_digest=records.fields_digest(held.file_key, fields),
        ciphertext_digest=ciphertext_digest,
        sealed_record=records.seal(held.file_key, fields),
        scanned=file.scanned,
        digest=file.digest,
        media_type=held.media_type,
        place=(place if copy is None else copy.place) if has_content else None,
    )


def _content(own: ContentPlace, copy: Copy | None) -> records.Content:
    place = own if copy is None else copy.place
    content = records.Content(
        place.compression,  # type: ignore[arg-type]  # one of the three names
        place.offset,
        place.packed_size,
        place.sealed_size,
    )
    if copy is None:
        return content
    return msgspec.structs.replace(
        content, commit_id=place.commit_id, key_hex=copy.content_key.hex(), leaf=place.leaf
    )
