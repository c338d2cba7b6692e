"""One transaction of one organisation: the statements it runs, and what it changes in the totals.

Statements over many files are SQL text sent straight to the driver: SQLAlchemy's own handling of a row costs more than
the database's.
"""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection

from muniment.adapters.sql.engine import Dialect

Value = bytes | str | int | None
Row = tuple[Any, ...]
T = TypeVar("T")

SOUGHT = 500
"""Values that one look-up asks for: always as many, so the database compiles each such statement once."""

WRITTEN = 5_000
"""Rows that are handed to the driver at once, which bounds the memory."""


class Transaction:
    """Runs statements for one organisation and collects what they change in its totals.

    Attributes:
        connection: For statements of SQLAlchemy Core.
        org_id: The organisation's number; every statement filters by it.
        change: What to add to the columns of `totals` at the end.
    """

    def __init__(self, connection: Connection, dialect: Dialect, org_id: int) -> None:
        self.connection = connection
        self.org_id = org_id
        self.change: Counter[str] = Counter()
        self._dialect = dialect

    def rows(self, sql: str, *values: Value) -> list[Row]:
        """Run a query and return all of its rows, as plain tuples."""
        result = self.connection.exec_driver_sql(self._dialect.sql(sql), values)
        cursor = result.cursor
        assert cursor is not None, "a query has a cursor"
        found: list[Row] = list(cursor.fetchall())
        result.close()
        return found

    def row(self, sql: str, *values: Value) -> Row:
        """Run a query that has exactly one row, and return it."""
        (found,) = self.rows(sql, *values)
        return found

    def run(self, sql: str, *values: Value) -> int:
        """Run a statement and return how many rows it touched."""
        return self.connection.exec_driver_sql(self._dialect.sql(sql), values).rowcount

    def run_many(self, sql: str, rows: Sequence[tuple[Value, ...]]) -> int:
        """Run a statement for each row of values and return how many rows were touched."""
        if not rows:
            return 0
        return self.connection.exec_driver_sql(self._dialect.sql(sql), list(rows)).rowcount

    def sought(self, sql: str, values: Sequence[Value], *before: Value) -> Iterator[Row]:
        """Run a query for many values, some at a time, and iterate over its rows.

        Args:
            sql: The query; `{values}` in it becomes a list of parameters, the last ones of the query.
            values: The values to ask for, each once.
            before: The values of the parameters before them.
        """
        sql = sql.replace("{values}", ", ".join("?" * SOUGHT))
        for part in batches(values, SOUGHT):
            padding = (part[-1],) * (SOUGHT - len(part))
            yield from self.rows(sql, *before, *part, *padding)

    def begin(self) -> None:
        """Let the writers of one organisation take turns."""
        self.run("SELECT org_id FROM totals WHERE org_id = ? {lock}", self.org_id)

    def end(self) -> None:
        """Add the collected change to the totals."""
        changed = {name: count for name, count in self.change.items() if count}
        if changed:
            columns = ", ".join(f"{name} = {name} + ?" for name in changed)
            sql = f"UPDATE totals SET {columns} WHERE org_id = ?"
            self.run(sql, *changed.values(), self.org_id)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut what may be endless into lists of `size`, the last one shorter; never an empty one."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
