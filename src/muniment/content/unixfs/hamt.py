"""HAMT: a large directory as a tree of shards, addressed by the hash of the name.

Each shard has `fanout` slots. A name's slot at depth d is the d-th group of log2(fanout) bits of the first 64 bits of
MurmurHash3 x64-128 (seed 0), most significant first. A slot holds one entry, linked as the slot number in upper-case hex
followed by the name, or a further shard, linked as the slot number alone (UnixFS specification, HAMTDirectory).
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

from muniment.content.cid import CID
from muniment.content.dag_pb import PBLink
from muniment.content.open_links import OpenLinks
from muniment.content.unixfs.node import Kind, Metadata, UnixFSNode, decode_unixfs, encode_shard
from muniment.content.unixfs.profile import Profile
from muniment.errors import FormatError

MURMUR3_X64_64 = 0x22
"""Multicodec number of the only hash function in use."""

MAX_FANOUT = 1024
_HASH_BITS = 64
_MASK = (1 << 64) - 1


def build(
    entries: Iterable[tuple[int, PBLink]], profile: Profile, metadata: Metadata | None = None
) -> Generator[tuple[CID, bytes], None, PBLink]:
    """Build the shards over (hash of the name, named link), given in the order of the hashes.

    Yields every node, children before parents, and returns a nameless link to the root, which has the metadata. Memory: one unfinished
    shard for each level.

    Raises:
        FormatError: Two names are equal, or have the same 64-bit hash.
    """
    shards = _OpenShards(profile)
    remaining = iter(entries)
    current, shared = next(remaining, None), 0
    while current is not None:
        following = next(remaining, None)
        shared_next = shards.shared_levels(current, following) if following else 0
        # Its slot is its own from the first level on at which neither neighbour goes the same way.
        shards.add(current, max(shared, shared_next))
        yield from shards.close_below(shared_next, current[0])
        current, shared = following, shared_next
    root, node = shards.close(metadata)
    yield node
    return root


class _OpenShards:
    """The unfinished shards from the root down to the one that was added to last."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._bits = _slot_bits(profile.hamt_fanout)
        self._width = _slot_width(profile.hamt_fanout)
        self._levels: list[list[tuple[int, PBLink]]] = [[]]

    def shared_levels(self, one: tuple[int, PBLink], other: tuple[int, PBLink]) -> int:
        """Return at how many levels, from the root on, two entries go the same way."""
        levels = (_HASH_BITS - (one[0] ^ other[0]).bit_length()) // self._bits
        if (levels + 1) * self._bits > _HASH_BITS:
            if one[1].name == other[1].name:
                raise FormatError(f"directory has the name {one[1].name!r} twice")
            raise FormatError(f"names {one[1].name!r} and {other[1].name!r} have the same hash")
        return levels

    def add(self, entry: tuple[int, PBLink], depth: int) -> None:
        """Put an entry into the shard at `depth`."""
        while len(self._levels) <= depth:
            self._levels.append([])
        digest, link = entry
        slot = _slot(digest, depth, self._bits)
        name = b"%0*X" % (self._width, slot) + (link.name or b"")
        self._levels[depth].append((slot, PBLink(link.cid, name, link.tsize)))

    def close_below(self, depth: int, digest: int) -> Iterator[tuple[CID, bytes]]:
        """Finish the shards deeper than `depth`, which lie on the way of `digest`; yield their nodes."""
        while len(self._levels) > depth + 1:
            child, node = self.close()
            slot = _slot(digest, len(self._levels) - 1, self._bits)
            link = PBLink(child.cid, b"%0*X" % (self._width, slot), child.tsize)
            self._levels[-1].append((slot, link))
            yield node

    def close(self, metadata: Metadata | None = None) -> tuple[PBLink, tuple[CID, bytes]]:
        """Finish the deepest shard; return a nameless link to it, and its node."""
        children = self._levels.pop()
        bits = sum(1 << slot for slot, _link in children)
        bitfield = bits.to_bytes((bits.bit_length() + 7) // 8, "big")
        links = [link for _slot, link in children]
        fanout = self._profile.hamt_fanout
        block = encode_shard(links, bitfield, fanout, MURMUR3_X64_64, metadata)
        cid = self._profile.node_cid(block)
        tsize = len(block) + sum(link.tsize or 0 for link in links)
        return PBLink(cid, b"", tsize), (cid, block)


def iter_entries(
    root: UnixFSNode, get: Callable[[CID], bytes], open_links: OpenLinks | None = None
) -> Iterator[tuple[bytes, PBLink]]:
    """Yield every (name, link) of a sharded directory, in the order of the slots.

    Every name must sit where its hash says: so what is listed can also be looked up, and a DAG that links one shard many times
    ends at its first repetition.

    Raises:
        FormatError: A shard is malformed or empty, or a name is in the wrong place.
    """
    yield from _ShardWalk(get, open_links or OpenLinks()).below(root, 0, 0)


class _ShardWalk(NamedTuple):
    """A walk over all shards of one directory."""

    get: Callable[[CID], bytes]
    open_links: OpenLinks

    def below(self, node: UnixFSNode, depth: int, path: int) -> Iterator[tuple[bytes, PBLink]]:
        """Yield the entries of a shard at `depth`, to which the slot numbers in `path` lead."""
        bits, width = check_shard(node, depth)
        self.open_links.enter(len(node.links))
        for link in node.links:
            slot, name = _split_name(link, width)
            here = path << bits | slot
            if not name:
                yield from self.below(_child_shard(node, link, self.get), depth + 1, here)
            elif murmur3_64(name) >> (_HASH_BITS - bits * (depth + 1)) == here:
                yield name, link
            else:
                shown = name[:80]
                raise FormatError(f"sharded directory has the name {shown!r} in the wrong place")
        self.open_links.leave(len(node.links))


def find(root: UnixFSNode, name: bytes, get: Callable[[CID], bytes]) -> CID | None:
    """Return the CID of `name` in a sharded directory, or None.

    Raises:
        FormatError: A shard on the way is malformed.
    """
    node, digest, depth = root, murmur3_64(name), 0
    while True:
        bits, width = check_shard(node, depth)
        prefix = b"%0*X" % (width, _slot(digest, depth, bits))
        links = {link.name: link for link in node.links}
        if prefix + name in links:
            return links[prefix + name].cid
        if prefix not in links:
            return None
        node, depth = _child_shard(node, links[prefix], get), depth + 1


def check_shard(node: UnixFSNode, depth: int) -> tuple[int, int]:
    """Check one shard's own fields; return the bits and the hex digits of a slot number.

    Raises:
        FormatError: Hash function, fanout, bitfield and links do not agree, or the tree is deeper than the hash is long.
    """
    fanout = node.fanout or 0
    if node.hash_type != MURMUR3_X64_64 or not 8 <= fanout <= MAX_FANOUT or fanout & (fanout - 1):
        raise FormatError(f"shard has hash function {node.hash_type} and fanout {node.fanout}")
    bits, width = _slot_bits(fanout), _slot_width(fanout)
    if bits * (depth + 1) > _HASH_BITS:
        raise FormatError("sharded directory is deeper than its hash is long")
    if depth and not node.links:
        raise FormatError("sharded directory has an empty shard below its root")
    bitfield = 0
    for link in node.links:
        bit = 1 << _split_name(link, width)[0]
        if bit <= bitfield:
            raise FormatError("shard has its slots out of order, or one twice")
        bitfield |= bit
    if bitfield != int.from_bytes(node.data, "big") or bitfield.bit_length() > fanout:
        raise FormatError("shard's bitfield and links do not agree")
    return bits, width


def _child_shard(parent: UnixFSNode, link: PBLink, get: Callable[[CID], bytes]) -> UnixFSNode:
    child = decode_unixfs(get(link.cid))
    if child.kind is not Kind.HAMT_SHARD or child.fanout != parent.fanout:
        raise FormatError(
            f"expected a shard of fanout {parent.fanout}, got {child.kind.name} {link.cid}"
        )
    return child


def _split_name(link: PBLink, width: int) -> tuple[int, bytes]:
    """Split a shard's link name into the slot number and the entry's name (empty for a further shard)."""
    name = link.name or b""
    prefix = name[:width]
    if len(prefix) != width or any(digit not in b"0123456789ABCDEF" for digit in prefix):
        raise FormatError(f"shard has a link without slot number: {name[:80]!r}")
    return int(prefix, 16), name[width:]


def _slot(digest: int, depth: int, bits: int) -> int:
    return digest >> (_HASH_BITS - bits * (depth + 1)) & ((1 << bits) - 1)


def _slot_bits(fanout: int) -> int:
    return fanout.bit_length() - 1


def _slot_width(fanout: int) -> int:
    return len(f"{fanout - 1:x}")


def murmur3_64(data: bytes) -> int:
    """Return the first 64 bits of MurmurHash3 x64-128 with seed 0 (Austin Appleby's reference, public domain)."""
    c1, c2, mask = 0x87C37B91114253D5, 0x4CF5AD432745937F, _MASK
    h1 = h2 = 0
    full = len(data) & ~15
    for offset in range(0, full, 16):
        k1 = int.from_bytes(data[offset : offset + 8], "little")
        k2 = int.from_bytes(data[offset + 8 : offset + 16], "little")
        h1 ^= _rotate(k1 * c1 & mask, 31) * c2 & mask
        h1 = ((_rotate(h1, 27) + h2) * 5 + 0x52DCE729) & mask
        h2 ^= _rotate(k2 * c2 & mask, 33) * c1 & mask
        h2 = ((_rotate(h2, 31) + h1) * 5 + 0x38495AB5) & mask
    k1 = int.from_bytes(data[full : full + 8], "little")
    k2 = int.from_bytes(data[full + 8 :], "little")
    h1 ^= _rotate(k1 * c1 & mask, 31) * c2 & mask
    h2 ^= _rotate(k2 * c2 & mask, 33) * c1 & mask
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & mask
    h2 = (h2 + h1) & mask
    return (_finalize(h1) + _finalize(h2)) & mask


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _finalize(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return value ^ value >> 33
