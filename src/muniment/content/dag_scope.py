"""Which blocks of a DAG answer a request: `dag-scope` and `entity-bytes` of the trustless gateway (IPIP-402, IPIP-412).

Blocks come depth first, parents before children, in the order of their links. Identity CIDs are never among them: what they stand
for lies in the block that links to them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from muniment.content.cid import CID, DAG_PB, IDENTITY
from muniment.content.links import block_links, has_links
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


def walk_scope(
    cid: CID, get: Get, scope: Scope, span: EntityBytes | None = None
) -> Iterator[tuple[CID, bytes]]:
    """Yield the blocks that `scope` asks for below and including `cid`; duplicates are yielded again, identity blocks too.

    Raises:
        FormatError: A block is malformed, or the DAG is deeper than is walked.
    """
    if scope == "all" and span is None:
        return _walk_all(cid, get, None)
    if scope == "block" or cid.codec != DAG_PB:
        return iter([(cid, get(cid))])
    return _walk_entity(cid, get, span)


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

    Raises:
        FormatError: A block is malformed, or the DAG is larger than can be sent without duplicates.
    """
    seen: set[bytes] | None = None if duplicates else set()
    if not duplicates and scope == "all" and span is None:
        yield from _once(((way, get(way)) for way in passed), seen)
        yield from _walk_all(cid, get, seen)
        return
    yield from _once(((way, get(way)) for way in passed), seen)
    yield from _once(walk_scope(cid, get, scope, span), seen)


def _once(
    blocks: Iterator[tuple[CID, bytes]], seen: set[bytes] | None
) -> Iterator[tuple[CID, bytes]]:
    for cid, data in blocks:
        if seen is not None:
            if cid.multihash in seen:
                continue
            seen.add(cid.multihash)
        if cid.hash_function != IDENTITY:
            yield cid, data


def _walk_all(root: CID, get: Get, seen: set[bytes] | None) -> Iterator[tuple[CID, bytes]]:
    """Yield every block once if `seen` is given (which also keeps a DAG of many equal links from being walked for ever)."""
    levels: list[Iterator[CID]] = [iter((root,))]
    while levels:
        cid = next(levels[-1], None)
        if cid is None:
            levels.pop()
            continue
        if seen is not None:
            if cid.multihash in seen:
                continue
            if len(seen) >= MAX_REMEMBERED_BLOCKS:
                raise FormatError(
                    "the DAG is too large to be sent without duplicates: ask for dups=y"
                )
            seen.add(cid.multihash)
        data = get(cid)
        if cid.hash_function != IDENTITY:
            yield cid, data
        if has_links(cid):
            if len(levels) > MAX_DAG_DEPTH:
                raise FormatError(f"expected a DAG of at most {MAX_DAG_DEPTH} levels, got more")
            levels.append(iter(block_links(cid, data)))


def _walk_entity(cid: CID, get: Get, span: EntityBytes | None) -> Iterator[tuple[CID, bytes]]:
    data = get(cid)
    yield cid, data
    node = decode_unixfs(data)
    if node.kind is Kind.HAMT_SHARD:
        yield from _walk_shards(node, get, 0)
    elif node.kind in (Kind.FILE, Kind.RAW):
        size = len(node.data) + sum(node.block_sizes)
        wanted = (span or EntityBytes(0, None)).within(size)
        if wanted is not None:
            yield from _walk_file(node, get, 0, wanted, 0)


def _walk_shards(node: UnixFSNode, get: Get, depth: int) -> Iterator[tuple[CID, bytes]]:
    if depth > MAX_DEPTH:
        raise FormatError(f"sharded directory is deeper than {MAX_DEPTH} levels")
    width = len(f"{(node.fanout or 1) - 1:x}")
    for link in node.links:
        if len(link.name or b"") == width:  # a further shard has no name behind its slot number
            data = get(link.cid)
            yield link.cid, data
            child = decode_unixfs(data)
            if child.kind is not Kind.HAMT_SHARD or child.fanout != node.fanout:
                raise FormatError(f"expected a shard, got {child.kind.name} {link.cid}")
            yield from _walk_shards(child, get, depth + 1)


def _walk_file(
    node: UnixFSNode, get: Get, offset: int, wanted: tuple[int, int], depth: int
) -> Iterator[tuple[CID, bytes]]:
    if depth > MAX_DEPTH:
        raise FormatError(f"file is deeper than {MAX_DEPTH} levels")
    offset += len(node.data)
    for link, size in zip(node.links, node.block_sizes, strict=True):
        if size and offset < wanted[1] and offset + size > wanted[0]:
            data = get(link.cid)
            yield link.cid, data
            if link.cid.codec == DAG_PB:
                yield from _walk_file(decode_unixfs(data), get, offset, wanted, depth + 1)
        offset += size
