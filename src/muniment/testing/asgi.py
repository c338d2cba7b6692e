"""Calls an ASGI application in this process: requests as a client would write them, hostile ones too, at a millisecond each."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote

App = Callable[[Any, Any, Any], Awaitable[None]]

CLIENT = ("192.0.2.7", 40_000)
_ENDLESS_S = 0.3
_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What an application answered.

    Attributes:
        status: The HTTP status.
        headers: The header fields in order, names in lower case.
        body: The body; of an endless answer, what had come when the client went away.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Return the first field of that name; empty if there is none."""
        return next((value for known, value in self.headers if known == name), "")

    @property
    def media_type(self) -> str:
        """The type of the body, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def json(self) -> Any:  # noqa: ANN401  # whatever it is
        """Return the body, read as JSON."""
        return json.loads(self.body)


class AsgiCaller:
    """Calls an application, whose lifespan lasts as long as this is open as a context manager.

    Args:
        app: The application.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        self._lifespan: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._begin())
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.run_until_complete(self._end())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def call(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        """Make a request and return the answer.

        Args:
            method: The method.
            target: Path and query as they stand in the request line, percent-encoded.
            headers: Header fields; Content-Length is added where there is a body.
            body: The body.
        """
        (answer,) = self.call_together([(method, target, headers, body)])
        return answer

    def call_together(self, requests: Iterable[tuple[Any, ...]]) -> list[Answer]:
        """Make several requests at once, each given as the arguments of `call`."""

        async def together() -> list[Answer]:
            return list(await asyncio.gather(*(self._call(*request) for request in requests)))

        return self._loop.run_until_complete(together())

    async def _call(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        exchange = _Exchange(body)
        task = asyncio.ensure_future(
            self._app(_scope(method, target, headers, body), exchange.receive, exchange.send)
        )
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await _until_whole(task, exchange)
        finally:
            task.cancel()
        return exchange.answer()

    async def _begin(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._lifespan = asyncio.ensure_future(self._app(scope, self._said.get, self._heard.put))
        await self._said.put({"type": "lifespan.startup"})
        heard = await self._heard.get()
        assert heard["type"] == "lifespan.startup.complete", heard

    async def _end(self) -> None:
        assert self._lifespan is not None
        await self._said.put({"type": "lifespan.shutdown"})
        await self._lifespan


class _Exchange:
    """One request and its answer, as ASGI messages."""

    def __init__(self, body: bytes) -> None:
        self._to_say = [{"type": "http.request", "body": body, "more_body": False}]
        self._messages: list[dict[str, Any]] = []
        self._is_gone = asyncio.Event()
        self.has_begun = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """Say what the client still has to say; after that, wait until it goes away."""
        if self._to_say:
            return self._to_say.pop()
        await self._is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        """Take a part of the answer."""
        self._messages.append(message)
        self.has_begun.set()
        if self.is_whole:
            self.leave()

    def leave(self) -> None:
        """Go away."""
        self._is_gone.set()

    @property
    def is_whole(self) -> bool:
        """Whether the answer has ended."""
        last = self._messages[-1] if self._messages else {}
        return last.get("type") == "http.response.body" and not last.get("more_body")

    def answer(self) -> Answer:
        """Return the answer."""
        assert self._messages, "the application answered nothing"
        start, *parts = self._messages
        fields = ((name.decode("latin-1").lower(), value) for name, value in start["headers"])
        return Answer(
            start["status"],
            tuple((name, value.decode("latin-1")) for name, value in fields),
            b"".join(bytes(part.get("body", b"")) for part in parts),
        )


async def _until_whole(task: asyncio.Future[None], exchange: _Exchange) -> None:
    """Wait for the end of an answer; a client goes away from one that has begun and does not end."""
    begun = asyncio.ensure_future(exchange.has_begun.wait())
    await asyncio.wait((task, begun), return_when=asyncio.FIRST_COMPLETED)
    begun.cancel()
    await asyncio.wait((task,), timeout=_ENDLESS_S)
    exchange.leave()
    await task


def _scope(
    method: str,
    target: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes,
) -> dict[str, Any]:
    path, _, query = target.partition("?")
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    if body and not any(name.lower() == "content-length" for name, _value in given):
        given.append(("content-length", str(len(body))))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path, errors="replace"),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given),
        ],
        "client": CLIENT,
        "server": ("localhost", 80),
        "state": {},
    }
