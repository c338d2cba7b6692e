"""Block stores that stay open between uses: opening one costs more than what is mostly asked of it."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muniment.adapters.block_store.store import LOCK_TIMEOUT_S, EmbeddedBlockStore

OPEN_MAX = 64
"""Stores that are kept open though nobody uses them; each has three files open."""


class OpenStores:
    """Stores by folder, each opened once in this process and shared by its threads; other processes may use them as well.

    Args:
        lock_timeout_s: How long a change waits for another process' change.
        open_max: How many are kept open at most while nobody uses them.
    """

    def __init__(self, lock_timeout_s: float = LOCK_TIMEOUT_S, open_max: int = OPEN_MAX) -> None:
        self._lock_timeout_s, self._open_max = lock_timeout_s, open_max
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, _Shared] = OrderedDict()

    @contextmanager
    def use(self, folder: Path) -> Iterator[EmbeddedBlockStore]:
        """Use the store in a folder, which is made if need be; it is as current as if it were opened now."""
        shared = self._take(folder)
        try:
            with shared.opening:
                if shared.is_open:
                    shared.store.catch_up()
                else:
                    shared.store.__enter__()
                    shared.is_open = True
            yield shared.store
        finally:
            self._give_back(shared)

    def close(self) -> None:
        """Close all stores that nobody uses."""
        with self._lock:
            for folder in [folder for folder, shared in self._open.items() if not shared.users]:
                self._open.pop(folder).store.close()

    def _take(self, folder: Path) -> "_Shared":
        with self._lock:
            shared = self._open.get(folder)
            if shared is None:
                store = EmbeddedBlockStore(folder, lock_timeout_s=self._lock_timeout_s)
                shared = self._open[folder] = _Shared(store)
            self._open.move_to_end(folder)
            shared.users += 1
            return shared

    def _give_back(self, shared: "_Shared") -> None:
        with self._lock:
            shared.users -= 1
            idle = [folder for folder, one in self._open.items() if not one.users]
            for folder in idle[: max(0, len(self._open) - self._open_max)]:
                self._open.pop(folder).store.close()


class _Shared:
    """A store, how many use it, and who opens it."""

    def __init__(self, store: EmbeddedBlockStore) -> None:
        self.store = store
        self.users = 0
        self.opening = threading.Lock()
        self.is_open = False
