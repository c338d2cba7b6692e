"""The audit log: who did what to what, before and after, in a chain of hashes that only grows.

Each organisation has a chain of its own. The hash of an entry is SHA-256 over the canonical JSON (RFC 8785) of all its other fields, the hash of
the entry before among them, so that an exported log can be checked with nothing but this sentence. Whoever keeps the last hash notices
any later change of, or gap in, what came before it. Secrets never enter the log: not even their digests.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import msgspec

from muniment.archive.canonical import encode
from muniment.errors import FormatError, IntegrityError

FIRST = "0" * 64
"""The hash before the first entry."""

LINE_BYTES_MAX = 1 << 20
"""Of an export. What an entry tells is far shorter."""


class AuditEntry(msgspec.Struct, frozen=True):
    """One entry.

    Attributes:
        organization_id: Whose log it is in.
        number: 1 for the first of the organisation, and one more for each.
        at: When, microseconds since 1970.
        actor: Who: `key:<id>`, `member:<id>` or `system`.
        action: What, as `<noun>.<verb>`: `key.created`.
        target: To what: `<noun>:<id>`.
        before: The target's fields before, as far as they changed; None where there was none.
        after: The same fields afterwards; None where there is none.
        request_id: The HTTP request that did it; empty for none.
        origin: Where it came from: an address, or `cli`.
        previous: Hash of the entry before, hexadecimal; `FIRST` for the first.
        hash: Hash of this entry, hexadecimal.
    """

    organization_id: str
    number: int
    at: int
    actor: str
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str
    origin: str
    previous: str
    hash: str = ""

    def sealed(self) -> "AuditEntry":
        """Return the entry with its hash."""
        return msgspec.structs.replace(self, hash=hash_entry(self))


def hash_entry(entry: AuditEntry) -> str:
    """Return the hash that an entry has to have, hexadecimal."""
    fields = msgspec.to_builtins(entry)
    del fields["hash"]
    return hashlib.sha256(encode(fields)).hexdigest()


def verify_chain(
    entries: Iterable[AuditEntry], previous: str = FIRST, *, known: str | None = None
) -> tuple[int, str]:
    """Check that entries follow each other without a gap or a change.

    Args:
        entries: In order, from the entry after the one whose hash is `previous`.
        previous: The last hash that is trusted already.
        known: Hash of an entry that has to be among them; only with that is it noticed that the end is missing.

    Returns:
        How many there were, and the last hash, for whoever goes on from there.

    Raises:
        IntegrityError: An entry was changed, removed, added or moved; or there was none, or not the known one.
    """
    is_met = known is None
    number: int | None = None
    count = 0
    for entry in entries:
        expected = (number or entry.number - 1) + 1
        if previous == FIRST and number is None:
            expected = 1
        if entry.number != expected:
            raise IntegrityError(f"audit log: expected entry {expected}, got {entry.number}")
        if entry.previous != previous or entry.hash != hash_entry(entry):
            raise IntegrityError(f"audit log: entry {entry.number} does not fit: it was changed")
        number, previous, count = entry.number, entry.hash, count + 1
        is_met |= entry.hash == known
    if not count:
        raise IntegrityError("audit log: there are no entries to check")
    if not is_met:
        raise IntegrityError(
            "audit log: the entry with that hash is missing: the log was cut or made anew"
        )
    return count, previous


def write_entries(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """Yield the lines of an export: one entry each, as JSON."""
    for entry in entries:
        yield msgspec.json.encode(entry) + b"\n"


def read_entries(file: BinaryIO) -> Iterator[AuditEntry]:
    """Yield the entries of an export, one after another, holding one line at a time.

    A line has to be what `write_entries` wrote, byte for byte: else a field could be there twice, or one that no hash covers.

    Raises:
        FormatError: A line is no entry, or was written by somebody else.
    """
    number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise FormatError(f"audit log: line {number} has more than {LINE_BYTES_MAX} bytes")
        try:
            entry = msgspec.json.decode(line, type=AuditEntry)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"audit log: line {number} is no entry: {error}") from None
        if line != msgspec.json.encode(entry) + b"\n":
            raise FormatError(f"audit log: line {number} is not as it was exported")
        yield entry
