"""Trying again: what is safe to do twice is done again after a while, longer each time and never in step with other clients.

Reads are safe by themselves. Writes carry an Idempotency-Key, by which the service knows a second one for the first.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from muniment.client.errors import ApiError, ConnectionFailedError, api_error
from muniment.client.flows import Answer, Flow, Request, Send, sleep

_PASSING = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses that may be another one a moment later."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client tries.

    Attributes:
        attempts: How often it asks at most, the first time among them.
        first_wait_s: The longest first wait; each following one can be twice as long.
        wait_s_max: The longest wait; a service that asks for more time gets no further request.
        jitter: Returns a random number below 1.
    """

    attempts: int = 5
    first_wait_s: float = 0.5
    wait_s_max: float = 60.0
    jitter: Callable[[], float] = random.random

    def wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Return how long to wait after an attempt, the first being 1."""
        spread = self.jitter() * min(self.wait_s_max, self.first_wait_s * 2.0 ** (attempt - 1))
        return spread if asked_s is None else asked_s + self.jitter() * self.first_wait_s


def exchange(request: Request, patience: Patience, *, is_open: bool = False) -> Flow[Answer]:
    """Send a request, again if need be, and return the answer; see `Send`.

    Raises:
        ApiError: The answer is a problem.
        ConnectionFailedError: None came.
    """
    for attempt in range(1, patience.attempts + 1):
        asked_s = None
        try:
            answer: Answer = yield Send(request, is_open)
            if answer.status < 300:
                return answer
            error = _error_of(answer)
            asked_s = error.retry_after_s
            if not _may_pass(error, patience):
                raise error
        except ConnectionFailedError:
            if not request.is_repeatable or attempt == patience.attempts:
                raise
        else:
            if not request.is_repeatable or attempt == patience.attempts:
                raise error
        yield from sleep(patience.wait_s(attempt, asked_s))
    raise AssertionError("a client tries at least once")


def _error_of(answer: Answer) -> ApiError:
    asked = answer.headers.get("retry-after", "")
    # The other form, a date, is none that a service of ours sends.
    retry_after_s = float(asked) if asked.isascii() and asked.isdigit() else None
    return api_error(
        answer.status, answer.body, answer.headers.get("x-request-id", ""), retry_after_s
    )


def _may_pass(error: ApiError, patience: Patience) -> bool:
    if error.retry_after_s is not None:
        return error.retry_after_s <= patience.wait_s_max
    return error.status in _PASSING
