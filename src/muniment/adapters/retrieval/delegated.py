"""Asking delegated routing who has a block (https://specs.ipfs.tech/routing/http-routing-v1/)."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from muniment.adapters.bounded_http import without_credentials
from muniment.adapters.retrieval.connections import Connections, Response, is_public, origin_of
from muniment.adapters.retrieval.http_source import HttpSource
from muniment.adapters.retrieval.ports import MisbehaviorError, UnavailableError
from muniment.content.cid import CID
from muniment.content.routing import (
    GATEWAY_PROTOCOL,
    MAX_ANSWER_BYTES,
    PeerRecord,
    decode_json,
    decode_ndjson,
)
from muniment.errors import ExternalServiceError, FormatError, MunimentError, UsageError

TIMEOUT_S = 15.0
MAX_SOURCES = 8

_JSON, _NDJSON = "application/json", "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class FoundSources:
    """What routing told.

    Attributes:
        sources: Gateways that are said to have the block.
        problems: Routers that gave no answer, and what was wrong with each.
        private: Addresses on this machine and its network, which were left out.
    """

    sources: tuple[HttpSource, ...]
    problems: tuple[str, ...]
    private: tuple[str, ...] = ()


def find_sources(
    cid: CID,
    routers: Sequence[str],
    *,
    allow_private: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> FoundSources:
    """Ask all routers at once who has a block. Not to be called from an event loop's thread.

    Args:
        cid: The block.
        routers: Addresses of servers, with or without `/routing/v1`; the user named them, so they may be on this machine.
        allow_private: Also use gateways on this machine and its network, which is what a router could be made to name by anybody.
        timeout_s: How long each router may take; what came until then counts.

    Raises:
        UsageError: A router's address is none.
    """
    bases = [_base(router) for router in routers]

    async def ask_all() -> list[list[PeerRecord] | BaseException]:
        asked = (_ask(base, cid, timeout_s) for base in bases)
        return await asyncio.gather(*asked, return_exceptions=True)

    urls: list[str] = []
    problems: list[str] = []
    for base, answer in zip(bases, asyncio.run(ask_all()), strict=True):
        if isinstance(answer, MunimentError):
            problems.append(f"{without_credentials(base)}: {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            urls += [url for record in answer for url in record.gateway_urls]
    private = () if allow_private else tuple(url for url in dict.fromkeys(urls) if _is_private(url))
    chosen = [url for url in dict.fromkeys(urls) if url not in private]
    sources = [HttpSource(url, is_trusted_address=allow_private) for url in chosen[:MAX_SOURCES]]
    return FoundSources(tuple(sources), tuple(problems), private)


def _base(router: str) -> str:
    base = router.rstrip("/").removesuffix("/routing/v1")
    try:
        origin_of(base)
    except ValueError as error:
        shown = without_credentials(router)[:80]
        raise UsageError(f"{shown!r} is not the address of a router: {error}") from None
    return base


def _is_private(url: str) -> bool:
    """Tell whether an address is one of no public machine by itself; names are checked when they are resolved."""
    try:
        return not is_public(origin_of(url)[1])
    except ValueError:
        return False


async def _ask(base: str, cid: CID, timeout_s: float) -> list[PeerRecord]:
    """Return the providers that one router names.

    Raises:
        ExternalServiceError: It gives no answer that can be read.
    """
    url = f"{base}/routing/v1/providers/{cid.to_v1()}?filter-protocols={GATEWAY_PROTOCOL}"
    connections = Connections([origin_of(base)], timeout_s=timeout_s, max_connections=1)
    try:
        async with connections.get(url, {"accept": f"{_NDJSON}, {_JSON}"}) as response:
            return await _read(response, timeout_s)
    except (UnavailableError, MisbehaviorError, FormatError) as error:
        raise ExternalServiceError(str(error)) from error
    finally:
        await connections.close()


async def _read(response: Response, timeout_s: float) -> list[PeerRecord]:
    if response.status == 404:
        return []  # what older servers say when they know nobody
    if response.status != 200:
        raise UnavailableError(f"answered with HTTP status {response.status}")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_stream = media_type == _NDJSON
    body = bytearray()
    with contextlib.suppress(TimeoutError):  # a stream may go on while the router is searching
        async with asyncio.timeout(timeout_s):
            async for piece in response.pieces:
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    break
    if is_stream:
        # The last line may not have come as a whole.
        lines = bytes(body[:MAX_ANSWER_BYTES])
        return decode_ndjson(lines[: lines.rfind(b"\n") + 1] if lines else b"")
    return decode_json("Providers", bytes(body))
