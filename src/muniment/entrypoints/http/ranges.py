"""Conditions and ranges of a request for a representation of known size (RFC 9110, sections 13 and 14)."""

import re

from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import HttpRequest

_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)
_ETAG = re.compile(r'(?:W/)?("[^"]*")')


def is_known(request: HttpRequest, etag: str) -> bool:
    """Tell whether the client has this version already: `If-None-Match`."""
    condition = request.headers.get("if-none-match", "")
    return condition.strip() == "*" or etag in _ETAG.findall(condition)


def wanted_range(request: HttpRequest, size: int, etag: str) -> tuple[int, int] | None:
    """Return the one range that a request asks for, as its first byte and the one behind its last; None for everything.

    What cannot be read, what asks for several ranges, and what is about another version means everything: the RFC leaves that to servers.

    Raises:
        ProblemError: No byte is in the range.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or not (match[1] or match[2]):
        return None
    if request.headers.get("if-range", etag) != etag:
        return None
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    else:
        start, end = max(size - int(match[2]), 0), size
    if start >= end:
        raise ProblemError(
            "range-not-satisfiable",
            f"there are {size} bytes, and none of them in the range",
            {"content-range": f"bytes */{size}"},
        )
    return start, end
