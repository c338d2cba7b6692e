"""`records.sealed`: round trip, and refusal of everything that rule 6 names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.archive.catalog import Kind, ScannedFile
from muniment.archive.journal import Entry
from muniment.archive.merkle import leaf_hash
from muniment.archive.records_file import MAGIC, RecordsFile, write_records
from muniment.errors import FormatError

SCANNED = ScannedFile(b"a", Kind.DIRECTORY, 0, 0o755, 0, 0, 0)


class Bytes:
    """A commit of one file that is held in memory."""

    commit_id = "20261121T101112Z-abcdefg2"

    def __init__(self, data):
        self.data = data

    def names(self):
        return ["records.sealed"]

    def size(self, name):
        return len(self.data)

    def read(self, name, offset, size):
        return self.data[offset : offset + size]


def entry(number, sealed):
    return Entry(number, bytes(32), bytes([number % 256]) * 32, bytes([255 - number % 256]) * 32, sealed, SCANNED, None, "", None)  # fmt: skip


def written(sealed_records):
    entries = [entry(number, sealed) for number, sealed in enumerate(sealed_records)]
    return b"".join(write_records(entries))


@given(st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=20))
def test_round_trip(sealed_records):
    count = len(sealed_records)
    table = RecordsFile(Bytes(written(sealed_records)), count)
    assert len(table) == count
    assert [table.sealed_record(leaf) for leaf in range(count)] == sealed_records
    for start in range(count):
        assert table.sealed_records(start, count) == sealed_records[start:]
    assert table.leaves() == [
        leaf_hash(bytes([leaf]) * 32, bytes([255 - leaf]) * 32) for leaf in range(count)
    ]
    assert table.leaves()[0] == leaf_hash(table.fields_digest(0), table.ciphertext_digest(0))


def test_large_files_are_written_in_pieces_of_the_same_bytes():
    sealed_records = [bytes([number]) * 60_000 for number in range(40)]
    assert RecordsFile(Bytes(written(sealed_records)), 40).sealed_record(39) == sealed_records[39]


GOOD = written([b"one", b"three", b"seven77"])
HEAD = len(MAGIC) + 8


def with_length(leaf, length):
    at = HEAD + 68 * leaf + 64
    return GOOD[:at] + length.to_bytes(4, "big") + GOOD[at + 4 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin"),
        (GOOD[:10], "does not begin"),
        (b"M" + GOOD[1:], "does not begin"),
        (MAGIC, "has 0 leaves"),
        (MAGIC + (2).to_bytes(8, "big") + GOOD[HEAD:], "has 2 leaves, but the manifest 3"),
        (MAGIC + (1 << 63).to_bytes(8, "big") + GOOD[HEAD:], "leaves, but the manifest 3"),
        (GOOD[: HEAD + 100], "too short for its table"),
        (GOOD + b"\0", "adds up to"),
        (GOOD[:-1], "adds up to"),
        (with_length(1, 6), "adds up to"),
        (with_length(1, 0), "gives record 1 0 bytes"),
        (with_length(2, 65_537), "gives record 2 65537 bytes"),
        (with_length(0, (1 << 32) - 1), "gives record 0 4294967295 bytes"),
    ],
)
def test_what_must_be_refused(data, message):
    with pytest.raises(FormatError, match=message):
        RecordsFile(Bytes(data), 3)


@given(st.integers(0, len(GOOD) - 1))
def test_every_truncation_is_refused(cut):
    with pytest.raises(FormatError, match="records"):
        RecordsFile(Bytes(GOOD[:cut]), 3)
