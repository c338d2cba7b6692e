"""Statements sent straight to the driver, inside one transaction.

SQLAlchemy's own handling of a statement and its rows costs more than the database's, so statements are SQL text, and its
cursors are left out.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection

from muniment.adapters.sql.engine import Database, Dialect

Value = bytes | str | int | float | None
Row = tuple[Any, ...]
T = TypeVar("T")

SOUGHT = 500
"""Values that one look-up asks for: always as many, so the database compiles each such statement once."""

WRITTEN = 5_000
"""Rows that are handed to the driver at once, which bounds the memory."""

_CLOCK, _CLOCK_ASKED_US = "clock of the database", 1_000_000
"""Where a connection notes how far the database's clock is ahead, and for how long."""

with_every_write: "ContextVar[tuple[Database, Callable[[Statements], None]] | None]" = ContextVar(
    "with_every_write", default=None
)
"""What has to be called in each transaction that this context writes to a database for good, before it commits."""


class Statements:
    """Runs SQL text with `?` for parameters.

    Attributes:
        connection: For statements of SQLAlchemy Core.
    """

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self._cursor = connection.connection.cursor()
        self._dialect = dialect
        self._last: dict[tuple[str, str], list[Callable[[], None]]] = {}
        self._gathered: dict[tuple[str, str], list[Any]] = {}

    def at_end(self, place: tuple[str, str], function: Callable[[], None]) -> None:
        """Call a function at the end of the transaction, before it commits; the order is that of the places, and then of the calls.

        What many transactions write to belongs there, such as the end of a log. Its row is then locked for the shortest time, and always
        after all other rows and in one order, so that no two transactions wait for each other. What is called there may ask for
        more to be called, at places behind its own.
        """
        self._last.setdefault(place, []).append(function)

    def gather(
        self, place: tuple[str, str], item: T, write: Callable[["Statements", list[T]], None]
    ) -> None:
        """Write items at the end of the transaction, as `at_end`: all that were gathered for a place at once, which nothing else has."""
        items = self._gathered.setdefault(place, [])
        if not items:
            self.at_end(place, lambda: write(self, self._gathered.pop(place)))
        items.append(item)

    def end(self) -> None:
        """Call what is to be called at the end."""
        while self._last:
            for function in self._last.pop(min(self._last)):
                function()

    def rows(self, sql: str, *values: Value) -> list[Row]:
        """Run a query and return all of its rows, as plain tuples."""
        self._cursor.execute(self._dialect.sql(sql), values)
        return list(self._cursor.fetchall())

    def row(self, sql: str, *values: Value) -> Row:
        """Run a query that has exactly one row, and return it."""
        (found,) = self.rows(sql, *values)
        return found

    def run(self, sql: str, *values: Value) -> int:
        """Run a statement that is no query, and return how many rows it touched."""
        self._cursor.execute(self._dialect.sql(sql), values)
        return int(self._cursor.rowcount)

    def run_many(self, sql: str, rows: Sequence[tuple[Value, ...]]) -> int:
        """Run a statement for each row of values and return how many rows were touched."""
        if len(rows) <= 1:  # which costs a driver less than a list of one
            return self.run(sql, *rows[0]) if rows else 0
        self._cursor.executemany(self._dialect.sql(sql), rows)
        return int(self._cursor.rowcount)

    def take_turns(self, what: str) -> None:
        """Wait until no other writer that gave the same text is in its transaction, and keep others waiting until the end of this one."""
        if self._dialect.take_turns is not None:
            self.rows(self._dialect.take_turns, what)

    def now(self) -> int:
        """Return the time in microseconds since 1970 by the clock of the database, which all of its clients share.

        The database is asked now and then on each connection, and between that a clock of this machine that nobody sets.
        """
        if self._dialect.clock is None:
            return time.time_ns() // 1000
        here_us = _monotonic_us()
        ahead_us, asked_us = self.connection.info.get(_CLOCK, (0, -_CLOCK_ASKED_US))
        if here_us - asked_us >= _CLOCK_ASKED_US:
            there_us = int(self.row(self._dialect.clock)[0])
            here_us = _monotonic_us()
            ahead_us = there_us - here_us
            self.connection.info[_CLOCK] = ahead_us, here_us
        return int(ahead_us + here_us)

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


class SqlStore:
    """What every store on a SQL database has: its two kinds of transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def _writing(self, *, is_for_good: bool = True) -> Iterator[Statements]:
        """Run a transaction that may write.

        Args:
            is_for_good: Whether it is what the caller is there for, and not a preparation that comes to nothing if the caller dies.
        """
        with self._database.transaction(write=True) as connection:
            statements = Statements(connection, self._database.dialect)
            yield statements
            statements.end()
            wanted = with_every_write.get()
            if is_for_good and wanted is not None and wanted[0] is self._database:
                wanted[1](statements)

    @contextmanager
    def _reading(self) -> Iterator[Statements]:
        """Run a transaction that only reads."""
        with self._database.transaction() as connection:
            yield Statements(connection, self._database.dialect)


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut what may be endless into lists of `size`, the last one shorter; never an empty one."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
