"""Flows: what a client does, written once, without saying whether it waits or awaits.

A flow is a generator. It yields an *effect* and gets back what came of it; what it returns is its result. The two drivers
(`muniment.client.drivers`) perform effects, one blocking and one in an event loop, and are all that exists twice.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Body(Protocol):
    """The body of a request that is too large to be held.

    Attributes:
        size_bytes: How long it is; None if that is not known.
        is_repeatable: Whether it can be sent once more.
    """

    size_bytes: int | None
    is_repeatable: bool

    def portions(self) -> Iterator[bytes]:
        """Return it from its beginning."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Attributes:
        method: Its method.
        path: Path and query behind the service's address, percent-encoded.
        headers: Header fields.
        body: Its body.
        is_repeatable: Whether doing it twice is as good as once.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body = b""
    is_repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes:
        status: Its status.
        headers: Header fields; names in lower case.
        body: Its body; empty while it can still be read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Send:
    """Sends a request; comes back with the whole `Answer`, or with the beginning of it where `is_open` and all is well.

    Raises:
        ConnectionFailedError: No answer came.
        FormatError: It is larger than any answer of a service.
    """

    request: Request
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Reads on in the answer that is open; comes back with bytes, none at its end.

    Raises:
        ConnectionFailedError: It broke off.
    """


@dataclass(frozen=True, slots=True)
class Sleep:
    """Waits."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Do:
    """Does what may block, as reading a file; comes back with its result."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Hands an item to whoever iterates over the flow."""

    item: T


Effect = Send | Read | Sleep | Do
Flow = Generator[Effect, Any, T]
"""Has a result."""

Emitting = Generator[Effect | Emit[T], Any, None]
"""Has any number of items."""


def do(function: Callable[[], T]) -> Flow[T]:
    """Do what may block."""
    result: T = yield Do(function)
    return result


def sleep(seconds: float) -> Flow[None]:
    """Wait."""
    yield Sleep(seconds)


def read() -> Flow[bytes]:
    """Read on in the answer that is open."""
    portion: bytes = yield Read()
    return portion


def each(flow: Emitting[T], take: Callable[[T], object]) -> Flow[None]:
    """Perform a flow as a part of another one, and give every item to a function that may block."""
    result, error = None, None
    with contextlib.closing(flow):
        while True:
            try:
                effect = flow.throw(error) if error else flow.send(result)
            except StopIteration:
                return
            result, error = None, None
            if isinstance(effect, Emit):
                item: T = effect.item
                yield Do(lambda item=item: take(item))  # type: ignore[misc]
                continue
            try:
                result = yield effect
            except Exception as caught:  # noqa: BLE001  # the inner flow knows what to do about it
                error = caught
