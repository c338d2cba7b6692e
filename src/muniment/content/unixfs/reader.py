"""Reading UnixFS: files, directories and paths, from blocks that may be hostile.

Every function takes `get`, which returns the bytes of a CID and must have verified them (a `BlockStore.get` has). What is
checked here is what a true hash does not say: that sizes add up, that the tree is not too deep, that names are names. Work is
proportional to what is yielded, so a caller who stops, or bounds the length, is never drawn into a DAG built to be endless; memory is
bounded by `MAX_OPEN_LINKS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.dag_pb import PBLink
from muniment.content.open_links import OpenLinks
from muniment.content.unixfs import hamt
from muniment.content.unixfs.directory import DirectoryEntry, check_name
from muniment.content.unixfs.node import NO_METADATA, Kind, Metadata, UnixFSNode, decode_unixfs
from muniment.errors import FormatError, NotFoundError

Get = Callable[[CID], bytes]

MAX_DEPTH = 32
"""Deepest file tree that is followed; 4 levels of width 1024 hold an exabyte, chains of single links hold nothing more."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a CID stands for.

    Attributes:
        kind: `Kind.FILE`, `Kind.DIRECTORY` (also when sharded) or `Kind.SYMLINK`.
        size: Bytes of a file, 0 for the others.
        target: Where a symbolic link points.
        metadata: Mode and modification time, where the root says them.
    """

    kind: Kind
    size: int = 0
    target: bytes = b""
    metadata: Metadata = NO_METADATA


def describe(root: CID, get: Get) -> Info:
    """Say what `root` is.

    Raises:
        FormatError: The block is not UnixFS.
    """
    if root.codec == RAW:
        return Info(Kind.FILE, len(get(root)))
    node = _node(root, get)
    if node.kind in (Kind.FILE, Kind.RAW):
        return Info(Kind.FILE, node.file_bytes, metadata=node.metadata)
    if node.kind is Kind.SYMLINK:
        return Info(Kind.SYMLINK, target=node.data, metadata=node.metadata)
    if node.kind in (Kind.DIRECTORY, Kind.HAMT_SHARD):
        return Info(Kind.DIRECTORY, metadata=node.metadata)
    raise FormatError(f"expected a file, directory or symlink, got {node.kind.name} {root}")


def read_file(root: CID, get: Get, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of a file from `offset`, at most `length` of them, fetching only the blocks that are needed.

    Raises:
        FormatError: It is not a file, or a block has another size than its parent says.
    """
    end = None if length is None else offset + length
    for span in _spans(root, get, offset, end):
        data = span.data if span.data is not None else get(span.cid)
        if len(data) != span.size:
            raise FormatError(
                f"expected a leaf of {span.size} bytes, got {len(data)} in {span.cid}"
            )
        first = max(0, offset - span.offset)
        last = span.size if end is None else min(span.size, end - span.offset)
        if first < last:
            yield data[first:last] if (first, last) != (0, span.size) else data


def leaf_layout(root: CID, get: Get) -> Iterator[tuple[CID, int, int]]:
    """Yield (CID, offset, size) of every block that holds bytes of a file, in order; raw leaves are not fetched.

    An empty file has one leaf of size 0.

    Raises:
        FormatError: It is not a file, or its sizes do not add up.
    """
    for span in _spans(root, get, 0, None):
        yield span.cid, span.offset, span.size


def list_directory(
    root: CID, get: Get, *, unsafe_names: bool = False, open_links: OpenLinks | None = None
) -> Iterator[DirectoryEntry]:
    """Yield the entries of a directory: by name, or in hash order when it is sharded.

    With `unsafe_names`, names like `..` and `a/b` are yielded too: for callers that only show them, or check them. A caller that lists
    directories within directories gives all of them the same `open_links`.

    Raises:
        FormatError: It is not a directory, a name is not a file name, or occurs twice in one node.
    """
    node, held = _node(root, get), open_links or OpenLinks()
    if node.kind is Kind.HAMT_SHARD:
        named = hamt.iter_entries(node, get, held)
    elif node.kind is Kind.DIRECTORY:
        named = _iter_names(root, node, held)
    else:
        raise FormatError(f"expected a directory, got {node.kind.name} {root}")
    for name, link in named:
        if not unsafe_names:
            check_name(name)
        yield DirectoryEntry(name, link.cid, link.tsize or 0)


