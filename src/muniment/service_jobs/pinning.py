"""The work on pins: bringing content here, and letting go of it."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from muniment.accounts.organizations import Act
from muniment.accounts.quotas import QuotaExceededError
from muniment.errors import FormatError, NotFoundError, UsageError
from muniment.jobs.backoff import Backoff
from muniment.jobs.handlers import Handlers
from muniment.jobs.model import PermanentFailureError
from muniment.jobs.ports import Within
from muniment.jobs.run import Run
from muniment.pinning.model import parse_cid
from muniment.pinning.ports import ContentUnavailableError, Kept, PinEngine, PinStore
from muniment.service_jobs.acting import act_of

PIN, UNPIN, BATCH, PRUNE = "pin", "unpin", "batch", "prune-batches"

BATCHES_KEPT_S = 7 * 86_400
"""How long the results of a batch's items are kept."""

_ITEMS_AT_ONCE = 100

_BACKOFF = Backoff(base_s=10, cap_s=3_600)
_UNPIN_BACKOFF = Backoff(base_s=1, cap_s=300)
_PERMANENT = (
    PermanentFailureError,
    UsageError,
    FormatError,
    NotFoundError,
    QuotaExceededError,
)
_ROOM_CHECKED_S = 1.0


class Batches(Protocol):
    """What batches need of a database."""

    def apply(
        self, statements: Within, act: Act, batch_id: str, after: int, until: int
    ) -> dict[str, int]:
        """Do some items in a transaction; returns how many were done, and how many failed."""

    def apply_all(self, statements: Within, act: Act, batch_id: str) -> dict[str, int]:
        """Do all items in a transaction; raises `UsageError` if one cannot be done."""

    def fail_all(self, organization_id: str, batch_id: str, detail: str) -> None:
        """Note that nothing was done."""

    def prune(self, before_ms: int) -> int:
        """Remove batches from before a time, milliseconds since 1970, and return how many."""


class Pinning:
    """The handlers of pins.

    Args:
        store: The pins.
        batches: Changes of many of them.
        engine: What keeps their content.
        patience_s: For how long content is looked for that nobody has, counted from when it was wanted.
        clock: The time in seconds since 1970.
    """

    def __init__(
        self,
        store: PinStore,
        batches: Batches,
        engine: PinEngine,
        patience_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._batches = batches
        self._engine = engine
        self._patience_s = patience_s
        self._clock = clock

    def add_to(self, handlers: Handlers) -> None:
        """Add the handlers."""
        handlers.add(PIN, self.pin, backoff=_BACKOFF, permanent=_PERMANENT)
        handlers.add(UNPIN, self.unpin, backoff=_UNPIN_BACKOFF)
        handlers.add(BATCH, self.batch, permanent=_PERMANENT)
        handlers.add(PRUNE, self.prune)

    def pin(self, run: Run) -> dict[str, Any]:
        """Bring the content of a pin here, and keep it. What came stays when an attempt fails, and the next one goes on from there."""
        run.check()
        organization_id = run.job.organization_id
        try:
            pin = self._store.get(organization_id, run.job.payload["request_id"])
        except NotFoundError:
            return {}  # removed meanwhile
        cid, key = parse_cid(pin.wanted.cid), pin.wanted.key
        room_checked_s = -math.inf

        def tell(blocks: int, size_bytes: int) -> None:
            nonlocal room_checked_s
            run.progress(f"{blocks} blocks fetched", size_bytes)
            run.check()
            if size_bytes and self._clock() - room_checked_s >= _ROOM_CHECKED_S:
                self._store.check_room(organization_id, size_bytes)
                room_checked_s = self._clock()

        def admit(kept: Kept) -> bool:
            run.check()
            # No step: it may be done again, and whoever does it after the pin is gone does nothing.
            return self._store.hold(organization_id, key, kept.size_bytes)

        try:
            kept = self._engine.pin(organization_id, cid, pin.wanted.origins, tell, admit)
        except ContentUnavailableError as error:
            waited_s = self._clock() - pin.created_ms / 1000
            if waited_s < self._patience_s:
                raise
            raise PermanentFailureError(
                f"given up after {self._patience_s:g} s: {error}"
            ) from error
        return {"blocks": kept.blocks, "size_bytes": kept.size_bytes}

    def unpin(self, run: Run) -> dict[str, Any]:
        """Let go of content that no pin wants any more."""
        run.check()
        organization_id, cid = run.job.organization_id, parse_cid(run.job.payload["cid"])
        key = cid.to_v1().raw
        released = self._engine.unpin(
            organization_id, cid, lambda: self._store.is_wanted(organization_id, key)
        )
        return {"released": released}

    def batch(self, run: Run) -> dict[str, int]:
        """Do the items of a batch: all or none, or some at a time, so that another worker goes on where this one ends."""
        payload, act = run.job.payload, act_of(run)
        batch_id, count = payload["batch_id"], payload["items"]
        if payload["atomic"]:
            return self._batch_at_once(run, act, batch_id)
        done = 0
        for after in range(0, count, _ITEMS_AT_ONCE):
            until = min(count, after + _ITEMS_AT_ONCE)
            result = run.transact(
                f"items up to {until}",
                partial(self._batches.apply, act=act, batch_id=batch_id, after=after, until=until),
            )
            done += result["done"]
            run.progress("changing pins", until, count, "items")
        return {"done": done, "failed": count - done}

    def prune(self, run: Run) -> dict[str, int]:
        """Forget what became of old batches."""
        run.check()
        return {"batches": self._batches.prune(int((self._clock() - BATCHES_KEPT_S) * 1000))}

    def _batch_at_once(self, run: Run, act: Act, batch_id: str) -> dict[str, int]:
        try:
            result = run.transact(
                "items", partial(self._batches.apply_all, act=act, batch_id=batch_id)
            )
        except UsageError as error:
            self._batches.fail_all(act.organization_id, batch_id, str(error))
            raise
        return {"done": result["done"], "failed": 0}
