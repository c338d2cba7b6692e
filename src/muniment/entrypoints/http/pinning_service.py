"""The IPFS Pinning Service API 1.0.0 (https://ipfs.github.io/pinning-services-api-spec/), which IPFS programs speak: `/psa/pins`.

Everything about it is as its specification has it, the body of errors and the times included; whatever goes beyond it is in `/v1/pins`.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, Router, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.bootstrap.service import Service
from muniment.content import multiaddr
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.problem_kinds import KINDS
from muniment.entrypoints.http.problems import FieldProblem, Problem, problem_of
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.errors import UsageError
from muniment.pinning.filters import CIDS, END_MS, Match, PinFilter, meta_of
from muniment.pinning.model import (
    META_ENTRIES,
    NAME_CHARS,
    ORIGINS,
    NewPin,
    Pin,
    PinStatus,
    parse_cid,
)
from muniment.pinning.times import first_ms_not_before, format_ms, last_ms_not_after

PATH = "/psa"

_LIMIT_DEFAULT, _LIMIT_MAX = 10, 1_000
_REASONS = {
    "bad-request": "BAD_REQUEST",
    "invalid-fields": "BAD_REQUEST",
    "unauthenticated": "UNAUTHORIZED",
    "quota-exceeded": "INSUFFICIENT_FUNDS",
    "internal": "INTERNAL_SERVER_ERROR",
    "damaged": "INTERNAL_SERVER_ERROR",
}
_STATUSES = {"quota-exceeded": 409}

Origin = Annotated[str, msgspec.Meta(max_length=multiaddr.MAX_CHARS)]
Filter = Annotated[str | None, Parameter(max_length=8_192)]


Respond = Callable[[Request[Any, Any, Any], Exception], Response[bytes]]


class FailureError(msgspec.Struct):
    """What went wrong: a word for programs, and a sentence for people."""

    reason: str
    details: str


class Failure(msgspec.Struct):
    """The body of every answer that is an error."""

    error: FailureError


class PinBody(msgspec.Struct):
    """What is to be pinned."""

    cid: str
    name: Annotated[str, msgspec.Meta(max_length=NAME_CHARS)] | None = None
    origins: Annotated[list[Origin], msgspec.Meta(max_length=ORIGINS)] | None = None
    meta: Annotated[dict[str, str], msgspec.Meta(max_length=META_ENTRIES)] | None = None


class PinShown(msgspec.Struct, omit_defaults=True):
    """What was asked to be pinned."""

    cid: str
    name: str | None = None
    origins: list[str] = []
    meta: dict[str, str] = {}


class PinStatusBody(msgspec.Struct, omit_defaults=True):
    """A pin, and what has become of it."""

    requestid: str
    status: PinStatus
    created: str
    pin: PinShown
    delegates: list[str]
    info: dict[str, str] = {}


class PinResults(msgspec.Struct):
    """Some of the pins that were asked for, newest first, and how many there are in all."""

    count: int
    results: list[PinStatusBody]


_FAILURES = {
    status: ResponseSpec(Failure, generate_examples=False, description=text)
    for status, text in ({kind.status: kind.title for kind in KINDS.values()}).items()
}
"""Every error of these routes has this one body."""


@get("/pins", opt=needs(Permission.PINS_READ), sync_to_thread=True, responses=_FAILURES)
def list_pins(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    cid: Filter = None,
    name: Annotated[str | None, Parameter(max_length=NAME_CHARS)] = None,
    match: Match = Match.EXACT,
    status: Filter = None,
    before: Filter = None,
    after: Filter = None,
    limit: Annotated[int, Parameter(ge=1, le=_LIMIT_MAX)] = _LIMIT_DEFAULT,
    meta: Filter = None,
) -> PinResults:
    """List pins, newest first; without `status`, those that are pinned, and by name those in any state."""
    wanted = PinFilter(
        statuses=_statuses(status, has_name=name is not None),
        cid_keys=_cid_keys(cid),
        name=name,
        match=match,
        meta=meta_of(meta),
        before_ms=END_MS if before is None else min(END_MS, first_ms_not_before(before)),
        after_ms=-1 if after is None else max(-1, last_ms_not_after(after)),
    )
    pins, count = service.pins.page(principal.organization_id, wanted, limit)
    delegates = delegates_of(request, service)
    return PinResults(count, [pin_status(pin, delegates) for pin in pins])


@post(
    "/pins",
    opt=needs(Permission.PINS_WRITE),
    sync_to_thread=True,
    status_code=202,
    responses=_FAILURES,
)
def add_pin(
    request: HttpRequest, service: Service, principal: Principal, data: PinBody
) -> PinStatusBody:
    """Pin a DAG: it is fetched in the background."""
    pin = service.pins.create(act_of(request, principal), _wanted(data))
    return pin_status(pin, delegates_of(request, service))


@get(
    "/pins/{requestid:str}",
    opt=needs(Permission.PINS_READ),
    sync_to_thread=True,
    responses=_FAILURES,
)
def show_pin(
    request: HttpRequest, service: Service, principal: Principal, requestid: str
) -> PinStatusBody:
    """Show a pin."""
    pin = service.pins.get(principal.organization_id, requestid)
    return pin_status(pin, delegates_of(request, service))


@post(
    "/pins/{requestid:str}",
    opt=needs(Permission.PINS_WRITE),
    sync_to_thread=True,
    status_code=202,
    responses=_FAILURES,
)
def replace_pin(
    request: HttpRequest, service: Service, principal: Principal, requestid: str, data: PinBody
) -> PinStatusBody:
    """Put a pin in the place of another one; what both have in common is kept."""
    pin = service.pins.replace(act_of(request, principal), requestid, _wanted(data))
    return pin_status(pin, delegates_of(request, service))


@delete(
    "/pins/{requestid:str}",
    opt=needs(Permission.PINS_WRITE),
    sync_to_thread=True,
    status_code=202,
    responses=_FAILURES,
)
def remove_pin(
    request: HttpRequest, service: Service, principal: Principal, requestid: str
) -> Response[None]:
    """Remove a pin."""
    service.pins.remove(act_of(request, principal), requestid)
    return Response(None, status_code=202, media_type=MediaType.TEXT)  # an empty body, not `null`


def failure_of(problem: Problem) -> tuple[int, Failure]:
    """Return status and body by which this API tells of a problem."""
    reason = _REASONS.get(problem.code, problem.code.upper().replace("-", "_"))
    details = "; ".join([problem.detail, *(_field(error) for error in problem.errors)])
    return _STATUSES.get(problem.code, problem.status), Failure(FailureError(reason, details))


def respond_failure(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a request that failed: the exception handler of these routes."""
    problem, headers = problem_of(error)
    status, failure = failure_of(problem)
    body = msgspec.json.encode(failure)
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def failing_below_path(respond: Respond) -> Respond:
    """Return an exception handler of the application that leaves failures below `PATH` to this API, where no route is met as well."""

    def respond_to(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        is_below = request.scope["path"].startswith(f"{PATH}/")
        return (respond_failure if is_below else respond)(request, error)

    return respond_to


router = Router(
    PATH,
    route_handlers=[list_pins, add_pin, show_pin, replace_pin, remove_pin],
    exception_handlers={Exception: respond_failure},
    tags=["IPFS Pinning Service API"],
)


def delegates_of(request: HttpRequest, service: Service) -> list[str]:
    """Return the addresses of this node, each with its peer ID, without which Kubo refuses them.

    They come from the settings or the server's socket, never from what the client says that it called.
    """
    url = service.settings.public_url
    if not url:
        host, port = request.scope.get("server") or ("127.0.0.1", 80)
        shown = f"[{host}]" if ":" in host else host
        url = f"{request.scope['scheme']}://{shown}:{port}"
    return [_delegate(url, service.node_id)]


@functools.lru_cache(16)
def _delegate(url: str, node_id: str) -> str:
    return f"{multiaddr.from_url(_without_path(url))}/p2p/{node_id}"


def pin_status(pin: Pin, delegates: list[str]) -> PinStatusBody:
    """Describe a pin as this API does."""
    wanted = pin.wanted
    shown = PinShown(wanted.cid, wanted.name, list(wanted.origins), dict(wanted.meta))
    return PinStatusBody(
        pin.request_id, pin.status, format_ms(pin.created_ms), shown, delegates, _info(pin)
    )


def _info(pin: Pin) -> dict[str, str]:
    info = {}
    details = "; ".join(text for text in (pin.progress, pin.detail) if text)
    if details:
        info["status_details"] = details
    if pin.size_bytes is not None:
        info["dag_size"] = str(pin.size_bytes)
    return info


def _wanted(data: PinBody) -> NewPin:
    return NewPin(data.cid, data.name, tuple(data.origins or ()), data.meta or {})


def _statuses(text: str | None, *, has_name: bool) -> frozenset[PinStatus]:
    """Read the states of pins that are wanted; empty for any.

    The specification has `pinned` as the default, and the official compliance suite looks by name alone for pins that still wait.
    """
    if text is None:
        return frozenset() if has_name else frozenset({PinStatus.PINNED})
    try:
        return frozenset(PinStatus(word) for word in text.split(","))
    except ValueError:
        names = ", ".join(PinStatus)
        raise UsageError(f"status: expected some of {names}, got {text[:80]!r}") from None


def _cid_keys(text: str | None) -> tuple[bytes, ...]:
    if text is None:
        return ()
    words = text.split(",")
    if len(words) > CIDS:
        raise UsageError(f"cid: expected at most {CIDS}, got {len(words)}")
    return tuple(dict.fromkeys(parse_cid(word).to_v1().raw for word in words))


def _without_path(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _field(error: FieldProblem) -> str:
    place = error.pointer or error.parameter
    return f"{place}: {error.detail}" if place else str(error.detail)
