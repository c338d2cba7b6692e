"""Files as balanced trees: all leaves equally deep, every node but the last of its level full."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from muniment.content import varint
from muniment.content.cid import CID
from muniment.content.dag_pb import PBLink
from muniment.content.unixfs.node import Metadata, encode_file, encode_wrapped_leaf
from muniment.content.unixfs.profile import V1_2025, Profile


@dataclass(frozen=True, slots=True)
class FileDag:
    """The DAG of one file.

    Attributes:
        root: CID of the file; of its only leaf, if it has just one.
        size: Bytes of the file.
        tsize: Bytes of all blocks of the DAG together, each counted as often as it is linked.
        inner: The inner nodes, children before parents; empty where they were handed to a `put`.
    """

    root: CID
    size: int
    tsize: int
    inner: list[tuple[CID, bytes]] = field(default_factory=list)


class FileBuilder:
    """Builds the tree over leaves that arrive one by one; holds one unfinished node for each level."""

    def __init__(self, put: Callable[[CID, bytes], None], profile: Profile = V1_2025) -> None:
        self._put = put
        self._profile = profile
        self._levels = [_Level()]

    def add_leaf(self, cid: CID, size: int) -> None:
        """Append the leaf `cid`, which holds `size` bytes of the file."""
        self.add_block(cid, size, size if self._profile.raw_leaves else _wrapped_leaf_bytes(size))

    def add_block(self, cid: CID, size: int, block_bytes: int) -> None:
        """Append the leaf `cid` whose block, of `block_bytes`, holds `size` bytes of the file."""
        self._add(0, PBLink(cid, b"", block_bytes), size)

    def finish(self, metadata: Metadata | None = None) -> FileDag:
        """Close the tree and return it, without `inner`; a file without leaves is one empty leaf (not put).

        `metadata` is stored in the root. Of a file of one leaf that is the leaf itself, which must have been encoded with it.
        """
        if not self._levels[0].links and not self._levels[0].has_closed:
            self.add_leaf(self._profile.leaf_cid(empty_leaf(self._profile)), 0)
        depth = 0
        while True:
            level = self._levels[depth]
            if len(level.links) == 1 and not level.has_closed:
                link, size = level.links[0], level.sizes[0]
                return FileDag(link.cid, size, link.tsize or 0)
            is_root = depth == len(self._levels) - 1 and not level.has_closed
            if level.links:
                self._close(depth, metadata if is_root else None)
            depth += 1

    def _add(self, depth: int, link: PBLink, size: int) -> None:
        if depth == len(self._levels):
            self._levels.append(_Level())
        if len(self._levels[depth].links) == self._profile.width:
            self._close(depth)
        level = self._levels[depth]
        level.links.append(link)
        level.sizes.append(size)

    def _close(self, depth: int, metadata: Metadata | None = None) -> None:
        """Turn the unfinished node of a level into a block, and link it from the level above."""
        level = self._levels[depth]
        block = encode_file(level.links, level.sizes, metadata)
        cid = self._profile.node_cid(block)
        self._put(cid, block)
        tsize = len(block) + sum(link.tsize or 0 for link in level.links)
        size = sum(level.sizes)
        self._levels[depth] = _Level(has_closed=True)
        self._add(depth + 1, PBLink(cid, b"", tsize), size)


@dataclass(slots=True)
class _Level:
    """The unfinished node of one level, and whether the level has finished ones already."""

    links: list[PBLink] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    has_closed: bool = False


def file_dag(leaves: Iterable[tuple[CID, int]], profile: Profile = V1_2025) -> FileDag:
    """Build the tree over leaves whose CIDs and sizes (in file bytes) are known; the leaves themselves are not needed.

    A file without leaves is one empty leaf, as if that had been given.
    """
    inner: list[tuple[CID, bytes]] = []
    builder = FileBuilder(lambda cid, block: inner.append((cid, block)), profile)
    for cid, size in leaves:
        builder.add_leaf(cid, size)
    dag = builder.finish()
    return FileDag(dag.root, dag.size, dag.tsize, inner)


def import_file(
    stream: BinaryIO, put: Callable[[CID, bytes], None], profile: Profile = V1_2025
) -> FileDag:
    """Cut `stream` into leaves and hand every block to `put`, children before parents.

    Memory: one chunk, and one unfinished node for each level.
    """
    builder = FileBuilder(put, profile)
    chunk = _read_full(stream, profile.chunk_bytes)
    while True:
        block = chunk if profile.raw_leaves else encode_wrapped_leaf(chunk)
        cid = profile.leaf_cid(block)
        put(cid, block)
        builder.add_leaf(cid, len(chunk))
        if len(chunk) < profile.chunk_bytes:
            return builder.finish()
        chunk = _read_full(stream, profile.chunk_bytes)
        if not chunk:
            return builder.finish()


def empty_leaf(profile: Profile) -> bytes:
    """Return the block of an empty file."""
    return b"" if profile.raw_leaves else encode_wrapped_leaf(b"")


def _read_full(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end, also from streams that return short reads."""
    data = stream.read(size)
    if len(data) == size or not data:
        return data
    parts, missing = [data], size - len(data)
    while missing and (data := stream.read(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def _wrapped_leaf_bytes(size: int) -> int:
    """Return the length of the node that wraps a leaf of `size` bytes."""
    length = len(varint.encode(size))
    message = 2 + 1 + length + ((1 + length + size) if size else 0)
    return 1 + len(varint.encode(message)) + message
