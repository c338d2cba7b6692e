"""Pins with all that goes beyond the IPFS Pinning Service API: tags, groups, priorities, batches, and lists as files."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import IO, Annotated

import msgspec
from litestar import Response, Router, delete, get, patch, post, put
from litestar.di import Provide
from litestar.params import Parameter
from litestar.response import Stream

from muniment.accounts.organizations import Act
from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.openapi import accepts
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    linked_page,
    page_response,
)
from muniment.entrypoints.http.preconditions import unchanged
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.entrypoints.http.routes.operations import OperationView, accepted
from muniment.entrypoints.http.streaming import SAFE, attachment, stream
from muniment.jobs.model import Job
from muniment.pinning.filters import CIDS, END_MS, Match, PinFilter, meta_of
from muniment.pinning.items import BATCH_ITEMS, ChangeFields, Item, ItemResult, PinFields
from muniment.pinning.lists import ListFormat, read_list, write_list
from muniment.pinning.model import (
    CID_CHARS,
    NAME_CHARS,
    Pin,
    PinStatus,
    PinTotals,
    Priority,
    parse_cid,
)

_BATCH_BODY_BYTES = 32 << 20
_IMPORT_BYTES = 1 << 30
_IN_MEMORY_BYTES = 1 << 20

Limit = Annotated[int, Parameter(ge=1, le=PAGE_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=NAME_CHARS)]
Name = Annotated[str | None, Parameter(max_length=NAME_CHARS)]
Words = Annotated[list[Text] | None, Parameter(max_items=10)]
Cids = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=CID_CHARS)]] | None, Parameter(max_items=CIDS)
]
Statuses = Annotated[list[PinStatus] | None, Parameter(max_items=len(PinStatus))]


class PinView(msgspec.Struct):
    """A pin.

    Attributes:
        status: What has become of it.
        created_at: When it was wanted, seconds since 1970; many that came at once have times that run ahead.
        changed_at: When it changed last.
        progress: How far fetching is, in words; empty while nobody fetches.
        detail: What went wrong last; empty for nothing.
        size_bytes: Bytes of its blocks; null until it is pinned.
        blocks: Blocks of it; null until it is pinned.
        operation_id: The work on it.
    """

    request_id: str
    cid: str
    name: str | None
    status: PinStatus
    metadata: dict[str, str]
    tags: list[str]
    group: str
    priority: Priority
    origins: list[str]
    created_at: int
    changed_at: int
    progress: str
    detail: str
    size_bytes: int | None
    blocks: int | None
    operation_id: str


class LabelView(msgspec.Struct):
    """A tag or a group, and how many pins have it."""

    name: str
    pins: int


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Changes of many pins.

    Attributes:
        items: What is to be done, one after another.
        atomic: Whether nothing is done if one of them cannot be done.
    """

    items: Annotated[list[Item], msgspec.Meta(min_length=1, max_length=BATCH_ITEMS)]
    atomic: bool = False


def wanted_pins(
    status: Statuses = None,
    cid: Cids = None,
    name: Name = None,
    match: Match = Match.EXACT,
    tag: Words = None,
    group: Name = None,
    metadata: Annotated[str | None, Parameter(max_length=8_192)] = None,
) -> PinFilter:
    """Read what pins are wanted: those of which everything holds that is given."""
    return PinFilter(
        frozenset(status or ()),
        tuple(dict.fromkeys(parse_cid(text).to_v1().raw for text in cid or ())),
        name,
        match,
        meta_of(metadata),
        tuple(dict.fromkeys(tag or ())),
        group,
    )


@get("/pins", opt=needs(Permission.PINS_READ), sync_to_thread=True)
def list_pins(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    wanted: PinFilter,
    limit: Limit = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[PinView]]:
    """List pins, newest first. Where a part of a name is looked for, a page can be short, or empty, and have a next one."""
    (before_ms,) = decode_cursor(cursor, tuple[int]) if cursor else (END_MS,)
    wanted = replace(wanted, before_ms=min(max(before_ms, 0), END_MS))
    pins, floor_ms = service.pins.part(principal.organization_id, wanted, limit + 1)
    shown = pins[:limit]
    last_ms = shown[-1].created_ms if len(pins) > limit else floor_ms
    views = [pin_view(pin) for pin in shown]
    return linked_page(request, views, None if last_ms is None else (last_ms,))


