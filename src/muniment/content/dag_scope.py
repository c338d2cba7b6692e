"""Which blocks of a DAG answer a request: `dag-scope` and `entity-bytes` of the trustless gateway (IPIP-402, IPIP-412).

Blocks come depth first, parents before children, in the order of their links. Identity CIDs are never among them: what they stand
for lies in the block that links to them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from muniment.content.cid import CID, DAG_PB, IDENTITY
from muniment.content.links import block_links, has_links
from muniment.content.open_links import OpenLinks
from muniment.content.unixfs import hamt
from muniment.content.unixfs.node import Kind, UnixFSNode, decode_unixfs
from muniment.content.unixfs.reader import MAX_DEPTH
from muniment.errors import FormatError

Get = Callable[[CID], bytes]
Scope = Literal["block", "entity", "all"]
SCOPES: tuple[Scope, ...] = ("block", "entity", "all")

MAX_DAG_DEPTH = 1024
"""Deepest DAG that is walked; what is deeper holds nothing that anybody made to be read."""
MAX_REMEMBERED_BLOCKS = 4_000_000
"""Blocks that one walk without duplicates remembers, some 400 MB; larger DAGs can be had with duplicates."""

_BYTES = re.compile(r"(-?\d{1,18}):(\*|-?\d{1,18})")


@dataclass(frozen=True, slots=True)
class EntityBytes:
    """A range of a file's bytes, both ends included; negative numbers count from its end, `last` None is the end."""

    first: int
    last: int | None

    def within(self, size: int) -> tuple[int, int] | None:
        """Return the range as (offset, end) in a file of `size` bytes, or None if it has no byte in common with it."""
        first = self.first if self.first >= 0 else max(size + self.first, 0)
        last = size - 1 if self.last is None else self.last
        if last < 0:
            last += size
        return (first, min(last + 1, size)) if first <= min(last, size - 1) else None


def parse_entity_bytes(text: str) -> EntityBytes:
    """Read the value of `entity-bytes`.

    Raises:
        FormatError: It is not `from:to`.
    """
    match = _BYTES.fullmatch(text)
    if match is None:
        raise FormatError(f"expected entity-bytes as from:to, got {text[:80]!r}")
    return EntityBytes(int(match[1]), None if match[2] == "*" else int(match[2]))


def select_blocks(
    passed: list[CID],
    cid: CID,
    get: Get,
    scope: Scope,
    span: EntityBytes | None = None,
    *,
    duplicates: bool = False,
) -> Iterator[tuple[CID, bytes]]:
    """Yield what a CAR holds: the blocks passed on the way to `cid`, then those that `scope` asks for.

    Without `duplicates`, each block is yielded once and what has been walked is not walked again: work is bounded by what there is. With
    them, work and yield grow together.

    Raises:
        FormatError: A block is malformed, or the DAG is deeper than is walked, or larger than can be sent without duplicates.
    """
    seen = None if duplicates else _Seen()
    for way in passed:
        yield from _new_block(way, get(way), seen)
    if scope == "all" and span is None:
        yield from _walk_all(cid, get, seen)
    else:
        below = None if scope == "block" or cid.codec != DAG_PB else _entity(cid, get, span, seen)
        for found, data in below or ((cid, get(cid)),):
            yield from _new_block(found, data, seen)


