"""Times as decimal seconds: exact to the nanosecond, and in one form only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.decimal_time import format_time, parse_time
from muniment.errors import UsageError


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("0", 0),
        ("1577836800", 1_577_836_800_000_000_000),
        ("1577836800.5", 1_577_836_800_500_000_000),
        ("0.000000001", 1),
        ("-0.5", -500_000_000),
        ("-1.000000001", -1_000_000_001),
        ("1.500000000", 1_500_000_000),
        ("9223372036.854775807", 2**63 - 1),
        ("-9223372036.854775808", -(2**63)),
    ],
)
def test_a_time_is_read(text, time_ns):
    assert parse_time(text) == time_ns


@pytest.mark.parametrize(
    "text",
    [
        *("", " 1", "1 ", "1\n", "+1", "--1", "01", ".5", "5.", "1.0000000001", "1,5", "1e5", "0x1"),
        *("nan", "inf", "1_000", "٣", "2020-01-01", "1" * 5_000),
        *("9223372036.854775808", "-9223372036.854775809", "1577836800000"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_time(text)
    assert len(str(caught.value)) < 150


@given(st.integers(-(2**63), 2**63 - 1))
def test_what_is_written_is_read_again(time_ns):
    assert parse_time(format_time(time_ns)) == time_ns


def test_no_more_is_written_than_needed():
    assert [format_time(ns) for ns in (0, 10**9, -15 * 10**8)] == ["0", "1", "-1.5"]
