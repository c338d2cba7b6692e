"""Answers that are made while they are sent: pieces come from a thread, the next one while the last is on its way."""

import asyncio
import re
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any, cast
from urllib.parse import quote

from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from muniment.entrypoints.http.problems import ProblemError

_END = b""

SENT_BYTES = 128 << 10
"""What is sent at once: the server holds several of those for a client that reads slowly."""

STREAMS_MAX = 64
"""Answers of one process that are on their way at once: each takes some MiB of memory for as long as its client likes."""

AHEAD_STREAMS_MAX = 8
"""As long as there are no more, the next piece is made while one is sent: that is faster, and takes more memory."""

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
    """Answer with pieces; what fails before the first of them becomes a problem, what fails later cuts the answer off.

    Raises:
        ProblemError: Too many answers like it are on their way.
    """
    if _Load.streams >= STREAMS_MAX:
        raise ProblemError(
            "unavailable",
            f"{STREAMS_MAX} downloads are on their way: try again soon",
            {"retry-after": "5"},
        )
    first = await asyncio.to_thread(_next, pieces)
    # As a header field: Litestar would guess at the encoding of text.
    headers = headers | {"content-type": media_type}
    return _ClosingStream(_ahead(first, pieces), status_code=status_code, headers=headers)


class _ClosingStream(Stream):
    """A stream whose files are closed when the client goes away, and not only when they are collected as garbage."""

    def to_asgi_response(self, *arguments: Any, **more: Any) -> ASGIResponse:  # noqa: ANN401  # as its base has it
        answer, pieces = super().to_asgi_response(*arguments, **more), self.iterator

        async def answering(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await answer(scope, receive, send)
            finally:
                await cast("AsyncGenerator[bytes, None]", pieces).aclose()

        return cast("ASGIResponse", answering)


class _Load:
    """How many answers of this process are on their way. Only its event loop touches it."""

    streams = 0


async def _ahead(piece: bytes, pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    coming: asyncio.Future[bytes] | None = None
    _Load.streams += 1
    try:
        if not piece:
            yield _END
        while piece:
            if _Load.streams <= AHEAD_STREAMS_MAX:
                coming = asyncio.ensure_future(asyncio.to_thread(_next, pieces))
            for part in _cut(piece):
                yield part
            piece = _END  # let go of it before the next is made
            coming = coming or asyncio.ensure_future(asyncio.to_thread(_next, pieces))
            piece, coming = await asyncio.shield(coming), None
    finally:
        _Load.streams -= 1
        await asyncio.shield(_close(coming, pieces))


def _cut(piece: bytes) -> Iterator[bytes]:
    """Cut a piece into what is sent at once."""
    if len(piece) <= SENT_BYTES:
        yield piece
        return
    for start in range(0, len(piece), SENT_BYTES):
        yield piece[start : start + SENT_BYTES]


def _next(pieces: Iterator[bytes]) -> bytes:
    """Return the next piece that is not empty; nothing behind the last."""
    return next(filter(None, pieces), _END)


async def _close(coming: "asyncio.Future[bytes] | None", pieces: Iterator[bytes]) -> None:
    """Close the files behind the pieces, once their thread is done with them."""
    if coming is not None:
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
