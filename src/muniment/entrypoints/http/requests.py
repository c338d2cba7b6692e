"""What every handler gets from a request: its id, where it comes from, and the act that the audit log will tell of."""

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ValidationException

from muniment.accounts.organizations import Act
from muniment.accounts.principals import Principal

HEADER = "x-request-id"
_GOOD_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")

HttpRequest = Request[Any, Any, Any]


class StrictRequest(Request[Any, Any, Any]):
    """A request whose body is what its handler takes, without a change of types: `"true"` is no `true`, and `1` is not either."""

    async def json(self) -> Any:  # noqa: ANN401  # what the handler takes
        """Return the body, read as JSON and checked.

        Raises:
            ValidationException: A field is not valid.
        """
        value = await super().json()
        wanted = self.route_handler.parsed_fn_signature.parameters.get("data")
        if wanted is None:
            return value
        try:
            return msgspec.convert(value, wanted.annotation)
        except msgspec.ValidationError as error:
            message, _at, place = str(error).partition(" - at `$")
            wrong = {"message": message, "key": place.strip(".`"), "source": "body"}
            raise ValidationException(extra=[wrong]) from error


Scope = Any
Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def header_of(scope: Scope, name: bytes) -> bytes:
    """Return the value of a header field; of several, joined as RFC 9110 (section 5.2) has it; empty for none."""
    return b", ".join(value for key, value in scope["headers"] if key == name)


def identify(scope: Scope, address: str) -> str:
    """Give a request an id, the client's own if it sent a good one, and note where it comes from; returns the id."""
    sent = header_of(scope, HEADER.encode())
    request_id = sent.decode() if _GOOD_ID.fullmatch(sent) else secrets.token_hex(8)
    state = scope.setdefault("state", {})
    state["request_id"], state["address"] = request_id, address
    return request_id


def act_of(request: HttpRequest, principal: Principal) -> Act:
    """Return the act that a request is, for the audit log."""
    state = request.scope["state"]
    return Act(
        principal.organization_id,
        principal.actor,
        time.time_ns() // 1000,
        state.get("request_id", ""),
        state.get("address", ""),
    )
