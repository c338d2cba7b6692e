"""Times, request ids and lists of pins: what is read, what is refused, and that what is written can be read."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.content.cid import CID, RAW
from muniment.errors import FormatError, NotFoundError, UsageError
from muniment.pinning.filters import fold
from muniment.pinning.items import PinItem
from muniment.pinning.lists import ListFormat, read_list, write_list
from muniment.pinning.model import NewPin, Pin, PinStatus, Priority, created_ms_of, new_request_id
from muniment.pinning.times import first_ms_not_before, format_ms, last_ms_not_after, parse_ns

CID_TEXT = str(CID.of(RAW, b"x"))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(st.integers(0, 253_402_300_799_999))
def test_times_are_written_as_they_are_read(at_ms):
    text = format_ms(at_ms)
    assert text.endswith("Z")
    assert parse_ns(text) == at_ms * 1_000_000
    assert first_ms_not_before(text) == last_ms_not_after(text) == at_ms


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("1970-01-01t00:00:00.0015z", 2, 1),
        ("1970-01-01T01:00:00.001000001+01:00", 2, 1),
        ("1970-01-01T01:00:00.001 01:00", 1, 1),
        ("1969-12-31T23:59:59.9999Z", 0, -1),
        ("1969-12-31T19:00:00-05:00", 0, 0),
    ],
)
def test_digits_behind_the_millisecond_decide_on_which_side_it_is(text, first, last):
    assert (first_ms_not_before(text), last_ms_not_after(text)) == (first, last)


@given(st.text(max_size=40))
def test_whatever_is_no_time_is_refused(text):
    try:
        parse_ns(text)
    except UsageError:
        return
    assert text[10] in "Tt "


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-13-01T00:00:00Z",
        "1970-01-01T00:00:60Z",
        "１970-01-01T00:00:00Z",
        "1970-01-01T00:00:00+99:00",
    ],
)
def test_times_that_are_none(text):
    with pytest.raises(UsageError):
        parse_ns(text)


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_request_ids_hold_their_time_and_sort_by_it(at_ms, entropy):
    request_id = new_request_id(at_ms, entropy)
    assert created_ms_of(request_id) == at_ms
    later = new_request_id(at_ms + 1, entropy) if at_ms + 1 < 1 << 48 else "g"
    assert request_id < later
    for other in (request_id.upper(), f"{{{request_id}}}", request_id.replace("-", "")):
        if other != request_id:
            with pytest.raises(NotFoundError):
                created_ms_of(other)


@given(TEXTS)
def test_folding_is_done_once(text):
    assert fold(fold(text)) == fold(text)
    assert fold(text.upper()) == fold(text.upper().lower()) or "İ" in text.upper()


PINS = st.builds(
    NewPin,
    st.just(CID_TEXT),
    st.none() | TEXTS.filter(bool),
    st.just(("/ip4/192.0.2.1/tcp/1",)) | st.just(()),
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.lists(TEXTS.filter(bool), max_size=3, unique=True).map(tuple),
    TEXTS,
    st.sampled_from(Priority),
)


@given(st.lists(PINS, max_size=5), st.sampled_from(ListFormat))
def test_lists_are_read_as_they_were_written(wanted, list_format):
    pins = [
        Pin(
            "o",
            new_request_id(n, os.urandom(10)),
            n,
            PinStatus.QUEUED,
            each,
            "j",
            "",
            None,
            None,
            n,
            "a",
        )
        for n, each in enumerate(wanted)
    ]
    data = b"".join(write_list([pins] if pins else [], list_format))
    read = list(read_list(io.BytesIO(data), list_format))
    assert all(isinstance(item, PinItem) for item in read)
    assert [item.wanted() for item in read] == wanted


@given(st.binary(max_size=200), st.sampled_from(ListFormat))
def test_whatever_is_no_list_is_refused(data, list_format):
    try:
        items = list(read_list(io.BytesIO(data), list_format))
    except FormatError:
        return
    assert all(isinstance(item, str | PinItem) for item in items)
