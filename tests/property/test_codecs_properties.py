"""Codecs under arbitrary values and arbitrary bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.content import codecs
from muniment.content.cid import CID, RAW
from muniment.content.codecs import CBOR, DAG_CBOR, DAG_JSON, DAG_PB, JSON
from muniment.content.links import block_links
from muniment.errors import FormatError, NotFoundError

text = st.text(max_size=8)
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
cids = st.binary(max_size=4).map(lambda data: CID.of(RAW, data))
keys = text | st.sampled_from(["/", "bytes", "!"])


def values(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


def same(left, right):
    """Compare with what `==` does not see: the type of numbers, the sign of zero."""
    return left == right and repr(ordered(left)) == repr(ordered(right))


def ordered(value):
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


def naive_links(value):
    if isinstance(value, CID):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [cid for item in inner for cid in naive_links(item)]


def is_reserved(value):
    """Tell whether DAG-JSON reserves a map anywhere in it, in the words of its specification."""
    if isinstance(value, dict):
        first, said = min(value.items(), default=("", None), key=lambda item: item[0])
        if first == "/" and isinstance(said, dict):
            inner, text = min(said.items(), default=("", None), key=lambda item: item[0])
            if inner == "bytes" and isinstance(text, str):
                return True
        if first == "/" and isinstance(said, str):
            return True
        return any(is_reserved(item) for item in value.values())
    return isinstance(value, list) and any(is_reserved(item) for item in value)


@given(values(plain | st.binary(max_size=8) | cids))
def test_round_trips_with_links(value):
    for codec in (DAG_CBOR, DAG_JSON):
        if codec == DAG_JSON and is_reserved(value):
            with pytest.raises(FormatError, match="reserve"):
                codecs.encode(codec, value)
            continue
        block = codecs.encode(codec, value)
        decoded = codecs.decode(codec, block)
        assert same(decoded, value)
        assert same(codecs.decode(codec, block, strict=False), value)
        assert codecs.encode(codec, decoded) == block
        assert list(block_links(CID.of(codec, block), block)) == naive_links(decoded)


@given(values(plain))
def test_round_trips_without_links(value):
    for codec in (CBOR, JSON):
        assert same(codecs.decode(codec, codecs.encode(codec, value)), value)


ALL = sorted(codecs.KNOWN)
json_like = st.text('[]{}":,/\\0123456789.eE+-truefalsnbyQm \ud7ff', max_size=60).map(str.encode)


@given(st.sampled_from(ALL), st.booleans(), st.binary(max_size=120) | json_like)
def test_any_bytes_are_a_value_or_a_format_error(codec, strict, block):
    try:
        value = codecs.decode(codec, block, strict=strict)
    except FormatError:
        return
    if strict and codec in (DAG_CBOR, DAG_JSON):
        assert codecs.encode(codec, value) == block


@given(st.data(), values(plain | st.binary(max_size=8) | cids))
def test_a_changed_byte_is_another_value_or_a_format_error(data, value):
    for codec in (DAG_CBOR, DAG_JSON):
        try:
            block = bytearray(codecs.encode(codec, value))
        except FormatError:
            continue
        block[data.draw(st.integers(0, len(block) - 1))] ^= data.draw(st.integers(1, 255))
        try:
            changed = codecs.decode(codec, bytes(block))
        except FormatError:
            continue
        assert codecs.encode(codec, changed) == block
        assert not same(changed, value)


@given(values(plain | st.binary(max_size=8) | cids), st.lists(keys | st.just("0"), max_size=4))
def test_paths_end_in_a_value_a_link_or_nowhere(value, segments):
    try:
        found, rest = codecs.resolve_path(value, segments)
    except NotFoundError:
        return
    assert not rest or isinstance(found, CID)
    assert segments[len(segments) - len(rest) :] == rest


@given(values(plain | st.binary(max_size=8) | cids))
def test_any_value_is_a_node_or_a_format_error(value):
    try:
        block = codecs.encode(DAG_PB, value)
    except FormatError:
        return
    assert codecs.decode(DAG_PB, block) == value


def test_the_comparison_can_fail():
    assert not same(0.0, -0.0)
    assert not same(1, 1.0)
    assert not same([True], [1])
    with pytest.raises(FormatError):
        codecs.decode(DAG_JSON, b"")
