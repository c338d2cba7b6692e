"""The media type of a file: by its extension, else by its first bytes (`docs/decisions/0008-media-types.md`)."""

import mimetypes
import os
import re
from collections import defaultdict
from functools import cache

HEAD_BYTES = 4096
_UNKNOWN = "application/octet-stream"
_NAME = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
PATTERN = f"{_NAME}/{_NAME}"
"""Regular expression of a media type (RFC 6838, section 4.2)."""
# Only Python's own table: what the machine's administrator installed would make the same file differ between machines.
_BY_EXTENSION = {**mimetypes.MimeTypes(filenames=()).types_map[True]}


def media_type(path: bytes, head: bytes) -> str:
    """Return the media type (RFC 6838) of a file.

    Args:
        path: The file's path.
        head: Its first bytes, up to `HEAD_BYTES`.
    """
    extension = os.fsdecode(os.path.splitext(path)[1]).lower()
    return _BY_EXTENSION.get(extension) or _by_content(head)


def _by_content(head: bytes) -> str:
    if not head:
        return _UNKNOWN
    if b"\0" not in head and _is_text(head):
        return _text_type(head)
    return _by_magic(head)


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and error.reason == "unexpected end of data"
    return True


def _text_type(head: bytes) -> str:
    start = head.lstrip()[:5].lower()
    if start == b"<?xml":
        return "text/xml"
    return "application/pdf" if start == b"%pdf-" else "text/plain"


def _by_magic(head: bytes) -> str:
    if not _has_magic(head):
        return _UNKNOWN
    import puremagic  # noqa: PLC0415  # as in `_magic_numbers`

    try:
        found: str = puremagic.from_string(head, mime=True)
    except Exception:  # noqa: BLE001  # puremagic raises several kinds; not knowing is an answer here
        return _UNKNOWN
    found = found.strip()  # its table has types with blanks, and some without any type
    return found if re.fullmatch(PATTERN, found) else _UNKNOWN


def _has_magic(head: bytes) -> bool:
    """Tell whether puremagic knows anything in these bytes: it compares every row of its table, a fifth of a millisecond."""
    return any(
        head[start:end] in numbers if end else head[start:] in numbers
        for start, end, numbers in _magic_numbers()
        if end <= len(head)
    )


@cache
def _magic_numbers() -> list[tuple[int, int, frozenset[bytes]]]:
    """Return puremagic's magic numbers by where they stand: counted from the end if negative, where 0 is the end itself."""
    import puremagic  # noqa: PLC0415  # reads a table of 1 MB: only when an extension says nothing

    by_place = defaultdict(set)
    for row in (*puremagic.magic_header_array, *puremagic.magic_footer_array):
        by_place[row.offset, row.offset + len(row.byte_match)].add(row.byte_match)
    return [(start, end, frozenset(numbers)) for (start, end), numbers in by_place.items()]
