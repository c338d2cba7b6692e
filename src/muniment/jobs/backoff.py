"""When to try again: exponential backoff with full jitter, so that what failed together does not come back together."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after an attempt: a random part of a time that doubles with each.

    Attributes:
        base_s: The longest wait after the first attempt.
        cap_s: The longest wait after any.
    """

    base_s: float = 1.0
    cap_s: float = 300.0

    def delay_s(self, attempts: int, random: Random) -> float:
        """Return how long to wait after so many attempts, of which there was at least one."""
        longest = min(self.cap_s, self.base_s * 2.0 ** min(attempts - 1, 60))
        return random.uniform(0, longest)
