"""How many pins there are: counted by the transactions that change them, a bucket at a time."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial

from muniment.adapters.sql.pin_rows import BUCKET_PINS
from muniment.adapters.sql.statements import Row, Statements
from muniment.pinning.filters import END_MS
from muniment.pinning.model import PinStatus, PinTotals

_NAMES = tuple(status.value for status in PinStatus)
# What would be inserted has the first time that is wanted as its bucket, and how many are wanted as its pins.
_FIRST_MS = """CASE WHEN pin_heads.created_ms >= excluded.bucket THEN pin_heads.created_ms + 1
    ELSE excluded.bucket END"""
_IS_FULL = f"pin_heads.bucket_pins >= {BUCKET_PINS}"
_TAKE_PLACES = f"""INSERT INTO pin_heads (organization_id, created_ms, bucket, bucket_pins) VALUES (?, ?, ?, ?)
    ON CONFLICT (organization_id) DO UPDATE SET
        created_ms = {_FIRST_MS} + excluded.bucket_pins - 1,
        bucket = CASE WHEN {_IS_FULL} THEN {_FIRST_MS} ELSE pin_heads.bucket END,
        bucket_pins = excluded.bucket_pins + CASE WHEN {_IS_FULL} THEN 0 ELSE pin_heads.bucket_pins END
    RETURNING created_ms, bucket"""
_ADD = f"""INSERT INTO pin_counts (organization_id, bucket, {", ".join(_NAMES)}) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (organization_id, bucket) DO UPDATE SET
    {", ".join(f"{name} = pin_counts.{name} + excluded.{name}" for name in _NAMES)}"""
_TOTALS = f"""SELECT {", ".join(_NAMES)} FROM pin_counts WHERE organization_id = ? AND bucket = ?"""
_SUMS = f"""SELECT {", ".join(f"COALESCE(SUM({name}), 0)" for name in _NAMES)} FROM pin_counts
    WHERE organization_id = ? AND bucket >= ? AND bucket < ?"""
_BUCKET = """SELECT bucket FROM pins WHERE organization_id = ? AND created_ms {side} ?
    ORDER BY created_ms {order} LIMIT 1"""
# All states are named, so that the index of states is walked between the two times, and not from its beginning.
_PART = f"""SELECT status, COUNT(*) FROM pins
    WHERE organization_id = ? AND status IN ({", ".join(f"'{name}'" for name in _NAMES)})
    AND created_ms > ? AND created_ms < ? GROUP BY status"""

ALL = -1
"""What stands in the place of a bucket for all of them."""

TOTALS = (
    f"""INSERT INTO pin_counts (organization_id, bucket, {", ".join(_NAMES)})
    SELECT organization_id, {ALL}, {", ".join(f"SUM({name})" for name in _NAMES)} FROM pin_counts GROUP BY organization_id""",
)
"""Adds the totals to counts that were kept without."""

Changes = Counter[tuple[int, PinStatus]]
"""By how much the pins of a bucket and a state become more."""


def take_places(
    statements: Statements, organization_id: str, now_ms: int, pins: int
) -> tuple[range, int]:
    """Return the `created_ms` of so many new pins, which no other pin of the organisation has or will have, and their bucket.

    Who takes places in the same organisation waits until the end of the transaction. So pins appear in the order of their times: whoever
    sees one will never see an older one come after it, and may page by the time. They go into one bucket, even if that fills it beyond
    `BUCKET_PINS`.
    """
    last_ms, bucket = statements.row(_TAKE_PLACES, organization_id, now_ms + pins - 1, now_ms, pins)
    return range(last_ms - pins + 1, last_ms + 1), bucket


def add(statements: Statements, organization_id: str, changes: Changes) -> None:
    """Change counts, at the end of the transaction."""
    place = ("pins", organization_id)
    statements.gather(place, changes, partial(_add, organization_id=organization_id))


def totals(statements: Statements, organization_id: str) -> PinTotals:
    """Return how many pins there are in each state."""
    rows = statements.rows(_TOTALS, organization_id, ALL)
    return PinTotals(*map(int, rows[0])) if rows else PinTotals()


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


def _add(statements: Statements, gathered: Sequence[Changes], organization_id: str) -> None:
    """Write changed counts, bucket by bucket and the totals last: one order for all who do."""
    sums: dict[int, Changes] = {}
    for changes in gathered:
        for (bucket, status), by in changes.items():
            for place in (bucket, ALL):
                sums.setdefault(place, Counter())[place, status] += by
    rows: list[Row] = [
        (organization_id, bucket, *(sums[bucket][bucket, status] for status in PinStatus))
        for bucket in sorted(sums, key=lambda bucket: (bucket == ALL, bucket))
        if any(sums[bucket].values())
    ]
    statements.run_many(_ADD, rows)
