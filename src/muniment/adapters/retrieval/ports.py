"""What fetching asks of a source of blocks, and what can be wrong with one."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from typing import Protocol

from muniment.content.cid import CID
from muniment.content.ports import BlockStore
from muniment.errors import ExternalServiceError, IntegrityError, NotFoundError


class NotHeldError(NotFoundError):
    """The source says that it does not have the block."""


class UnavailableError(ExternalServiceError):
    """The source gives no answer now, and may later.

    Attributes:
        retry_after_s: For how many seconds it asks to be left alone; None if it does not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnsupportedError(ExternalServiceError):
    """The source does not do this at all, for example CARs."""


class MisbehaviorError(IntegrityError):
    """The source sent what no honest source sends: it lies, or is broken in a way that looks the same."""


class Source(Protocol):
    """Somewhere blocks come from. Nothing that comes is trusted: whoever asks verifies each block against its CID."""

    @property
    def name(self) -> str:
        """What people know it by."""
        ...

    async def block(self, cid: CID) -> bytes:
        """Return what the source says is the block; it may be anything, of at most `MAX_BLOCK_BYTES`.

        Raises:
            NotHeldError: The source does not have it.
            UnavailableError: There was no answer.
            MisbehaviorError: The answer is none that makes sense.
        """
        ...

    def subtree(self, cid: CID) -> AsyncGenerator[tuple[CID, bytes], None]:
        """Yield what the source says are the blocks of the DAG below and including `cid`, parents before their children.

        Raises:
            NotHeldError: The source does not have `cid`.
            UnavailableError: There was no answer, or it broke off.
            UnsupportedError: The source only gives single blocks.
            MisbehaviorError: The answer is none that makes sense.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; the source can be used again."""
        ...


class HoldingStore(BlockStore, Protocol):
    """A block store whose garbage collection can be held off."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep garbage from being collected: for blocks that are put before what they hang on is pinned."""
        ...
