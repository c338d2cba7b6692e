"""How large is a DAG, and is all of it there? Walks that visit each block once, and read only those that can have links."""

from collections.abc import Iterator, Sequence
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

    def note_missing(self, missing: Missing) -> None:
        """Count a block that is missing."""
        self.missing_blocks += 1
        self.first_missing = self.first_missing or missing


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
        found = _look(cid, blocks)
        if isinstance(found, Missing):
            survey.note_missing(found)
            continue
        size, links = found
        pending += reversed(links)
        if cid.hash_function != IDENTITY:
            survey.blocks += 1
            survey.size_bytes += size
    return survey


class CompletenessCheck:
    """Tells of many roots whether all below them is there; what their DAGs share is looked at once."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._known: dict[bytes, Missing | None] = {}

    def first_missing(self, root: CID) -> Missing | None:
        """Return a block that the DAG of `root` lacks, or None if it is complete. Memory: about 200 bytes for each block."""
        way: list[tuple[CID, Iterator[CID]]] = []
        missing = self._enter(root, way)
        while way:
            cid, links = way[-1]
            child = None if missing else next(links, None)
            if child is not None:
                missing = self._enter(child, way)
                continue
            way.pop()
            self._known[cid.multihash] = missing
        return missing

    def _enter(self, cid: CID, way: list[tuple[CID, Iterator[CID]]]) -> Missing | None:
        """Go on with a block that was not looked at yet; return what is known to be missing at or below it."""
        if cid.multihash in self._known:
            return self._known[cid.multihash]
        found = _look(cid, self._blocks)
        if isinstance(found, Missing):
            self._known[cid.multihash] = found
            return found
        way.append((cid, iter(found[1])))
        return None


def _look(cid: CID, blocks: Blocks) -> Missing | tuple[int, Sequence[CID]]:
    """Return a block's size and links, or why they cannot be had."""
    try:
        if not has_links(cid):
            return blocks.size(cid), ()
        block = blocks.get(cid)
        return len(block), block_links(cid, block)
    except NotFoundError:
        return Missing(cid, "the block is missing")
    except IntegrityError as error:
        return Missing(cid, str(error))
