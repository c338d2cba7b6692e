"""OpenTimestamps calendars over HTTP.

Source of the protocol: the reference client and server, python-opentimestamps 0.4 and opentimestamps-server 0.7.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muniment.adapters.bounded_http import Answer, exchange
from muniment.archive.timestamps import MAX_ANSWER_BYTES, Calendar, is_trusted_calendar
from muniment.errors import ExternalServiceError

_ACCEPT = {"accept": "application/vnd.opentimestamps.v1"}


@dataclass(frozen=True, slots=True)
class HttpCalendar:
    """The calendar, or pool of calendars, at `url`."""

    url: str
    timeout_s: float

    def submit(self, message: bytes) -> bytes:
        """Hand in a message of at most 64 bytes; return its serialised timestamp."""
        content_type = {
            "content-type": "application/x-www-form-urlencoded"
        }  # as the reference client
        answer = self._exchange("POST", "digest", content_type, message)
        return self._body(answer)

    def fetch(self, commitment: bytes) -> bytes | None:
        """Return what became of a commitment; None while the calendar has nothing about it."""
        answer = self._exchange("GET", f"timestamp/{commitment.hex()}", {}, None)
        return None if answer.status == 404 else self._body(answer)

    def _exchange(
        self, method: str, path: str, headers: dict[str, str], content: bytes | None
    ) -> Answer:
        return exchange(
            method,
            f"{self.url.rstrip('/')}/{path}",
            timeout_s=self.timeout_s,
            max_bytes=MAX_ANSWER_BYTES,
            headers=_ACCEPT | headers,
            content=content,
        )

    def _body(self, answer: Answer) -> bytes:
        if answer.status != 200:
            raise ExternalServiceError(
                f"calendar {self.url} answered with HTTP status {answer.status}"
            )
        return answer.body


def trusted_calendars(
    configured: Sequence[str], timeout_s: float
) -> Callable[[str], Calendar | None]:
    """Return what `upgrade` asks for calendars: those that a proof may make us talk to, None for all others."""

    def calendar_for(uri: str) -> Calendar | None:
        return HttpCalendar(uri, timeout_s) if is_trusted_calendar(uri, configured) else None

    return calendar_for
