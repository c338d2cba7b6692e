"""One transaction of one organisation: the statements it runs, and what it changes in the totals."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections import Counter

from sqlalchemy import Connection

from muniment.adapters.sql.engine import Dialect
from muniment.adapters.sql.statements import Statements

_ANALYZE_AT = 1_000
"""Rows touched before the planner is asked what it knows; and then whenever they have doubled."""

_MUCH = 10
"""The part of a table that is much of it: PostgreSQL has it looked at by itself, later, from a tenth on."""


class Transaction(Statements):
    """Runs statements for one organisation and collects what they change in its totals.

    Attributes:
        org_id: The organisation's number; every statement filters by it.
        change: What to add to the columns of `totals` at the end.
    """

    def __init__(self, connection: Connection, dialect: Dialect, org_id: int) -> None:
        super().__init__(connection, dialect)
        self.org_id = org_id
        self.change: Counter[str] = Counter()
        self._touched = 0
        self._analyze_at = _ANALYZE_AT

    def begin(self) -> None:
        """Let the writers of one organisation take turns."""
        self.rows("SELECT org_id FROM totals WHERE org_id = ? {lock}", self.org_id)

    def touched(self, rows: int) -> None:
        """Count rows of `files` that were added, claimed or archived; where they are much of the table, have the planner look at it again.

        A planner that believes that there are none of a kind reads all of them for every look-up, and it would learn better
        only some time after the transaction.
        """
        self._touched += rows
        analyze, rows_known = self._dialect.analyze, self._dialect.rows_known
        if analyze is None or rows_known is None or self._touched < self._analyze_at:
            return
        if self._touched * _MUCH >= self.row(rows_known, "files")[0]:
            self.run(f"{analyze} files")
        self._analyze_at = 2 * self._touched

    def end(self) -> None:
        """Add the collected change to the totals."""
        changed = {name: count for name, count in self.change.items() if count}
        if changed:
            columns = ", ".join(f"{name} = {name} + ?" for name in changed)
            sql = f"UPDATE totals SET {columns} WHERE org_id = ?"
            self.run(sql, *changed.values(), self.org_id)
