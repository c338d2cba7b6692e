"""`If-Match`, exactly: what is to be changed is compared with what the client has seen in the transaction that changes it.

The gate looks beforehand, so that most of what is refused costs no transaction; but only this look cannot be overtaken.
"""

from collections.abc import Callable

import msgspec

from muniment.entrypoints.http.answers import etag_of, matches
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import HttpRequest, header_of


def unchanged(request: HttpRequest) -> Callable[[msgspec.Struct], None]:
    """Return what checks that a resource, as GET would show it, is one that `If-Match` names (RFC 9110, section 13.1.1).

    What it returns raises `ProblemError` where the resource was changed.
    """
    wanted = header_of(request.scope, b"if-match")

    def check(view: msgspec.Struct) -> None:
        if wanted and not matches(wanted, etag_of(msgspec.json.encode(view)), is_weak=False):
            raise ProblemError(
                "precondition-failed",
                "it was changed since it was read: read it again, then decide",
            )

    return check
