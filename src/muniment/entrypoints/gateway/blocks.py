"""The block store as one request sees it: denylists, a deadline, and the last blocks kept at hand."""

import time
from collections.abc import Callable

from muniment.content.cid import CID
from muniment.content.denylist import Denylist
from muniment.content.ports import BlockStore
from muniment.entrypoints.gateway.messages import HttpError

KEPT_BYTES = 4 << 20
"""Bytes of the blocks that are kept at hand: a file's nodes and its first leaf are each needed several times."""


class RequestBlocks:
    """Reads blocks for one request.

    Args:
        store: The blocks.
        denylist: What must not be served, however it is reached.
        deadline: `clock` time after which nothing is read any more.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        store: BlockStore,
        denylist: Denylist,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._denylist = denylist
        self._deadline = deadline
        self._clock = clock
        self._kept: dict[CID, bytes] = {}
        self._kept_bytes = 0

    def get(self, cid: CID) -> bytes:
        """Return a block, verified.

        Raises:
            NotFoundError: The store does not have it.
            IntegrityError: The store's bytes are damaged.
            BlockedError: A denylist forbids it.
            HttpError: 504: the request has taken too long.
        """
        kept = self._kept.get(cid)
        if kept is not None:
            return kept
        self._denylist.check_block(cid)
        if self._clock() > self._deadline:
            raise HttpError(504, "the request took too long", ("retry-after", "10"))
        data = self._store.get(cid)
        self._keep(cid, data)
        return data

    def _keep(self, cid: CID, data: bytes) -> None:
        self._kept[cid] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > KEPT_BYTES:
            oldest = next(iter(self._kept))
            self._kept_bytes -= len(self._kept.pop(oldest))

    def has(self, cid: CID) -> bool:
        """Tell whether the store knows a block."""
        return self._store.has(cid)
