"""How large is a DAG, and is all of it there? A walk that visits each block once, and reads only those that can have links."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from muniment.content.cid import CID, IDENTITY
from muniment.content.links import block_links, has_links
from muniment.errors import IntegrityError, NotFoundError


class Blocks(Protocol):
    """What is asked of a block store."""

    def get(self, cid: CID) -> bytes:
        """Return the block, verified."""
        ...

    def size(self, cid: CID) -> int:
        """Return the bytes of the block, which are not looked at."""
        ...


class Missing(NamedTuple):
    """A block that a DAG lacks, and why, in words."""

    cid: CID
    reason: str


@dataclass(slots=True)
class Survey:
    """What a walk found.

    Attributes:
        blocks: Different blocks that are there; identity CIDs hold themselves, and do not count.
        size_bytes: Their bytes.
        missing_blocks: Blocks that are missing, damaged, or of a codec whose links are unknown. What hangs on those is not known.
        first_missing: One of them.
    """

    blocks: int = 0
    size_bytes: int = 0
    missing_blocks: int = 0
    first_missing: Missing | None = None

    def note_missing(self, cid: CID, reason: str) -> None:
        """Count a block that is missing."""
        self.missing_blocks += 1
        self.first_missing = self.first_missing or Missing(cid, reason)


def survey_dag(root: CID, blocks: Blocks) -> Survey:
    """Visit every block at and below `root`. Memory: about 200 bytes for each."""
    survey = Survey()
    seen: set[bytes] = set()
    pending = [root]
    while pending:
        cid = pending.pop()
        if cid.multihash in seen:
            continue
        seen.add(cid.multihash)
        try:
            if has_links(cid):
                block = blocks.get(cid)
                pending += reversed(block_links(cid, block))
                size = len(block)
            else:
                size = blocks.size(cid)
        except NotFoundError:
            survey.note_missing(cid, "the block is missing")
        except IntegrityError as error:
            survey.note_missing(cid, str(error))
        else:
            is_stored = cid.hash_function != IDENTITY
            survey.blocks += is_stored
            survey.size_bytes += size if is_stored else 0
    return survey
