"""Rate counters that several processes share, at the cost of one look at the shared ones for many requests."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from muniment.accounts.rate_limits import RateCounters, RateDecision, RatePolicy

_PARTS = 50
"""A process takes this part of the quota at once."""

_HELD_S = 2.0
"""What it does not use within this time is lost to the client, a fiftieth of the quota at most."""

_CLIENTS_MAX = 20_000


@dataclass(slots=True)
class _Held:
    """What a process holds of a client's quota."""

    left: int
    until_s: float
    decision: RateDecision


class BatchedRateCounters:
    """See `RateCounters`; nobody ever gets more than the shared counters allow.

    Args:
        shared: The counters that all processes share.
        clock: A clock in seconds that is never set.
    """

    def __init__(self, shared: RateCounters, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        self._clock = clock
        self._held: dict[tuple[str, str], _Held] = {}
        self._lock = threading.Lock()

    def take(self, policy: RatePolicy, client: str, now: float, cost: int = 1) -> RateDecision:
        """Count a request; see `RateCounters.take`. May ask the shared counters, which takes its time."""
        at_hand = self.take_at_hand(policy, client, cost)
        if at_hand is not None:
            return at_hand
        batch = max(cost, policy.requests // _PARTS)
        decision = self._shared.take(policy, client, now, batch)
        if not decision.is_allowed and decision.remaining >= cost:
            batch = cost
            decision = self._shared.take(policy, client, now, batch)
        if decision.is_allowed:
            self._hold((policy.name, client), batch - cost, decision)
        return replace(decision, remaining=decision.remaining + max(0, batch - cost))

    def take_at_hand(self, policy: RatePolicy, client: str, cost: int = 1) -> RateDecision | None:
        """Count a request if this process holds enough of the client's quota; None if the shared counters have to be asked."""
        with self._lock:
            held = self._held.get((policy.name, client))
            if held is None or held.until_s < self._clock() or held.left < cost:
                return None
            held.left -= cost
            return replace(held.decision, remaining=held.decision.remaining + held.left)

    def _hold(self, place: tuple[str, str], left: int, decision: RateDecision) -> None:
        with self._lock:
            if len(self._held) >= _CLIENTS_MAX:
                self._held.clear()
            known = self._held.get(place)
            before = known.left if known and known.until_s >= self._clock() else 0
            self._held[place] = _Held(before + left, self._clock() + _HELD_S, decision)
