"""The journal: round trip, and what a run finds after a kill or a power cut at any byte."""

import contextlib
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.archive import journal
from muniment.archive.catalog import ContentPlace, Kind, ScannedFile
from muniment.archive.journal import Batch, Entry, FileDigests, TarEnd
from muniment.errors import FormatError

ID = "20261121T101112Z-abcdefg2"
small_ints = st.integers(0, 2**53)
blob = st.binary(max_size=40)
scanned = st.builds(
    ScannedFile, blob, st.sampled_from(Kind), small_ints, st.integers(0, 0o7777),
    st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 2**63 - 1), st.none() | blob,
)  # fmt: skip
places = st.builds(ContentPlace, st.just(ID), small_ints, small_ints, small_ints, small_ints, st.just("zstd"))  # fmt: skip
entries = st.builds(Entry, small_ints, blob, blob, blob, blob, scanned, st.none() | blob, st.text(max_size=5), st.none() | places)  # fmt: skip
frames = st.one_of(
    st.builds(Batch, small_ints, small_ints, st.lists(entries, max_size=3)),
    st.builds(FileDigests, st.text(max_size=9), small_ints, blob, blob, blob),
    st.builds(TarEnd, small_ints, small_ints),
)


def written(these):
    file, ends = io.BytesIO(), [0]
    for frame in these:
        journal.append(file, frame)
        ends.append(file.tell())
    return file, ends


@given(st.lists(frames, max_size=5))
def test_round_trip(these):
    file, ends = written(these)
    assert list(journal.read(file)) == list(zip(these, ends[1:], strict=True))


SAMPLE = [
    Batch(0, 1536, [Entry(1, bytes(32), b"f" * 32, b"c" * 32, b"sealed", ScannedFile(b"a", Kind.FILE, 5, 0o644, 1, 2, 3), b"d" * 32, "text/plain", ContentPlace(ID, 0, 512, 1024, 5, "none"))]),
    FileDigests(ID + "_aa", 1536, b"s" * 32, b"b" * 32, b"l" * 32),
    TarEnd(2560, 1),
]  # fmt: skip


def test_torn_at_every_byte_the_whole_frames_are_read():
    file, ends = written(SAMPLE)
    data = file.getvalue()
    for cut in range(len(data) + 1):
        whole = sum(end <= cut for end in ends[1:])
        torn = io.BytesIO(data[:cut])
        assert [frame for frame, _ in journal.read(torn)] == SAMPLE[:whole]
        for junk in (bytes(1), bytes(8), bytes(5000), b"\xff" * 64, data[cut - 9 : cut]):
            torn = io.BytesIO(data[:cut] + junk)
            found = [frame for frame, _ in journal.read(torn)]
            assert found[:whole] == SAMPLE[:whole]


def test_zeros_behind_are_torn_and_not_a_frame():
    """A file system may have made the file longer before a power cut, and its bytes not: then they are zeros."""
    file, ends = written(SAMPLE)
    for zeros in (1, 7, 8, 9, 16, 4096):
        torn = io.BytesIO(file.getvalue() + bytes(zeros))
        assert list(journal.read(torn)) == list(zip(SAMPLE, ends[1:], strict=True))


@given(st.integers(0, 10_000))
def test_a_changed_bit_ends_the_journal_there(bit):
    file, ends = written(SAMPLE)
    data = bytearray(file.getvalue())
    at = bit // 8 % len(data)
    data[at] ^= 1 << bit % 8
    whole = sum(end <= at for end in ends[1:])
    assert [frame for frame, _ in journal.read(io.BytesIO(bytes(data)))] == SAMPLE[:whole]


def test_a_frame_of_another_version_is_refused_and_not_dropped():
    file = io.BytesIO()
    payload = b"\x92\xa7unknown\x01"
    file.write(len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload)
    with pytest.raises(FormatError, match="unknown frame before byte"):
        list(journal.read(file))


@given(st.binary(max_size=100))
def test_any_bytes_end_the_journal_or_are_refused(data):
    with contextlib.suppress(FormatError):
        list(journal.read(io.BytesIO(data)))
