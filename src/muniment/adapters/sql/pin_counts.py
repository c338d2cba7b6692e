"""How many pins there are: counted by the transactions that change them, a bucket at a time."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial

from muniment.adapters.sql.pin_rows import BUCKET_PINS
from muniment.adapters.sql.statements import Statements
from muniment.pinning.filters import END_MS
from muniment.pinning.model import PinStatus, PinTotals

_NAMES = tuple(status.value for status in PinStatus)
_NEXT_MS = """CASE WHEN pin_heads.created_ms >= excluded.created_ms THEN pin_heads.created_ms + 1
    ELSE excluded.created_ms END"""
_IS_FULL = f"pin_heads.bucket_pins >= {BUCKET_PINS}"
_TAKE_PLACE = f"""INSERT INTO pin_heads (organization_id, created_ms, bucket, bucket_pins) VALUES (?, ?, ?, 1)
    ON CONFLICT (organization_id) DO UPDATE SET
        created_ms = {_NEXT_MS},
        bucket = CASE WHEN {_IS_FULL} THEN {_NEXT_MS} ELSE pin_heads.bucket END,
        bucket_pins = CASE WHEN {_IS_FULL} THEN 1 ELSE pin_heads.bucket_pins + 1 END
    RETURNING created_ms, bucket"""
_ADD = f"""INSERT INTO pin_counts (organization_id, bucket, {", ".join(_NAMES)}) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (organization_id, bucket) DO UPDATE SET
    {", ".join(f"{name} = pin_counts.{name} + excluded.{name}" for name in _NAMES)}"""
_SUMS = f"""SELECT {", ".join(f"COALESCE(SUM({name}), 0)" for name in _NAMES)} FROM pin_counts
    WHERE organization_id = ? AND bucket >= ? AND bucket < ?"""
_BUCKET = """SELECT bucket FROM pins WHERE organization_id = ? AND created_ms {side} ?
    ORDER BY created_ms {order} LIMIT 1"""
# All states are named, so that the index of states is walked between the two times, and not from its beginning.
_PART = f"""SELECT status, COUNT(*) FROM pins
    WHERE organization_id = ? AND status IN ({", ".join(f"'{name}'" for name in _NAMES)})
    AND created_ms > ? AND created_ms < ? GROUP BY status"""

Changes = Counter[tuple[int, PinStatus]]
"""By how much the pins of a bucket and a state become more."""


def take_place(statements: Statements, organization_id: str, now_ms: int) -> tuple[int, int]:
    """Return a new pin's `created_ms`, which no other pin of the organisation has or will have, and its bucket.

    Who takes places in the same organisation waits until the end of the transaction, so that pins appear in the order of their times.
    """
    created_ms, bucket = statements.row(_TAKE_PLACE, organization_id, now_ms, now_ms)
    return created_ms, bucket


def add(statements: Statements, organization_id: str, changes: Changes) -> None:
    """Change counts, at the end of the transaction."""
    for bucket in sorted({bucket for bucket, _status in changes}):
        values = [changes[bucket, status] for status in PinStatus]
        if any(values):
            place = ("pins", f"{organization_id} {bucket:020}")  # the last of all, bucket by bucket
            statements.at_end(place, partial(_add, statements, organization_id, bucket, values))


def totals(statements: Statements, organization_id: str) -> PinTotals:
    """Return how many pins there are in each state."""
    return PinTotals(*map(int, statements.row(_SUMS, organization_id, 0, END_MS)))


def count(
    statements: Statements,
    organization_id: str,
    statuses: Collection[PinStatus],
    after_ms: int,
    before_ms: int,
) -> int:
    """Count pins of some states (none for all) between two times: whole buckets by their rows, and the two at the ends pin by pin."""
    if after_ms < 0 and before_ms >= END_MS:
        found = totals(statements, organization_id)
        return sum(getattr(found, status) for status in statuses or PinStatus)
    first = _bucket(statements, organization_id, after_ms, ">", "ASC")
    last = _bucket(statements, organization_id, before_ms, "<", "DESC")
    counts: Counter[str] = Counter()
    if first is None or last is None or last < first:
        return 0
    if first == last:
        counts.update(_part(statements, organization_id, after_ms, before_ms))
    else:
        # A bucket is named by its first pin's time, so the next one begins where it ends.
        (end,) = statements.row(
            "SELECT MIN(bucket) FROM pin_counts WHERE organization_id = ? AND bucket > ?",
            organization_id,
            first,
        )
        counts.update(_part(statements, organization_id, after_ms, end))
        counts.update(_part(statements, organization_id, last - 1, before_ms))
        sums = statements.row(_SUMS, organization_id, end, last)
        counts.update(dict(zip(_NAMES, map(int, sums), strict=True)))
    return sum(counts[status] for status in statuses or PinStatus)


def _bucket(
    statements: Statements, organization_id: str, at_ms: int, side: str, order: str
) -> int | None:
    rows = statements.rows(_BUCKET.format(side=side, order=order), organization_id, at_ms)
    return rows[0][0] if rows else None


def _part(
    statements: Statements, organization_id: str, after_ms: int, before_ms: int
) -> dict[str, int]:
    rows = statements.rows(_PART, organization_id, after_ms, before_ms)
    return {status: int(number) for status, number in rows}


def _add(statements: Statements, organization_id: str, bucket: int, values: Sequence[int]) -> None:
    statements.run(_ADD, organization_id, bucket, *values)
