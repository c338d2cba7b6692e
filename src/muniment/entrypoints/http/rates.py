"""Requests in a minute: of each API key, and of each address that comes without a good one."""

import asyncio
import time

from muniment.accounts.rate_batches import BatchedRateCounters
from muniment.accounts.rate_limits import (
    MemoryRateCounters,
    RateCounters,
    RateDecision,
    RatePolicy,
)
from muniment.entrypoints.http.problems import ProblemError

_WINDOW_S = 60


class RequestRates:
    """Counts requests.

    Args:
        per_minute: Requests of one API key.
        failures_per_minute: Requests of one address without a good key.
        shared: Counters that several processes share; None if this is the only one.
    """

    def __init__(
        self, per_minute: int, failures_per_minute: int, shared: RateCounters | None = None
    ) -> None:
        self._of_keys = RatePolicy("key", per_minute, _WINDOW_S)
        self._of_addresses = RatePolicy("address", failures_per_minute, _WINDOW_S)
        self._batched = BatchedRateCounters(shared) if shared is not None else None
        self._own = MemoryRateCounters()

    async def take(self, key_id: str) -> RateDecision:
        """Count a request of a key.

        Raises:
            ProblemError: It is one too many.
        """
        decision: RateDecision
        if self._batched is None:
            decision = self._own.take(self._of_keys, key_id, time.monotonic())
        else:
            at_hand = self._batched.take_at_hand(self._of_keys, key_id)
            take = self._batched.take
            if at_hand is None:
                at_hand = await asyncio.to_thread(take, self._of_keys, key_id, time.time())
            decision = at_hand
        if not decision.is_allowed:
            raise _too_many("this API key makes too many requests", decision)
        return decision

    def fail(self, address: str) -> None:
        """Count a request without a good key. Each process counts for itself: an address gets as often more as there are processes.

        Raises:
            ProblemError: It is one too many.
        """
        decision = self._own.take(self._of_addresses, address, time.monotonic())
        if not decision.is_allowed:
            raise _too_many("this address makes too many requests without a good API key", decision)

    def check(self, address: str) -> None:
        """Check that an address has failures left.

        Raises:
            ProblemError: It has none.
        """
        now = time.monotonic()
        if self._own.take(self._of_addresses, address, now, cost=0).remaining < 1:
            self.fail(address)


def headers_of(decision: RateDecision) -> dict[str, str]:
    """Return the fields that tell a client how much it has left."""
    return {"ratelimit-policy": decision.policy.header, "ratelimit": decision.header}


def _too_many(detail: str, decision: RateDecision) -> ProblemError:
    retry_after = {"retry-after": str(decision.reset_s)}
    return ProblemError("too-many-requests", detail, headers_of(decision) | retry_after)
