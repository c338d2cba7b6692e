"""A trustless HTTP gateway as a source of blocks (https://specs.ipfs.tech/http-gateways/trustless-gateway/)."""

import asyncio
import email.utils
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from muniment.adapters.bounded_http import without_credentials
from muniment.adapters.retrieval.car_feed import CarFeed
from muniment.adapters.retrieval.connections import Connections, Response, origin_of
from muniment.adapters.retrieval.ports import (
    MisbehaviorError,
    NotHeldError,
    UnavailableError,
    UnsupportedError,
)
from muniment.content.cid import CID
from muniment.content.dag_pb import MAX_BLOCK_BYTES
from muniment.errors import FormatError, UsageError

ANSWER_TIMEOUT_S = 30.0
BLOCK_TIMEOUT_S = 180.0
"""How long one block may take: 2 MiB at some 12 KB/s. Somebody else is asked much sooner, if there is anybody."""
CAR_TIMEOUT_S = 300.0
MAX_CONNECTIONS = 16

_RAW, _CAR = "application/vnd.ipld.raw", "application/vnd.ipld.car"
_CAR_WANTED = f"{_CAR}; version=1; order=dfs; dups=n"
_NOT_HELD = (404, 410, 451, 403)
_NO_CARS = (400, 405, 406, 415, 501)


class HttpSource:
    """The gateway at `url`.

    Args:
        url: Its address, as a user or a routing answer gives it; a path before `/ipfs/` is let through.
        is_trusted_address: The user named it, so it may be on this machine or its network. What it sends is trusted no more.
        answer_timeout_s: How long it may take to begin an answer, and to go on with one.
        block_timeout_s: How long it may take for a block.
        car_timeout_s: How long it may take for a CAR.

    Raises:
        UsageError: It is no address that can be asked.
    """

    def __init__(
        self,
        url: str,
        *,
        is_trusted_address: bool = False,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        block_timeout_s: float = BLOCK_TIMEOUT_S,
        car_timeout_s: float = CAR_TIMEOUT_S,
    ) -> None:
        try:
            self._origin = origin_of(url)
        except ValueError as error:
            shown = without_credentials(url)[:80]
            raise UsageError(f"{shown!r} is not the address of a gateway: {error}") from None
        if "?" in url or "#" in url:
            raise UsageError(f"expected the address of a gateway without a query, got {url[:80]!r}")
        self.name = url.rstrip("/")
        self._trusted = (self._origin,) if is_trusted_address else ()
        self._answer_timeout_s = answer_timeout_s
        self._block_timeout_s = block_timeout_s
        self._car_timeout_s = car_timeout_s
        self._connections: Connections | None = None

    async def block(self, cid: CID) -> bytes:
        """Return what the gateway says is the block; see `Source.block`."""
        try:
            async with (
                asyncio.timeout(self._block_timeout_s),
                self._get(f"/ipfs/{cid}?format=raw", _RAW) as response,
            ):
                _check_status(response)
                body = bytearray()
                async for piece in response.pieces:
                    body += piece
                    if len(body) > MAX_BLOCK_BYTES:
                        raise MisbehaviorError(
                            f"sent more than {MAX_BLOCK_BYTES} bytes for a block"
                        )
                return bytes(body)
        except TimeoutError:
            raise UnavailableError(
                f"took more than {self._block_timeout_s:g} s for a block"
            ) from None

    async def subtree(self, cid: CID) -> AsyncGenerator[tuple[CID, bytes], None]:
        """Yield what the gateway says are the blocks of a DAG; see `Source.subtree`."""
        deadline = time.monotonic() + self._car_timeout_s
        target = f"/ipfs/{cid}?format=car&dag-scope=all&car-order=dfs&car-dups=n"
        async with self._get(target, _CAR_WANTED) as response:
            if response.status in _NO_CARS:
                raise UnsupportedError(f"gives no CARs (HTTP status {response.status})")
            _check_status(response)
            feed = CarFeed()
            try:
                async for piece in response.pieces:
                    for section in feed.feed(piece):
                        yield section
                    if time.monotonic() > deadline:
                        raise UnavailableError(
                            f"took more than {self._car_timeout_s:g} s for a CAR"
                        )
            except FormatError as error:
                raise MisbehaviorError(f"sent a CAR that is none: {error}") from None
            try:
                feed.finish()
            except FormatError as error:
                raise UnavailableError(str(error)) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            connections, self._connections = self._connections, None
            await connections.close()

    @asynccontextmanager
    async def _get(self, target: str, accept: str) -> AsyncIterator[Response]:
        if self._connections is None:
            self._connections = Connections(
                self._trusted,
                timeout_s=self._answer_timeout_s,
                max_connections=MAX_CONNECTIONS,
            )
        async with self._connections.get(self.name + target, {"accept": accept}) as response:
            yield response


def _check_status(response: Response) -> None:
    """Raise what a status other than 200 means."""
    status = response.status
    if status in _NOT_HELD:
        raise NotHeldError(f"does not have the block (HTTP status {status})")
    if status != 200:
        wait_s = _retry_after_s(response.headers.get("retry-after", ""))
        raise UnavailableError(f"answered with HTTP status {status}", wait_s)


def _retry_after_s(value: str) -> float | None:
    """Read a `Retry-After` header: seconds or a date (RFC 9110, section 10.2.3)."""
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(at.timestamp() - time.time(), 0.0)
