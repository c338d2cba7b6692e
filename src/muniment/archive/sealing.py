"""Sealing: one pass that hashes, compresses, encrypts and packs what a commit has claimed (stages hash, encrypt, package).

Files are grouped into *units*. Workers seal units in parallel and in memory; this module gives the sealed units their
places in the tar in order, so that leaf numbers, offsets and copies of known content are decided in one place. A file too
large for memory is a unit of its own and is sealed straight to its place. A finished chunk is digested by a worker while the
next ones fill. Every finished chunk is a checkpoint in the journal; a resumed run starts behind the last one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from muniment.archive import tarball
from muniment.archive.catalog import ClaimedFile, ContentPlace
from muniment.archive.journal import Batch, Entry, FileDigests, Frame, TarEnd
from muniment.archive.ports import KnownContent, SealProgress, Staging, Workers
from muniment.archive.record import content_key
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
    SealedUnit,
    SealLarge,
    SealUnit,
)

UNIT_BYTES = 4 << 20
UNIT_FILES = 256
_UNITS_AHEAD = 3  # sealed units that may wait in each worker's memory for their turn


@dataclass
class Resumed:
    """Where a run goes on: what the journal of an earlier one says.

    Attributes:
        done: Versions that have their leaf.
        leaf_count: Number of leaves so far.
        offset: Where in the tar the next member begins.
        digested: Chunks that are finished.
        contents: Contents placed in this commit, by digest.
        ended: The tar is complete.
    """

    done: set[int] = field(default_factory=set)
    leaf_count: int = 0
    offset: int = 0
    digested: set[str] = field(default_factory=set)
    contents: dict[bytes, Copy] = field(default_factory=dict)
    sizes: set[int] = field(default_factory=set)
    ended: TarEnd | None = None


@dataclass
class _Unit:
    """A unit on its way: `sealed` once a worker holds it."""

    files: list[ClaimedFile]
    keys: list[bytes]
    large: bool
    worker: int | None = None
    sealed: SealedUnit | None = None
    begun: bool = False


def replay(frames: Iterable[Frame], commit_id: str) -> Resumed:
    """Read from a journal what earlier runs did."""
    resumed = Resumed()
    for frame in frames:
        if isinstance(frame, Batch):
            for leaf, entry in enumerate(frame.entries, frame.first_leaf):
                resumed.done.add(entry.file_id)
                place = entry.place
                if (
                    place is not None
                    and entry.digest is not None
                    and (place.commit_id, place.leaf) == (commit_id, leaf)
                ):
                    resumed.contents[entry.digest] = Copy(place, content_key(entry.file_key))
                    resumed.sizes.add(entry.scanned.size)
            resumed.leaf_count = frame.first_leaf + len(frame.entries)
            resumed.offset = frame.end_offset
        elif isinstance(frame, FileDigests):
            resumed.digested.add(frame.name)
        else:
            resumed.ended = frame
    return resumed


def group(files: Iterable[ClaimedFile], done: set[int]) -> Iterator[list[ClaimedFile]]:
    """Group what is not done yet into units, keeping the order."""
    unit: list[ClaimedFile] = []
    size = 0
    for file in files:
        if file.file_id in done:
            continue
        large = file.scanned.size > LARGE_FILE_BYTES
        if unit and (large or size + file.scanned.size > UNIT_BYTES or len(unit) == UNIT_FILES):
            yield unit
            unit, size = [], 0
        unit.append(file)
        size += file.scanned.size
        if large:
            yield unit
            unit, size = [], 0
    if unit:
        yield unit


class SealingRun:
    """Seals one commit; see the module's description.

    Args:
        commit_id: The commit.
        chunk_bytes: Size of its chunks.
        compression: What to compress with, where it helps.
        workers: Who seals.
        staging: Where.
        known: Contents of other commits.
        random: Returns so many random bytes: the file keys.
        resumed: What earlier runs did.
        on_progress: Told what was placed.
    """

    def __init__(
        self,
        *,
        commit_id: str,
        chunk_bytes: int,
        compression: str,
        workers: Workers,
        staging: Staging,
        known: KnownContent,
        random: Callable[[int], bytes],
        resumed: Resumed,
        on_progress: SealProgress,
    ) -> None:
        self._commit_id, self._chunk_bytes, self._compression = commit_id, chunk_bytes, compression
        self._workers, self._staging, self._known, self._random = workers, staging, known, random
        self._on_progress = on_progress
        self._resumed = resumed
        self._contents, self._sizes = dict(resumed.contents), set(resumed.sizes)
        self._units: dict[int, _Unit] = {}
        self._queues: list[deque[Request]] = [deque() for _ in range(workers.count)]
        self._shared: deque[Request] = deque()
        self._busy = 0
        self._formed = 0  # units formed so far
        self._turn = 0  # the unit that is to be given its place next
        self._leaf, self._offset = resumed.leaf_count, resumed.offset  # where that is
        self._placed: dict[int, PlacedUnit] = {}  # written, but one before them is not
        self._confirmed = 0  # units before this one are written
        self._confirmed_offset = resumed.offset
        self._entries: list[Entry] = []  # written, not in the journal yet
        self._next_chunk = 0  # chunks before this one are digested, or asked for
        self._journaled_leaf, self._journaled_offset = resumed.leaf_count, resumed.offset
        self.failures: list[Failure] = []

    def run(self, files: Iterable[ClaimedFile]) -> TarEnd:
        """Seal all of `files` that are not done; returns the tar's size and number of leaves.

        Files that failed have no leaf; `failures` lists them. When nothing has a leaf, there is no tar, and the count is 0.
        """
        self._digest_full_chunks()
        self._work(group(files, self._resumed.done))
        if self._leaf == 0:
            return TarEnd(0, 0)
        self._checkpoint()
        end = TarEnd(self._staging.end_tar(self._offset), self._leaf)
        self._confirmed_offset = end.tar_bytes
        self._digest_full_chunks(last=True)
        self._work(iter(()))
        self._staging.submit(self._chunks(self._journaled_offset, end.tar_bytes), [end])
        self._staging.wait()
        return end

    def _work(self, units: Iterator[list[ClaimedFile]]) -> None:
        exhausted = False
        while True:
            exhausted = self._dispatch(units, exhausted=exhausted)
            if not self._busy:
                return
            self._handle(*self._workers.receive())

    def _dispatch(self, units: Iterator[list[ClaimedFile]], *, exhausted: bool) -> bool:
        """Give every idle worker the most urgent thing; returns whether all units were formed."""
        for worker in self._workers.idle():
            request: Request | None = None
            if self._queues[worker]:
                request = self._queues[worker].popleft()
            elif self._shared:
                request = self._shared.popleft()
            elif not exhausted and len(self._units) < _UNITS_AHEAD * self._workers.count:
                files = next(units, None)
                exhausted = files is None
                request = self._form(worker, files) if files is not None else None
                if request is None and self._shared:  # a large unit whose turn it is
                    request = self._shared.popleft()
            if request is not None:
                self._workers.send(worker, request)
                self._busy += 1
        return exhausted

    def _form(self, worker: int, files: list[ClaimedFile]) -> Request | None:
        number, self._formed = self._formed, self._formed + 1
        keys = self._random(32 * len(files))
        unit = _Unit(
            files,
            [keys[i : i + 32] for i in range(0, len(keys), 32)],
            large=files[0].scanned.size > LARGE_FILE_BYTES,
        )
        self._units[number] = unit
        if unit.large:
            self._take_turns()
            return None
        unit.worker = worker
        return SealUnit(number, list(zip(files, unit.keys, strict=True)), self._compression)

    def _handle(self, worker: int, answer: Answer) -> None:
        self._busy -= 1
        if isinstance(answer, SealedUnit):
            self._units[answer.unit].sealed = answer
            self._take_turns()
        elif isinstance(answer, HashedLarge):
            self._large_hashed(worker, answer)
        elif isinstance(answer, PlacedUnit):
            self._place(answer)
        elif isinstance(answer, ChunkDigested):
            self._staging.submit((), [answer.digests])

    def _take_turns(self) -> None:
        """Give units their places, in order, as far as they are sealed."""
        while (unit := self._units.get(self._turn)) is not None:
            if unit.large:
                if not unit.begun:
                    unit.begun = True
                    self._begin_large(self._turn)
                return
            if unit.sealed is None:
                return
            self._assign(self._turn, unit, unit.sealed)
            self._turn += 1

    def _assign(self, number: int, unit: _Unit, sealed: SealedUnit) -> None:
        copies = self._find_copies(unit, sealed)
        request = PlaceUnit(number, self._leaf, self._offset, copies)
        for file, copy in zip(sealed.files, copies, strict=True):
            self._offset += tarball.BLOCK_BYTES + (EMPTY_MEMBER_BYTES if copy else file.sealed_size)
        self._leaf += len(sealed.files)
        assert unit.worker is not None
        self._queues[unit.worker].append(request)

    def _find_copies(self, unit: _Unit, sealed: SealedUnit) -> list[Copy | None]:
        digests = [
            file.digest for file in sealed.files if file.digest is not None and file.scanned.size
        ]
        known = self._known.find(digests)
        keys = {file.file_id: key for file, key in zip(unit.files, unit.keys, strict=True)}
        copies: list[Copy | None] = []
        offset = self._offset
        for leaf, file in enumerate(sealed.files, self._leaf):
            copy = None
            if file.digest is not None and file.scanned.size:
                copy = self._contents.get(file.digest) or known.get(file.digest)
                if copy is None:
                    place = ContentPlace(
                        self._commit_id,
                        leaf,
                        offset + tarball.BLOCK_BYTES,
                        file.sealed_size,
                        file.packed_size,
                        file.compression,
                    )
                    self._remember(
                        file.digest, file.scanned.size, Copy(place, content_key(keys[file.file_id]))
                    )
            copies.append(copy)
            offset += tarball.BLOCK_BYTES + (EMPTY_MEMBER_BYTES if copy else file.sealed_size)
        return copies

    def _remember(self, digest: bytes, size: int, copy: Copy) -> None:
        self._contents[digest] = copy
        self._sizes.add(size)

    def _begin_large(self, number: int) -> None:
        """Hash a large file first only when its size says that it may be a copy: then it is read once all the same."""
        unit = self._units[number]
        size = unit.files[0].scanned.size
        if size in self._sizes or self._known.sizes([size]):
            self._shared.append(HashLarge(number, unit.files[0], unit.keys[0]))
        else:
            self._seal_large(number)

    def _large_hashed(self, worker: int, answer: HashedLarge) -> None:
        digest = answer.digest
        copy = None
        if digest is not None:
            copy = self._contents.get(digest) or self._known.find([digest]).get(digest)
        if copy is None:
            self._seal_large(answer.unit)
        else:
            self._queues[worker].append(PlaceUnit(answer.unit, self._leaf, self._offset, [copy]))

    def _seal_large(self, number: int) -> None:
        unit = self._units[number]
        self._shared.append(
            SealLarge(
                number, self._leaf, self._offset, unit.files[0], unit.keys[0], self._compression
            )
        )

    def _place(self, placed: PlacedUnit) -> None:
        unit = self._units[placed.unit]
        if unit.large:
            self._large_placed(unit, placed)
        self._placed[placed.unit] = placed
        while (placed_next := self._placed.pop(self._confirmed, None)) is not None:
            self._confirm(placed_next)

    def _large_placed(self, unit: _Unit, placed: PlacedUnit) -> None:
        for entry in placed.entries:
            place = entry.place
            # A copy's content lies under another key than its own file's.
            if place is not None and (place.commit_id, place.leaf) == (self._commit_id, self._leaf):
                assert entry.digest is not None
                if entry.digest not in self._contents:
                    self._remember(
                        entry.digest, entry.scanned.size, Copy(place, content_key(unit.keys[0]))
                    )
        self._offset = placed.end_offset
        self._leaf += len(placed.entries)
        self._turn += 1
        self._take_turns()

    def _confirm(self, placed: PlacedUnit) -> None:
        unit = self._units.pop(self._confirmed)
        self._confirmed += 1
        self._confirmed_offset = placed.end_offset
        self.failures += placed.failures
        if unit.sealed is not None:
            self.failures += unit.sealed.failures
        self._entries += placed.entries
        self._on_progress(len(placed.entries), sum(entry.scanned.size for entry in placed.entries))
        if self._digest_full_chunks():
            self._checkpoint()

    def _digest_full_chunks(self, *, last: bool = False) -> bool:
        """Have the chunks digested that are full now; returns whether there were any."""
        first = self._next_chunk
        least = 1 if last else self._chunk_bytes
        while self._confirmed_offset - self._next_chunk * self._chunk_bytes >= least:
            name = f"{self._commit_id}_{tarball.chunk_suffix(self._next_chunk)}"
            resumed = (self._next_chunk + 1) * self._chunk_bytes <= self._resumed.offset
            if not (resumed and name in self._resumed.digested):
                self._shared.append(DigestChunk(name))
            self._next_chunk += 1
        return self._next_chunk > first

    def _checkpoint(self) -> None:
        """Have everything that is written made durable and journaled."""
        chunks = self._chunks(self._journaled_offset, self._confirmed_offset)
        batch = Batch(self._journaled_leaf, self._confirmed_offset, self._entries)
        self._staging.submit(chunks, [batch])
        self._journaled_leaf += len(self._entries)
        self._journaled_offset = self._confirmed_offset
        self._entries = []

    def _chunks(self, start: int, end: int) -> range:
        """Return the indexes of the chunks that hold these bytes of the tar."""
        return range(start // self._chunk_bytes, -(-end // self._chunk_bytes))
