"""HAMT: a large directory as a tree of shards, addressed by the hash of the name.

Each shard has `fanout` slots. A name's slot at depth d is the d-th group of log2(fanout) bits of the first 64 bits of
MurmurHash3 x64-128 (seed 0), most significant first. A slot holds one entry, linked as the slot number in upper-case hex
followed by the name, or a further shard, linked as the slot number alone (UnixFS specification, HAMTDirectory).
"""

from collections.abc import Callable, Iterator, Sequence

from muniment.content.cid import CID
from muniment.content.dag_pb import PBLink
from muniment.content.unixfs.node import Kind, UnixFSNode, decode_unixfs, encode_shard
from muniment.content.unixfs.profile import Profile
from muniment.errors import FormatError

MURMUR3_X64_64 = 0x22
"""Multicodec number of the only hash function in use."""

MAX_FANOUT = 1024
_HASH_BITS = 64
_MASK = (1 << 64) - 1


def build(links: Sequence[PBLink], profile: Profile) -> tuple[CID, int, list[tuple[CID, bytes]]]:
    """Build the shards over named links; return the root, its tsize, and all nodes, children before parents.

    Raises:
        FormatError: Two names have the same 64-bit hash.
    """
    inner: list[tuple[CID, bytes]] = []
    entries = [(murmur3_64(link.name or b""), link) for link in links]
    root = _build_shard(entries, 0, profile, inner)
    return root.cid, root.tsize or 0, inner


def _build_shard(
    entries: Sequence[tuple[int, PBLink]],
    depth: int,
    profile: Profile,
    inner: list[tuple[CID, bytes]],
) -> PBLink:
    """Build one shard and those below it; return a nameless link to it."""
    fanout = profile.hamt_fanout
    bits, width = _slot_bits(fanout), _slot_width(fanout)
    if (depth + 1) * bits > _HASH_BITS:
        raise FormatError(
            f"names {entries[0][1].name!r} and {entries[1][1].name!r} have the same hash"
        )
    slots: dict[int, list[tuple[int, PBLink]]] = {}
    for entry in entries:
        slots.setdefault(_slot(entry[0], depth, bits), []).append(entry)
    children, bitfield = [], 0
    for slot in sorted(slots):
        prefix = b"%0*X" % (width, slot)
        if len(slots[slot]) == 1:
            link = slots[slot][0][1]
            children.append(PBLink(link.cid, prefix + (link.name or b""), link.tsize))
        else:
            link = _build_shard(slots[slot], depth + 1, profile, inner)
            children.append(PBLink(link.cid, prefix, link.tsize))
        bitfield |= 1 << slot
    raw_bitfield = bitfield.to_bytes((bitfield.bit_length() + 7) // 8, "big")
    block = encode_shard(children, raw_bitfield, fanout, MURMUR3_X64_64)
    cid = profile.node_cid(block)
    inner.append((cid, block))
    return PBLink(cid, b"", len(block) + sum(child.tsize or 0 for child in children))


def iter_entries(root: UnixFSNode, get: Callable[[CID], bytes]) -> Iterator[tuple[bytes, PBLink]]:
    """Yield every (name, link) of a sharded directory, in the order of the slots.

    Every name must sit where its hash says: so what is listed can also be looked up, and a DAG that links one shard many times
    ends at its first repetition.

    Raises:
        FormatError: A shard is malformed or empty, or a name is in the wrong place.
    """
    yield from _iter_shard(root, get, 0, 0)


def _iter_shard(
    node: UnixFSNode, get: Callable[[CID], bytes], depth: int, path: int
) -> Iterator[tuple[bytes, PBLink]]:
    bits, width = check_shard(node, depth)
    for link in node.links:
        slot, name = _split_name(link, width)
        here = path << bits | slot
        if name:
            if murmur3_64(name) >> (_HASH_BITS - bits * (depth + 1)) != here:
                raise FormatError(f"sharded directory has the name {name!r} in the wrong place")
            yield name, link
            continue
        child = _child_shard(node, link, get)
        yield from _iter_shard(child, get, depth + 1, here)


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
