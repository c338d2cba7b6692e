"""Times of the pinning API: RFC 3339, read with any number of digits, and written with three."""

import re
from datetime import UTC, datetime, timedelta, timezone

from muniment.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,30}))?(?:[Zz]|([+ -])(\d\d):(\d\d))",
    re.ASCII,
)
_NS_PER_MS = 1_000_000


def parse_ns(text: str) -> int:
    """Return a time as nanoseconds since 1970; digits behind the ninth are cut off.

    Raises:
        UsageError: It is no time of RFC 3339.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise UsageError(f"expected a time as in 2026-01-31T12:00:00.000Z, got {text[:80]!r}")
    day, time, fraction, sign, hours, minutes = match.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=_zone(sign, hours, minutes))
        seconds = (at - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise UsageError(f"expected a time that exists, got {text[:80]!r}") from None
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0")[:9])


def first_ms_not_before(text: str) -> int:
    """Return the first millisecond since 1970 that is not before a time; raises as `parse_ns`."""
    return -(-parse_ns(text) // _NS_PER_MS)


def last_ms_not_after(text: str) -> int:
    """Return the last millisecond since 1970 that is not after a time; raises as `parse_ns`."""
    return parse_ns(text) // _NS_PER_MS


def format_ms(at_ms: int) -> str:
    """Return milliseconds since 1970 as RFC 3339 in UTC."""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _zone(sign: str | None, hours: str, minutes: str) -> timezone:
    if sign is None:
        return UTC
    # A plus in a query that nobody escaped arrives as a space.
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == "-" else offset)
