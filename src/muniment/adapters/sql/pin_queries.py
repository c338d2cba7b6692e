"""From what a list of pins is asked for to SQL, such that no list, however large, takes more than a bounded look.

Each thing that can be asked for is a criterion: an index leads to what fulfils most of them, in the order of creation, and each can be
checked of a pin as well. A path walks the index of one criterion and checks the others. Which path is the shortest is not known
before: so it is taken a window at a time, each window by the path that gets furthest back with so many pins looked at.
"""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from muniment.adapters.sql import pin_counts
from muniment.adapters.sql.pin_rows import COLUMNS, meta_label, name_label
from muniment.adapters.sql.statements import Row, Statements, Value
from muniment.pinning.filters import Match, PinFilter, fold
from muniment.pinning.model import PinStatus
from muniment.pinning.ports import TooBroadError

COUNTED_MAX = 2_000
"""Pins that are counted at most where no counts are kept: more than a page can hold."""

SCANNED_MAX = 100_000
"""Pins that are looked at for a page or for a count."""

_FIRST_WINDOW, _WINDOW = 1_000, 10_000

_PINS = ", ".join(f"pins.{name.strip()}" for name in COLUMNS.split(","))
_WALK = """FROM {table} WHERE organization_id = ? AND created_ms > ? AND created_ms < ? {condition}
    ORDER BY created_ms DESC LIMIT ?"""
# The LIMIT inside keeps planners from checking first and walking then.
_CHECKED = {
    "pins": f"FROM (SELECT {COLUMNS}, folded_name, cid_key {_WALK}) AS pins WHERE {{checks}}",
    "pin_labels": f"""FROM (SELECT organization_id, created_ms {_WALK}) AS walked CROSS JOIN pins
        WHERE pins.organization_id = walked.organization_id AND pins.created_ms = walked.created_ms AND {{checks}}""",
}
# Not EXISTS, which planners turn into a join with everything that has the label.
_HAS_LABEL = """(SELECT 1 FROM pin_labels WHERE organization_id = pins.organization_id AND label = ?
    AND created_ms = pins.created_ms) = 1"""


@dataclass(frozen=True, slots=True)
class _Condition:
    """SQL with the values of its parameters; empty for what always holds."""

    sql: str = ""
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class _Criterion:
    """Something that is asked for.

    Attributes:
        check: Tells of a row of `pins` whether it fulfils this.
        walks: Each leads, by an index of `table`, to some of those that may fulfil it; empty for no index.
        rest: What of it is left to be checked of those.
        table: Where the index is.
    """

    check: _Condition
    walks: tuple[_Condition, ...] = ()
    rest: tuple[_Condition, ...] = ()
    table: str = "pins"


