"""DAG-PB: the protobuf node of UnixFS, a list of named links and some bytes.

Written canonically: links sorted by name, all links before the data, link fields in the order Hash, Name, Tsize (IPLD DAG-PB
specification). Read strictly, except for two things that do occur in honest blocks of others and change nothing about
their meaning: data before the links, and links in another order, which is kept.
"""

from collections.abc import Iterable
from typing import NamedTuple

from muniment.content import varint
from muniment.content.cid import CID
from muniment.errors import FormatError

MAX_BLOCK_BYTES = 2 * 1024 * 1024
"""Largest block that IPFS nodes exchange (Bitswap specification), and the largest node that is read here."""
MAX_LINKS = 1 << 16
"""Most links of one node: 2 MiB hold some 55,000 with real hashes, and five times as many that point nowhere."""

# Protobuf keys: field number << 3 | wire type (0 varint, 2 length-delimited).
_NODE_DATA, _NODE_LINK = 0x0A, 0x12
_LINK_HASH, _LINK_NAME, _LINK_TSIZE = 0x0A, 0x12, 0x18


class PBLink(NamedTuple):
    """A link: the CID of a child, its name in this node, and the cumulative size of its DAG in bytes.

    `name` and `tsize` are None where the bytes do not have the field at all.
    """

    cid: CID
    name: bytes | None = b""
    tsize: int | None = 0


class PBNode(NamedTuple):
    """A node: its links in wire order and its data, None where the field is absent."""

    links: tuple[PBLink, ...] = ()
    data: bytes | None = None


def encode_node(links: Iterable[PBLink], data: bytes | None) -> bytes:
    """Return the canonical bytes of a node; links are sorted by name, equal names keep their order."""
    parts: list[bytes] = []
    for link in sorted(links, key=_link_name):
        body = encode_link(link)
        parts += (b"\x12", varint.encode(len(body)), body)
    if data is not None:
        parts += (b"\x0a", varint.encode(len(data)), data)
    return b"".join(parts)


def encode_link(link: PBLink) -> bytes:
    """Return the bytes of one link, without its key and length in the node."""
    raw, name, tsize = link.cid.raw, link.name, link.tsize
    out = b"\x0a" + varint.encode(len(raw)) + raw
    if name is not None:
        out += b"\x12" + varint.encode(len(name)) + name
    if tsize is not None:
        out += b"\x18" + varint.encode(tsize)
    return out


def decode_node(block: bytes) -> PBNode:
    """Read a node.

    Raises:
        FormatError: The bytes are not a DAG-PB node, have an unknown, repeated or misplaced field, or exceed 2 MiB or `MAX_LINKS`.
    """
    if len(block) > MAX_BLOCK_BYTES:
        raise FormatError(
            f"expected a DAG-PB node of at most {MAX_BLOCK_BYTES} bytes, got {len(block)}"
        )
    links: list[PBLink] = []
    data: bytes | None = None
    closed = False  # the run of links has ended
    offset = 0
    while offset < len(block):
        key = block[offset]
        body, offset = _read_bytes(block, offset + 1)
        if key == _NODE_LINK and not closed:
            links.append(_decode_link(body))
            if len(links) > MAX_LINKS:
                raise FormatError(f"expected a DAG-PB node of at most {MAX_LINKS} links, got more")
        elif key == _NODE_DATA and data is None:
            data, closed = body, bool(links)
        else:
            raise FormatError(
                f"DAG-PB node has an unknown, repeated or misplaced field 0x{key:02x}"
            )
    return PBNode(tuple(links), data)


def _link_name(link: PBLink) -> bytes:
    return link.name or b""


def _decode_link(body: bytes) -> PBLink:
    if body[:1] != b"\x0a":
        raise FormatError("DAG-PB link does not begin with its CID")
    raw, offset = _read_bytes(body, 1)
    cid, name, tsize = CID.from_bytes(raw), None, None
    if offset < len(body) and body[offset] == _LINK_NAME:
        name, offset = _read_bytes(body, offset + 1)
    if offset < len(body) and body[offset] == _LINK_TSIZE:
        tsize, offset = varint.decode(body, offset + 1)
    if offset != len(body):
        raise FormatError(
            f"DAG-PB link has an unknown, repeated or misplaced field 0x{body[offset]:02x}"
        )
    return PBLink(cid, name, tsize)


def _read_bytes(data: bytes, offset: int) -> tuple[bytes, int]:
    if offset < len(data) and data[offset] < 0x80:  # a whole varint, as most lengths are
        length, offset = data[offset], offset + 1
    else:
        length, offset = varint.decode(data, offset)
    end = offset + length
    if end > len(data):
        raise FormatError(
            f"DAG-PB field is cut off: expected {length} bytes, got {len(data) - offset}"
        )
    return data[offset:end], end
