"""Points in time as decimal seconds since 1970, exact to the nanosecond: how file times travel in header fields, forms and tar files."""

import re

from muniment.errors import UsageError

TIME_PATTERN = r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?"
"""What such a time looks like."""

_TIME = re.compile(TIME_PATTERN, re.ASCII)
_NS = 1_000_000_000
_FRACTION_DIGITS = 9
_LIMIT_NS = (
    1 << 63
)  # what databases hold: the years 1677 to 2262. Milliseconds of today, sent by mistake, lie far beyond


def parse_time(text: str) -> int:
    """Return the nanoseconds since 1970 of a time as `1577836800.5`; before 1970 they are negative.

    Raises:
        UsageError: It is no such time, or none of the years 1677 to 2262.
    """
    time_ns = _nanoseconds(text) if _TIME.fullmatch(text) else _LIMIT_NS
    if not -_LIMIT_NS <= time_ns < _LIMIT_NS:
        raise UsageError(
            f"expected seconds since 1970, of the years 1677 to 2262, as in `1577836800.5`, got {text[:50]!r}"
        )
    return time_ns


def format_time(time_ns: int) -> str:
    """Return nanoseconds since 1970 as decimal seconds, without zeros at the end."""
    sign, size_ns = ("-", -time_ns) if time_ns < 0 else ("", time_ns)
    seconds, fraction_ns = divmod(size_ns, _NS)
    return f"{sign}{seconds}.{fraction_ns:09d}".rstrip("0").rstrip(".")


def _nanoseconds(text: str) -> int:
    seconds, _point, fraction = text.removeprefix("-").partition(".")
    size_ns = int(seconds) * _NS + int(fraction.ljust(_FRACTION_DIGITS, "0"))
    return -size_ns if text.startswith("-") else size_ns
