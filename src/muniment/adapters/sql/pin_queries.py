"""From what a list of pins is asked for to SQL, such that each query walks one index from its end and stops when it has enough.

What may have several values (states, CIDs) is one query for each, since an index has the order of creation only below one of them.
"""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Iterator
from dataclasses import dataclass, replace

from muniment.adapters.sql import pin_counts
from muniment.adapters.sql.pin_rows import COLUMNS, meta_label, name_label
from muniment.adapters.sql.statements import Row, Statements, Value
from muniment.pinning.filters import Match, PinFilter, fold
from muniment.pinning.model import PinStatus
from muniment.pinning.ports import TooBroadError

COUNTED_MAX = 10_000
"""Pins that a count looks for at most where no counts are kept."""

SCANNED_MAX = 1_000_000
"""Pins that a list may look at which no index leads to."""

SCANNED_AT_ONCE = 100_000
"""Pins that a page looks at which may be shorter than what was asked for."""

_COLUMNS = ", ".join(f"pins.{name.strip()}" for name in COLUMNS.split(","))
_STEP = """SELECT created_ms FROM pins WHERE organization_id = ? AND created_ms > ? AND created_ms < ?
    ORDER BY created_ms DESC LIMIT 1 OFFSET ?"""


@dataclass(frozen=True, slots=True)
class _Source:
    """One walk: the tables, which of their rows are wanted, and the one whose index has them in order."""

    ordered_by: str
    tables: str
    conditions: tuple[str, ...]
    values: tuple[Value, ...]

    @property
    def sql(self) -> str:
        return f"FROM {self.tables} WHERE {' AND '.join(self.conditions)}"


def page(statements: Statements, organization_id: str, wanted: PinFilter, limit: int) -> list[Row]:
    """Return the newest rows that are wanted, newest first, as `pin_of` reads them.

    Raises:
        TooBroadError: It would take looking at too many pins.
    """
    _check_breadth(statements, organization_id, wanted)
    return _newest(statements, organization_id, wanted, limit)


def count(statements: Statements, organization_id: str, wanted: PinFilter) -> int:
    """Count what is wanted; raises as `page`."""
    if wanted.is_counted:
        return pin_counts.count(
            statements, organization_id, wanted.statuses, wanted.after_ms, wanted.before_ms
        )
    _check_breadth(statements, organization_id, wanted)
    total = 0
    for source in _sources(organization_id, wanted):
        sql = f"SELECT COUNT(*) FROM (SELECT 1 {source.sql} LIMIT {COUNTED_MAX}) AS found"
        total += statements.row(sql, *source.values)[0]
    return min(total, COUNTED_MAX)


def part(
    statements: Statements, organization_id: str, wanted: PinFilter, limit: int
) -> tuple[list[Row], int | None]:
    """Return the newest rows that are wanted among the newest `SCANNED_AT_ONCE`, if no index leads to them; among all otherwise.

    Returns:
        The rows, and before which time to go on if they are fewer than `limit`; None for nowhere.
    """
    floor = None
    if wanted.scans:
        bounds = (wanted.after_ms, wanted.before_ms)
        floors = statements.rows(_STEP, organization_id, *bounds, SCANNED_AT_ONCE)
        if floors:
            (floor,) = floors[0]
            wanted = replace(wanted, after_ms=floor - 1)
    return _newest(statements, organization_id, wanted, limit), floor


def _newest(
    statements: Statements, organization_id: str, wanted: PinFilter, limit: int
) -> list[Row]:
    rows = [
        row
        for source in _sources(organization_id, wanted)
        for row in statements.rows(
            f"SELECT {_COLUMNS} {source.sql} ORDER BY {source.ordered_by}.created_ms DESC LIMIT ?",
            *source.values,
            limit,
        )
    ]
    return sorted(rows, key=lambda row: int(row[1]), reverse=True)[:limit]


def _check_breadth(statements: Statements, organization_id: str, wanted: PinFilter) -> None:
    if not wanted.scans:
        return
    total = pin_counts.count(statements, organization_id, (), wanted.after_ms, wanted.before_ms)
    if total > SCANNED_MAX:
        raise TooBroadError(
            f"a part of a name is looked for among at most {SCANNED_MAX} pins, and these are {total}:"
            " give a time before or after which they were created"
        )


def _sources(organization_id: str, wanted: PinFilter) -> Iterator[_Source]:
    base = _base(organization_id, wanted)
    if wanted.cid_keys:
        for key in wanted.cid_keys:
            yield _with(_with_statuses(base, wanted), "pins.cid_key = ?", key)
    elif wanted.is_counted and 0 < len(wanted.statuses) < len(PinStatus):
        for status in sorted(wanted.statuses):
            yield _with(base, "pins.status = ?", status.value)
    else:
        yield _with_statuses(base, wanted)


def _base(organization_id: str, wanted: PinFilter) -> _Source:
    labels = [name_label("tag", tag) for tag in wanted.tags]
    labels += [name_label("group", wanted.group)] if wanted.group is not None else []
    labels += [meta_label(key, value) for key, value in wanted.meta.items()]
    bounds = (organization_id, wanted.after_ms, wanted.before_ms)
    # The first label leads to the pins, and the others are looked up for each.
    at = "labels" if labels and not wanted.cid_keys else "pins"
    conditions = f"{at}.organization_id = ? AND {at}.created_ms > ? AND {at}.created_ms < ?"
    source = _Source(at, "pins", (conditions,), bounds)
    if at == "labels":
        joined = (
            "pins.organization_id = labels.organization_id AND pins.created_ms = labels.created_ms"
        )
        source = replace(source, tables="pin_labels AS labels CROSS JOIN pins")
        source = _with(source, f"{joined} AND labels.label = ?", labels.pop(0))
    for label in labels:
        exists = """EXISTS (SELECT 1 FROM pin_labels AS other WHERE other.organization_id = pins.organization_id
            AND other.label = ? AND other.created_ms = pins.created_ms)"""
        source = _with(source, exists, label)
    return _with_name(source, wanted)


def _with_name(source: _Source, wanted: PinFilter) -> _Source:
    if wanted.name is None:
        return source
    folded = fold(wanted.name)
    match wanted.match:
        case Match.EXACT:
            return _with(source, "pins.folded_name = ? AND pins.name = ?", folded, wanted.name)
        case Match.IEXACT:
            return _with(source, "pins.folded_name = ?", folded)
    if not wanted.name:
        return _with(source, "pins.name IS NOT NULL")
    # Both databases know this one way to look for a part, with every character standing for itself.
    if wanted.match is Match.PARTIAL:
        return _with(source, "REPLACE(pins.name, ?, '') <> pins.name", wanted.name)
    return _with(source, "REPLACE(pins.folded_name, ?, '') <> pins.folded_name", folded)


def _with_statuses(source: _Source, wanted: PinFilter) -> _Source:
    if not 0 < len(wanted.statuses) < len(PinStatus):
        return source
    marks = ", ".join("?" * len(wanted.statuses))
    # Another index leads to these: the expression keeps the planner from that of the states.
    return _with(source, f"pins.status || '' IN ({marks})", *sorted(wanted.statuses))


def _with(source: _Source, condition: str, *values: Value) -> _Source:
    return replace(
        source, conditions=(*source.conditions, condition), values=(*source.values, *values)
    )
