"""What the domain asks of block storage."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from muniment.content.cid import CID


class Pin(NamedTuple):
    """A DAG to be kept: its root, and a name for people (may be empty)."""

    cid: CID
    name: str


class BlockStore(Protocol):
    """A set of immutable blocks, each named by its CID, and the pins that say which DAGs to keep.

    A CIDv0 and the CIDv1 of the same node name the same block. A block whose CID is an identity CID is always there and takes no
    room. Blocks are never deleted one by one: collecting garbage removes what no pin reaches.
    """

    def put(self, cid: CID, data: bytes) -> None:
        """Store one block durably; storing it again changes nothing.

        Raises:
            IntegrityError: `data` does not hash to `cid`; nothing was stored.
        """
        ...

    def put_many(self, blocks: Iterable[tuple[CID, bytes]]) -> int:
        """Store blocks durably, all or none acknowledged together; return how many were new.

        Raises:
            IntegrityError: A block does not hash to its CID; none is acknowledged.
        """
        ...

    def get(self, cid: CID) -> bytes:
        """Return the block, verified against its CID.

        Raises:
            NotFoundError: The store has no such block.
            IntegrityError: The store has it, but its bytes are damaged or gone.
        """
        ...

    def has(self, cid: CID) -> bool:
        """Tell whether the store knows the block; its bytes are not looked at."""
        ...

    def size(self, cid: CID) -> int:
        """Return the bytes of the block; they are not looked at.

        Raises:
            NotFoundError: The store has no such block.
        """
        ...

    def cids(self) -> Iterator[CID]:
        """Yield the CID (version 1) of every block, each once, in no particular order."""
        ...

    def pin(self, cid: CID, name: str = "") -> None:
        """Keep the DAG below `cid`, durably; pinning again replaces the name. Its blocks may come later."""
        ...

    def unpin(self, cid: CID) -> None:
        """Stop keeping the DAG below `cid`.

        Raises:
            NotFoundError: It is not pinned.
        """
        ...

    def pins(self) -> Iterator[Pin]:
        """Yield every pin, in the order of the CIDs' bytes."""
        ...
