"""An exported audit log: read a line at a time, and nothing of it can be changed unnoticed."""

import io
import random
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.accounts.audit import (
    FIRST,
    LINE_BYTES_MAX,
    AuditEntry,
    read_entries,
    verify_chain,
    write_entries,
)
from muniment.errors import FormatError, IntegrityError, MunimentError


def log(count, text="é"):
    previous = FIRST
    for number in range(1, count + 1):
        fields = ({"name": text}, {"name": text, "n": [number, None, 0.5]})
        target = f"key:{number}"
        entry = AuditEntry(
            "o", number, number, "system", "key.x", target, *fields, "", "", previous
        )
        sealed = entry.sealed()
        previous = sealed.hash
        yield sealed


EXPORT = b"".join(write_entries(log(6)))
HEAD = list(log(6))[-1].hash


def verify(data, **more):
    return verify_chain(read_entries(io.BytesIO(data)), **more)


def test_an_export_is_what_it_was():
    assert verify(EXPORT) == (6, HEAD)
    assert verify(EXPORT, known=HEAD) == (6, HEAD)
    assert verify(EXPORT, known=list(log(3))[-1].hash) == (6, HEAD)
    assert b"".join(write_entries(read_entries(io.BytesIO(EXPORT)))) == EXPORT


@given(st.integers(0, len(EXPORT) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(place, change):
    wrong = bytearray(EXPORT)
    wrong[place] ^= change
    with pytest.raises((FormatError, IntegrityError)):
        verify(bytes(wrong), known=HEAD)


@given(st.permutations(range(6)), st.integers(0, 6))
def test_no_line_can_be_moved_or_left_out(order, kept):
    lines = EXPORT.splitlines(keepends=True)
    wrong = b"".join(lines[place] for place in order[:kept])
    if wrong == EXPORT:
        return
    with pytest.raises(IntegrityError):
        verify(wrong, known=HEAD)


def test_an_end_that_is_cut_off_is_missed_by_who_knows_it():
    cut = b"".join(EXPORT.splitlines(keepends=True)[:-1])
    assert verify(cut)[0] == 5
    with pytest.raises(IntegrityError, match="missing"):
        verify(cut, known=HEAD)
    with pytest.raises(FormatError):
        verify(EXPORT[:-1])


def test_a_log_that_was_made_anew_is_another():
    with pytest.raises(IntegrityError, match="made anew"):
        verify(b"".join(write_entries(log(9, "other"))), known=HEAD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"organization_id"', b'{"note":"no hash covers it","organization_id"'),
        (b'{"organization_id"', b'{"actor":"key:another","organization_id"'),
        (b'"number":1,', b'"number":1, '),
        (b'"before":{', b'"before":{"name":"first",'),
        (b'"before":{"name":"\xc3\xa9"}', b'"before":' + b'{"a":' * 995 + b"1" + b"}" * 995),
        (b'"before":{"name":"\xc3\xa9"}', b'"before":' + b'{"a":' * 9995 + b"1" + b"}" * 9995),
        (b"\xc3\xa9", b"\\u00e9"),
        (b"\xc3\xa9", b"\xff"),
        (b'"n":[1', b'"n":[' + b"1" * 5000),
        (b'"number":1,', b'"number":-1,'),
        (b'"number":1,', b'"number":99999999999999999999999999,'),
        (b"\n", b" " * LINE_BYTES_MAX + b"\n"),
    ],
)
def test_what_reads_alike_is_not_the_same(old, new):
    assert old in EXPORT
    with pytest.raises(MunimentError):
        verify(EXPORT.replace(old, new, 1))


def test_a_long_log_takes_no_more_memory_than_a_short_one(tmp_path):
    def peak(count):
        file = tmp_path / f"{count}.jsonl"
        tracemalloc.start()
        try:
            with file.open("wb") as out:
                out.writelines(write_entries(log(count, "x" * 2_000)))
            with file.open("rb") as exported:
                assert verify_chain(read_entries(exported))[0] == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(1_000) < peak(100) + 200_000  # the log itself is 4 MB longer


@given(st.randoms(use_true_random=False), st.integers(1, 400))
def test_noise_is_no_export(source: random.Random, length):
    with pytest.raises(MunimentError):
        verify(source.randbytes(length))


def test_every_field_is_covered():
    (entry,) = log(1)
    for field in msgspec.structs.fields(AuditEntry):
        changed = {"number": 2, "at": 9, "before": None, "after": None}.get(field.name, "x")
        wrong = msgspec.structs.replace(entry, **{field.name: changed})
        with pytest.raises(IntegrityError):
            verify_chain([wrong])