def _iter_names(root: CID, node: UnixFSNode, held: OpenLinks) -> Iterator[tuple[bytes, PBLink]]:
    if len({link.name or b"" for link in node.links}) != len(node.links):
        raise FormatError(f"directory {root} has a name twice")
    held.enter(len(node.links))
    for link in node.links:
        yield link.name or b"", link
    held.leave(len(node.links))


def resolve(root: CID, path: str | bytes, get: Get) -> CID:
    """Follow `path`, names separated by `/`, from the directory `root`; symbolic links are not followed.

    Raises:
        NotFoundError: A name does not exist, or is looked for in something that is no directory.
        FormatError: A block on the way is malformed.
    """
    raw_path = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
    cid = root
    for name in raw_path.split(b"/"):
        if name:
            cid = _child(cid, name, get)
    return cid


def _child(directory: CID, name: bytes, get: Get) -> CID:
    found = None
    if directory.codec == DAG_PB:
        node = _node(directory, get)
        if node.kind is Kind.HAMT_SHARD:
            found = hamt.find(node, name, get)
        elif node.kind is Kind.DIRECTORY:
            found = next((link.cid for link in node.links if link.name == name), None)
    if found is None:
        raise NotFoundError(f"nothing named {name.decode('utf-8', 'replace')!r} in {directory}")
    return found


class _Span(NamedTuple):
    """Consecutive file bytes that one block holds; `data` is None for a raw leaf not yet fetched."""

    cid: CID
    offset: int
    size: int
    data: bytes | None


def _spans(root: CID, get: Get, start: int, end: int | None) -> Iterator[_Span]:
    """Yield the spans that touch the bytes from `start` to `end`."""
    if root.codec == RAW:
        data = get(root)
        yield _Span(root, 0, len(data), data)
        return
    node = _node(root, get)
    stop = node.file_bytes if end is None else end
    yield from _SpanWalk(get, start, stop).below(root, node, 0, 0)


@dataclass(frozen=True, slots=True)
class _SpanWalk:
    """A walk over the part of a file's tree that touches the bytes from `start` to `end`."""

    get: Get
    start: int
    end: int
    open_links: OpenLinks = field(default_factory=OpenLinks)

    def below(self, cid: CID, node: UnixFSNode, offset: int, depth: int) -> Iterator[_Span]:
        """Yield the spans of `node`, whose first byte is at `offset` of the file."""
        if node.kind not in (Kind.FILE, Kind.RAW):
            raise FormatError(f"expected a file, got {node.kind.name} {cid}")
        if depth > MAX_DEPTH:
            raise FormatError(f"file is deeper than {MAX_DEPTH} levels at {cid}")
        if node.data or not node.links:
            yield _Span(cid, offset, len(node.data), node.data)
            offset += len(node.data)
        self.open_links.enter(len(node.links))
        for link, size in zip(node.links, node.block_sizes, strict=True):
            # Children without bytes are not visited: a tree of them could be endless and yield nothing.
            if size and offset < self.end and offset + size > self.start:
                yield from self._child(link.cid, size, offset, depth)
            offset += size
        self.open_links.leave(len(node.links))

    def _child(self, cid: CID, size: int, offset: int, depth: int) -> Iterator[_Span]:
        if cid.codec == RAW:
            yield _Span(cid, offset, size, None)
            return
        node = _node(cid, self.get)
        if node.file_bytes != size:
            raise FormatError(f"expected {size} bytes below {cid}, got {node.file_bytes}")
        yield from self.below(cid, node, offset, depth + 1)


def _node(cid: CID, get: Get) -> UnixFSNode:
    if cid.codec != DAG_PB:
        raise FormatError(
            f"expected a UnixFS node (codec 0x70), got codec 0x{cid.codec:x} in {cid}"
        )
    return decode_unixfs(get(cid))
