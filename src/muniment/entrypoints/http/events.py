"""Following events: one look at the database for all who wait, as often as they may come.

Whoever waits reads from the database by the number that it saw last, a page at a time and no faster than its client takes them: nothing queues.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from muniment.accounts.events import Event, EventStore, Kinds
from muniment.entrypoints.http.problems import ProblemError
from muniment.errors import MunimentError

_log = logging.getLogger(__name__)

LOOK_S = 0.25
STREAMS_MAX = 1_000
STREAMS_OF_ONE_MAX = 100
"""Of one organisation: none shuts the others out."""

PAGE = 100


class Streams:
    """All who wait for events in one event loop.

    Args:
        store: Where the events are.
        look_s: How often to look, in seconds.
    """

    def __init__(self, store: EventStore, look_s: float = LOOK_S) -> None:
        self._store = store
        self._look_s = look_s
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._seen: dict[str, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._following: Counter[str] = Counter()
        self.is_stopping = False

    def stop(self) -> None:
        """End every stream and every wait."""
        self.is_stopping = True
        for waiting in self._waiting.values():
            for event in waiting:
                event.set()

    @contextlib.contextmanager
    def place(self, organization_id: str) -> Iterator[None]:
        """Take a place among those who follow events, and among those of one organisation.

        Raises:
            ProblemError: There is none.
        """
        is_full = self._following.total() >= STREAMS_MAX
        if is_full or self._following[organization_id] >= STREAMS_OF_ONE_MAX or self.is_stopping:
            whose = "this service" if is_full else "this organisation"
            raise ProblemError(
                "unavailable", f"too many follow the events of {whose}", {"retry-after": "5"}
            )
        self._following[organization_id] += 1
        try:
            yield
        finally:
            self._following[organization_id] -= 1
            if not self._following[organization_id]:
                del self._following[organization_id]

    async def page(
        self, organization_id: str, after: int, limit: int, kinds: Kinds
    ) -> tuple[list[Event], int]:
        """Return the events that are there; see `EventStore.events`."""
        return await asyncio.to_thread(self._store.events, organization_id, after, limit, kinds)

    async def wait(self, organization_id: str, after: int, wait_s: float) -> None:
        """Wait until there is an event behind a number, but no longer than so."""
        if self.is_stopping:
            return
        woken = asyncio.Event()
        self._waiting.setdefault(organization_id, set()).add(woken)
        try:
            if self._seen.setdefault(organization_id, after) > after:
                return
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await woken.wait()
        finally:
            waiting = self._waiting[organization_id]
            waiting.discard(woken)
            if not waiting:
                del self._waiting[organization_id]
                self._seen.pop(organization_id, None)

    async def first(
        self, organization_id: str, after: int, limit: int, kinds: Kinds, wait_s: float
    ) -> tuple[list[Event], int]:
        """Return the events that are there, or else the first that come within a time; see `EventStore.events`."""
        clock = asyncio.get_running_loop().time
        until_s = clock() + wait_s
        while True:
            found, after = await self.page(organization_id, after, limit, kinds)
            left_s = until_s - clock()
            # Events of other kinds may come all the time: they do not end the wait.
            if found or left_s <= 0 or self.is_stopping:
                return found, after
            await self.wait(organization_id, after, left_s)

    async def follow(
        self, organization_id: str, after: int, kinds: Kinds, silence_s: float
    ) -> AsyncIterator[list[Event]]:
        """Iterate over the events behind a number as they come; an empty list says that there were none for so long."""
        while not self.is_stopping:
            found, after = await self.first(organization_id, after, PAGE, kinds, silence_s)
            yield found

    async def _look(self) -> None:
        """Look for events of those that somebody waits for, until nobody does."""
        while self._waiting and not self.is_stopping:
            try:
                last = await asyncio.to_thread(self._store.last_of, list(self._waiting))
            except MunimentError as error:
                _log.warning("events cannot be read for now: %s", error)
                last = {}
            for organization_id, number in last.items():
                if organization_id in self._waiting and self._seen.get(organization_id) != number:
                    self._seen[organization_id] = number
                    for event in self._waiting[organization_id]:
                        event.set()
            await asyncio.sleep(self._look_s)
