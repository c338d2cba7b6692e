"""The events of an organisation: as a stream (Server-Sent Events), or a page at a time."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from muniment.accounts.events import Event, Kinds, kinds_for
from muniment.accounts.permissions import Permission
from muniment.accounts.principals import AuthenticationError, Principal
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.events import Streams
from muniment.entrypoints.http.openapi import also_answers, answers, fails
from muniment.entrypoints.http.pages import PAGE_DEFAULT, PAGE_MAX
from muniment.entrypoints.http.requests import HttpRequest

MEDIA_TYPE = "text/event-stream"
WAIT_MAX_S = 60
_SILENCE_S = 15.0
_RETRY_MS = 2_000
_NUMBER_MAX = 2**62
_KINDS = r"^([a-z-]+(\.[a-z_-]+)?(,[a-z-]+(\.[a-z_-]+)?)*)?$"

Number = Annotated[int | None, QueryParameter(ge=0, le=_NUMBER_MAX)]


class Events(msgspec.Struct):
    """Some events.

    Attributes:
        items: The events, in order.
        next: Ask with `after` set to this for those that follow.
    """

    items: list[Event]
    next: int


@get(
    "/events",
    opt=needs(Permission.EVENTS_READ) | answers(Events) | also_answers(MEDIA_TYPE) | fails("gone"),
)
async def list_events(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    streams: Streams,
    after: Number = None,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    kind: Annotated[str, QueryParameter(max_length=1_000, pattern=_KINDS)] = "",
    wait_s: Annotated[int, QueryParameter(ge=0, le=WAIT_MAX_S)] = 0,
    last_event_id: Annotated[
        str, HeaderParameter(name="last-event-id", pattern="^[0-9]{0,18}$")
    ] = "",
) -> Response[Any]:
    """Follow what happens: as a stream if the client accepts `text/event-stream`, else one page.

    Without `after` (or `Last-Event-ID`) it begins with what happens from now on; with 0, with the oldest event that is kept. `kind` names
    what is to be told of, with commas between: nouns, as `upload`, or kinds, as `pin.created`.
    """
    kinds = kinds_for(principal, kind)
    if last_event_id:
        after = int(last_event_id)
    if after is None:
        _events, after = await streams.page(principal.organization_id, 0, 1, frozenset())
    if MEDIA_TYPE in request.headers.get("accept", ""):
        # A first look, so that what cannot be followed is a problem and no stream.
        await streams.page(principal.organization_id, after, 1, kinds)
        following = _stream(streams, service, principal, after, kinds)
        begun = _begun(await anext(following), following)
        return Stream(begun, media_type=MEDIA_TYPE, headers={"cache-control": "no-cache"})
    with streams.place(principal.organization_id) if wait_s else nullcontext():
        first = await streams.first(principal.organization_id, after, limit, kinds, wait_s)
    return Response(Events(*first))


router = Router("/", route_handlers=[list_events], tags=["events"])


async def _begun(
    first: bytes, following: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Write a stream that has taken its place already."""
    async with aclosing(following):
        yield first
        async for piece in following:
            yield piece


async def _stream(
    streams: Streams, service: Service, principal: Principal, after: int, kinds: Kinds
) -> AsyncGenerator[bytes, None]:
    """Write events as the HTML standard (9.2) has it. A comment now and then shows that the stream lives, and is the time to see that its key does."""
    with streams.place(principal.organization_id):
        yield b"retry: %d\n\n" % _RETRY_MS
        checked_s = time.monotonic()
        async for found in streams.follow(principal.organization_id, after, kinds, _SILENCE_S):
            if time.monotonic() - checked_s >= _SILENCE_S:
                checked_s = time.monotonic()
                try:
                    await asyncio.to_thread(_check, service, principal)
                except AuthenticationError:
                    return
            yield b"".join(map(_written, found)) or b": nothing new\n\n"


def _check(service: Service, principal: Principal) -> None:
    """Check that the key of a stream is still good, and may still do what it could.

    Raises:
        AuthenticationError: It is not.
    """
    key = service.accounts.find_key(principal.key_id)
    if (
        key is None
        or not key.is_usable_at(time.time())
        or not principal.permissions <= key.permissions
    ):
        raise AuthenticationError("the API key is not valid any more")


def _written(event: Event) -> bytes:
    data = msgspec.json.encode(event)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.kind.encode(), data)
