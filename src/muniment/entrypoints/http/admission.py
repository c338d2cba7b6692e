"""How much goes on at once: as much as keeps answers quick, found out by measuring, and no more than fits into memory.

Requests that wait for each other get slower all together. So the number of those that are answered at once has a limit that adapts, by
additive increase and multiplicative decrease: while the latency is near the best that was seen lately, the limit grows by one whenever
it was reached; when the latency is far above, it shrinks by a tenth. Writes are refused at the limit, reads only at twice the limit, so
that one can still look when one cannot act. A request counts until its answer begins; how fast a client reads changes nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from muniment.entrypoints.http.problems import ProblemError

RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """How the limit adapts.

    Attributes:
        least: The limit never goes below.
        most: Nor above.
        slower: Latency above this multiple of the best one, plus `tolerance_s`, makes it shrink.
        tolerance_s: Seconds that never count as slow.
        window: Answers after which it is judged.
        forget_s: Seconds after which the best latency is measured anew.
    """

    least: int = 8
    most: int = 256
    slower: float = 3.0
    tolerance_s: float = 0.1
    window: int = 20
    forget_s: float = 60.0


class AdaptiveLimit:
    """Counts requests in one event loop.

    Args:
        rules: How the limit adapts.
        clock: A clock in seconds that is never set.
    """

    def __init__(self, rules: AdmissionRules, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = float(min(max(rules.least, 32), rules.most))
        self.active = 0
        self._rules = rules
        self._clock = clock
        self._latencies_s: list[float] = []
        self._was_reached = False
        self._best_s = float("inf")
        self._best_until_s = 0.0

    def enter(self, *, is_read: bool) -> float:
        """Count a request; returns when it began, for `leave`.

        Raises:
            ProblemError: There are too many.
        """
        limit = int(self.limit)
        self._was_reached |= self.active >= limit // 2
        if self.active >= min(2 * limit, self._rules.most) or (
            not is_read and self.active >= limit
        ):
            raise ProblemError(
                "unavailable",
                "the service has more to do than it can: try again",
                {"retry-after": str(RETRY_AFTER_S)},
            )
        self.active += 1
        return self._clock()

    def leave(self, began_s: float) -> None:
        """Count the request's answer as begun."""
        now_s = self._clock()
        self.active -= 1
        self._latencies_s.append(now_s - began_s)
        if len(self._latencies_s) >= self._rules.window:
            self._judge(now_s)

    def _judge(self, now_s: float) -> None:
        """Compare the median of the last answers with the best median."""
        rules = self._rules
        median_s = sorted(self._latencies_s)[len(self._latencies_s) // 2]
        if median_s < self._best_s or now_s >= self._best_until_s:
            self._best_s, self._best_until_s = median_s, now_s + rules.forget_s
        if median_s > rules.slower * self._best_s + rules.tolerance_s:
            self.limit = max(self.limit * 0.9, rules.least)
        elif self._was_reached:
            self.limit = min(self.limit + 1, rules.most)
        self._latencies_s.clear()
        self._was_reached = False


class Room:
    """Memory for what is being received, in one event loop.

    Args:
        size_bytes: How much there is.
    """

    def __init__(self, size_bytes: int) -> None:
        self.free_bytes = size_bytes

    def take(self, size_bytes: int) -> None:
        """Take some.

        Raises:
            ProblemError: There is not enough now.
        """
        if size_bytes > self.free_bytes:
            raise ProblemError(
                "unavailable",
                "the service receives too much at once: try again",
                {"retry-after": str(RETRY_AFTER_S)},
            )
        self.free_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Give some back."""
        self.free_bytes += size_bytes
