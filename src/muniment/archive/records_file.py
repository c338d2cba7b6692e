"""`records.sealed`: the tree's leaves in the clear, and the sealed records (`docs/spec/commit.md`, section 5)."""

from collections.abc import Collection, Iterable, Iterator

from muniment.archive.journal import Entry
from muniment.archive.merkle import leaf_hash
from muniment.archive.record import SEALED_RECORD_BYTES_MAX
from muniment.archive.sources import CommitSource
from muniment.errors import FormatError

NAME = "records.sealed"
MAGIC = b"muniment-records/1\n"
_COUNT_BYTES = 8
_LENGTH_BYTES = 4
_HASH_BYTES = 32
ROW_BYTES = 2 * _HASH_BYTES + _LENGTH_BYTES
_HEAD_BYTES = len(MAGIC) + _COUNT_BYTES
_PIECE_BYTES = 1 << 20


def write_records(entries: Collection[Entry]) -> Iterator[bytes]:
    """Yield the file's bytes, in pieces."""
    yield MAGIC + len(entries).to_bytes(_COUNT_BYTES, "big")
    yield from _joined(
        entry.fields_digest
        + entry.ciphertext_digest
        + len(entry.sealed_record).to_bytes(_LENGTH_BYTES, "big")
        for entry in entries
    )
    yield from _joined(entry.sealed_record for entry in entries)


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    held, size = [], 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


class RecordsFile:
    """The table of `records.sealed`, and where each sealed record lies.

    Args:
        source: The commit.
        leaf_count: As the manifest says.

    Raises:
        FormatError: The file has another form, count or length.
    """

    def __init__(self, source: CommitSource, leaf_count: int) -> None:
        self._source = source
        read, size = self._read, source.size(NAME)
        if read(0, len(MAGIC)) != MAGIC:
            raise FormatError("records.sealed does not begin as it should")
        count = int.from_bytes(read(len(MAGIC), _COUNT_BYTES), "big")
        if count != leaf_count:
            raise FormatError(f"records.sealed has {count} leaves, but the manifest {leaf_count}")
        if size < _HEAD_BYTES + count * ROW_BYTES:
            raise FormatError("records.sealed is too short for its table")
        self._table = read(_HEAD_BYTES, count * ROW_BYTES)
        self._offsets = [_HEAD_BYTES + count * ROW_BYTES]
        for leaf in range(count):
            end = (leaf + 1) * ROW_BYTES
            length = int.from_bytes(self._table[end - _LENGTH_BYTES : end], "big")
            if not 0 < length <= SEALED_RECORD_BYTES_MAX:
                raise FormatError(f"records.sealed gives record {leaf} {length} bytes")
            self._offsets.append(self._offsets[-1] + length)
        if self._offsets[-1] != size:
            raise FormatError(
                f"records.sealed has {size} bytes, but its table adds up to {self._offsets[-1]}"
            )

    def _read(self, offset: int, size: int) -> bytes:
        return self._source.read(NAME, offset, size)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def fields_digest(self, leaf: int) -> bytes:
        """Return the digest over the commitments to a leaf's fields."""
        return self._table[leaf * ROW_BYTES : leaf * ROW_BYTES + _HASH_BYTES]

    def ciphertext_digest(self, leaf: int) -> bytes:
        """Return the digest of a leaf's member."""
        return self._table[leaf * ROW_BYTES + _HASH_BYTES : leaf * ROW_BYTES + 2 * _HASH_BYTES]

    def leaves(self) -> list[bytes]:
        """Return all leaf hashes."""
        return [
            leaf_hash(self.fields_digest(leaf), self.ciphertext_digest(leaf))
            for leaf in range(len(self))
        ]

    def sealed_record(self, leaf: int) -> bytes:
        """Return one sealed record."""
        return self._read(self._offsets[leaf], self._offsets[leaf + 1] - self._offsets[leaf])

    def sealed_records(self, start: int, stop: int) -> list[bytes]:
        """Return the sealed records of a range of leaves in one read."""
        first = self._offsets[start]
        data = self._read(first, self._offsets[stop] - first)
        return [
            data[self._offsets[i] - first : self._offsets[i + 1] - first]
            for i in range(start, stop)
        ]
