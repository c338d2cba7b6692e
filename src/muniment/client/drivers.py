"""The two transports: one that blocks, one for an event loop. Each performs the effects of flows, and knows nothing else."""

import contextlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from muniment import __version__
from muniment.client.errors import ConnectionFailedError
from muniment.client.flows import (
    Answer,
    Body,
    Do,
    Effect,
    Emit,
    Emitting,
    Flow,
    Read,
    Request,
    Send,
    Sleep,
)
from muniment.errors import FormatError, UsageError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

ANSWER_BYTES_MAX = 64 << 20
"""No answer that is held in memory is larger."""

_CONNECT_TIMEOUT_S = 10.0
_ERROR_NUMBER = re.compile(r"^\[errno -?\d+\] ")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a service is, and how it is spoken to.

    Attributes:
        url: Its address, without the version.
        api_key: The key; empty for none.
        timeout_s: Seconds that it may be silent.
        connections_max: Connections at once.
        user_agent: What comes before the library's own name.
    """

    url: str
    api_key: str = field(repr=False)
    timeout_s: float
    connections_max: int
    user_agent: str

    def check(self) -> None:
        """Check that a key can be sent there without anybody else reading it.

        Raises:
            UsageError: It is no address, or one without TLS on another machine.
        """
        try:
            parts = urlsplit(self.url)
            host, _port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"expected the URL of a service, got {self.url!r}: {error}") from None
        if "@" in parts.netloc:  # first, so that no message repeats it
            raise UsageError("the URL of a service holds no password: give the API key by itself")
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise UsageError(f"expected a URL as in https://archive.example.org, got {self.url!r}")
        if parts.scheme == "http" and host not in _LOOPBACK:
            raise UsageError(
                f"{self.url}: an API key is sent to another machine by https only; a tunnel (`ssh -L`) makes it local"
            )
        if not (self.api_key.isascii() and self.api_key.isprintable()) or " " in self.api_key:
            raise UsageError("the API key holds signs that no key has")

    def options(self) -> dict[str, Any]:
        """Return the arguments of both of httpx's clients."""
        import httpx  # noqa: PLC0415  # costs 0.1 s, which importing this package need not

        headers = {
            "accept-encoding": "identity",  # ranges and digests are those of what is stored
            "user-agent": f"{self.user_agent} muniment-client/{__version__}".strip(),
        }
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return {
            "headers": headers,
            "timeout": httpx.Timeout(
                self.timeout_s, connect=min(_CONNECT_TIMEOUT_S, self.timeout_s)
            ),
            "limits": httpx.Limits(max_connections=self.connections_max),
            "trust_env": urlsplit(self.url).hostname not in _LOOPBACK,  # no proxy leads back here
        }

    def arguments(self, request: Request) -> dict[str, Any]:
        """Return the arguments of httpx for a request, without its body."""
        headers = dict(request.headers)
        if not isinstance(request.body, bytes) and request.body.size_bytes is not None:
            headers["content-length"] = str(request.body.size_bytes)
        return {
            "method": request.method,
            "url": self.url.rstrip("/") + request.path,
            "headers": headers,
        }

    def failure(self, error: Exception) -> ConnectionFailedError:
        """Put into words that no answer came."""
        reason = _ERROR_NUMBER.sub("", str(error).lower()) or "it fell silent"
        return ConnectionFailedError(f"no answer from {self.url}: {reason}")


def _begin(response: "httpx.Response") -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers)


def _add(body: bytearray, portion: bytes) -> None:
    body += portion
    if len(body) > ANSWER_BYTES_MAX:
        raise FormatError(f"expected an answer of at most {ANSWER_BYTES_MAX} bytes, got more")


class _Exchange:
    """The answer that one flow reads."""

    def __init__(self, http: "httpx.Client", target: Target) -> None:
        self._http, self._target = http, target
        self._response: httpx.Response | None = None
        self._portions: Iterator[bytes] = iter(())

    def perform(self, effect: Effect) -> Any:  # noqa: ANN401  # each effect has its own result
        import httpx  # noqa: PLC0415  # costs start-up time

        try:
            match effect:
                case Send(request, is_open):
                    return self._send(request, is_open=is_open)
                case Read():
                    return next(self._portions, b"")
                case Sleep(seconds):
                    time.sleep(seconds)
                case Do(function):
                    return function()
        except (httpx.TransportError, httpx.InvalidURL, httpx.StreamError) as error:
            self.close()
            raise self._target.failure(error) from error
        return None

    def _send(self, request: Request, *, is_open: bool) -> Answer:
        self.close()
        body = request.body
        content = body if isinstance(body, bytes) else body.portions()
        built = self._http.build_request(**self._target.arguments(request), content=content)
        self._response = self._http.send(built, stream=True)
        self._portions = self._response.iter_raw()
        answer = _begin(self._response)
        if is_open and answer.status < 300:
            return answer
        whole = bytearray()
        for portion in self._portions:
            _add(whole, portion)
        self.close()
        return Answer(answer.status, answer.headers, bytes(whole))

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