@dataclass(frozen=True, slots=True)
class _Path:
    """One way to all that is asked for."""

    table: str
    walks: tuple[_Condition, ...]
    checks: tuple[_Condition, ...]


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of a path: what was created between two times, and how many pins each of its walks meets there at most."""

    path: _Path
    after_ms: int
    before_ms: int
    size: int
    is_last: bool

    def queries(self, columns: str, order: str = "") -> Iterator[tuple[str, tuple[Value, ...]]]:
        """Yield the query of each walk, without its last parameter, which is a limit."""
        joined = " AND ".join(check.sql for check in self.path.checks) or "1 = 1"
        checked = [value for check in self.path.checks for value in check.values]
        for walk in self.path.walks:
            sql = _CHECKED[self.path.table].format(
                table=self.path.table, condition=walk.sql, checks=joined
            )
            bounds = (self.after_ms, self.before_ms, *walk.values, self.size)
            yield f"SELECT {columns} {sql} {order} LIMIT ?", (*bounds, *checked)

    def counts(self) -> Iterator[tuple[str, tuple[Value, ...]]]:
        """Yield the queries that count what each walk leads to, without their last parameter; an index is enough if nothing is checked."""
        if self.path.checks:
            for sql, values in self.queries("1"):
                yield f"SELECT COUNT(*) FROM ({sql}) AS found", values
            return
        for walk in self.path.walks:
            sql = _WALK.format(table=self.path.table, condition=walk.sql)
            values = (self.after_ms, self.before_ms, *walk.values)
            yield f"SELECT COUNT(*) FROM (SELECT 1 {sql}) AS found", values


def page(
    statements: Statements, organization_id: str, wanted: PinFilter, limit: int
) -> tuple[list[Row], int]:
    """Return the newest rows that are wanted, newest first, as `pin_of` reads them; and how many there are in all, as `count` has it.

    Raises:
        TooBroadError: It would take looking at too many pins.
    """
    rows, floor = part(statements, organization_id, wanted, limit)
    if len(rows) < limit and floor is None:
        return rows, len(rows)
    if len(rows) < limit:
        raise TooBroadError(
            f"among the newest {SCANNED_MAX} pins looked at are only {len(rows)} such, and there are more to look at:"
            " give a time before or after which they were created"
        )
    # Clients take it for the end if there are no more than they were given.
    return rows, max(count(statements, organization_id, wanted), len(rows))


def count(statements: Statements, organization_id: str, wanted: PinFilter) -> int:
    """Count what is wanted: exactly where counts are kept, and else up to `COUNTED_MAX`.

    Where more than `SCANNED_MAX` pins would have to be looked at, it is one more than was found among those.
    """
    if wanted.is_counted:
        return pin_counts.count(
            statements, organization_id, wanted.statuses, wanted.after_ms, wanted.before_ms
        )
    total = 0
    for window in _windows(statements, organization_id, wanted, COUNTED_MAX):
        for sql, values in window.counts():
            total += statements.row(sql, organization_id, *values, COUNTED_MAX)[0]
        if window.is_last or total >= COUNTED_MAX:
            return min(total, COUNTED_MAX)
    return min(total + 1, COUNTED_MAX)


def part(
    statements: Statements, organization_id: str, wanted: PinFilter, limit: int
) -> tuple[list[Row], int | None]:
    """Return the newest rows that are wanted, as far as looking at `SCANNED_MAX` pins leads.

    Returns:
        The rows, and before which time to go on if they are fewer than `limit`; None for nowhere.
    """
    rows: list[Row] = []
    for window in _windows(statements, organization_id, wanted, limit):
        found = [
            row
            for sql, values in window.queries(_PINS, "ORDER BY pins.created_ms DESC")
            for row in statements.rows(sql, organization_id, *values, limit - len(rows))
        ]
        rows += sorted(found, key=lambda row: int(row[1]), reverse=True)
        if window.is_last or len(rows) >= limit:
            return rows[:limit], None
    return rows, window.after_ms + 1


def _windows(
    statements: Statements, organization_id: str, wanted: PinFilter, limit: int
) -> Iterator[_Window]:
    """Yield windows from the newest pins to the oldest, until so many pins were looked at; there is always a first one."""
    paths = _paths(wanted)
    if not paths[0].checks:  # all that it leads to is wanted
        yield _Window(paths[0], wanted.after_ms, wanted.before_ms, limit, is_last=True)
        return
    before_ms, scanned, size = wanted.before_ms, 0, min(_FIRST_WINDOW, SCANNED_MAX)
    while scanned < SCANNED_MAX:
        window = _furthest(statements, organization_id, paths, wanted.after_ms, before_ms, size)
        yield window
        if window.is_last:
            return
        before_ms, scanned = window.after_ms + 1, scanned + size
        size = min(_WINDOW, SCANNED_MAX - scanned)


def _furthest(
    statements: Statements,
    organization_id: str,
    paths: Sequence[_Path],
    after_ms: int,
    before_ms: int,
    size: int,
) -> _Window:
    """Return the window of so many pins that reaches back furthest; the first one that reaches the end."""
    windows = []
    for path in paths:
        each = max(1, size // len(path.walks))
        behind_ms = -1
        for walk in path.walks:
            sql = _WALK.format(table=path.table, condition=walk.sql)
            values = (organization_id, after_ms, before_ms, *walk.values)
            rows = statements.rows(f"SELECT created_ms {sql} OFFSET ?", *values, 1, each)
            behind_ms = max(behind_ms, rows[0][0] if rows else -1)
        if behind_ms < 0:
            return _Window(path, after_ms, before_ms, each, is_last=True)
        windows.append(_Window(path, behind_ms, before_ms, each, is_last=False))
    return min(windows, key=lambda window: window.after_ms)


def _paths(wanted: PinFilter) -> list[_Path]:
    """Return the ways to what is wanted, the likely shortest first."""
    criteria = list(_criteria(wanted))
    paths = []
    for criterion in criteria:
        if criterion.walks:
            others = [other.check for other in criteria if other is not criterion]
            paths.append(_Path(criterion.table, criterion.walks, (*criterion.rest, *others)))
    everything = _Path("pins", (_Condition(),), tuple(one.check for one in criteria))
    return paths or [everything]


def _criteria(wanted: PinFilter) -> Iterator[_Criterion]:
    if wanted.cid_keys:
        yield _one_of("cid_key", wanted.cid_keys)
    if wanted.name is not None:
        yield _named(wanted.name, wanted.match)
    labels = [name_label("tag", tag) for tag in wanted.tags]
    labels += [name_label("group", wanted.group)] if wanted.group is not None else []
    labels += [meta_label(key, value) for key, value in wanted.meta.items()]
    for label in labels:
        walk = _Condition("AND label = ?", (label,))
        yield _Criterion(_Condition(_HAS_LABEL, (label,)), (walk,), table="pin_labels")
    if 0 < len(wanted.statuses) < len(PinStatus):
        yield _one_of("status", sorted(wanted.statuses))


def _one_of(column: str, values: Sequence[Value]) -> _Criterion:
    """One walk for each value: an index has the order of creation only below one of them."""
    marks = ", ".join("?" * len(values))
    walks = tuple(_Condition(f"AND {column} = ?", (value,)) for value in values)
    return _Criterion(_Condition(f"pins.{column} IN ({marks})", tuple(values)), walks)


def _named(name: str, match: Match) -> _Criterion:
    folded = fold(name)
    walk = _Condition("AND folded_name = ?", (folded,))
    same = _Condition("pins.folded_name = ?", (folded,))
    match match:
        case Match.EXACT:
            rest = _Condition("pins.name = ?", (name,))
            return _Criterion(
                _Condition(f"{same.sql} AND {rest.sql}", (folded, name)), (walk,), (rest,)
            )
        case Match.IEXACT:
            return _Criterion(same, (walk,))
    if not name:
        return _Criterion(_Condition("pins.name IS NOT NULL"))
    # Both databases know this one way to look for a part, with every character standing for itself.
    column, part_ = ("folded_name", folded) if match.is_folded else ("name", name)
    return _Criterion(_Condition(f"REPLACE(pins.{column}, ?, '') <> pins.{column}", (part_,)))
