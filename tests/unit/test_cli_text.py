import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.entrypoints.cli.times import parse_time
from muniment.errors import UsageError
from muniment.text import count, display_path, duration, moment, plain, size, table


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_plain_text_moves_no_cursor_and_fakes_no_line(text):
    shown = plain(text)
    assert "\n" not in shown
    shown.encode("utf-8")
    assert all(unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029" for c in shown)


@given(st.binary(min_size=1))
def test_every_path_can_be_shown(path):
    assert display_path(path).startswith("/")


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99499, "99.5 kB"),
        (99500, "100 kB"),
        (999499, "999 kB"),
        (999500, "1.0 MB"),
        (10**15, "1.0 PB"),
        (10**19, "10000 PB"),
    ],
)
def test_sizes(size_bytes, text):
    assert size(size_bytes) == text


@given(st.integers(min_value=0, max_value=2**63))
def test_sizes_are_short(size_bytes):
    assert re.fullmatch(r"\d{1,4}(\.\d)? [kMGTP]?B", size(size_bytes))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (5300, "88 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_counts_and_moments():
    assert count(1, "path") == "1 path"
    assert count(12_345, "path") == "12,345 paths"
    assert count(0, "entry", "entries") == "0 entries"
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert moment(None) is None


def test_tables_are_aligned_and_harmless():
    lines = list(table(("name", "size "), [("a\x1b[1m", "5"), ("b", "123")]))
    assert lines == ["name      size", "a\\x1b[1m     5", "b          123"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 86_399),
        ("1970-01-02T00:00:00Z", 86_400),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@given(st.text(max_size=30))
def test_any_other_time_is_refused_in_words(text):
    if not text[:4].isdigit():
        with pytest.raises(UsageError, match="expected a day"):
            parse_time(text)
