"""Fill a service's database with pins, as if they had been pinned one by one long ago: straight into its tables.

Counters and heads of the list are those that the service itself would have kept, so that what is added later continues them. Jobs of
pins that ended long ago are forgotten by the service, so these have none.
"""

import base64
import os
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from muniment.adapters.sql.pin_counts import ALL
from muniment.adapters.sql.pin_rows import BUCKET_PINS, TABLES
from muniment.pinning.model import new_request_id

FIRST_MS = 1_600_000_000_000
STEP_MS = 10
SIZE_BYTES, BLOCKS = 262_144, 1
SAMPLE = 1_000
"""Pins that are asked for one by one."""

_COLUMNS = (
    "organization_id, created_ms, request_id, bucket, status, cid, cid_key, name, folded_name, origins, meta, tags, in_group,"
    " priority, job_id, detail, size_bytes, blocks, changed_ms, actor"
)
_INDEXES = {
    statement.split()[2]: statement
    for statement in TABLES
    if statement.startswith("CREATE INDEX pins_by")
}
_RAW_SHA256 = bytes.fromhex("01551220")
_BATCH = 50_000

Row = tuple[str | int | bytes, ...]


def rows(organization_id: str, pins: int) -> Iterator[Row]:
    """So many rows of the table `pins`, oldest first."""
    for number in range(pins):
        created_ms = FIRST_MS + number * STEP_MS
        bucket = FIRST_MS + number // BUCKET_PINS * BUCKET_PINS * STEP_MS
        key = _RAW_SHA256 + os.urandom(32)
        cid = "b" + base64.b32encode(key).decode("ascii").rstrip("=").lower()
        name = f"file {number}.bin"
        request_id = request_id_of(number)
        texts = ("[]", "{}", "[]", "", "normal", f"gone-{number}", "")
        yield (
            organization_id, created_ms, request_id, bucket, "pinned", cid, key, name, name,
            *texts, SIZE_BYTES, BLOCKS, created_ms, "system",
        )  # fmt: skip


def request_id_of(number: int) -> str:
    """The name of the pin with a number."""
    return new_request_id(FIRST_MS + number * STEP_MS, number.to_bytes(10))


def fill(database: str | Path, organization_id: str, pins: int) -> None:
    """Give pins to an organisation that has none; the service must not run.

    Args:
        database: A SQLite file, or a PostgreSQL URL.
        organization_id: Whose they are.
        pins: How many.
    """
    found = rows(organization_id, pins)
    if isinstance(database, Path):
        _fill_sqlite(database, organization_id, found, pins)
    else:
        _fill_postgresql(database, organization_id, found, pins)


def sample(pins: int) -> list[str]:
    """The names of some of so many pins, evenly from the oldest to the newest."""
    return [request_id_of(number) for number in range(0, pins, max(1, pins // SAMPLE))]


def _bookkeeping(organization_id: str, pins: int) -> tuple[list[Row], Row]:
    """The rows of `pin_counts`, and that of `pin_heads`."""
    counts: list[Row] = [
        (organization_id, FIRST_MS + start * STEP_MS, 0, 0, min(BUCKET_PINS, pins - start), 0)
        for start in range(0, pins, BUCKET_PINS)
    ]
    last_ms, last = FIRST_MS + (pins - 1) * STEP_MS, counts[-1]
    totals = (organization_id, ALL, 0, 0, pins, 0)
    return [*counts, totals], (organization_id, last_ms, last[1], last[4])


def _fill_sqlite(file: Path, organization_id: str, found: Iterator[Row], pins: int) -> None:
    counts, head = _bookkeeping(organization_id, pins)
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")  # a fill that is cut off is thrown away
        connection.execute("BEGIN")
        for name in _INDEXES:
            connection.execute(f"DROP INDEX {name}")
        marks = ", ".join("?" * 20)
        connection.executemany(f"INSERT INTO pins ({_COLUMNS}) VALUES ({marks})", found)
        for statement in _INDEXES.values():
            connection.execute(statement)
        connection.executemany("INSERT INTO pin_counts VALUES (?, ?, ?, ?, ?, ?)", counts)
        connection.execute("INSERT INTO pin_heads VALUES (?, ?, ?, ?)", head)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _fill_postgresql(url: str, organization_id: str, found: Iterator[Row], pins: int) -> None:
    import psycopg  # noqa: PLC0415  # not needed for SQLite

    counts, head = _bookkeeping(organization_id, pins)
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            for name in _INDEXES:
                connection.execute(f"DROP INDEX {name}".encode())
            with connection.cursor().copy(f"COPY pins ({_COLUMNS}) FROM STDIN".encode()) as copy:
                while batch := list(islice(found, _BATCH)):
                    copy.write("".join(map(_line, batch)))
            for statement in _INDEXES.values():
                connection.execute(statement.encode())
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO pin_counts VALUES (%s, %s, %s, %s, %s, %s)", counts)
            connection.execute("INSERT INTO pin_heads VALUES (%s, %s, %s, %s)", head)
        connection.execute("VACUUM (ANALYZE) pins")  # as autovacuum will have done
        connection.execute("CHECKPOINT")


def _line(row: Row) -> str:
    """A row in COPY's own text; none of ours has a character that needs escaping."""
    cells = (f"\\\\x{cell.hex()}" if isinstance(cell, bytes) else str(cell) for cell in row)
    return "\t".join(cells) + "\n"
