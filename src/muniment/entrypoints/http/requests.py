"""What every handler gets from a request: its id, where it comes from, and the act that the audit log will tell of."""

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.types import Message

from muniment.accounts.organizations import Act
from muniment.accounts.principals import Principal

HEADER = "x-request-id"
_GOOD_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")

HttpRequest = Request[Any, Any, Any]


Send = Callable[[Any], Awaitable[None]]
AsgiApp = Callable[[Any, Any, Send], Awaitable[None]]


def with_request_ids(app: AsgiApp) -> AsgiApp:
    """Give every request an id, the client's own if it sent a good one, and tell it in the answer."""

    async def answer(scope: Any, receive: Any, send: Send) -> None:  # noqa: ANN401  # as ASGI has it
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == HEADER.encode()), b"")
        request_id = sent.decode() if _GOOD_ID.fullmatch(sent) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (HEADER.encode(), request_id.encode()),
                ]
            await send(message)

        await app(scope, receive, send_with_id)

    return answer


def act_of(request: HttpRequest, principal: Principal) -> Act:
    """Return the act that a request is, for the audit log."""
    return Act(
        principal.organization_id,
        principal.actor,
        time.time_ns() // 1000,
        request.scope["state"].get("request_id", ""),
        request.client.host if request.client else "",
    )
