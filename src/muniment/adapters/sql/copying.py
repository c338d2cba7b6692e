"""Copying one organisation's catalogue, as it is at one moment, to a SQLite file."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

from muniment.adapters.sql.engine import Database, open_database
from muniment.adapters.sql.migrations import migrate
from muniment.adapters.sql.schema import metadata
from muniment.adapters.sql.statements import WRITTEN, Row, Statements, batches


def copy_organization(source: Database, org_id: int, file: Path) -> None:
    """Copy an organisation's catalogue to a file that does not exist yet.

    Args:
        source: Where the catalogue is, at the newest version of its schema.
        org_id: The organisation's number in it.
        file: The new file.
    """
    if source.is_server:
        _copy_rows(source, org_id, file)
    else:  # a file is one organisation's, and SQLite copies pages faster than rows
        _copy_pages(Path(source.name), file)


def _copy_pages(source: Path, file: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source)) as original,
        contextlib.closing(sqlite3.connect(file)) as copy,
    ):
        original.backup(copy)


def _copy_rows(source: Database, org_id: int, file: Path) -> None:
    target = open_database(file)
    try:
        migrate(target)
        with source.transaction() as reading, target.transaction(write=True) as writing:
            for table in metadata.tables.values():
                names = [column.name for column in table.columns]
                columns, marks = ", ".join(names), ", ".join("?" * len(names))
                select = f"SELECT {columns} FROM {table.name} WHERE org_id = ?"
                insert = f"INSERT INTO {table.name} ({columns}) VALUES ({marks})"
                rows = _stream(reading, source.dialect.sql(select), org_id)
                for part in batches(rows, WRITTEN):
                    Statements(writing, target.dialect).run_many(insert, part)
    finally:
        target.close()


def _stream(connection: Connection, sql: str, org_id: int) -> Iterator[Row]:
    """Iterate over the rows of a query that a server keeps, and sends some at a time."""
    options = {"stream_results": True, "max_row_buffer": WRITTEN}
    yield from map(tuple, connection.exec_driver_sql(sql, (org_id,), execution_options=options))
