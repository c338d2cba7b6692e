"""How a source stands in one fetch: what it gave, what went wrong with it, and whether it is asked any further."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from muniment.adapters.retrieval.ports import Source


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What came of one source.

    Attributes:
        name: The source.
        blocks: Blocks that it gave and that were right.
        bytes: Their bytes.
        requests: How often it was asked.
        misses: How often it did not have what it was asked for.
        failures: How often it gave no answer, or one that broke off.
        lies: How often it gave something wrong; once is enough for it to be asked no more.
        problem: The last thing that was wrong with it, empty if nothing was.
        is_dropped: It was asked no more, because of `problem`.
    """

    name: str
    blocks: int
    bytes: int
    requests: int
    misses: int
    failures: int
    lies: int
    problem: str
    is_dropped: bool


class Standing:
    """Keeps the score of one source.

    Args:
        source: The source.
        max_failures: How many failures in a row it may have.
        max_misses: How many blocks in a row it may not have.
        backoff_s: For how long it is left alone after its first failure; doubled with each further one in a row.
        max_wait_s: For how long it is waited for at most.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        source: Source,
        *,
        max_failures: int,
        max_misses: int,
        backoff_s: float,
        max_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.gives_cars = True
        self.is_dropped = False
        self.problem = ""
        self.blocks = self.bytes = self.requests = 0
        self._misses = self._failures = self._lies = 0
        self._misses_in_row = self._failures_in_row = 0
        self._max_failures = max_failures
        self._max_misses = max_misses
        self._backoff_s = backoff_s
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._rests_until = 0.0
        self._failed_at = 0.0

    @property
    def rest_s(self) -> float:
        """For how many seconds it is to be left alone; not positive: it can be asked."""
        return self._rests_until - self._clock()

    def gave(self, size_bytes: int) -> None:
        """Note a block that was right."""
        self.blocks += 1
        self.bytes += size_bytes
        self._misses_in_row = self._failures_in_row = 0

    def missed(self, problem: str) -> None:
        """Note that it did not have a block."""
        self._misses += 1
        self._misses_in_row += 1
        self._failures_in_row = 0
        self.problem = problem
        if self._misses_in_row >= self._max_misses:
            self._drop(f"did not have {self._misses_in_row} blocks in a row")

    def failed(self, problem: str, began_at: float, wait_s: float | None = None) -> None:
        """Note that it gave no answer to a request that began then; it is left alone for a while, for longer each time."""
        self._failures += 1
        self.problem = problem
        if wait_s is None and began_at < self._failed_at:
            return  # one outage fails many requests
        self._failed_at = self._clock()
        self._failures_in_row += 1
        if self._failures_in_row >= self._max_failures:
            self._drop(f"failed {self._failures_in_row} times in a row: {problem}")
        if wait_s is None:
            wait_s = min(self._backoff_s * 2 ** (self._failures_in_row - 1), self._max_wait_s)
        if wait_s > self._max_wait_s:
            self._drop(f"wants to be left alone for {wait_s:.0f} s: {problem}")
        self._rests_until = max(self._rests_until, self._clock() + wait_s)

    def lied(self, problem: str) -> None:
        """Note that it gave something wrong."""
        self._lies += 1
        self._drop(problem)

    def report(self) -> SourceReport:
        """Return the score."""
        return SourceReport(
            self.source.name,
            self.blocks,
            self.bytes,
            self.requests,
            self._misses,
            self._failures,
            self._lies,
            self.problem,
            self.is_dropped,
        )

    def _drop(self, problem: str) -> None:
        if not self.is_dropped:
            self.is_dropped, self.problem = True, problem
