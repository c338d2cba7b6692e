"""The way through a DAG that is being fetched: which blocks hang on which, and what is worth asking for at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from muniment.content import codecs
from muniment.content.cid import CID
from muniment.content.dag_pb import decode_node
from muniment.content.dag_scope import MAX_DAG_DEPTH, Scope
from muniment.content.links import block_links
from muniment.content.unixfs.node import Kind, decode_unixfs
from muniment.errors import FormatError

FAMILY_MIN = 8
"""From so many small children on, they are asked for together."""
FAMILY_CHILD_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the DAG: a block, and how it was come to.

    Attributes:
        cid: The block.
        depth: Its distance from the root.
        size_hint: Bytes of the DAG below it as its parent says, which need not be true; None if nothing is said.
        family: The children of a block that is here already, to be asked for together with it; empty otherwise.
    """

    cid: CID
    depth: int = 0
    size_hint: int | None = None
    family: tuple["Node", ...] = ()

    @property
    def key(self) -> bytes:
        """What a store knows the block by."""
        return self.cid.to_v1().raw


def children(node: Node, data: bytes) -> list[Node]:
    """Return the places that a block's links lead to, in order.

    Raises:
        FormatError: The block is malformed, of a codec whose links are unknown, or deeper than is walked.
    """
    depth = node.depth + 1
    if node.cid.codec == codecs.DAG_PB:
        links = decode_node(data).links
        found = [Node(link.cid, depth, link.tsize) for link in links]
    else:
        found = [Node(cid, depth) for cid in block_links(node.cid, data)]
    if found and depth > MAX_DAG_DEPTH:
        raise FormatError(f"expected a DAG of at most {MAX_DAG_DEPTH} levels, got more")
    return found


def as_family(node: Node, found: Sequence[Node], max_bytes: int) -> Node | None:
    """Return the place of a block with many small children as one thing to ask for; None if it is better to ask for each."""
    hints = [child.size_hint for child in found if child.size_hint is not None]
    total = sum(hints)
    if len(hints) < max(len(found), FAMILY_MIN) or total > max_bytes:
        return None
    if total > len(hints) * FAMILY_CHILD_BYTES:
        return None
    return Node(node.cid, node.depth, total, tuple(found))


def scope_children(node: Node, data: bytes, scope: Scope) -> list[Node]:
    """Return the children that belong to a scope; those of an entity lead to all of a file, or to the shards of a directory.

    Raises:
        FormatError: As `children`; or a directory's shard is not one.
    """
    if scope == "all":
        return children(node, data)
    if scope == "block" or node.cid.codec != codecs.DAG_PB:
        return []
    unixfs = decode_unixfs(data)
    if unixfs.kind in (Kind.FILE, Kind.RAW):
        return children(node, data)
    if unixfs.kind is not Kind.HAMT_SHARD:
        return []
    # A further shard has no name behind its slot number.
    width = len(f"{(unixfs.fanout or 1) - 1:x}")
    found = children(node, data)
    names = (link.name or b"" for link in unixfs.links)
    return [child for child, name in zip(found, names, strict=True) if len(name) == width]
