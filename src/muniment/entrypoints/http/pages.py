"""Pages of long lists: opaque cursors, and the next page's address in `Link` (RFC 8288).

A cursor holds the key of the last item that was shown, so a page costs the same wherever it is, and items that come or go in
between neither hide others nor show them twice.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Response

from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import HttpRequest

T = TypeVar("T")

PAGE_DEFAULT = 100
PAGE_MAX = 1_000


class Page(msgspec.Struct, Generic[T]):
    """Some items of a list.

    Attributes:
        items: The items, in the list's order.
        next: Cursor of the next page; None after the last one.
    """

    items: list[T]
    next: str | None = None


def encode_cursor(*key: str | int) -> str:
    """Return the cursor behind the item that has this key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def decode_cursor(cursor: str, type_: type[T]) -> T:
    """Return the key that a cursor holds.

    Raises:
        ProblemError: It was not made here.
    """
    refused = ProblemError("bad-request", "the cursor is not one of this list")
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        key = msgspec.json.decode(data, type=type_)
    except (ValueError, msgspec.MsgspecError):
        raise refused from None
    if not all(map(_can_be_stored, msgspec.to_builtins(key))):
        raise refused
    return key


def _can_be_stored(value: str | int) -> bool:
    """Tell whether every database knows such a value: else no item has it."""
    return "\0" not in value if isinstance(value, str) else -(2**63) <= value < 2**63


def page_response(
    request: HttpRequest,
    items: Sequence[T],
    limit: int,
    key: Callable[[T], tuple[str | int, ...]],
) -> Response[Page[T]]:
    """Return a page and the address of the next one.

    Args:
        request: The request that it answers.
        items: One more than `limit`, if there are so many.
        limit: How many were asked for.
        key: What the cursor behind an item holds.
    """
    shown = list(items[:limit])
    return linked_page(request, shown, key(shown[-1]) if len(items) > limit else None)


def linked_page(
    request: HttpRequest, items: list[T], last: tuple[str | int, ...] | None
) -> Response[Page[T]]:
    """Return a page and the address of the next one.

    Args:
        request: The request that it answers.
        items: What is on the page.
        last: What the cursor of the next page holds; None behind the last page.
    """
    if last is None:
        return Response(Page(items))
    cursor = encode_cursor(*last)
    asked = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = [(name, value) for name, value in asked if name != "cursor"]
    address = f"{request.url.path}?{urlencode([*query, ('cursor', cursor)])}"
    return Response(Page(items, cursor), headers={"link": f'<{address}>; rel="next"'})
