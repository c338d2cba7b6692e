"""How the methods of both clients are written once: each is a flow, which becomes a method that waits or one to be awaited.

The descriptors tell a type checker which of the two it is by the client that it is called on.
"""

import functools
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload
from urllib.parse import quote, urlencode

import msgspec

from muniment.client.drivers import Async, Sync, Target
from muniment.client.flows import Answer, Body, Emit, Emitting, Flow, Request, read
from muniment.client.retrying import Patience, exchange
from muniment.errors import FormatError, UsageError

P = ParamSpec("P")
T = TypeVar("T")

Value = str | bytes | int | bool | None
Query = Mapping[str, Value | list[str] | tuple[str, ...]]
"""Parameters; those that are None are left out, and lists given item by item."""

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_PAGE_ITEMS = 500


class call(Generic[P, T]):  # noqa: N801  # a decorator
    """Makes a method of a flow that has a result."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Sync, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Async, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Sync | Async | None, owner: type) -> object:
        """Return the method of a client."""
        return self if client is None else _bind(self.flow, client, client.run)


class stream(Generic[P, T]):  # noqa: N801  # a decorator
    """Makes a method that is iterated over of a flow that emits items."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Emitting[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Sync, owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, client: Async, owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, client: Sync | Async | None, owner: type) -> object:
        """Return the method of a client."""
        return self if client is None else _bind(self.flow, client, client.iterate)


def _bind(
    flow: Callable[..., Any], client: object, perform: Callable[[Any], object]
) -> Callable[..., object]:
    bound = functools.partial(flow, client)
    method = functools.wraps(flow)(lambda *args, **kwargs: perform(bound(*args, **kwargs)))
    method.__wrapped__ = bound  # so that its signature is the one that it is called with
    return method


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some items of a list.

    Attributes:
        items: The items, in the list's order.
        next: Cursor of the next page; None after the last one.
    """

    items: list[T]
    next: str | None = None


class Caller:
    """What both clients know, and what every call of theirs is made of.

    Args:
        url: Address of the service, without the version: `https://archive.example.org`.
        api_key: The key; it is sent to that address only, over TLS or to this very machine.
        timeout_s: Seconds for which the service may be silent.
        attempts: How often what is safe to repeat is asked at most, the first time among them.
        connections_max: Connections at once.
        user_agent: Name of the program, told to the service.

    Raises:
        UsageError: The address is none, or one where the key could be read on its way.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        timeout_s: float = 60.0,
        attempts: int = 5,
        connections_max: int = 10,
        user_agent: str = "",
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        target = Target(self.url, api_key, timeout_s, connections_max, user_agent)
        target.check()
        self.timeout_s = timeout_s
        self._patience = Patience(attempts)
        super().__init__(target)  # type: ignore[call-arg]  # of Sync or Async

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | Body = b"",
        headers: Mapping[str, str] | None = None,
        is_open: bool = False,
    ) -> Flow[Answer]:
        """Send any request of the API and return its answer.

        Args:
            method: Its method.
            path: Path behind the address, percent-encoded.
            query: Parameters; those that are None are left out.
            body: Its body.
            headers: Header fields.
            is_open: Leave the body of the answer to be read.

        Raises:
            ApiError: The answer is a problem.
            ConnectionFailedError: None came.
            UsageError: The path would lead elsewhere.
        """
        if not {".", ".."}.isdisjoint(path.split("/")):
            raise UsageError(f"expected a path without `.` and `..`, got {path}")
        fields = dict(headers or {})
        if method not in _READING:
            fields.setdefault("idempotency-key", secrets.token_hex(16))
        is_repeatable = isinstance(body, bytes) or body.is_repeatable
        request = Request(method, path + _encoded(query or {}), fields, body, is_repeatable)
        return (yield from exchange(request, self._patience, is_open=is_open))

    def get(self, path: str, type_: type[T], query: Query | None = None) -> Flow[T]:
        """Read something."""
        answer = yield from self.send("GET", path, query=query)
        return decode(answer.body, type_)

    def write(
        self,
        method: str,
        path: str,
        type_: type[T],
        value: object = None,
        query: Query | None = None,
    ) -> Flow[T]:
        """Change something, and return what the service says of it then."""
        answer = yield from self.change(method, path, value, query)
        return decode(answer.body, type_)

    def change(
        self, method: str, path: str, value: object = None, query: Query | None = None
    ) -> Flow[Answer]:
        """Change something."""
        body, headers = _as_json(value)
        return (yield from self.send(method, path, query=query, body=body, headers=headers))

    def begin(
        self, method: str, path: str, value: object = None, query: Query | None = None
    ) -> Flow[Answer]:
        """Ask for what comes piece by piece, and leave the answer to be read."""
        body, headers = _as_json(value)
        return self.send(method, path, query=query, body=body, headers=headers, is_open=True)

    def pieces(
        self, method: str, path: str, value: object = None, query: Query | None = None
    ) -> Emitting[bytes]:
        """Emit an answer as it comes."""
        yield from self.begin(method, path, value, query)
        while portion := (yield from read()):
            yield Emit(portion)

    def pages(self, path: str, type_: type[T], query: Query | None = None) -> Emitting[T]:
        """Emit every item of a list, page by page, each fetched when it is needed."""
        asked: dict[str, Any] = {"limit": _PAGE_ITEMS} | dict(query or {})
        while True:
            page: Page[T] = yield from self.get(path, Page[type_], asked)  # type: ignore[valid-type]
            for item in page.items:
                yield Emit(item)
            if page.next is None:
                return
            asked["cursor"] = page.next


def _as_json(value: object) -> tuple[bytes, dict[str, str]]:
    """Return the body and the header fields that say something; none for nothing."""
    if value is None:
        return b"", {}
    return msgspec.json.encode(value), {"content-type": "application/json"}


def decode(body: bytes, type_: type[T]) -> T:
    """Return what an answer says.

    Raises:
        FormatError: It is not what a service answers.
    """
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        name = getattr(type_, "__name__", type_)
        raise FormatError(f"expected an answer that is a {name}: {error}") from error


def segment(name: str) -> str:
    """Return a name as one part of a path."""
    return quote(name, safe="")


def quoted(path: str | bytes) -> str:
    """Return a path of files, percent-encoded byte for byte."""
    return quote(os.fsencode(path), safe="/")


def _encoded(query: Query) -> str:
    """Return parameters as the end of an address; text that is no UTF-8 as the bytes that it stands for (PEP 383)."""
    fields = [
        (name, _text(item))
        for name, value in query.items()
        for item in (value if isinstance(value, list | tuple) else [value])
        if item is not None
    ]
    return f"?{urlencode(fields)}" if fields else ""


def _text(value: str | bytes | int | bool) -> bytes:  # noqa: FBT001  # as JSON has it
    if isinstance(value, int):
        return str(value).lower().encode("ascii")
    return os.fsencode(value)
