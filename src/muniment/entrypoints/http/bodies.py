"""Bodies of requests that are read whole: bounded in size, in time, and all together in memory."""

import asyncio
from typing import Any

from muniment.entrypoints.http.admission import Room
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import Receive, Scope


class GoneError(Exception):
    """The client has gone away: there is nobody to answer to."""


def content_length(scope: Scope) -> int | None:
    """Return how long a request says that its body is; None if it does not.

    Raises:
        ProblemError: It says nothing that makes sense.
    """
    values = {value for name, value in scope["headers"] if name == b"content-length"}
    if not values:
        return None
    (value, *others) = values
    if others or not value.isdigit() or len(value) > 18:
        raise ProblemError("bad-request", "expected one Content-Length that is a number")
    return int(value)


def has_body(scope: Scope) -> bool:
    """Tell whether a request announces a body."""
    names = {name for name, _value in scope["headers"]}
    return bool(content_length(scope)) or b"transfer-encoding" in names


class Body:
    """A body that was read, and the part of the room that it takes until it is closed.

    Args:
        room: Where the memory comes from.
    """

    def __init__(self, room: Room) -> None:
        self.data = b""
        self._room = room
        self._taken_bytes = 0
        self._was_given = False

    async def read(self, scope: Scope, receive: Receive, max_bytes: int, timeout_s: float) -> None:
        """Read it.

        Raises:
            ProblemError: It is too large, or too slow, or there is no room.
            GoneError: The client went away.
        """
        announced = content_length(scope)
        if announced is not None and announced > max_bytes:
            raise _too_large(max_bytes, f"{announced}")
        parts = []
        try:
            async with asyncio.timeout(timeout_s):
                is_more, size_bytes = True, 0
                while is_more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise GoneError
                    part = message.get("body", b"")
                    size_bytes += len(part)
                    if size_bytes > max_bytes:
                        raise _too_large(max_bytes, "more")
                    self._room.take(len(part))
                    self._taken_bytes += len(part)
                    parts.append(part)
                    is_more = message.get("more_body", False)
        except TimeoutError:
            raise ProblemError(
                "request-timeout", f"the body did not arrive within {timeout_s:g} s", _CLOSE
            ) from None
        self.data = b"".join(parts)

    def replaying(self, receive: Receive) -> Receive:
        """Return a channel that has the body once, and then whatever the client still says."""

        async def replay() -> Any:  # noqa: ANN401  # as ASGI has it
            if self._was_given:
                return await receive()
            self._was_given = True
            return {"type": "http.request", "body": self.data, "more_body": False}

        return replay

    def close(self) -> None:
        """Give the room back."""
        self._room.give_back(self._taken_bytes)
        self._taken_bytes = 0
        self.data = b""


_CLOSE = {"connection": "close"}


def _too_large(max_bytes: int, got: str) -> ProblemError:
    detail = f"expected a body of at most {max_bytes} bytes, got {got}"
    return ProblemError("too-large", detail, _CLOSE)
