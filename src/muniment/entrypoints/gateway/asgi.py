"""The gateway as an ASGI application: limits on what goes on at once, and bodies streamed in bounded memory.

An answer that is at hand is given at once; everything that touches the store runs in threads. A body is read one portion ahead of
the connection: while one is sent the next is read and verified. What fails after the status was sent ends the connection, which every client can tell from the end of a body.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from muniment.entrypoints.gateway.gateway import Gateway, error_response
from muniment.entrypoints.gateway.hot import HotAnswers, Messages, request_key
from muniment.entrypoints.gateway.messages import (
    CORS_HEADERS,
    Answer,
    HttpError,
    begin,
    read_scope,
)
from muniment.entrypoints.serving.active import Active
from muniment.entrypoints.serving.clients import Clients, TooManyRequestsError
from muniment.errors import MunimentError

_log = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
T = TypeVar("T")

MAX_BODY_BYTES = 64 * 1024
"""What is read of a request's body: more than anything that is accepted."""

_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """What one gateway does at once, and how long it waits.

    Attributes:
        requests: Requests that all processes together answer at once; more get 429. Answers at hand do not count.
        threads: Threads of one process that read the store.
        stall_s: How long a client may take to accept a portion of a body.
    """

    requests: int = 256
    threads: int = 8
    stall_s: float = 60.0


class StreamFailedError(Exception):
    """A body could not be finished: raised so that the server closes the connection without ending the body properly."""


class GatewayApp:
    """An ASGI 3 application for HTTP.

    Args:
        gateway: What answers.
        limits: What may go on at once.
        hot: Answers at hand; None to keep none.
        active: Counts the requests of all processes that `limits` are for; None if this is the only one.
        clients: Counts what every client does in this process.
    """

    def __init__(
        self,
        gateway: Gateway,
        limits: Limits | None = None,
        hot: HotAnswers | None = None,
        active: Active | None = None,
        clients: Clients | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._gateway = gateway
        self._hot = hot or HotAnswers(lambda: None)
        self._threads = ThreadPoolExecutor(self.limits.threads, "gateway")
        self._active = active or Active()
        self._clients = clients or Clients()
        self.scheme = ""
        """How clients reach this, if something in front of the server knows better than it does."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other protocols are ignored."""
        if scope["type"] != "http":
            return
        client = self._clients.of(scope)
        try:
            _refuse_body(scope)
            self._clients.admit(client)
        except HttpError as error:
            await _send_whole(send, _refusal(error))
            return
        except TooManyRequestsError as error:
            retry_after = ("retry-after", str(error.retry_after_s))
            await _send_whole(send, _refusal(HttpError(429, str(error), retry_after)))
            return
        try:
            await self._serve(scope, receive, send)
        finally:
            self._clients.release(client)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, generation = request_key(scope), self._hot.generation()
        messages = self._hot.find(key)
        if messages:
            await _send(send, messages)
            return
        if self._active.total() >= self.limits.requests:
            busy = ("retry-after", str(_RETRY_AFTER_S))
            await _send_whole(send, _refusal(HttpError(429, "too many requests at once", busy)))
            return
        with self._active:
            whole = await self._answer(scope, receive, send)
        if whole:
            self._hot.keep(key, *whole, since=generation)

    def stop(self) -> None:
        """Do nothing: no answer of a gateway waits for anything to happen."""

    def close(self) -> None:
        """Let the threads go, once what they do is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send
    ) -> tuple[Answer, Messages] | None:
        """Answer one request; return the answer if it went out whole."""
        try:
            request = read_scope(scope | {"scheme": self.scheme or scope["scheme"]})
        except MunimentError as error:
            await _send_whole(send, _refusal(error))
            return None
        if self._gateway.accepts_body(request):
            request = replace(request, body=await self._read_body(receive))
        answer = await self._in_thread(lambda: self._gateway.respond(request))
        if answer.rest is None:
            return answer, await _send_whole(send, answer)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await send(Messages.of(answer).start)
            await self._stream(send, gone, answer.first, answer.rest)
        except MunimentError as error:
            _log.warning("the body of %s ended early: %s", request.path, error)
            raise StreamFailedError(str(error)) from None
        finally:
            gone.cancel()
        return None

    async def _read_body(self, receive: Receive) -> bytes:
        """Read the body of a request as far as anybody will look at it."""
        body = b""
        is_more = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.stall_s):
                while is_more and len(body) <= MAX_BODY_BYTES:
                    message = await receive()
                    body += message.get("body", b"")
                    is_more = message.get("more_body", False)
        return body

    async def _stream(
        self, send: Send, gone: "asyncio.Future[None]", portion: bytes, rest: Iterator[bytes]
    ) -> None:
        while portion:
            coming = self._in_thread(lambda: next(rest, b""))
            message = {"type": "http.response.body", "body": portion, "more_body": True}
            try:
                async with asyncio.timeout(self.limits.stall_s):
                    await send(message)
            except TimeoutError:
                raise StreamFailedError("the client stopped reading") from None
            finally:
                # Nobody else may touch `rest` until its thread is done with it.
                if not coming.done():
                    await asyncio.wait((coming,))
            if gone.done():
                coming.exception()
                raise StreamFailedError("the client is gone")
            portion = coming.result()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _in_thread(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, function)


async def _disconnected(receive: Receive) -> None:
    """Wait until the client is gone, or sends more than anybody asked for."""
    body_bytes = 0
    while body_bytes <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body_bytes += len(message.get("body", b""))


def _refuse_body(scope: Scope) -> None:
    """Refuse a body that has no meaning (RFC 9110, section 9.3.1), rather than receive it.

    Raises:
        HttpError: 413: the request announces one.
    """
    if scope["method"] in ("GET", "HEAD"):
        for name, value in scope["headers"]:
            if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
                raise HttpError(413, f"a {scope['method']} request must not have a body")


def _refusal(error: MunimentError) -> Answer:
    answer = begin(error_response(error))
    answer.headers += CORS_HEADERS
    return answer


async def _send(send: Send, messages: Messages) -> None:
    await send(messages.start)
    await send(messages.body)


async def _send_whole(send: Send, answer: Answer) -> Messages:
    messages = Messages.of(answer)
    await _send(send, messages)
    return messages
