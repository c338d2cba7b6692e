"""What stands in front of all routes: limits on what every request is made of, its id, and the fields that every answer carries."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import MethodNotAllowedException, NotFoundException

from muniment.entrypoints.http.events import Streams
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import (
    HEADER,
    HttpRequest,
    Message,
    Receive,
    Scope,
    Send,
    identify,
)
from muniment.entrypoints.serving.clients import Clients, parse_networks
from muniment.settings.service import ServiceSettings

Respond = Callable[[HttpRequest, Exception], Response[bytes]]

_log = logging.getLogger(__name__)

PATH_BYTES_MAX = 8 * 1024
QUERY_BYTES_MAX = 8 * 1024
QUERY_FIELDS_MAX = 200
HEADER_BYTES_MAX = 32 * 1024
HEADER_FIELDS_MAX = 100

THREADS = 16
"""Threads of one process in which handlers run: most of them wait for the disk or the database."""

SECURITY = {
    "cache-control": "private, no-cache",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Fields of every answer that does not say otherwise. No other origin may read an answer: there are no CORS fields."""

_DRAINED_BYTES, _DRAINED_S = 4 << 20, 2.0


def _encoded(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in fields.items()]


_SECURITY = _encoded(SECURITY)
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")


class Front:
    """The application as the server calls it.

    Args:
        app: The routes.
        settings: The limits.
        streams: The streams of events, which end when the server does.
    """

    def __init__(self, app: Litestar, settings: ServiceSettings, streams: Streams) -> None:
        self.scheme = ""
        self._app = app
        self._respond: Respond = app.exception_handlers[Exception]
        self._stall_s = settings.stall_timeout_s
        self._clients = Clients(trusted_proxies=parse_networks(settings.trusted_proxies))
        self._streams = streams
        self._has_threads = False

    def stop(self) -> None:
        """End what would go on without end: the streams of events."""
        self._streams.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        if not self._has_threads:
            self._has_threads = True
            threads = ThreadPoolExecutor(THREADS, "request")
            asyncio.get_running_loop().set_default_executor(threads)
        request_id = identify(scope, self._clients.of(scope))
        scope["litestar_app"] = (
            self._app
        )  # the framework's own, set early: a refusal asks its router
        scope["state"] |= {"path": scope["path"], "headers": {HEADER: request_id}}
        if self.scheme:
            scope["scheme"] = self.scheme
        body = _Incoming(receive, scope, self._stall_s)
        answer = _Answer(send, scope, self._respond, self._stall_s, body)
        try:
            check_head(scope)
            if scope["method"] == "HEAD" and not self._has_head(scope["path"]):
                scope["method"], answer.is_bodiless = "GET", True
            await self._app(scope, body.receive, answer)
        except ProblemError as error:
            await answer.refuse(receive, error)
        except Exception as error:
            if answer.has_begun:
                raise  # the server closes the connection, which the client can tell from an end
            _log.exception("a request failed outside of its handler")
            await answer.refuse(receive, error)

    def _has_head(self, path: str) -> bool:
        """Tell whether a route answers HEAD itself; the others answer GET, and what they say is not sent."""
        try:
            self._app.asgi_router.handle_routing(path=path.rstrip("/") or "/", method="HEAD")
        except (MethodNotAllowedException, NotFoundException):
            return False
        return True