@post(
    "/pins",
    opt=needs(Permission.PINS_WRITE),
    status_code=202,
    sync_to_thread=True,
)
def add_pin(
    request: HttpRequest, service: Service, principal: Principal, data: PinFields
) -> Response[PinView]:
    """Pin a DAG: it is fetched in the background."""
    return _shown(service.pins.create(act_of(request, principal), data.wanted()))


@get("/pins/totals", opt=needs(Permission.PINS_READ), sync_to_thread=True)
def show_totals(service: Service, principal: Principal) -> PinTotals:
    """Count the pins in each state."""
    return service.pins.totals(principal.organization_id)


@get("/pins/tags", opt=needs(Permission.PINS_READ), sync_to_thread=True)
def list_tags(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    limit: Limit = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[LabelView]]:
    """List the tags in use, by name."""
    return _labels(request, service, principal, "tag", limit, cursor)


@get("/pins/groups", opt=needs(Permission.PINS_READ), sync_to_thread=True)
def list_groups(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    limit: Limit = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[LabelView]]:
    """List the groups in use, by name."""
    return _labels(request, service, principal, "group", limit, cursor)


@post(
    "/pins/batch",
    opt=needs(Permission.PINS_WRITE),
    request_max_body_size=_BATCH_BODY_BYTES,
    status_code=202,
    sync_to_thread=True,
)
def start_batch(
    request: HttpRequest, service: Service, principal: Principal, data: Batch
) -> Response[OperationView]:
    """Change many pins as one operation: all or none, or each for itself."""
    act = act_of(request, principal)
    return accepted(service.pin_batches.start(act, data.items, is_atomic=data.atomic))


@get("/pins/batch/{operation_id:str}/items", opt=needs(Permission.PINS_READ), sync_to_thread=True)
def list_batch_items(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    operation_id: str,
    limit: Limit = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[ItemResult]]:
    """List what became of each item of a batch or an import; kept for a week."""
    (after,) = decode_cursor(cursor, tuple[int]) if cursor else (0,)
    results = service.pin_batches.results(
        principal.organization_id, operation_id, min(max(after, 0), END_MS), limit + 1
    )
    return page_response(request, results, limit, lambda result: (result.number,))


