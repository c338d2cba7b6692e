"""Requests at a rate that does not wait for answers, and of some clients that do: with bodies that differ, and answers that are checked.

h2load does neither the first nor the second. This client spends about 0.1 ms of processor time a request, a tenth of what a service does.

A load at a rate begins each request when it is due, on the first connection that is free; its time is counted from when it was due,
so that a server that falls behind is charged with those that had to wait. Timers of the event loop are late by up to 1 ms,
which is counted, too: times are never too short.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TypeVar
from urllib.parse import urlsplit

from benchmarks.measure import CommandFailedError

TIMEOUT_S = 120
BODY_SHOWN = 300
TOO_MANY = 503
"""Status of a service that sheds what it cannot do in time."""
T = TypeVar("T")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and what they have in common.

    Attributes:
        url: The server.
        method: The method.
        status: The only status that is a success.
        headers: Lines without their end, as in `Authorization: Bearer x`.
        size_bytes: The only size of a body that is a success; None for any.
    """

    url: str
    method: str
    status: int
    headers: tuple[str, ...] = ()
    size_bytes: int | None = None

    def request(self, path: str, body: bytes = b"") -> bytes:
        """The bytes of one request."""
        lines = [f"{self.method} {path} HTTP/1.1", f"Host: {urlsplit(self.url).netloc}"]
        if self.method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, *self.headers, "", ""]).encode("ascii") + body


class _Connection(asyncio.Protocol):
    """One request at a time over one connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is not None and _is_whole(self._buffer):
            answer, self._answer = self._answer, None
            whole = bytes(self._buffer)
            self._buffer.clear()
            if not answer.done():
                answer.set_result(whole)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(CommandFailedError(f"the connection was closed: {exc}"))

    async def ask(self, request: bytes) -> bytes:
        assert self._transport is not None
        if self._transport.is_closing():
            raise CommandFailedError("the connection was closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _is_whole(answer: bytearray) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = bytes(answer[: end + 2])
    found = _LENGTH.search(head)
    if found:
        return len(answer) >= end + 4 + int(found[1])
    if _CHUNKED.search(head):
        return answer.endswith(_LAST_CHUNK, end + 2)
    raise CommandFailedError(f"an answer without a length: {head[:BODY_SHOWN]!r}")


def at_rate(
    target: Target, requests: Iterator[bytes], rate: float, duration_s: float
) -> tuple[list[float], int]:
    """Begin `rate` requests a second, and return the milliseconds of each from when it was due, and how many were refused as too many.

    Raises:
        CommandFailedError: One was not answered, or with another status.
    """
    return _run(_paced(target, requests, rate, round(rate * duration_s)))


def at_once(
    target: Target, requests: Iterator[bytes], clients: int, duration_s: float = TIMEOUT_S
) -> tuple[list[float], int]:
    """Have clients ask, each again when it has its answer, until the time or the requests are over; returns what `at_rate` does.

    Raises:
        CommandFailedError: As `at_rate`.
    """
    return _run(_closed(target, requests, clients, duration_s))


CONNECTIONS = 64
"""Of a load at a rate. More requests than that wait for a connection, as they would for a client that keeps as many."""


def _run(load: Coroutine[None, None, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(TIMEOUT_S):
            return await load

    try:
        return asyncio.run(bounded())
    except (OSError, TimeoutError) as error:
        raise CommandFailedError(f"requests failed: {error!r}") from error


async def _connect(target: Target, number: int) -> list[_Connection]:
    host, _, port = urlsplit(target.url).netloc.partition(":")
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(_Connection, host, int(port)) for _ in range(number)]
    return [connection for _transport, connection in made]


async def _paced(
    target: Target, requests: Iterator[bytes], rate: float, total: int
) -> tuple[list[float], int]:
    connections = await _connect(target, CONNECTIONS)
    waiting: deque[float] = deque()
    is_due = asyncio.Semaphore(0)
    times_ms: list[float] = []
    shed = 0
    started_s = time.perf_counter()

    async def serve(connection: _Connection) -> None:
        nonlocal shed
        while len(times_ms) + shed < total:
            await is_due.acquire()
            due_s = waiting.popleft()
            answer = await connection.ask(next(requests))
            if _status(answer) == TOO_MANY:
                shed += 1
                continue
            _check(target, answer)
            times_ms.append((time.perf_counter() - due_s) * 1e3)

    async def pace() -> None:
        for number in range(total):
            due_s = started_s + number / rate
            if (early_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            waiting.append(due_s)
            is_due.release()

    servers = [asyncio.create_task(serve(connection)) for connection in connections]
    pacer = asyncio.create_task(pace())
    try:
        await _first_end([pacer, *servers])
        await pacer
        await _first_end(servers)  # all others wait for what will not come
    finally:
        await _close(connections, [pacer, *servers])
    return times_ms, shed


async def _first_end(tasks: list[asyncio.Task[None]]) -> None:
    """Wait until one of them has ended, and raise what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _closed(
    target: Target, requests: Iterator[bytes], clients: int, duration_s: float
) -> tuple[list[float], int]:
    connections = await _connect(target, clients)
    end_s = time.perf_counter() + duration_s
    times_ms: list[float] = []
    shed = 0

    async def serve(connection: _Connection) -> None:
        nonlocal shed
        while (begun_s := time.perf_counter()) < end_s:
            request = next(requests, None)
            if request is None:
                return
            answer = await connection.ask(request)
            if _status(answer) == TOO_MANY:
                shed += 1
                continue
            _check(target, answer)
            times_ms.append((time.perf_counter() - begun_s) * 1e3)

    servers = [asyncio.create_task(serve(connection)) for connection in connections]
    try:
        await asyncio.gather(*servers)
    finally:
        await _close(connections, servers)
    return times_ms, shed


async def _close(connections: list[_Connection], tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in connections:
        connection.close()


def _check(target: Target, answer: bytes) -> None:
    status = _status(answer)
    if status == target.status and target.size_bytes is None:
        return
    body = answer.partition(b"\r\n\r\n")[2]
    if status != target.status:
        shown = body[:BODY_SHOWN].decode("utf-8", "replace")
        raise CommandFailedError(f"expected status {target.status}, got {status}: {shown}")
    if len(body) != target.size_bytes:
        raise CommandFailedError(f"expected {target.size_bytes} bytes, got {len(body)}")


def _status(answer: bytes) -> int:
    return int(answer[9:12])


def unique_numbers() -> Iterator[int]:
    """Numbers that no other load of this run or of a former one has."""
    return count(time.time_ns())
