"""The block store as one request sees it: denylists, limits of time, and the last blocks kept at hand."""

import time
from collections.abc import Callable, Iterable, Iterator

from muniment.content.cid import CID
from muniment.content.denylist import Denylist
from muniment.content.ports import BlockStore
from muniment.entrypoints.gateway.messages import PORTION_BYTES, HttpError

KEPT_BYTES = 4 << 20
"""Bytes of the blocks that are kept at hand: a file's nodes and its first leaf are each needed several times."""
STALL_S = 30.0
"""How long the store may be read for one portion of a body: a DAG can be built so that little comes of much work."""

_ENTRY_BYTES = (
    256  # what a block that is kept takes beyond its own bytes, so that empty ones are not for free
)


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
        self._stalled_at = clock() + STALL_S
        self._kept: dict[CID, bytes] = {}
        self._kept_bytes = 0

    def get(self, cid: CID) -> bytes:
        """Return a block, verified.

        Raises:
            NotFoundError: The store does not have it.
            IntegrityError: The store's bytes are damaged.
            BlockedError: A denylist forbids it.
            HttpError: 504: the request has taken too long, or nothing has come of it for too long.
        """
        if self._clock() > min(self._deadline, self._stalled_at):
            raise HttpError(504, "the request took too long", ("retry-after", "10"))
        kept = self._kept.get(cid)
        if kept is not None:
            return kept
        self._denylist.check_block(cid)
        data = self._store.get(cid)
        self._keep(cid, data)
        return data

    def paced(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on a body, and count the time only while it is read: a slow client may take as long as it is given."""
        size_bytes = 0
        for piece in body:
            size_bytes += len(piece)
            given_at = self._clock()
            yield piece
            now = self._clock()
            if size_bytes >= PORTION_BYTES:
                size_bytes, self._stalled_at = 0, now + STALL_S
            else:
                self._stalled_at += now - given_at

    def _keep(self, cid: CID, data: bytes) -> None:
        self._kept[cid] = data
        self._kept_bytes += len(data) + _ENTRY_BYTES
        while self._kept_bytes > KEPT_BYTES:
            oldest = next(iter(self._kept))
            self._kept_bytes -= len(self._kept.pop(oldest)) + _ENTRY_BYTES

    def has(self, cid: CID) -> bool:
        """Tell whether the store knows a block."""
        return self._store.has(cid)
