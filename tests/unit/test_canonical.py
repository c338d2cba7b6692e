"""Canonical JSON, against the package `rfc8785` as an oracle and against hostile JSON."""

import json

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from muniment.archive import canonical
from muniment.errors import FormatError

INTEGERS = st.integers(-canonical.INTEGER_MAX, canonical.INTEGER_MAX)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.text(st.characters(max_codepoint=127))
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    a: int
    b: str | None = None


def read(data, type_=dict, size_max=1 << 20):
    return canonical.decode(data, type_, what="the sample", size_max=size_max)


@given(VALUES)
def test_bytes_are_those_of_rfc_8785(value):
    assert canonical.encode(value) == rfc8785.dumps(value)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_is_written_is_read_and_nothing_else(value):
    data = canonical.encode(value)
    assert read(data) == value
    for other in (
        json.dumps({**value, "z": 1}, sort_keys=True, ensure_ascii=False, indent=1).encode(),
        data + b"\n",
        b" " + data,
        b"\xef\xbb\xbf" + data,
    ):
        with pytest.raises(FormatError, match="the sample"):
            read(other)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"{",
        b'{"a":1,}',
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":null,"a":1}',
        b'{ "a":1}',
        b'{"a": 1}',
        b'{"a":1.0}',
        b'{"a":1.5}',
        b'{"a":1e0}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"\\u0061":1}',
        b'{"a":"\\u0062"}',
        b'{"a":"\\/"}',
        b'{"a":"\\u000A"}',
        b'{"a":"\\u001F"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xff"}',
        b'{"a":"\n"}',
        b"{'a':1}",
        '{"é":1}'.encode(),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
        b"null",
        b"[]",
        b'"a"',
    ],
)
def test_hostile_json_is_refused(hostile):
    with pytest.raises(FormatError, match="the sample"):
        read(hostile)


@pytest.mark.parametrize(
    "hostile", [b'{"a":1,"b":null}', b'{"a":true}', b'{"a":"1"}', b'{"a":1,"c":2}']
)
def test_typed_values_are_strict(hostile):
    if hostile == b'{"a":1,"b":null}':
        assert read(hostile, Pair) == Pair(1)
        return
    with pytest.raises(FormatError, match="the sample"):
        read(hostile, Pair)


def test_the_size_is_bounded_before_anything_is_parsed():
    data = canonical.encode({"a": "x" * 100})
    assert read(data, size_max=len(data))
    with pytest.raises(
        FormatError, match=f"has {len(data)} bytes, expected at most {len(data) - 1}"
    ):
        read(data, size_max=len(data) - 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_canonical(data):
    try:
        value = read(data)
    except FormatError:
        return
    assert rfc8785.dumps(value) == data
