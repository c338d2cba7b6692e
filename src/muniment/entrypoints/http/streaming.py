"""Answers that are made while they are sent: pieces come from a thread, the next one while the last is on its way."""

import asyncio
import re
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any
from urllib.parse import quote

from litestar.response import Stream

_END = b""
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_TOKENS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`|~")

SAFE = {
    # Whatever an archived file is, it gets no chance to act in the name of this service.
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-cache",
}
"""Header fields of everything that others have brought."""


async def stream(
    pieces: Iterator[bytes],
    headers: dict[str, str],
    *,
    media_type: str,
    status_code: int = 200,
) -> Stream:
    """Answer with pieces; what fails before the first of them becomes a problem, what fails later cuts the answer off."""
    first = await asyncio.to_thread(_next, pieces)
    # As a header field: Litestar would guess at the encoding of text.
    headers = headers | {"content-type": media_type}
    return Stream(_ahead(first, pieces), status_code=status_code, headers=headers)


async def _ahead(first: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    coming: asyncio.Future[bytes] = asyncio.ensure_future(asyncio.to_thread(_next, pieces))
    try:
        yield first
        while piece := await asyncio.shield(coming):
            coming = asyncio.ensure_future(asyncio.to_thread(_next, pieces))
            yield piece
    finally:
        await asyncio.shield(_close(coming, pieces))


def _next(pieces: Iterator[bytes]) -> bytes:
    """Return the next piece that is not empty; nothing behind the last."""
    return next(filter(None, pieces), _END)


async def _close(coming: "asyncio.Future[Any]", pieces: Iterator[bytes]) -> None:
    """Close the files behind the pieces, once their thread is done with them."""
    await asyncio.wait([coming])
    if not coming.cancelled():
        coming.exception()
    if isinstance(pieces, Generator):
        await asyncio.to_thread(pieces.close)


def attachment(name: bytes) -> str:
    """Return a `Content-Disposition` that has a file saved under its name (RFC 6266); beyond ASCII, the name is told twice (RFC 8187)."""
    text = name.rpartition(b"/")[2].decode("utf-8", "replace").replace("\\", "_")
    plain = "".join(c if c in _TOKENS or c in " '()*,:;=@[]{}" else "_" for c in text)
    value = f'attachment; filename="{plain}"'
    return value if plain == text else f"{value}; filename*=UTF-8''{quote(text, safe='')}"


def safe_media_type(media_type: str) -> str:
    """Return a media type as it may stand in a header field; what is none is a sequence of bytes."""
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream"
