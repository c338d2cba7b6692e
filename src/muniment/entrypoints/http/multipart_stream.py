"""Reading `multipart/form-data` (RFC 7578) as it comes: names and fields in memory, files piece by piece.

The parser is that of the package `multipart`; here are its limits, names as the bytes that were sent, and our own errors.
"""

import re
from collections.abc import AsyncIterator
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from muniment.entrypoints.http.intake import Source
from muniment.entrypoints.http.problems import ProblemError

FIELD_BYTES_MAX = 4_096
PARTS_MAX = 10_000
_HEADER_BYTES_MAX = 16 << 10
_HEADERS_MAX = 16
_BOUNDARY_MAX = 70  # RFC 2046, 5.1.1
_EXTENDED_NAME = re.compile(r"filename\*=(?:utf-8|iso-8859-1)'[^']*'([^;\s]+)", re.IGNORECASE)
_Event: TypeAlias = Any  # a segment, then bytes, then None at its end: the package has no types
_CHARSET = "latin-1"  # each byte is a character, so that no name loses any


def boundary_of(content_type: str) -> str:
    """Return the boundary between the parts.

    Raises:
        ProblemError: It is no form of several parts, or names no boundary.
    """
    media_type, options = parse_options_header(content_type)
    if media_type != "multipart/form-data":
        raise ProblemError(
            "unsupported-media-type", f"expected multipart/form-data, got {media_type[:100]!r}"
        )
    boundary = options.get("boundary", "")
    if not 0 < len(boundary) <= _BOUNDARY_MAX or not boundary.isascii():
        raise ProblemError("bad-request", "expected a boundary of 1 to 70 letters in Content-Type")
    return str(boundary)


class FilePart:
    """A file of a form, while it arrives.

    Attributes:
        filename: Its name, byte for byte; may hold folders.
        fields: The fields that came since the file before it.
    """

    def __init__(
        self, events: AsyncIterator[_Event], filename: bytes, fields: dict[str, bytes]
    ) -> None:
        self.filename = filename
        self.fields = fields
        self._events = events
        self._is_over = False

    async def read(self) -> bytes:
        """Return the next piece; an empty one at the end.

        Raises:
            ProblemError: The body is malformed or too long, or does not arrive.
        """
        if self._is_over:
            return b""
        self._is_over = True  # also if this fails: nothing comes after that
        event = await anext(self._events)
        self._is_over = event is None
        return event if isinstance(event, bytes) else b""


class MultipartStream:
    """The parts of a body.

    Args:
        sender: The body.
        boundary: What is between them.

    Attributes:
        parsed_bytes: So much of the body, at least, lies behind the parser.
    """

    def __init__(self, sender: Source, boundary: str) -> None:
        self.parsed_bytes = 0
        self._sender = sender
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=_HEADER_BYTES_MAX,
            max_header_count=_HEADERS_MAX,
            max_segment_count=PARTS_MAX,
            header_charset=_CHARSET,
            strict=True,
        )

    async def files(self) -> AsyncIterator[FilePart]:
        """Iterate over the files; what was not read of one is skipped.

        Raises:
            ProblemError: The body is malformed or too long, or does not arrive.
        """
        events = self._events()
        fields: dict[str, bytes] = {}
        async for event in events:
            if not isinstance(event, MultipartSegment):
                continue
            if not _is_file(event):
                fields[event.name or ""] = await _whole(events)
                continue
            part = FilePart(events, filename_of(event), fields)
            yield part
            while await part.read():
                pass
            fields = {}

    async def _events(self) -> AsyncIterator[_Event]:
        try:
            while piece := await self._sender.read():
                for event in self._parser.parse(piece):
                    yield event
                self.parsed_bytes += len(piece)
            self._parser.close()
        except ParserLimitReached as error:
            raise ProblemError("too-large", f"the form is beyond a limit: {error}") from None
        except (MultipartError, UnicodeError) as error:
            detail = f"the body is no multipart/form-data: {error}"
            raise ProblemError("bad-request", detail) from None


def filename_of(segment: MultipartSegment) -> bytes:
    """Return the name of a file, byte for byte as it was sent."""
    disposition = segment.header("Content-Disposition", "")
    if extended := _EXTENDED_NAME.search(disposition):  # against RFC 7578, but clients do
        return unquote_to_bytes(extended[1])
    return (segment.filename or "").encode(_CHARSET)


def _is_file(segment: MultipartSegment) -> bool:
    return segment.filename is not None or "filename*" in segment.header("Content-Disposition", "")


async def _whole(events: AsyncIterator[_Event]) -> bytes:
    """Return the value of a field."""
    value = bytearray()
    while isinstance(piece := await anext(events), bytes):
        value += piece
        if len(value) > FIELD_BYTES_MAX:
            raise ProblemError("too-large", f"expected fields of at most {FIELD_BYTES_MAX} bytes")
    return bytes(value)
