"""Bytes on their way from a request's body to a file: streamed, in bounded memory, at the speed of the disk.

Pieces are gathered to portions. While the next portion arrives, one thread writes the last one and another digests it; no further
one is read before both are done, so a slow disk slows the client down. All uploads of a process share the memory for portions.
"""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from muniment.entrypoints.http.problems import ProblemError
from muniment.uploads.digests import Announced
from muniment.uploads.ports import Incoming

P = ParamSpec("P")
T = TypeVar("T")

PORTIONS_BYTES = 32 << 20
"""What the portions of all uploads that are being gathered may take; as much again is being written."""

_PORTION_MAX_BYTES = 1 << 22
_PORTION_MIN_BYTES = 64 << 10
_SENT_MIN_BYTES = 16 << 10
_THREADS = ThreadPoolExecutor(
    16, "uploads"
)  # of their own: a slow disk must not keep other requests waiting
_CLOSE = {"connection": "close"}

Receive = Callable[[], Awaitable[Any]]


class SenderGoneError(ProblemError):
    """The client went away before it had sent everything."""

    def __init__(self) -> None:
        super().__init__("bad-request", "the connection ended before the body did", _CLOSE)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that waits for the disk or the database. Whoever is cancelled meanwhile still waits for its end."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    running = loop.run_in_executor(_THREADS, lambda: context.run(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with suppress(Exception):
            await running
        raise


class Source(Protocol):
    """Where bytes come from."""

    async def read(self) -> bytes:
        """Return the next piece; an empty one at the end."""


class Sender:
    """The body of a request, piece by piece.

    Args:
        receive: The channel of ASGI that it comes through.
        stall_s: Seconds in which at least 16 KiB have to come; the time in which nobody reads does not count.
    """

    def __init__(self, receive: Receive, stall_s: float) -> None:
        self._receive = receive
        self._stall_s = stall_s
        self._left_s = stall_s
        self._lately_bytes = 0
        self._is_over = False

    async def read(self) -> bytes:
        """Return the next piece; an empty one at the end.

        Raises:
            ProblemError: The client is too slow, or went away.
        """
        while not self._is_over:
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(self._left_s):
                    message = await self._receive()
            except TimeoutError:
                raise ProblemError(
                    "request-timeout",
                    f"expected at least {_SENT_MIN_BYTES} bytes in {self._stall_s:g} s, got {self._lately_bytes}",
                    _CLOSE,
                ) from None
            if message["type"] == "http.disconnect":
                raise SenderGoneError
            self._is_over = not message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            self._count(len(piece), time.monotonic() - began_s)
            if piece:
                return piece
        return b""

    def _count(self, size_bytes: int, waited_s: float) -> None:
        self._left_s -= waited_s
        self._lately_bytes += size_bytes
        if self._lately_bytes >= _SENT_MIN_BYTES:
            self._left_s, self._lately_bytes = self._stall_s, 0


class Pipe:
    """Brings pieces into a file.

    Args:
        file: Where they go.
        announced: Digests that the client announced, if any.
    """

    _open = 0

    def __init__(self, file: Incoming, announced: Announced | None = None) -> None:
        self._file = file
        self._announced = announced
        self._portion: list[bytes] = []
        self._portion_bytes = 0
        self._busy: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        Pipe._open += 1
        return self

    async def __aexit__(self, failed: object, *_: object) -> None:
        """Write what is left; after an error, only wait for what is being written."""
        Pipe._open -= 1
        if failed is None:
            await self._write()
        elif self._busy:
            await asyncio.wait(self._busy)
            return
        await self._finish_busy()

    async def put(self, piece: bytes) -> None:
        """Write a piece, later."""
        self._portion.append(piece)
        self._portion_bytes += len(piece)
        if self._portion_bytes >= self._enough_bytes():
            await self._write()

    @staticmethod
    def _enough_bytes() -> int:
        share = PORTIONS_BYTES // max(1, Pipe._open)
        return max(_PORTION_MIN_BYTES, min(_PORTION_MAX_BYTES, share))

    async def _write(self) -> None:
        portion, self._portion, self._portion_bytes = self._portion, [], 0
        await self._finish_busy()
        if portion:
            self._busy = [
                self._loop.run_in_executor(_THREADS, self._digest, portion),
                self._loop.run_in_executor(_THREADS, self._file.write, portion),
            ]

    def _digest(self, portion: list[bytes]) -> None:
        self._file.digest(portion)
        if self._announced is not None:
            self._announced.update(portion)

    async def _finish_busy(self) -> None:
        busy, self._busy = self._busy, []
        if busy:
            await asyncio.wait(
                busy
            )  # both, even if one fails: nobody else may touch the file before
            for one in busy:
                one.result()


async def bring(
    sender: Source, file: Incoming, size_bytes: int, announced: Announced | None = None
) -> None:
    """Write a body of at most so many bytes.

    Raises:
        ProblemError: There is more of it, or the client is too slow or went away.
        StorageFullError: The disk is full.
    """
    left_bytes = size_bytes
    async with Pipe(file, announced) as pipe:
        while piece := await sender.read():
            left_bytes -= len(piece)
            if left_bytes < 0:
                raise ProblemError("too-large", f"expected {size_bytes} bytes, got more", _CLOSE)
            await pipe.put(piece)
