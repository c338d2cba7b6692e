"""Rate limits: so many requests in a time, spread evenly, by the generic cell rate algorithm (ITU-T I.371).

All that is kept of a client is one number, the *theoretical arrival time*: when its bucket will be full again. Answers carry the state in
the fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
"""

import math
import threading
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """A limit.

    Attributes:
        name: What answers call it.
        requests: The quota: requests that a client can make at once when it made none before.
        window_s: Seconds in which a used-up quota is whole again.
    """

    name: str
    requests: int
    window_s: int

    @property
    def header(self) -> str:
        """The policy as an item of `RateLimit-Policy`."""
        return f'"{self.name}";q={self.requests};w={self.window_s}'


@dataclass(frozen=True, slots=True)
class RateDecision:
    """What was decided about one request.

    Attributes:
        policy: The limit.
        is_allowed: Whether it may go on.
        remaining: Requests that could follow at once.
        reset_s: Seconds until at least one more could; of a refused request, until one like it is allowed. 0 where the quota is whole.
    """

    policy: RatePolicy
    is_allowed: bool
    remaining: int
    reset_s: int

    @property
    def header(self) -> str:
        """The state as an item of `RateLimit`."""
        return f'"{self.policy.name}";r={self.remaining};t={self.reset_s}'


class RateCounters(Protocol):
    """Where the state of clients is kept."""

    def take(self, policy: RatePolicy, client: str, now: float, cost: int = 1) -> RateDecision:
        """Count a request of a client, unless it is over the limit, and return what was decided."""


def decide(
    policy: RatePolicy, full_at: float, now: float, cost: int = 1
) -> tuple[RateDecision, float]:
    """Decide about one request.

    Args:
        policy: The limit.
        full_at: When the client's quota would be whole again, in seconds; any time in the past for a new client.
        now: The time, in seconds of the same clock.
        cost: How many requests this one counts for.

    Returns:
        The decision, and the new `full_at`.
    """
    each_s = policy.window_s / policy.requests
    # A clock that was set back must not shut anybody out for longer than one window.
    full_at = min(max(full_at, now), now + policy.window_s)
    after = full_at + cost * each_s
    excess_s = after - (now + policy.window_s)
    if excess_s > 1e-9:
        remaining = max(0, int((now + policy.window_s - full_at) / each_s + 1e-9))
        return RateDecision(
            policy, is_allowed=False, remaining=remaining, reset_s=max(1, math.ceil(excess_s))
        ), full_at
    remaining = int((now + policy.window_s - after) / each_s + 1e-9)
    used = policy.requests - remaining
    more_in_s = after - now - (used - 1) * each_s
    reset_s = max(1, math.ceil(more_in_s - 1e-9)) if used else 0
    return RateDecision(policy, is_allowed=True, remaining=remaining, reset_s=reset_s), after


class MemoryRateCounters:
    """Counters of one process. Clients whose quota is whole again are forgotten, so memory is bounded by the limit itself."""

    def __init__(self, clients_max: int = 100_000) -> None:
        self._clients_max = clients_max
        self._full_at: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def take(self, policy: RatePolicy, client: str, now: float, cost: int = 1) -> RateDecision:
        """Count a request; see `RateCounters.take`."""
        key = (policy.name, client)
        with self._lock:
            decision, self._full_at[key] = decide(policy, self._full_at.get(key, 0.0), now, cost)
            if len(self._full_at) > self._clients_max:
                self._forget(now)
        return decision

    def _forget(self, now: float) -> None:
        """Forget whoever is whole again, and under a flood of clients the half that would be soonest."""
        waiting = sorted((at, key) for key, at in self._full_at.items() if at > now)
        self._full_at = {key: at for at, key in waiting[-(self._clients_max // 2) :]}
