"""Adding files, folders, links and streams to a block store as UnixFS DAGs.

What is found is cut into jobs in the order of the walk: a job reads and hashes some small files, or a span of a large one. Threads do
the jobs (reading and hashing let go of the interpreter); their results are taken in the same order, so that a folder is finished when
the next path lies outside of it, and equal trees give equal packs. The blocks are drawn by the store, batch by batch.

Memory: `WINDOW_BYTES` of files that are read ahead, one unfinished node for each level of a file or folder, and what
`DirectoryBuilder` holds for each folder on the way from the root.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import BinaryIO, NamedTuple, Self, cast

from muniment.adapters.scan import OnProblem, scan
from muniment.adapters.source_file import ChangedError, SourceFile, UnreadableError, retrying
from muniment.archive.catalog import Kind as PathKind
from muniment.archive.catalog import ScannedFile
from muniment.content.cid import CID
from muniment.content.unixfs import (
    V1_2025,
    DirectoryBuilder,
    FileBuilder,
    Metadata,
    Profile,
    symlink_node,
)
from muniment.content.unixfs.node import encode_wrapped_leaf
from muniment.errors import UsageError

WINDOW_BYTES = 64 * 1024 * 1024
"""Most bytes of files that are read before the store has taken them."""

_JOB_BYTES = 4 * 1024 * 1024
_JOB_FILES = 64
_PATH_BYTES = 4096  # what a path without content counts in the window

Block = tuple[CID, bytes]
Advance = Callable[[int, int], None]
"""Is told of (bytes, paths) that are done."""


@dataclass(frozen=True, slots=True)
class AddOptions:
    """How things are added.

    Attributes:
        profile: Which DAGs are built.
        hidden: Whether names in folders that begin with a dot are added.
        preserve_mode: Store permission bits (this changes CIDs).
        preserve_mtime: Store modification times (this changes CIDs).
        skip: Folders that are left out wherever they are met.
    """

    profile: Profile = V1_2025
    hidden: bool = False
    preserve_mode: bool = False
    preserve_mtime: bool = False
    skip: tuple[bytes, ...] = ()

    @property
    def effective_profile(self) -> Profile:
        """The profile in use: raw leaves have no room for metadata, so they are wrapped where there is any (as Kubo does it)."""
        if self.preserve_mode or self.preserve_mtime:
            return replace(self.profile, raw_leaves=False)
        return self.profile


class Added(NamedTuple):
    """Something that was added: its name, root CID, the bytes of its blocks, and the paths and file bytes in it."""

    name: bytes
    cid: CID
    tsize: int
    paths: int
    size: int


class ContentAdder:
    """Turns sources into blocks, one source after the other; use it as a context manager.

    Args:
        options: How.
        worker_count: Threads that read and hash.
        on_problem: Told of each path that is left out.
        advance: Told of progress.
    """

    def __init__(
        self,
        options: AddOptions,
        *,
        worker_count: int,
        on_problem: OnProblem = lambda _path, _message: None,
        advance: Advance = lambda _bytes, _paths: None,
    ) -> None:
        self.added: list[Added] = []
        self._options = options
        self._profile = options.effective_profile
        self._on_problem, self._advance = on_problem, advance
        self._pool = ThreadPoolExecutor(max(1, worker_count), "muniment-add")
        self._pending: deque[_Job] = deque()
        self._pending_bytes = 0
        self._open: set[_LargeFile] = set()
        self._ready: list[Block] = []
        self._tree = _Tree(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for large in self._open:
            large.close()

    def blocks(self, root: bytes) -> Iterator[Block]:
        """Yield the blocks of a file, folder or link, children before parents; `added` has it afterwards, unless it was left out.

        Raises:
            UsageError: It is the root of the file system.
        """
        root = os.path.abspath(root)
        if root == b"/":
            raise UsageError("expected a file or folder other than /")
        self._tree = _Tree(root[1:])
        options = self._options
        found = scan([root], self._on_problem, options.skip, hidden=options.hidden)
        yield from self._run(self._jobs(found))
        self._close_folders(b"")
        yield from self._take_ready()
        self._note_root()

    def stream_blocks(self, stream: BinaryIO, name: bytes) -> Iterator[Block]:
        """Yield the blocks of a file that is read from a stream."""
        self._tree = _Tree(name)
        yield from self._run(self._stream_jobs(stream, name))
        self._note_root()

    def wrap(self) -> Iterator[Block]:
        """Put all that was added into one folder, under their names, which replaces them in `added`.

        Raises:
            FormatError: Two have the same name, or one has none.
        """
        builder = self._builder(None)
        for item in self.added:
            builder.add(item.name, item.cid, item.tsize)
        dag = builder.finish()
        paths, size = sum(i.paths for i in self.added), sum(i.size for i in self.added)
        self.added = [Added(b"", dag.root, dag.tsize, paths + 1, size)]
        yield from self._take_ready()

    # Jobs are given out ...

    def _run(self, jobs: "Iterator[_Job]") -> Iterator[Block]:
        for job in jobs:
            self._pending.append(job)
            self._pending_bytes += job.size
            while self._pending_bytes > WINDOW_BYTES:
                yield from self._finish_oldest()
        while self._pending:
            yield from self._finish_oldest()

    def _jobs(self, found: Iterable[ScannedFile]) -> "Iterator[_Job]":
        batch: list[ScannedFile] = []
        size = 0
        for scanned in found:
            if scanned.size > self._profile.chunk_bytes:
                if batch:
                    yield self._batch_job(batch, size)
                    batch, size = [], 0
                yield from self._large_jobs(scanned)
                continue
            batch.append(scanned)
            size += scanned.size + _PATH_BYTES
            if size >= _JOB_BYTES or len(batch) >= _JOB_FILES:
                yield self._batch_job(batch, size)
                batch, size = [], 0
        if batch:
            yield self._batch_job(batch, size)

    def _batch_job(self, batch: list[ScannedFile], size: int) -> "_Job":
        work = self._pool.submit(_read_batch, batch, self._profile, self._options)
        return _Job(size, batch=work)

    def _large_jobs(self, scanned: ScannedFile) -> "Iterator[_Job]":
        source = SourceFile(scanned.path)
        try:
            source.__enter__()
        except UnreadableError as error:
            self._on_problem(scanned.path, str(error))
            return
        large = _LargeFile(scanned, FileBuilder(self._put, self._profile), source)
        self._open.add(large)
        step, size = _JOB_BYTES, source.size  # whole chunks of every profile
        if size <= self._profile.chunk_bytes:
            self._close(large)
            self._on_problem(scanned.path, "it changed before it was read")
            return
        for start in range(0, size, step):
            end = min(start + step, size)
            work = self._pool.submit(_read_span, source, start, end, self._profile)
            yield _Job(end - start, span=work, large=large, is_last=end == size)

    def _stream_jobs(self, stream: BinaryIO, name: bytes) -> "Iterator[_Job]":
        scanned = ScannedFile(name, PathKind.FILE, 0, 0o644, 0, 0, 0)
        large = _LargeFile(scanned, FileBuilder(self._put, self._profile))
        chunk = _read_full(stream, self._profile.chunk_bytes)
        while True:
            following = _read_full(stream, self._profile.chunk_bytes) if chunk else b""
            work = self._pool.submit(_read_chunk, chunk, self._profile)
            yield _Job(len(chunk), span=work, large=large, is_last=not following)
            if not following:
                return
            chunk = following

    # ... and their results taken in the same order.

    def _finish_oldest(self) -> Iterator[Block]:
        job = self._pending[0]
        if job.batch:
            for scanned, leaf in job.batch.result():
                self._take(scanned, leaf)
        elif job.span and job.large:
            self._take_span(job.large, job.span, is_last=job.is_last)
        self._pending.popleft()
        self._pending_bytes -= job.size
        yield from self._take_ready()

    def _take_ready(self) -> Iterator[Block]:
        ready, self._ready = self._ready, []
        yield from ready

    def _put(self, cid: CID, block: bytes) -> None:
        self._ready.append((cid, block))

    def _take(self, scanned: ScannedFile, leaf: "_Leaf | str | None") -> None:
        """Take what a batch has to say about a path."""
        self._close_folders(scanned.path)
        if isinstance(leaf, str):
            self._on_problem(scanned.path, leaf)
        elif leaf is not None:
            self._put(leaf.cid, leaf.block)
            self._enter(scanned, leaf.cid, len(leaf.block), leaf.size)
        elif scanned.kind is PathKind.DIRECTORY:
            builder = self._builder(_metadata(scanned, self._options))
            self._tree.folders.append((scanned.path, builder))
        else:
            self._take_link(scanned)

    def _take_link(self, scanned: ScannedFile) -> None:
        metadata = _metadata(scanned, replace(self._options, preserve_mode=False))
        cid, block = symlink_node(scanned.target or b"", self._profile, metadata)
        self._put(cid, block)
        self._enter(scanned, cid, len(block), 0)

    def _take_span(
        self, large: "_LargeFile", span: "Future[list[_Leaf]]", *, is_last: bool
    ) -> None:
        try:
            for leaf in span.result():
                self._put(leaf.cid, leaf.block)
                large.builder.add_block(leaf.cid, leaf.size, len(leaf.block))
                self._advance(leaf.size, 0)
            if is_last and large.source:
                large.scanned = large.source.unchanged(large.scanned)
        except UnreadableError as error:
            large.problem = large.problem or str(error)
        if not is_last:
            return
        self._close(large)
        self._close_folders(large.scanned.path)
        if large.problem:
            self._on_problem(large.scanned.path, large.problem)
            return
        dag = large.builder.finish(_metadata(large.scanned, self._options))
        self._enter(large.scanned, dag.root, dag.tsize, 0)
        self._tree.size += dag.size

    def _close(self, large: "_LargeFile") -> None:
        self._open.discard(large)
        large.close()

    def _enter(self, scanned: ScannedFile, cid: CID, tsize: int, size: int) -> None:
        """Put something finished into its folder, or be done when it is the root."""
        self._tree.paths += 1
        self._tree.size += size
        self._advance(size, 1)
        if scanned.path == self._tree.root:
            self._tree.result = (cid, tsize)
        else:
            self._tree.folders[-1][1].add(os.path.basename(scanned.path), cid, tsize)

    def _close_folders(self, path: bytes) -> None:
        """Finish the open folders that do not hold `path`."""
        folders = self._tree.folders
        while folders and not path.startswith(folders[-1][0] + b"/"):
            folder, builder = folders.pop()
            dag = builder.finish()
            self._tree.paths += 1
            if folders:
                folders[-1][1].add(os.path.basename(folder), dag.root, dag.tsize)
            else:
                self._tree.result = (dag.root, dag.tsize)

    def _builder(self, metadata: Metadata | None) -> DirectoryBuilder:
        def open_spool() -> BinaryIO:
            return cast("BinaryIO", tempfile.TemporaryFile())

        return DirectoryBuilder(self._put, self._profile, open_spool, metadata)

    def _note_root(self) -> None:
        tree = self._tree
        if tree.result:
            name = os.path.basename(tree.root)
            self.added.append(Added(name, *tree.result, tree.paths, tree.size))


@dataclass(slots=True)
class _Tree:
    """The source at work: its path, the open folders from it down, and what was found so far."""

    root: bytes
    folders: list[tuple[bytes, DirectoryBuilder]] = field(default_factory=list)
    result: tuple[CID, int] | None = None
    paths: int = 0
    size: int = 0


class _Leaf(NamedTuple):
    """A leaf: its CID, its block, and the bytes of the file in it."""

    cid: CID
    block: bytes
    size: int


@dataclass(slots=True, eq=False)
class _LargeFile:
    """A file of several leaves, open until its last span is taken; a stream has no source."""

    scanned: ScannedFile
    builder: FileBuilder
    source: SourceFile | None = None
    problem: str = ""

    def close(self) -> None:
        if self.source:
            self.source.__exit__()


@dataclass(slots=True)
class _Job:
    """Work of a thread: a batch of paths, or a span of a large file."""

    size: int
    batch: "Future[list[tuple[ScannedFile, _Leaf | str | None]]] | None" = None
    span: "Future[list[_Leaf]] | None" = None
    large: _LargeFile | None = None
    is_last: bool = False


def _read_batch(
    batch: Sequence[ScannedFile], profile: Profile, options: AddOptions
) -> list[tuple[ScannedFile, _Leaf | str | None]]:
    """Read and hash the small files of a batch; a message stands for one that cannot be, None for what is no file."""
    return [
        (scanned, _read_small(scanned, profile, options) if scanned.kind is PathKind.FILE else None)
        for scanned in batch
    ]


def _read_small(scanned: ScannedFile, profile: Profile, options: AddOptions) -> _Leaf | str:
    def attempt() -> _Leaf:
        with SourceFile(scanned.path) as source:
            data = source.whole()
            now = source.unchanged(scanned)
        if len(data) != now.size or len(data) > profile.chunk_bytes:
            raise ChangedError("it changed while it was read")
        return _leaf(data, profile, _metadata(now, options))

    try:
        return retrying(attempt)
    except UnreadableError as error:
        return str(error)


def _read_span(source: SourceFile, start: int, end: int, profile: Profile) -> list[_Leaf]:
    leaves = []
    for offset in range(start, end, profile.chunk_bytes):
        wanted = min(profile.chunk_bytes, end - offset)
        if wanted == profile.chunk_bytes and source.is_hole(offset, offset + wanted):
            leaves.append(_zero_leaf(profile))
            continue
        chunk = source.peek(offset, wanted)
        if len(chunk) != wanted:
            raise ChangedError("it changed while it was read")
        leaves.append(_leaf(chunk, profile))
    return leaves


@lru_cache(maxsize=4)
def _zero_leaf(profile: Profile) -> _Leaf:
    """Return the leaf that holes of files have."""
    return _leaf(bytes(profile.chunk_bytes), profile)


def _read_chunk(chunk: bytes, profile: Profile) -> list[_Leaf]:
    return [_leaf(chunk, profile)]


def _leaf(data: bytes, profile: Profile, metadata: Metadata | None = None) -> _Leaf:
    block = data if profile.raw_leaves else encode_wrapped_leaf(data, metadata)
    return _Leaf(profile.leaf_cid(block), block, len(data))


def _metadata(scanned: ScannedFile, options: AddOptions) -> Metadata | None:
    if not (options.preserve_mode or options.preserve_mtime):
        return None
    return Metadata(
        scanned.mode if options.preserve_mode else None,
        scanned.mtime_ns if options.preserve_mtime else None,
    )


def _read_full(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end."""
    parts = []
    while size and (piece := stream.read(size)):
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)
