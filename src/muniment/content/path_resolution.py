"""Following a path through DAGs of any codec: UnixFS directories by name, DAG-CBOR and DAG-JSON by key, index and link.

Every block that had to be read is remembered in order, because that is what proves the way to somebody who trusts nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from muniment.content import codecs
from muniment.content.cid import CID, DAG_PB
from muniment.content.unixfs import hamt
from muniment.content.unixfs.node import Kind, UnixFSNode, decode_unixfs
from muniment.errors import NotFoundError

Get = Callable[[CID], bytes]

_REMEMBERED_BYTES = 16 * 1024
"""Of a directory at most: 128 of them take some 10 MB when they are read."""

_TREES = frozenset((codecs.DAG_CBOR, codecs.DAG_JSON, codecs.CBOR, codecs.JSON))


class NoSuchPathError(NotFoundError):
    """The blocks are there and say that the path leads nowhere."""


@dataclass(slots=True)
class Resolution:
    """Where a path leads.

    Attributes:
        cid: The last block.
        roots: The root, and the CID that each name of the path led to.
        passed: Every block read on the way, without the last one.
        remainder: Names that lead to something inside the last block, which is no link.
    """

    cid: CID
    roots: list[CID]
    passed: list[CID] = field(default_factory=list)
    remainder: tuple[str, ...] = ()


def resolve_path(root: CID, segments: Sequence[bytes], get: Get) -> Resolution:
    """Follow `segments` from `root`; the last block itself is not read. Symbolic links are not followed.

    Raises:
        NoSuchPathError: A name does not exist, or is looked for in something that has no names.
        NotFoundError: A block on the way is missing.
        FormatError: A block on the way is malformed.
    """
    found = Resolution(root, [root])
    position = 0
    while position < len(segments):
        if found.cid.codec in _TREES:
            position = _descend(found, segments, position, get)
        else:
            _enter_directory(found, segments[position], get)
            position += 1
    return found


def _enter_directory(found: Resolution, name: bytes, get: Get) -> None:
    shards: list[CID] = []

    def get_shard(cid: CID) -> bytes:
        shards.append(cid)
        return get(cid)

    child = None
    if found.cid.codec == DAG_PB:
        child = _child(_node(get(found.cid)), name, get_shard)
    if child is None:
        raise NoSuchPathError(
            f"no link named {name.decode('utf-8', 'replace')!r} under {found.cid}"
        )
    found.passed += [found.cid, *shards]
    found.cid = child
    found.roots.append(child)


def _node(block: bytes) -> UnixFSNode:
    return _remembered_node(block) if len(block) <= _REMEMBERED_BYTES else decode_unixfs(block)


# Paths of one site lead through the same few directories; reading one takes longer than everything else on the way.
_remembered_node = lru_cache(maxsize=128)(decode_unixfs)


def _child(node: UnixFSNode, name: bytes, get: Get) -> CID | None:
    if node.kind is Kind.HAMT_SHARD:
        return hamt.find(node, name, get)
    if node.kind is Kind.DIRECTORY:
        return next((link.cid for link in node.links if link.name == name), None)
    return None


def _descend(found: Resolution, segments: Sequence[bytes], position: int, get: Get) -> int:
    """Follow names inside one block up to its next link, or the end of the path; return the position behind."""
    value = codecs.decode(found.cid.codec, get(found.cid), strict=False)
    try:
        value, left = codecs.resolve_path(value, segments[position:])
    except NotFoundError as error:
        raise NoSuchPathError(f"{error} (under {found.cid})") from None
    if not isinstance(value, CID):
        found.remainder = tuple(name.decode("utf-8", "replace") for name in segments[position:])
        return len(segments)
    found.passed.append(found.cid)
    found.cid = value
    found.roots.append(value)
    return len(segments) - len(left)
