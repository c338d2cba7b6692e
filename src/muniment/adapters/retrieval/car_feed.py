"""Reading a CAR as it arrives, in pieces of any size."""

import io
from collections.abc import Iterator

from muniment.content import varint
from muniment.content.car import MAX_HEADER_BYTES, MAX_SECTION_BYTES, CarReader, split_frame
from muniment.content.cid import CID
from muniment.errors import FormatError


class CarFeed:
    """Takes the bytes of a CARv1 and gives its blocks, without verifying their hashes; never holds more than one section."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._has_header = False

    def feed(self, data: bytes) -> Iterator[tuple[CID, bytes]]:
        """Add bytes, and yield the blocks that are complete now.

        Raises:
            FormatError: They are not those of a CARv1, or a section is too large.
        """
        self._buffer += data
        while (frame := self._next_frame()) is not None:
            if self._has_header:
                section = split_frame(frame, len(frame))
                yield section.cid, section.data
            else:
                CarReader(io.BytesIO(varint.encode(len(frame)) + frame))  # checks the header
                self._has_header = True

    def finish(self) -> None:
        """Say that there are no more bytes.

        Raises:
            FormatError: The CAR is cut off.
        """
        if self._buffer or not self._has_header:
            raise FormatError("CAR is cut off")

    def _next_frame(self) -> bytes | None:
        """Take one section, or the header, from the buffer; None until it is complete."""
        head = bytes(self._buffer[: varint.MAX_BYTES])
        if not head or (len(head) < varint.MAX_BYTES and all(byte >= 0x80 for byte in head)):
            return None
        length, start = varint.decode(head)
        limit = MAX_SECTION_BYTES if self._has_header else MAX_HEADER_BYTES
        if not 0 < length <= limit:
            raise FormatError(f"expected a CAR section of 1 to {limit} bytes, got {length}")
        end = start + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            frame = bytes(view[start:end])
        del self._buffer[:end]
        return frame