class _Answer:
    """An answer on its way out: its fields are completed, and a client that stops reading is cut off."""

    def __init__(
        self, send: Send, scope: Scope, respond: Respond, stall_s: float, body: "_Incoming"
    ) -> None:
        self._send = send
        self._body = body
        self._respond = respond
        self._scope = scope
        self._stall_s = stall_s
        self.is_bodiless = False
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            if message["status"] >= 400:
                await self._body.drain()
            message["headers"] = self._completed(message["headers"], message["status"])
            await self._send(message)
            return
        if self.is_bodiless:
            message = message | {"body": b""}
        async with asyncio.timeout(self._stall_s):
            await self._send(message)

    async def refuse(self, receive: Receive, error: Exception) -> None:
        """Answer with a problem, as the routes below the same path would."""
        request: HttpRequest = Request(self._scope, receive, self)
        response = self._respond(request, error)
        asgi = response.to_asgi_response(app=None, request=request)
        await asgi(self._scope, receive, self)

    def _completed(
        self, headers: list[tuple[bytes, bytes]], status: int
    ) -> list[tuple[bytes, bytes]]:
        added = [*_SECURITY, *_encoded(self._scope["state"]["headers"])]
        if self._scope["scheme"] == "https":
            added.append(_HTTPS_ONLY)
        if status == 405 or self._scope["method"] == "OPTIONS":
            # The framework knows only the methods of one of several routers.
            headers = [item for item in headers if item[0].lower() != b"allow"]
            added.append((b"allow", ", ".join(_methods(self._scope)).encode()))
        known = {bytes(name).lower() for name, _value in headers}
        return [*headers, *(item for item in added if item[0] not in known)]


def check_head(scope: Scope) -> None:
    """Check that the head of a request is of a size that makes sense.

    Raises:
        ProblemError: It is not.
    """
    if len(scope["raw_path"]) > PATH_BYTES_MAX:
        raise ProblemError("uri-too-long", f"expected a path of at most {PATH_BYTES_MAX} bytes")
    query: bytes = scope["query_string"]
    if len(query) > QUERY_BYTES_MAX or query.count(b"&") >= QUERY_FIELDS_MAX:
        raise ProblemError(
            "uri-too-long",
            f"expected a query of at most {QUERY_BYTES_MAX} bytes and {QUERY_FIELDS_MAX} fields",
        )
    headers = scope["headers"]
    size_bytes = sum(len(name) + len(value) for name, value in headers)
    if size_bytes > HEADER_BYTES_MAX or len(headers) > HEADER_FIELDS_MAX:
        raise ProblemError(
            "headers-too-large",
            f"expected at most {HEADER_FIELDS_MAX} header fields and {HEADER_BYTES_MAX} bytes of them",
        )


class _Incoming:
    """The body of a request on its way in: no part of it may take too long; what comes behind it may."""

    def __init__(self, receive: Receive, scope: Scope, stall_s: float) -> None:
        self._receive = receive
        self._stall_s = stall_s
        # Who waits for "100 Continue" sends nothing unless somebody asks for it.
        self._is_awaited = any(name == b"expect" for name, _value in scope["headers"])
        self._is_over = False

    async def receive(self) -> Any:  # noqa: ANN401  # as ASGI has it
        """Return the next message of the client.

        Raises:
            ProblemError: The client is too slow.
        """
        if self._is_over:
            return await self._receive()
        self._is_awaited = False
        try:
            async with asyncio.timeout(self._stall_s):
                message = await self._receive()
        except TimeoutError:
            self._is_over = True  # as far as anybody here is concerned
            raise ProblemError(
                "request-timeout",
                f"nothing of the body arrived for {self._stall_s:g} s",
                {"connection": "close"},
            ) from None
        self._is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Take what is left of a body that nobody wants, within bounds.

        Where a connection closes with something unread, its client may never see the answer that went before.
        """
        left_bytes = 0 if self._is_awaited else _DRAINED_BYTES
        with suppress(TimeoutError, ProblemError):
            async with asyncio.timeout(_DRAINED_S):
                while not self._is_over and left_bytes > 0:
                    left_bytes -= len((await self.receive()).get("body", b""))


def _methods(scope: Scope) -> list[str]:
    """Return the methods of the resource that a request is about."""
    router, path = scope["litestar_app"].asgi_router, scope["state"]["path"].rstrip("/") or "/"
    found = []
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        try:
            router.handle_routing(path=path, method=method)
        except (MethodNotAllowedException, NotFoundException):
            if method != "HEAD" or "GET" not in found:
                continue
        found.append(method)
    return found
