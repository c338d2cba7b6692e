"""`EmbeddedBlockStore`: what makes packs, references, journal and index one store."""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from muniment.adapters.block_store import locks, maintenance, packs, references
from muniment.adapters.block_store.index import BlockIndex, DamagedIndexError, remove_index
from muniment.adapters.block_store.journal import Entry, Journal
from muniment.adapters.block_store.packs import Location
from muniment.adapters.block_store.recovery import RebuildReport, Recovery
from muniment.adapters.block_store.verified import VerifiedReads
from muniment.content.cid import CID, IDENTITY, verify_block
from muniment.content.dag_pb import MAX_BLOCK_BYTES
from muniment.content.ports import Pin
from muniment.errors import IntegrityError, MissingDataError, NotFoundError, UsageError

PACK_BYTES = 256 * 1024 * 1024
"""A pack this long is not appended to any more."""

LOCK_TIMEOUT_S = 10.0

# Blocks are written in batches, each with one fsync and one transaction: memory stays bounded, the lock is held briefly.
_BATCH_BYTES = 16 * 1024 * 1024
_BATCH_BLOCKS = 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How much a store holds; a block that lies in two places counts twice."""

    pack_count: int
    pack_blocks: int
    pack_bytes: int
    referenced_blocks: int
    referenced_bytes: int
    pins: int


class EmbeddedBlockStore:
    """A block store in one folder, for any number of processes and threads; a `BlockStore`.

    Use it as a context manager. Reading takes no lock. Every change takes the store's lock for as long as it lasts, so that
    several processes can write in turn; whoever comes next finishes what a killed one left behind.

    Args:
        folder: The store's folder; made if need be.
        pack_bytes: Length at which a pack is closed.
        lock_timeout_s: How long a change waits for another process' change.
        read_only: Never write: for readers beside a writer.
        reverify_after_s: For how long a block that was hashed may be read again unhashed, if its file was not written to; see
            `VerifiedReads`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        pack_bytes: int = PACK_BYTES,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        read_only: bool = False,
        reverify_after_s: float = 0.0,
    ) -> None:
        self.folder = os.path.abspath(os.fspath(folder))
        self._pack_bytes = pack_bytes
        self._lock_timeout_s = lock_timeout_s
        self._read_only = read_only
        self._files = VerifiedReads(self.folder, reverify_after_s)
        self._journal = Journal(self.folder)
        self._thread_lock = threading.RLock()
        self._index: BlockIndex | None = None

    @classmethod
    def open_reader(cls, folder: str | os.PathLike[str], *, reverify_after_s: float = 0.0) -> Self:
        """Return a store that only reads: it takes no lock, recovers nothing, and sees what others have finished."""
        return cls(folder, read_only=True, reverify_after_s=reverify_after_s)

    def __enter__(self) -> Self:
        if self._read_only:
            self._index = self._open_for_reading()
            return self
        for name in (packs.FOLDER, references.COMMITS):
            os.makedirs(os.path.join(self.folder, name), mode=0o700, exist_ok=True)
        try:
            with self._locked("opening the store"):
                self._open_for_writing()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the index; everything that was acknowledged is on disk already."""
        if self._index is not None:
            self._index.close()
            self._index = None

    # Reading

    def get(self, cid: CID) -> bytes:
        """Return the block, verified; see `BlockStore.get`."""
        if cid.hash_function == IDENTITY:
            return cid.digest
        cid = cid.to_v1()
        places = self._locations(cid)
        try:
            return self._read_any(cid, places)
        except MissingDataError:
            # Collecting garbage moves blocks: what is gone from its place may be in another by now.
            moved = self.index.locations(cid)
            if moved == places:
                raise
            return self._read_any(cid, moved)

    def has(self, cid: CID) -> bool:
        """Tell whether the store knows the block; see `BlockStore.has`."""
        return cid.hash_function == IDENTITY or bool(self.index.locations(cid.to_v1()))

    def size(self, cid: CID) -> int:
        """Return the bytes of the block; see `BlockStore.size`."""
        if cid.hash_function == IDENTITY:
            return len(cid.digest)
        return self._locations(cid.to_v1())[0].length

    def cids(self) -> Iterator[CID]:
        """Yield the CID of every block; see `BlockStore.cids`."""
        return self.index.cids()

    def pins(self) -> Iterator[Pin]:
        """Yield every pin; see `BlockStore.pins`."""
        return iter(self.index.pins())

    def pin_name(self, cid: CID) -> str | None:
        """Return the name that a pin has, without reading all of them; None if the CID is not pinned."""
        return self.index.pin_name(cid.to_v1())

    def directories(self) -> dict[str, CID]:
        """Return the roots of the directories that are served in place, by path relative to the store's folder."""
        return self.index.directories()

    def generation(self) -> int:
        """Return a number that is another one once anybody has changed what the store holds; cheap enough for every request."""
        return self.index.generation()

    def stats(self) -> StoreStats:
        """Count what the store holds."""
        totals = self.index.totals()
        in_packs, in_place = totals.get(True, (0, 0)), totals.get(False, (0, 0))
        return StoreStats(
            len(self.index.packs()), *in_packs, *in_place, pins=len(self.index.pins())
        )

    @property
    def index(self) -> BlockIndex:
        """The open index.

        Raises:
            UsageError: The store is not open.
        """
        if self._index is None:
            raise UsageError("the block store is not open: use it in a `with` statement")
        return self._index

    def _locations(self, cid: CID) -> list[Location]:
        places = self.index.locations(cid)
        if not places:
            raise NotFoundError(f"the block store has no block {cid}")
        return places

    def _read_any(self, cid: CID, places: list[Location]) -> bytes:
        """Return the block from the first place where it is whole."""
        failure: IntegrityError | None = None
        for place in places:
            try:
                data = self._files.read(cid, place)
            except FileNotFoundError:
                failure = failure or MissingDataError(
                    f"block {cid} is gone: its file {place.path} is missing"
                )
            except (IntegrityError, OSError) as error:
                failure = IntegrityError(f"{error} (in {place.path} at byte {place.offset})")
            else:
                return data
        raise failure or NotFoundError(f"the block store has no block {cid}")

    # Writing

    def put(self, cid: CID, data: bytes) -> None:
        """Store one block durably; see `BlockStore.put`."""
        self.put_many([(cid, data)])

    def put_many(self, blocks: Iterable[tuple[CID, bytes]], *, verify: bool = True) -> int:
        """Store blocks durably; see `BlockStore.put_many`.

        All are on disk when this returns. If it raises, those of some earlier batches may be, which does no harm. Callers that have just
        computed the CIDs from these very bytes can pass `verify=False`.
        """
        return sum(self._append(batch) for batch in _batches(blocks, verify=verify))

    def pin(self, cid: CID, name: str = "") -> None:
        """Keep the DAG below `cid`; see `BlockStore.pin`."""
        with self._writing("pinning"):
            self._record(Entry("pin", (str(cid.to_v1()), name)))

    def unpin(self, cid: CID) -> None:
        """Stop keeping the DAG below `cid`; see `BlockStore.unpin`."""
        cid = cid.to_v1()
        with self._writing("unpinning"):
            if self.index.pin_name(cid) is None:
                raise NotFoundError(f"{cid} is not pinned")
            self._record(Entry("unpin", (str(cid),)))

    def add_references(
        self, file: str | os.PathLike[str], blocks: Iterable[tuple[CID, int, int]]
    ) -> None:
        """Serve (CID, offset, length) blocks from `file`, a path below the store's `commits` folder, absolute or relative to the store.

        The bytes are not read: `get` verifies them. Durable in the index; to survive its loss, the directory has to be attached with
        `index_directory`, which finds the same references by itself.

        Raises:
            UsageError: The file is elsewhere, does not exist, or does not have those bytes.
        """
        path = references.relative_path(self.folder, file)
        rows = [(cid.to_v1(), offset, length) for cid, offset, length in blocks]
        references.check_references(self.folder, path, rows)
        with self._writing("adding references"), self.index.transaction():
            self.index.add_blocks(rows, path)

    def index_directory(
        self, root: CID, folder: str | os.PathLike[str], *, verify: bool = False
    ) -> int:
        """Attach a directory: serve the leaves of the UnixFS directory `root` from the files below `folder`, from now on.

        The DAG's inner nodes must be in the store. Leaves are not hashed unless `verify`. The attachment is in the journal, so that
        rebuilding the index finds the references again, and it keeps the inner nodes as a pin does.

        Returns:
            How many blocks are served in place.

        Raises:
            MissingDataError: Files or nodes are missing or do not fit; what is there is served all the same.
            UsageError: The folder is not below the store's `commits` folder.
        """
        path = references.relative_path(self.folder, folder)
        root = root.to_v1()
        with self._writing("attaching a directory"):
            layout = references.lay_out_directory(root, self.folder, path, self.get, verify=verify)
            self._record(Entry("attach", (path, str(root))), layout)
        if layout.problems:
            raise MissingDataError(f"directory {path} is incomplete: {_first(layout.problems)}")
        return sum(map(len, layout.references.values()))

    def remove_references(self, prefix: str | os.PathLike[str]) -> int:
        """Stop serving blocks from a file, or from all files below a folder; return how many. Do this before deleting them."""
        path = references.relative_path(self.folder, prefix)
        with self._writing("removing references"):
            for directory in self.index.directories():
                if _is_below(directory, path):
                    self._record(Entry("detach", (directory,)))
            with self.index.transaction():
                return self.index.remove_files(
                    p for p in self.index.paths(path) if _is_below(p, path)
                )

    def _append(self, batch: list[tuple[CID, bytes]]) -> int:
        with self._writing("storing blocks"):
            new = {cid: data for cid, data in batch if not self.index.in_pack(cid)}
            if not new:
                return 0
            path, start = self._pack_to_append()
            places, end = packs.append(self.folder, path, start, new.items())
            with self.index.transaction():
                self.index.add_blocks(((cid, at.offset, at.length) for cid, at in places), path)
                self.index.set_pack(path, end)
        return len(new)

    def _pack_to_append(self) -> tuple[str, int]:
        last = self.index.last_pack()
        if last is None:
            return packs.pack_path(1), 0
        path, indexed_bytes, closed = last
        if closed or indexed_bytes >= self._pack_bytes:
            return packs.pack_path(packs.pack_number(path) + 1), 0
        return path, indexed_bytes

    def _record(self, entry: Entry, layout: references.Layout | None = None) -> None:
        """Write a change of the roots to the journal, then to the index."""
        journal_id, end = self.index.journal_mark()
        end = self._journal.append(entry, end)
        with self.index.transaction():
            self._recovery().apply(entry, layout)
            self.index.set_journal_mark(journal_id, end)

    # Recovery

    def rebuild_index(self) -> RebuildReport:
        """Make the index anew from packs, journal and attached directories; every block in a pack is verified."""
        with self._locked("rebuilding the index"):
            return self._rebuild()

    def hold(self) -> AbstractContextManager[None]:
        """Keep garbage from being collected: for blocks that are put before what they hang on is pinned."""
        return locks.shared(os.path.join(self.folder, "gc.lock"), self._lock_timeout_s)

    def verify(
        self,
        progress: Callable[[int, int], None] | None = None,
        on_problem: Callable[["maintenance.Problem"], None] | None = None,
    ) -> "maintenance.VerifyReport":
        """Hash every block again, and check that everything pinned or attached is complete.

        Args:
            progress: Called now and then with (bytes done, bytes in total).
            on_problem: Called with each problem when it is found.

        Raises:
            IntegrityError: Blocks are damaged or missing (after all have been looked at).
        """
        with self.hold():
            return maintenance.verify(self.folder, self.index, self.get, progress, on_problem)

    def gc(
        self,
        *,
        dry_run: bool = False,
        allow_incomplete: bool = False,
        remove_everything: bool = False,
    ) -> "maintenance.GcReport":
        """Remove the blocks in packs that no pin and no attached directory reaches.

        Args:
            dry_run: Only count.
            allow_incomplete: Go on although a pinned DAG has missing nodes; whatever hangs on those alone is removed.
            remove_everything: Go on although nothing is pinned or attached.

        Raises:
            MissingDataError: A pinned DAG has missing nodes; nothing was removed.
            UsageError: Nothing is pinned or attached; nothing was removed.
            ConflictError: Blocks are being added, or the store is being verified.
        """
        holding = locks.exclusive(
            os.path.join(self.folder, "gc.lock"), "collecting garbage", self._lock_timeout_s
        )
        with holding, self._writing("collecting garbage"):
            roots = [*(pin.cid for pin in self.index.pins()), *self.index.directories().values()]
            if not roots and not remove_everything:
                raise UsageError(
                    "nothing is pinned: collecting garbage would remove every block; nothing was removed"
                )
            reachable = maintenance.reachable(roots, self.get, allow_incomplete=allow_incomplete)
            report = maintenance.collect(
                self.folder, self.index, reachable, pack_bytes=self._pack_bytes, dry_run=dry_run
            )
            if not dry_run:
                self._recovery().shorten_journal()
            return report

    def catch_up(self) -> None:
        """Take up what others have left behind since the store was opened, as if it were opened now; changes do so by themselves."""
        with self._writing("taking up what was left"):
            pass

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        if self._read_only:
            raise UsageError("the block store was opened for reading only")
        lock = os.path.join(self.folder, "lock")
        with self._thread_lock, locks.exclusive(lock, what, self._lock_timeout_s):
            yield

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Hold the lock, over an index that knows everything on disk."""
        with self._locked(what):
            if self._index is None or not self._index.is_current():
                self.close()
                self._open_for_writing()
            else:
                self._recovery().catch_up()
            yield

    def _open_for_reading(self) -> BlockIndex:
        try:
            return BlockIndex(self.folder, create=False)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"no block store index at {error}; open the store for writing once"
            ) from None

    def _open_for_writing(self) -> None:
        for name in os.listdir(os.path.join(self.folder, packs.FOLDER)):
            if name.endswith(".tmp"):
                os.unlink(os.path.join(self.folder, packs.FOLDER, name))
        try:
            self._index = BlockIndex(self.folder, create=False)
            self._recovery().catch_up(everything=True)
        except FileNotFoundError:
            self._rebuild()
        except DamagedIndexError as error:
            _log.warning("%s", error)
            self._rebuild()

    def _recovery(self) -> Recovery:
        return Recovery(self.folder, self.index, self._journal, self.get)

    def _rebuild(self) -> RebuildReport:
        self.close()
        try:
            return self._fill()
        except DamagedIndexError:
            self.close()
            remove_index(self.folder)
            return self._fill()

    def _fill(self) -> RebuildReport:
        self._index = BlockIndex(self.folder, create=True)
        return self._recovery().fill()


def _batches(
    blocks: Iterable[tuple[CID, bytes]], *, verify: bool
) -> Iterator[list[tuple[CID, bytes]]]:
    """Gather blocks into batches, checked; identity blocks are left out, since their CIDs hold them."""
    batch: list[tuple[CID, bytes]] = []
    size = 0
    for cid, data in blocks:
        if len(data) > MAX_BLOCK_BYTES:
            raise IntegrityError(
                f"expected a block of at most {MAX_BLOCK_BYTES} bytes, got {len(data)}: {cid}"
            )
        if verify:
            verify_block(cid, data)
        if cid.hash_function == IDENTITY:
            continue
        batch.append((cid.to_v1(), data))
        size += len(data)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_BLOCKS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def _first(problems: list[str]) -> str:
    more = len(problems) - 1
    return problems[0] + (f" (and {more} more)" if more else "")
