"""Links: the CIDs that a block points to, for walks over DAGs whatever they hold."""

from collections.abc import Sequence

from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.dag_pb import decode_node
from muniment.errors import FormatError

_CBOR, _JSON = 0x51, 0x0200
_WITHOUT_LINKS = frozenset((RAW, _CBOR, _JSON))


def has_links(cid: CID) -> bool:
    """Tell whether blocks of the CID's codec can have links at all; if not, the block need not be read."""
    return cid.codec not in _WITHOUT_LINKS


def block_links(cid: CID, block: bytes) -> Sequence[CID]:
    """Return the CIDs that `block` links to, in order.

    Raises:
        FormatError: The block is malformed, or its codec is not known here.
    """
    if cid.codec == DAG_PB:
        return [link.cid for link in decode_node(block).links]
    if not has_links(cid):
        return ()
    raise FormatError(f"the links of {cid} are unknown: codec 0x{cid.codec:x}")