@post(
    "/pins/import",
    opt=needs(Permission.PINS_WRITE) | accepts(ListFormat.JSON_LINES.media_type),
    request_max_body_size=None,  # a list has a limit of its own
    status_code=202,
)
async def import_pins(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    format: ListFormat = ListFormat.JSON_LINES,  # noqa: A002  # the parameter's name
) -> Response[OperationView]:
    """Pin all of a list: the body, as JSON lines or CSV; up to a million."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        await _receive(request.stream(), file)
        act = act_of(request, principal)
        return accepted(await asyncio.to_thread(_start_import, service, act, file, format))


@get("/pins/export", opt=needs(Permission.PINS_READ), media_type="application/octet-stream")
async def export_pins(
    service: Service,
    principal: Principal,
    wanted: PinFilter,
    format: ListFormat = ListFormat.JSON_LINES,  # noqa: A002  # likewise
) -> Stream:
    """Write all pins that are wanted as a list, which importing reads again; newest first."""
    pages = _pages(service, principal.organization_id, wanted)
    headers = SAFE | {"content-disposition": attachment(f"pins.{format.value}".encode())}
    return await stream(write_list(pages, format), headers, media_type=format.media_type)


@get("/pins/{request_id:str}", opt=needs(Permission.PINS_READ), sync_to_thread=True)
def show_pin(service: Service, principal: Principal, request_id: str) -> PinView:
    """Show a pin."""
    return pin_view(service.pins.get(principal.organization_id, request_id))


@patch("/pins/{request_id:str}", opt=needs(Permission.PINS_WRITE), sync_to_thread=True)
def change_pin(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    request_id: str,
    data: ChangeFields,
) -> PinView:
    """Change what is known about a pin."""
    act = act_of(request, principal)
    return pin_view(service.pins.change(act, request_id, data.change(), _unchanged(request)))


@put(
    "/pins/{request_id:str}",
    opt=needs(Permission.PINS_WRITE),
    status_code=202,
    sync_to_thread=True,
)
def replace_pin(
    request: HttpRequest, service: Service, principal: Principal, request_id: str, data: PinFields
) -> Response[PinView]:
    """Put a pin in the place of another one, under an id of its own; what both have in common is kept."""
    act = act_of(request, principal)
    return _shown(service.pins.replace(act, request_id, data.wanted(), _unchanged(request)))


@delete("/pins/{request_id:str}", opt=needs(Permission.PINS_WRITE), sync_to_thread=True)
def remove_pin(
    request: HttpRequest, service: Service, principal: Principal, request_id: str
) -> None:
    """Remove a pin, and end the work on it."""
    service.pins.remove(act_of(request, principal), request_id, _unchanged(request))


router = Router(
    "/",
    route_handlers=[
        list_pins,
        add_pin,
        show_totals,
        list_tags,
        list_groups,
        start_batch,
        list_batch_items,
        import_pins,
        export_pins,
        show_pin,
        change_pin,
        replace_pin,
        remove_pin,
    ],
    dependencies={"wanted": Provide(wanted_pins, sync_to_thread=False)},
    tags=["pins"],
)


def pin_view(pin: Pin) -> PinView:
    """Describe a pin."""
    wanted = pin.wanted
    return PinView(
        pin.request_id,
        wanted.cid,
        wanted.name,
        pin.status,
        dict(wanted.meta),
        list(wanted.tags),
        wanted.group,
        wanted.priority,
        list(wanted.origins),
        pin.created_ms // 1000,
        pin.changed_ms // 1000,
        pin.progress,
        pin.detail,
        pin.size_bytes,
        pin.blocks,
        pin.job_id,
    )


def _unchanged(request: HttpRequest) -> Callable[[Pin], None]:
    """Return what checks that a pin is still what the client has seen."""
    check = unchanged(request)
    return lambda pin: check(pin_view(pin))


def _shown(pin: Pin) -> Response[PinView]:
    address = f"/v1/pins/{pin.request_id}"
    return Response(pin_view(pin), status_code=202, headers={"location": address})


def _labels(
    request: HttpRequest, service: Service, principal: Principal, kind: str, limit: int, cursor: str
) -> Response[Page[LabelView]]:
    (after,) = decode_cursor(cursor, tuple[str]) if cursor else ("",)
    if "\0" in after:
        raise ProblemError("bad-request", "the cursor is not one of this list")
    found = service.pins.labels(principal.organization_id, kind, after, limit + 1)
    views = [LabelView(label.name, label.pins) for label in found]
    return page_response(request, views, limit, lambda view: (view.name,))


async def _receive(pieces: AsyncIterator[bytes], file: IO[bytes]) -> None:
    """Keep a body until it is whole.

    Raises:
        ProblemError: It is too large.
    """
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > _IMPORT_BYTES:
            raise ProblemError("too-large", f"expected a list of at most {_IMPORT_BYTES} bytes")
        if size > _IN_MEMORY_BYTES:
            await asyncio.to_thread(file.write, piece)
        else:
            file.write(piece)


def _start_import(service: Service, act: Act, file: IO[bytes], list_format: ListFormat) -> Job:
    file.seek(0)
    return service.pin_batches.start(act, read_list(file, list_format), is_atomic=False)


def _pages(service: Service, organization_id: str, wanted: PinFilter) -> Iterator[list[Pin]]:
    """Yield the pins that are wanted, a page at a time, each read for itself."""
    before_ms: int | None = END_MS
    while before_ms is not None:
        wanted = replace(wanted, before_ms=before_ms)
        pins, floor_ms = service.pins.part(organization_id, wanted, PAGE_MAX)
        if pins:
            yield pins
        before_ms = pins[-1].created_ms if len(pins) == PAGE_MAX else floor_ms
