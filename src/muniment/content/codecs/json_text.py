"""JSON as IPLD uses it: DAG-JSON (https://ipld.io/specs/codecs/dag-json/spec/), and plain JSON without links and bytes.

DAG-JSON writes a link as `{"/": "<CID>"}` and bytes as `{"/": {"bytes": "<base64, no padding>"}}`, so no map may look like them.
Its specification leaves open how some text and numbers are written. One form is strict here: no whitespace, keys in the order of
their UTF-8 bytes, the escapes of ECMAScript's JSON.stringify (RFC 8785, section 3.2.2.2), numbers as ECMAScript writes them but with
a point in floats that would look like integers. Other writers of honest blocks differ in that, so there is a lenient reader: it
takes any JSON for the same data model. Repeated keys nobody accepts.
"""

import base64
import binascii
import json
import re
from decimal import Decimal
from typing import NoReturn

from muniment.content.cid import CID
from muniment.content.codecs.values import (
    Value,
    check_container,
    check_finite,
    check_integer,
    check_size,
)
from muniment.errors import FormatError

MAX_NUMBER_TEXT = 1100
"""Longest number that is read: no exact decimal form of a 64-bit float is longer than 1,077 characters."""

_RESERVED = "/"
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
_quote = json.JSONEncoder(ensure_ascii=False).encode


def decode_json(data: bytes, *, strict: bool, with_links: bool) -> Value:
    """Read one value; with `with_links` as DAG-JSON, without as plain JSON, in which all maps are maps.

    Raises:
        FormatError: The bytes are not that, or are larger or deeper than is read here.
    """
    check_size(data, "JSON")
    try:
        value: Value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_read_dag_map if with_links else _read_map,
            parse_int=_read_integer,
            parse_float=_read_float,
            parse_constant=_refuse_constant,
        )
    except ValueError as error:
        raise FormatError(f"expected JSON, got something else: {str(error)[:200]}") from None
    canonical = _encode(value, with_links=with_links)  # checks depth and text, too
    if strict and canonical != data:
        raise FormatError("DAG-JSON is not in its strict form: encoded again, it differs")
    return value


def encode_json(value: Value, *, with_links: bool) -> bytes:
    """Return the one strict form of `value`; without `with_links`, links and bytes are refused.

    Raises:
        FormatError: It is not of the data model, is too deep, or has a part that this JSON cannot say.
    """
    data = _encode(value, with_links=with_links)
    check_size(data, "JSON")
    return data


def _encode(value: Value, *, with_links: bool) -> bytes:
    parts: list[str] = []
    _Writer(parts, with_links=with_links).write(value, 0)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError("expected text that UTF-8 can hold, got a lone surrogate") from None


def _read_map(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("JSON has a map with the same key twice")
    return found


def _read_dag_map(pairs: list[tuple[str, Value]]) -> Value:
    found = _read_map(pairs)
    if not _is_reserved(found):
        return found
    if len(found) == 1:
        said = found[_RESERVED]
        if isinstance(said, str):
            return CID.parse(said)
        if isinstance(said, dict) and len(said) == 1:
            return _decode_base64(said["bytes"])
    raise FormatError("JSON has a map that is nearly a link or bytes, which DAG-JSON reserves")


def _is_reserved(found: dict[str, Value]) -> bool:
    """Tell whether a map is a link, bytes, or too much like them to be a map (ipld/specs, DAG-JSON, reserved namespace)."""
    if _RESERVED not in found or min(found) != _RESERVED:
        return False
    said = found[_RESERVED]
    if isinstance(said, dict):
        return bool(said) and min(said) == "bytes" and isinstance(said["bytes"], str)
    return isinstance(said, str)


def _decode_base64(text: Value) -> bytes:
    if not isinstance(text, str) or not _BASE64.fullmatch(text):
        raise FormatError("expected bytes in base64 without padding")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise FormatError("expected bytes in base64 without padding") from None


def _read_integer(text: str) -> int:
    if len(text) > MAX_NUMBER_TEXT:
        raise FormatError(f"JSON has a number of {len(text)} characters")
    number = int(text)
    check_integer(number)
    return number


def _read_float(text: str) -> float:
    if len(text) > MAX_NUMBER_TEXT:
        raise FormatError(f"JSON has a number of {len(text)} characters")
    number = float(text)
    check_finite(number)
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise FormatError(f"JSON has {text}, which is no finite number")


class _Writer:
    """The pieces of the text so far."""

    __slots__ = ("_parts", "_with_links")

    def __init__(self, parts: list[str], *, with_links: bool) -> None:
        self._parts = parts
        self._with_links = with_links

    def write(self, value: Value, depth: int) -> None:
        """Write a value; `depth` counts the containers around it."""
        put = self._parts.append
        if isinstance(value, str):
            put(_quote(value))
        elif value is None or isinstance(value, bool):
            put("null" if value is None else "true" if value else "false")
        elif isinstance(value, int):
            check_integer(value)
            put(str(value))
        elif isinstance(value, float):
            check_finite(value)
            put(_float_text(value))
        elif isinstance(value, (CID, bytes)):
            if not self._with_links:
                raise FormatError("expected neither links nor bytes: plain JSON has none")
            put(_special(value))
        else:
            self._write_container(value, depth)

    def _write_container(self, value: "list[Value] | dict[str, Value]", depth: int) -> None:
        put = self._parts.append
        check_container(value, depth)
        separator = ""
        if isinstance(value, list):
            put("[")
            for item in value:
                put(separator)
                self.write(item, depth + 1)
                separator = ","
            put("]")
            return
        if self._with_links and _is_reserved(value):
            raise FormatError(
                "expected a map that DAG-JSON does not reserve, got one that looks like a link or bytes"
            )
        put("{")
        for key in sorted(value):  # code points order like their UTF-8 bytes
            put(f"{separator}{_quote(key)}:")
            self.write(value[key], depth + 1)
            separator = ","
        put("}")


def _special(value: CID | bytes) -> str:
    if isinstance(value, CID):
        return f'{{"/":"{value}"}}'
    text = base64.b64encode(value).decode("ascii").rstrip("=")
    return f'{{"/":{{"bytes":"{text}"}}}}'


def _float_text(number: float) -> str:
    """Return a float as ECMAScript's Number::toString does, with `.0` where that has neither point nor exponent."""
    text = repr(number)
    mantissa, has_exponent, exponent = text.partition("e")
    if has_exponent and not -7 < int(exponent) < 21:
        return f"{mantissa}e{int(exponent):+d}"
    plain = format(Decimal(text), "f") if has_exponent else text
    return plain if "." in plain else plain + ".0"
