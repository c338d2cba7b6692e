"""The work on pins: bringing content here, and letting go of it."""

import time
from collections.abc import Callable
from typing import Any

from muniment.errors import FormatError, NotFoundError, UsageError
from muniment.jobs.backoff import Backoff
from muniment.jobs.handlers import Handlers
from muniment.jobs.model import PermanentFailureError
from muniment.jobs.run import Run
from muniment.pinning.model import parse_cid
from muniment.pinning.ports import ContentUnavailableError, PinEngine, PinStore

PIN, UNPIN = "pin", "unpin"

_BACKOFF = Backoff(base_s=10, cap_s=3_600)
_UNPIN_BACKOFF = Backoff(base_s=1, cap_s=300)
_PERMANENT = (PermanentFailureError, UsageError, FormatError, NotFoundError)


class Pinning:
    """The handlers of pins.

    Args:
        store: The pins.
        engine: What keeps their content.
        patience_s: For how long content is looked for that nobody has, counted from when it was wanted.
        clock: The time in seconds since 1970.
    """

    def __init__(
        self,
        store: PinStore,
        engine: PinEngine,
        patience_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._engine = engine
        self._patience_s = patience_s
        self._clock = clock

    def add_to(self, handlers: Handlers) -> None:
        """Add the handlers."""
        handlers.add(PIN, self.pin, backoff=_BACKOFF, permanent=_PERMANENT)
        handlers.add(UNPIN, self.unpin, backoff=_UNPIN_BACKOFF)

    def pin(self, run: Run) -> dict[str, Any]:
        """Bring the content of a pin here, and keep it. What came stays when an attempt fails, and the next one goes on from there."""
        run.check()
        organization_id = run.job.organization_id
        try:
            pin = self._store.get(organization_id, run.job.payload["request_id"])
        except NotFoundError:
            return {}  # removed meanwhile
        cid = parse_cid(pin.wanted.cid)

        def tell(blocks: int, size_bytes: int) -> None:
            run.progress(f"{blocks} blocks fetched", size_bytes)
            run.check()

        try:
            kept = self._engine.pin(
                organization_id,
                cid,
                pin.wanted.origins,
                tell,
                lambda: self._store.is_wanted(organization_id, pin.wanted.key),
            )
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
