"""The audit log: who did what to what, before and after, in a chain of hashes that only grows.

Each organisation has a chain of its own. The hash of an entry is SHA-256 over the canonical JSON (RFC 8785) of all its other fields, the hash of
the entry before among them, so that an exported log can be checked with nothing but this sentence. Whoever keeps the last hash notices
any later change of, or gap in, what came before it. Secrets never enter the log: not even their digests.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from muniment.archive.canonical import encode
from muniment.errors import IntegrityError

FIRST = "0" * 64
"""The hash before the first entry."""


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


def verify_chain(entries: Iterable[AuditEntry], previous: str = FIRST) -> tuple[int, str]:
    """Check that entries follow each other without a gap or a change.

    Args:
        entries: In order, from the entry after the one whose hash is `previous`.
        previous: The last hash that is trusted already.

    Returns:
        How many there were, and the last hash, for whoever goes on from there.

    Raises:
        IntegrityError: An entry was changed, removed, added or moved; or there was none.
    """
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
    if not count:
        raise IntegrityError("audit log: there are no entries to check")
    return count, previous
