"""Lists of pins as files: JSON lines (one object on each line) and CSV (RFC 4180, with a header).

Both have the fields of `PinFields`, and what a list is written with besides: `request_id`, `status`, `created_at`, which reading
passes over. In CSV, `metadata`, `tags` and `origins` are JSON.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import IO, Any

import msgspec

from muniment.errors import FormatError
from muniment.pinning.items import Cid, Metadata, Name, Origins, PinItem, Tags
from muniment.pinning.model import Pin, Priority

ITEMS_MAX = 1_000_000
LINE_BYTES = 256 * 1024

_COLUMNS = (
    "cid",
    "name",
    "metadata",
    "tags",
    "group",
    "priority",
    "origins",
    "request_id",
    "status",
    "created_at",
)
_JSON_COLUMNS = ("metadata", "tags", "origins")


class ListFormat(StrEnum):
    """What a list is written in."""

    JSON_LINES = "jsonl"
    CSV = "csv"

    @property
    def media_type(self) -> str:
        """Its media type."""
        return "text/csv; charset=utf-8" if self is ListFormat.CSV else "application/jsonl"


class _Line(msgspec.Struct, kw_only=True):
    """A pin of a list; fields that are not known are passed over."""

    cid: Cid
    name: Name | None = None
    metadata: Metadata = {}
    tags: Tags = []
    group: Name = ""
    priority: Priority = Priority.NORMAL
    origins: Origins = []


def read_list(file: IO[bytes], list_format: ListFormat) -> Iterator[PinItem | str]:
    """Yield the pins of a list; in the place of one that cannot be read, what is wrong with it.

    Raises:
        FormatError: It is no such list, or has more than `ITEMS_MAX` pins.
    """
    read = _read_csv if list_format is ListFormat.CSV else _read_json_lines
    for count, item in enumerate(read(file), 1):
        if count > ITEMS_MAX:
            raise FormatError(f"expected at most {ITEMS_MAX} pins in a list, got more")
        yield item


def write_list(pins: Iterable[list[Pin]], list_format: ListFormat) -> Iterator[bytes]:
    """Yield the bytes of a list, a piece for each page of pins."""
    if list_format is ListFormat.CSV:
        yield _csv([_COLUMNS])
        for page in pins:
            yield _csv(tuple(_cell(value) for value in _fields(pin).values()) for pin in page)
        return
    for page in pins:
        yield b"".join(msgspec.json.encode(_fields(pin)) + b"\n" for pin in page)


def _fields(pin: Pin) -> dict[str, Any]:
    wanted = pin.wanted
    values = (
        wanted.cid,
        wanted.name,
        dict(wanted.meta),
        list(wanted.tags),
        wanted.group,
        wanted.priority.value,
        list(wanted.origins),
        pin.request_id,
        pin.status.value,
        pin.created_ms // 1000,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _read_json_lines(file: IO[bytes]) -> Iterator[PinItem | str]:
    for line in _lines(file):
        if line.strip():
            try:
                yield _item(msgspec.json.decode(line, type=_Line))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                yield f"expected a JSON object of a pin: {error}"


def _read_csv(file: IO[bytes]) -> Iterator[PinItem | str]:
    try:
        texts = (
            line.decode("utf-8-sig" if not at else "utf-8") for at, line in enumerate(_lines(file))
        )
        rows = csv.DictReader(texts, strict=True)
        if "cid" not in (rows.fieldnames or ()):
            raise FormatError("expected a header line with a column named cid")
        for row in rows:
            yield _read_row(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"expected CSV in UTF-8: {error}") from None


def _read_row(row: dict[str | Any, str | Any]) -> PinItem | str:
    fields: dict[str, Any] = {
        name: value for name, value in row.items() if name in _COLUMNS and value
    }
    try:
        for name in _JSON_COLUMNS:
            if name in fields:
                fields[name] = msgspec.json.decode(fields[name])
        return _item(msgspec.convert(fields, _Line))
    except msgspec.MsgspecError as error:
        return f"expected the fields of a pin: {error}"


def _item(line: _Line) -> PinItem:
    return PinItem(**msgspec.structs.asdict(line))


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(LINE_BYTES + 1):
        if len(line) > LINE_BYTES:
            raise FormatError(f"expected lines of at most {LINE_BYTES} bytes")
        yield line


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8")


def _cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
