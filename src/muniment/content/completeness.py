"""Is all of a DAG there? A walk over its blocks that visits each once and reads only those that can have links."""

from typing import NamedTuple, Protocol

from muniment.content.cid import CID
from muniment.content.links import block_links, has_links
from muniment.errors import IntegrityError, NotFoundError


class Blocks(Protocol):
    """What is asked of a block store."""

    def get(self, cid: CID) -> bytes:
        """Return the block, verified."""
        ...

    def has(self, cid: CID) -> bool:
        """Tell whether the block is there."""
        ...


class Missing(NamedTuple):
    """A block that a DAG lacks, and why, in words."""

    cid: CID
    reason: str


def first_missing(root: CID, blocks: Blocks) -> Missing | None:
    """Return a block below (or at) `root` that is missing, damaged, or of a codec whose links are unknown; None if there is none.

    Memory: about 200 bytes for each block of the DAG.
    """
    seen: set[bytes] = set()
    pending = [root]
    while pending:
        cid = pending.pop()
        if cid.multihash in seen:
            continue
        seen.add(cid.multihash)
        try:
            if has_links(cid):
                pending += block_links(cid, blocks.get(cid))
            elif not blocks.has(cid):
                return Missing(cid, "the block is missing")
        except NotFoundError:
            return Missing(cid, "the block is missing")
        except IntegrityError as error:
            return Missing(cid, str(error))
    return None
