"""Answers on their way out: held back until they are whole, so that they can be kept, compared and signed with an ETag."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from muniment.entrypoints.http.requests import Message, Send

_ETAG_BYTES = 16


class Whole(msgspec.Struct, array_like=True):
    """An answer with all of its body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send(self, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def _do_nothing() -> None:
    return


@dataclass
class Holding:
    """Holds an answer back while it comes, if it comes in one piece; one that comes in several goes on at once.

    Attributes:
        send: Where it goes.
        on_start: Called once when it begins.
        whole: The answer, if it came in one piece.
        has_begun: Whether anything went on.
    """

    send: Send
    on_start: Callable[[], None] = _do_nothing
    whole: Whole | None = None
    has_begun: bool = False
    _start: Message = field(default=None)

    async def __call__(self, message: Message) -> None:
        """Take a message of the answer."""
        if message["type"] == "http.response.start":
            self._start = message
            self.on_start()
            return
        if self.has_begun or message["type"] != "http.response.body":
            await self.send(message)
            return
        if message.get("more_body"):
            self.has_begun = True
            await self.send(self._start)
            await self.send(message)
            return
        headers = [(bytes(name).lower(), bytes(value)) for name, value in self._start["headers"]]
        self.whole = Whole(self._start["status"], headers, bytes(message.get("body", b"")))


def with_etag(answer: Whole, if_none_match: bytes) -> Whole:
    """Return an answer to GET with the ETag of its body, or 304 if the client has it already (RFC 9110, section 13.1.2)."""
    if answer.status != 200:
        return answer
    etag = next((value for name, value in answer.headers if name == b"etag"), b"")
    if not etag:
        etag = etag_of(answer.body)
        answer.headers.append((b"etag", etag))
    if matches(if_none_match, etag, is_weak=True):
        kept = (b"etag", b"cache-control", b"vary", b"link", b"content-location")
        headers = [(name, value) for name, value in answer.headers if name in kept]
        return Whole(304, headers, b"")
    return answer


def etag_of(body: bytes) -> bytes:
    """Return a strong ETag: the same for the same bytes."""
    return b'"' + hashlib.blake2b(body, digest_size=_ETAG_BYTES).hexdigest().encode() + b'"'


def matches(field_value: bytes, etag: bytes, *, is_weak: bool) -> bool:
    """Tell whether a list of ETags holds one (RFC 9110, section 8.8.3.2); `*` holds any."""
    if field_value.strip() == b"*":
        return True
    listed = [item.strip() for item in field_value.split(b",")]
    if is_weak:
        listed = [item.removeprefix(b"W/") for item in listed]
        return etag.removeprefix(b"W/") in listed
    return etag in listed and not etag.startswith(b"W/")
