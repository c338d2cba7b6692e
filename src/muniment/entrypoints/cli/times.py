"""Times that people type."""

import datetime as dt

from muniment.errors import UsageError

_DAY = dt.timedelta(days=1)


def parse_time(text: str) -> int:
    """Return seconds since 1970 of an RFC 3339 time, or of the end of a day (YYYY-MM-DD, in UTC).

    Raises:
        UsageError: It is neither.
    """
    try:
        if len(text) == len("YYYY-MM-DD"):
            day = dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC)
            return int((day + _DAY).timestamp()) - 1
        time = dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        time = None
    if time is None or time.tzinfo is None:
        raise UsageError(
            f"expected a day (2026-01-31) or a time with its zone (2026-01-31T12:00:00Z), got {text!r}"
        )
    return int(time.timestamp())
