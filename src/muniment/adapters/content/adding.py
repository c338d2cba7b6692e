"""Adding files, folders, links and streams to a block store as UnixFS DAGs.

What is found is cut into jobs in the order of the walk: a job reads and hashes some small files, or a span of a large one. Threads do
the jobs (reading and hashing let go of the interpreter); their results are taken in the same order, so that a folder is finished when
the next path lies outside of it. The blocks are drawn by the store, batch by batch.

Memory: `WINDOW_BYTES` of files that are read ahead, one unfinished node for each level of a file or folder, and what
`DirectoryBuilder` holds for each folder on the way from the root.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import BinaryIO, NamedTuple, Self, cast

from muniment.adapters.content.leaves import (
    AddOptions,
    Leaf,
    metadata_of,
    read_batch,
    read_chunk,
    read_span,
)
from muniment.adapters.scan import OnProblem, scan
from muniment.adapters.source_file import SourceFile, UnreadableError
from muniment.archive.catalog import Kind as PathKind
from muniment.archive.catalog import ScannedFile
from muniment.content.cid import CID
from muniment.content.unixfs import (
    DirectoryBuilder,
    FileBuilder,
    Metadata,
    Profile,
    symlink_node,
)
from muniment.errors import UsageError

WINDOW_BYTES = 64 * 1024 * 1024
"""Most bytes of files that are read before the store has taken them."""

_JOB_BYTES = 4 * 1024 * 1024
_JOB_FILES = 64
_PATH_BYTES = 4096  # what a path without content counts in the window

Block = tuple[CID, bytes]
Advance = Callable[[int, int], None]
"""Is told of (bytes, paths) that are done."""


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
        yield from self._close_folders(b"")
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
        dag = yield from builder.finish()
        paths, size = sum(i.paths for i in self.added), sum(i.size for i in self.added)
        self.added = [Added(b"", dag.root, dag.tsize, paths + 1, size)]

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
        work = self._pool.submit(read_batch, batch, self._profile, self._options)
        return _Job(size, batch=work)

    def _large_jobs(self, scanned: ScannedFile) -> "Iterator[_Job]":
        source = SourceFile(scanned.path)
        try:
            source.__enter__()
        except UnreadableError as error:
            self._on_problem(scanned.path, str(error))
            return
        large = _LargeFile(scanned, self._profile, source)
        self._open.add(large)
        step, size = _JOB_BYTES, source.size  # whole chunks of every profile
        if size <= self._profile.chunk_bytes:
            self._close(large)
            self._on_problem(scanned.path, "it changed before it was read")
            return
        for start in range(0, size, step):
            end = min(start + step, size)
            work = self._pool.submit(read_span, source, start, end, self._profile)
            yield _Job(end - start, span=work, large=large, is_last=end == size)

    def _stream_jobs(self, stream: BinaryIO, name: bytes) -> "Iterator[_Job]":
        scanned = ScannedFile(name, PathKind.FILE, 0, 0o644, 0, 0, 0)
        large = _LargeFile(scanned, self._profile)
        chunk = _read_full(stream, self._profile.chunk_bytes)
        while True:
            following = _read_full(stream, self._profile.chunk_bytes) if chunk else b""
            work = self._pool.submit(read_chunk, chunk, self._profile)
            yield _Job(len(chunk), span=work, large=large, is_last=not following)
            if not following:
                return
            chunk = following

    # ... and their results taken in the same order.

    def _finish_oldest(self) -> Iterator[Block]:
        job = self._pending[0]
        if job.batch:
            for scanned, leaf in job.batch.result():
                yield from self._take(scanned, leaf)
        elif job.span and job.large:
            yield from self._take_span(job.large, job.span, is_last=job.is_last)
        self._pending.popleft()
        self._pending_bytes -= job.size

    def _take(self, scanned: ScannedFile, leaf: Leaf | str | None) -> Iterator[Block]:
        """Take what a batch has to say about a path."""
        yield from self._close_folders(scanned.path)
        if isinstance(leaf, str):
            self._on_problem(scanned.path, leaf)
        elif leaf is not None:
            yield leaf.cid, leaf.block
            self._enter(scanned, leaf.cid, len(leaf.block), leaf.size)
        elif scanned.kind is PathKind.DIRECTORY:
            builder = self._builder(metadata_of(scanned, self._options))
            self._tree.folders.append((scanned.path, builder))
        else:
            metadata = metadata_of(scanned, replace(self._options, preserve_mode=False))
            cid, block = symlink_node(scanned.target or b"", self._profile, metadata)
            yield cid, block
            self._enter(scanned, cid, len(block), 0)

    def _take_span(
        self, large: "_LargeFile", span: "Future[list[Leaf]]", *, is_last: bool
    ) -> Iterator[Block]:
        try:
            leaves = span.result()
            if is_last and large.source:
                large.scanned = large.source.unchanged(large.scanned)
        except UnreadableError as error:
            large.problem = large.problem or str(error)
            leaves = []
        for leaf in leaves if not large.problem else ():
            yield leaf.cid, leaf.block
            large.builder.add_block(leaf.cid, leaf.size, len(leaf.block))
            yield from large.take_nodes()
            self._advance(leaf.size, 0)
        if is_last:
            self._close(large)
            yield from self._close_folders(large.scanned.path)
            yield from self._take_large(large)

    def _take_large(self, large: "_LargeFile") -> Iterator[Block]:
        """Take a large file all of whose leaves have been taken."""
        if large.problem:
            self._on_problem(large.scanned.path, large.problem)
            return
        dag = large.builder.finish(metadata_of(large.scanned, self._options))
        yield from large.take_nodes()
        self._tree.size += dag.size
        self._enter(large.scanned, dag.root, dag.tsize, 0)

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

    def _close_folders(self, path: bytes) -> Iterator[Block]:
        """Finish the open folders that do not hold `path`."""
        folders = self._tree.folders
        while folders and not path.startswith(folders[-1][0] + b"/"):
            folder, builder = folders.pop()
            dag = yield from builder.finish()
            self._tree.paths += 1
            if folders:
                folders[-1][1].add(os.path.basename(folder), dag.root, dag.tsize)
            else:
                self._tree.result = (dag.root, dag.tsize)

    def _builder(self, metadata: Metadata | None) -> DirectoryBuilder:
        def open_spool() -> BinaryIO:
            return cast("BinaryIO", tempfile.TemporaryFile())

        return DirectoryBuilder(self._profile, open_spool, metadata)

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


class _LargeFile:
    """A file of several leaves, open until its last span is taken; a stream has no source."""

    def __init__(
        self, scanned: ScannedFile, profile: Profile, source: SourceFile | None = None
    ) -> None:
        self.scanned, self.source = scanned, source
        self.builder = FileBuilder(lambda *node: self._nodes.append(node), profile)
        self.problem = ""
        self._nodes: list[Block] = []

    def take_nodes(self) -> Iterator[Block]:
        """Yield the inner nodes that are finished, once."""
        nodes, self._nodes = self._nodes, []
        yield from nodes

    def close(self) -> None:
        """Close the source."""
        if self.source:
            self.source.__exit__()


@dataclass(slots=True)
class _Job:
    """Work of a thread: a batch of paths, or a span of a large file."""

    size: int
    batch: "Future[list[tuple[ScannedFile, Leaf | str | None]]] | None" = None
    span: "Future[list[Leaf]] | None" = None
    large: _LargeFile | None = None
    is_last: bool = False


def _read_full(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end."""
    parts = []
    while size and (piece := stream.read(size)):
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)
