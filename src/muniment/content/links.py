"""Links: the CIDs that a block points to, for walks over DAGs whatever they hold."""

from collections.abc import Sequence

from muniment.content import codecs
from muniment.content.cid import CID
from muniment.content.dag_pb import decode_node
from muniment.errors import FormatError

_WITHOUT_LINKS = codecs.KNOWN - codecs.LINKING


def has_links(cid: CID) -> bool:
    """Tell whether blocks of the CID's codec can have links at all; if not, the block need not be read."""
    return cid.codec not in _WITHOUT_LINKS


def block_links(cid: CID, block: bytes) -> Sequence[CID]:
    """Return the CIDs that `block` links to, in order; blocks of others need not be in the strict form of their codec.

    Raises:
        FormatError: The block is malformed, or its codec is not known here.
    """
    codec = cid.codec
    if codec == codecs.DAG_PB:  # also with names that are not UTF-8
        return [link.cid for link in decode_node(block).links]
    if codec in codecs.LINKING:
        return list(codecs.links(codecs.decode(codec, block, strict=False)))
    if codec in codecs.KNOWN:
        return ()
    raise FormatError(f"the links of {cid} are unknown: codec 0x{codec:x}")
