"""DAGs and CARs that are small and stand for something endless, or are not what they say: what a reader must survive.

Everything is made with the package's own writers, or by hand where those refuse to write it.
"""

from collections.abc import Callable, Iterator, Sequence

from muniment.content import codecs, varint
from muniment.content.cid import CID, DAG_PB, IDENTITY, RAW
from muniment.content.dag_pb import PBLink, encode_node
from muniment.content.unixfs.node import encode_directory, encode_file

Put = Callable[[CID, bytes], None]

MAX_VARINT = (1 << 63) - 1
NOWHERE = CID.of(RAW, b"this block is nowhere")
NOTHING = CID(bytes((1, RAW, IDENTITY, 0)))
"""The shortest CID there is: an empty block, which lies in the CID itself."""


def identity(codec: int, data: bytes) -> CID:
    """Return the CID that holds `data` itself, whatever its length."""
    head = b"\x01" + varint.encode(codec) + bytes((IDENTITY,))
    return CID(head + varint.encode(len(data)) + data)


def put_node(put: Put, block: bytes, codec: int = DAG_PB) -> CID:
    """Store a block and return its CID."""
    cid = CID.of(codec, block)
    put(cid, block)
    return cid


def bomb_file(put: Put, levels: int = 6, width: int = 1000, leaf: bytes = b"x") -> CID:
    """Make a file of `levels` nodes, each linking the same child `width` times: `width ** levels` leaves.

    Sizes add up, as long as they can be written: beyond that they are the largest that can be.
    """
    cid, size = put_node(put, leaf, RAW), len(leaf)
    for _ in range(levels):
        total = min(size * width, MAX_VARINT)
        cid, size = put_node(put, file_node([size] * width, [cid] * width, total)), total
    return cid


def bomb_directory(put: Put, levels: int = 10, width: int = 1000) -> CID:
    """Make a directory of `width ** levels` files."""
    cid = put_node(put, b"x", RAW)
    for _ in range(levels):
        links = [PBLink(cid, b"%d" % number, 1) for number in range(width)]
        cid = put_node(put, encode_directory(links))
    return cid


def bomb_data(put: Put, levels: int = 10, width: int = 1000) -> CID:
    """Make lists of links to lists of links, in DAG-CBOR."""
    cid = put_node(put, b"x", RAW)
    for _ in range(levels):
        links: list[codecs.Value] = [cid] * width
        cid = put_node(put, codecs.encode(codecs.DAG_CBOR, links), codecs.DAG_CBOR)
    return cid


def chain(put: Put, levels: int, link: Callable[[CID, int], bytes], codec: int = DAG_PB) -> CID:
    """Make a chain of blocks; `link` makes one of the CID below it and the number of its level."""
    cid = put_node(put, b"x", RAW)
    for level in range(levels):
        cid = put_node(put, link(cid, level), codec)
    return cid


def file_link(cid: CID, _level: int) -> bytes:
    """Return a file of one byte, which is below `cid`."""
    return encode_file([PBLink(cid, b"", 1)], [1])


def directory_link(cid: CID, _level: int) -> bytes:
    """Return a directory of one entry."""
    return encode_directory([PBLink(cid, b"d", 1)])


def data_link(cid: CID, _level: int) -> bytes:
    """Return a list of one link."""
    return codecs.encode(codecs.DAG_CBOR, [cid])


def wide_file_link(cid: CID, _level: int, width: int = 3000) -> bytes:
    """Return a file of one byte among many parts that are empty."""
    links = [PBLink(cid, None, None)] + [PBLink(NOTHING, None, None)] * width
    return encode_file(links, [1] + [0] * width)


def wide_directory_link(cid: CID, _level: int, width: int = 3000) -> bytes:
    """Return a directory whose first entry leads down, among many."""
    links = [PBLink(cid, b"", None)]
    links += [PBLink(NOTHING, b"%05d" % number, None) for number in range(width)]
    return encode_directory(links)


def wide_data_link(cid: CID, _level: int, width: int = 3000) -> bytes:
    """Return a list whose first link leads down, among many."""
    links: list[codecs.Value] = [cid, *[NOTHING] * width]
    return codecs.encode(codecs.DAG_CBOR, links)


def million_links(links: int = 1_000_000) -> bytes:
    """Return a node of so many links, each as short as can be."""
    body = b"\x0a" + varint.encode(len(NOTHING.raw)) + NOTHING.raw
    return (b"\x12" + varint.encode(len(body)) + body) * links + b"\x0a\x02\x08\x01"


def unixfs_message(*fields: tuple[int, int | bytes]) -> bytes:
    """Return a UnixFS message of these fields, by number: numbers as varints, bytes behind their length."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint.encode(number << 3) + varint.encode(value))
        else:
            parts.append(varint.encode(number << 3 | 2) + varint.encode(len(value)) + value)
    return b"".join(parts)


def file_node(
    sizes: Sequence[int], links: Sequence[CID], file_size: int, data: bytes = b""
) -> bytes:
    """Return a file's node that says what it is told to say."""
    fields: list[tuple[int, int | bytes]] = [(1, 2)]
    fields += [(2, data)] if data else []
    fields += [(3, file_size), *((4, size) for size in sizes)]
    return encode_node([PBLink(cid, b"", 0) for cid in links], unixfs_message(*fields))


def shard_node(
    links: Sequence[tuple[bytes, CID]],
    bitfield: int,
    fanout: int = 256,
    hash_type: int = 0x22,
) -> bytes:
    """Return a shard that says what it is told to say."""
    raw = bitfield.to_bytes((bitfield.bit_length() + 7) // 8, "big")
    message = unixfs_message((1, 5), (2, raw), (5, hash_type), (6, fanout))
    return encode_node([PBLink(cid, name, 0) for name, cid in links], message)


def shard_bomb(put: Put, levels: int = 7, fanout: int = 256) -> CID:
    """Make shards that all link the shard below from every slot, down to one name."""
    cid = put_node(put, shard_node([(b"00name", NOTHING)], 1, fanout))
    for _ in range(levels):
        links = [(b"%02X" % slot, cid) for slot in range(fanout)]
        cid = put_node(put, shard_node(links, (1 << fanout) - 1, fanout))
    return cid


class LyingStore:
    """Hands out blocks that do not hash to their names, so that DAGs can have circles; counts what is read."""

    def __init__(self, blocks: dict[CID, bytes]) -> None:
        self.blocks = blocks
        self.reads = 0

    def get(self, cid: CID) -> bytes:
        """Return a block, unverified."""
        self.reads += 1
        return self.blocks[cid]


def circles() -> Iterator[tuple[CID, dict[CID, bytes]]]:
    """Yield DAGs that lead back to where they began: the root, and blocks that do not hash to their names."""
    root = CID.of(DAG_PB, b"circle")
    yield root, {root: file_node([1], [root], 1)}
    yield root, {root: file_node([1, 0], [root, root], 1)}
    yield root, {root: file_node([5, 5], [root, root], 10)}
    yield root, {root: encode_directory([PBLink(root, b"d", 1), PBLink(root, b"e", 1)])}
    yield root, {root: shard_node([(b"00", root), (b"01", root)], 3)}
    data = CID.of(codecs.DAG_CBOR, b"circle")
    yield data, {data: codecs.encode(codecs.DAG_CBOR, {"a": data, "b": [data]})}
