"""Putting what was fetched into the store, in batches and beside the event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from muniment.adapters.retrieval.ports import HoldingStore
from muniment.content.cid import CID

T = TypeVar("T")

_LATE_S = 2.0
"""After how many seconds blocks are stored, also if they are few."""


class Saver:
    """The store, as one fetch uses it: in a thread of its own, and with verified blocks that are not stored yet.

    Args:
        store: The store.
        batch_bytes: How many bytes are stored at once.
    """

    def __init__(self, store: HoldingStore, batch_bytes: int) -> None:
        self._store = store
        self._batch_bytes = batch_bytes
        self._threads = ThreadPoolExecutor(1, "fetch-store")
        self._blocks: dict[bytes, bytes] = {}
        self._size_bytes = 0
        self._saved_at = time.monotonic()

    def __contains__(self, key: bytes) -> bool:
        return key in self._blocks

    def __bool__(self) -> bool:
        return bool(self._blocks)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should come until something is stored."""
        return self._size_bytes >= 2 * self._batch_bytes

    @property
    def is_due(self) -> bool:
        """Whether it is time to store what there is."""
        is_late = bool(self._blocks) and time.monotonic() - self._saved_at > _LATE_S
        return is_late or self._size_bytes >= self._batch_bytes

    def keep(self, key: bytes, data: bytes) -> None:
        """Take a verified block, by its binary CIDv1."""
        if key not in self._blocks:
            self._blocks[key] = data
            self._size_bytes += len(data)

    async def save(self) -> None:
        """Store durably what there is now; meanwhile more can come."""
        batch = dict(self._blocks)
        if batch:
            blocks = [(CID(key), data) for key, data in batch.items()]
            await self.in_thread(lambda: self._store.put_many(blocks))
        for key, data in batch.items():
            del self._blocks[key]
            self._size_bytes -= len(data)
        self._saved_at = time.monotonic()

    def in_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        """Run what reads or writes the store."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function)

    def close(self) -> None:
        """Wait for the thread."""
        self._threads.shutdown()