class _Seen:
    """What one walk without duplicates has come by."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: set[object] = set()

    def is_new(self, key: object) -> bool:
        """Tell whether `key` comes for the first time, and remember it.

        Raises:
            FormatError: There are more than is remembered.
        """
        if key in self._keys:
            return False
        if len(self._keys) >= MAX_REMEMBERED_BLOCKS:
            raise FormatError("the DAG is too large to be sent without duplicates: ask for dups=y")
        self._keys.add(key)
        return True


def _new_block(cid: CID, data: bytes, seen: _Seen | None) -> Iterator[tuple[CID, bytes]]:
    if (seen is None or seen.is_new(cid.multihash)) and cid.hash_function != IDENTITY:
        yield cid, data


def _walk_all(root: CID, get: Get, seen: _Seen | None) -> Iterator[tuple[CID, bytes]]:
    """Yield every block below and including `root`, each once if `seen` is given."""
    open_links = OpenLinks()
    levels: list[tuple[int, Iterator[CID]]] = [(0, iter((root,)))]
    while levels:
        count, children = levels[-1]
        cid = next(children, None)
        if cid is None:
            levels.pop()
            open_links.leave(count)
            continue
        if seen is not None and not seen.is_new(cid.multihash):
            continue
        data = get(cid)
        if cid.hash_function != IDENTITY:
            yield cid, data
        if has_links(cid):
            if len(levels) > MAX_DAG_DEPTH:
                raise FormatError(f"expected a DAG of at most {MAX_DAG_DEPTH} levels, got more")
            below = block_links(cid, data)
            open_links.enter(len(below))
            levels.append((len(below), iter(below)))


def _entity(
    cid: CID, get: Get, span: EntityBytes | None, seen: _Seen | None
) -> Iterator[tuple[CID, bytes]]:
    """Yield the blocks of a file's bytes in `span`, or of all names of a directory."""
    data = get(cid)
    yield cid, data
    node = decode_unixfs(data)
    if node.kind is Kind.HAMT_SHARD:
        yield from _walk_shards(node, get)
    elif node.kind in (Kind.FILE, Kind.RAW):
        wanted = (span or EntityBytes(0, None)).within(node.file_bytes)
        if wanted is not None:
            yield from _FileWalk(get, *wanted, seen).below(node, 0, 0)


def _walk_shards(root: UnixFSNode, get: Get) -> Iterator[tuple[CID, bytes]]:
    """Yield the shards below `root`, in the order in which a listing reads them."""
    read: list[tuple[CID, bytes]] = []

    def recording(cid: CID) -> bytes:
        data = get(cid)
        read.append((cid, data))
        return data

    for _ in hamt.iter_entries(root, recording):
        yield from read
        read.clear()


@dataclass(frozen=True, slots=True)
class _FileWalk:
    """A walk over the blocks of a file that hold its bytes from `start` to `end`."""

    get: Get
    start: int
    end: int
    seen: _Seen | None
    open_links: OpenLinks = field(default_factory=OpenLinks)

    def below(self, node: UnixFSNode, offset: int, depth: int) -> Iterator[tuple[CID, bytes]]:
        """Yield what is wanted of the blocks below `node`, whose first byte is at `offset` of the file."""
        if depth > MAX_DEPTH:
            raise FormatError(f"file is deeper than {MAX_DEPTH} levels")
        offset += len(node.data)
        self.open_links.enter(len(node.links))
        for link, size in zip(node.links, node.block_sizes, strict=True):
            is_wanted = size and offset < self.end and offset + size > self.start
            if is_wanted and not self._is_known(link.cid, offset, size):
                yield from self._child(link.cid, size, offset, depth)
            offset += size
        self.open_links.leave(len(node.links))

    def _is_known(self, cid: CID, offset: int, size: int) -> bool:
        """Tell whether the whole of a child is wanted and has been walked before: in a DAG of many equal links nearly all are."""
        if self.seen is None or offset < self.start or offset + size > self.end:
            return False
        return not self.seen.is_new((cid, size))

    def _child(self, cid: CID, size: int, offset: int, depth: int) -> Iterator[tuple[CID, bytes]]:
        data = self.get(cid)
        node = decode_unixfs(data) if cid.codec == DAG_PB else None
        found = len(data) if node is None else node.file_bytes
        if found != size:
            raise FormatError(f"expected {size} bytes of the file in and below {cid}, got {found}")
        yield cid, data
        if node is not None:
            yield from self.below(node, offset, depth + 1)