class _AsyncExchange:
    """The answer that one flow reads."""

    def __init__(self, http: "httpx.AsyncClient", target: Target) -> None:
        self._http, self._target = http, target
        self._response: httpx.Response | None = None
        self._portions: AsyncIterator[bytes] | None = None

    async def perform(self, effect: Effect) -> Any:  # noqa: ANN401  # each effect has its own result
        import asyncio  # noqa: PLC0415  # costs start-up time

        import httpx  # noqa: PLC0415

        try:
            match effect:
                case Send(request, is_open):
                    return await self._send(request, is_open=is_open)
                case Read():
                    return await anext(self._portions, b"") if self._portions else b""
                case Sleep(seconds):
                    await asyncio.sleep(seconds)
                case Do(function):
                    return await asyncio.to_thread(function)
        except (httpx.TransportError, httpx.InvalidURL, httpx.StreamError) as error:
            await self.aclose()
            raise self._target.failure(error) from error
        return None

    async def _send(self, request: Request, *, is_open: bool) -> Answer:
        await self.aclose()
        body = request.body
        content = body if isinstance(body, bytes) else _portions(body)
        built = self._http.build_request(**self._target.arguments(request), content=content)
        self._response = await self._http.send(built, stream=True)
        answer = _begin(self._response)
        self._portions = self._response.aiter_raw()
        if is_open and answer.status < 300:
            return answer
        whole = bytearray()
        async for portion in self._portions:
            _add(whole, portion)
        await self.aclose()
        return Answer(answer.status, answer.headers, bytes(whole))

    async def aclose(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


async def _portions(body: Body) -> AsyncIterator[bytes]:
    import asyncio  # noqa: PLC0415  # costs start-up time

    portions = body.portions()
    while portion := await asyncio.to_thread(next, portions, b""):
        yield portion


class Sync:
    """Performs flows and blocks until they are over; safe to use from several threads."""

    def __init__(self, target: Target) -> None:
        import httpx  # noqa: PLC0415  # costs start-up time

        self._target = target
        self._http = httpx.Client(**target.options())

    def run(self, flow: Flow[T]) -> T:
        """Perform a flow and return its result."""
        with contextlib.closing(self.iterate(_emitting(flow))) as items:
            return next(items)

    def iterate(self, flow: Emitting[T]) -> Generator[T, None, None]:
        """Perform a flow and hand out what it emits."""
        exchange = _Exchange(self._http, self._target)
        with contextlib.closing(flow), contextlib.closing(exchange):
            result, error = None, None
            while True:
                try:
                    effect = flow.throw(error) if error else flow.send(result)
                except StopIteration:
                    return
                result, error = None, None
                if isinstance(effect, Emit):
                    yield effect.item
                    continue
                try:
                    result = exchange.perform(effect)
                except Exception as caught:  # noqa: BLE001  # the flow knows what to do about it
                    error = caught

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Async:
    """Performs flows in an event loop."""

    def __init__(self, target: Target) -> None:
        import httpx  # noqa: PLC0415  # costs start-up time

        self._target = target
        self._http = httpx.AsyncClient(**target.options())

    async def run(self, flow: Flow[T]) -> T:
        """Perform a flow and return its result."""
        async with contextlib.aclosing(self.iterate(_emitting(flow))) as items:
            return await anext(items)

    async def iterate(self, flow: Emitting[T]) -> AsyncGenerator[T, None]:
        """Perform a flow and hand out what it emits."""
        exchange = _AsyncExchange(self._http, self._target)
        with contextlib.closing(flow):
            async with contextlib.aclosing(exchange):
                result, error = None, None
                while True:
                    try:
                        effect = flow.throw(error) if error else flow.send(result)
                    except StopIteration:
                        return
                    result, error = None, None
                    if isinstance(effect, Emit):
                        yield effect.item
                        continue
                    try:
                        result = await exchange.perform(effect)
                    except Exception as caught:  # noqa: BLE001  # the flow knows what to do about it
                        error = caught

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


def _emitting(flow: Flow[T]) -> Emitting[T]:
    """Let a flow emit its result."""
    result = yield from flow
    yield Emit(result)
