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
_SHUT_OUT_MAX = 10_000


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
        self._shared = shared
        self._batched = BatchedRateCounters(shared) if shared is not None else None
        self._own = MemoryRateCounters()
        self._shut_out: dict[str, tuple[float, RateDecision]] = {}

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

    async def fail(self, address: str) -> None:
        """Count a request without a good key.

        Raises:
            ProblemError: It is one too many.
        """
        decision = await self._take_failure(address)
        if not decision.is_allowed:
            raise _too_many("this address makes too many requests without a good API key", decision)

    async def check(self, address: str) -> None:
        """Check that an address has failures left.

        Raises:
            ProblemError: It has none.
        """
        if (await self._take_failure(address, cost=0)).remaining < 1:
            await self.fail(address)

    async def _take_failure(self, address: str, cost: int = 1) -> RateDecision:
        """Count a failure, or none, to see how many are left. Who is refused does not reach the shared counters again before its time."""
        now_s = time.monotonic()
        if self._shared is None:
            return self._own.take(self._of_addresses, address, now_s, cost)
        until_s, decision = self._shut_out.get(address, (0.0, None))
        if decision is not None and now_s < until_s:
            return decision
        take = self._shared.take
        decision = await asyncio.to_thread(take, self._of_addresses, address, time.time(), cost)
        if not decision.is_allowed:
            if len(self._shut_out) >= _SHUT_OUT_MAX:
                self._shut_out.clear()
            self._shut_out[address] = now_s + decision.reset_s, decision
        return decision


def headers_of(decision: RateDecision) -> dict[str, str]:
    """Return the fields that tell a client how much it has left."""
    return {"ratelimit-policy": decision.policy.header, "ratelimit": decision.header}


def _too_many(detail: str, decision: RateDecision) -> ProblemError:
    retry_after = {"retry-after": str(decision.reset_s)}
    return ProblemError("too-many-requests", detail, headers_of(decision) | retry_after)
