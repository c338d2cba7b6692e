"""`EventStore` on a SQL database, and how events get there: at the end of the transaction that makes the change.

The row in `event_heads` is locked until the commit, so that numbers are given in the order of the commits.
"""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

import json
from collections.abc import Sequence
from typing import Any

from muniment.accounts.events import PERMISSIONS, Event, EventsGoneError, Kinds
from muniment.adapters.sql.statements import Row, SqlStore, Statements
from muniment.errors import UsageError
from muniment.jobs.model import NO_ORGANIZATION, Job, JobEvent

TABLES = (
    """CREATE TABLE events (
        organization_id TEXT NOT NULL,
        number BIGINT NOT NULL,
        at BIGINT NOT NULL,
        noun TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        actor TEXT NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (organization_id, number)
    )""",
    "CREATE INDEX events_by_time ON events (at)",
    """CREATE INDEX events_of_progress ON events (organization_id, subject)
        WHERE kind = 'operation.progressed'""",
    """CREATE TABLE event_heads (
        organization_id TEXT NOT NULL PRIMARY KEY,
        number BIGINT NOT NULL,
        removed BIGINT NOT NULL DEFAULT 0
    )""",
)

DATA_BYTES_MAX = 4_096
"""What a subject is now is left out if it takes more: whoever wants to know asks for it."""

_PRUNED_AT_ONCE = 1_000
_PROGRESSED = "operation.progressed"
_NEXT = """INSERT INTO event_heads (organization_id, number) VALUES (?, ?)
    ON CONFLICT (organization_id) DO UPDATE SET number = event_heads.number + excluded.number RETURNING number"""
_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_FORGET_PROGRESS = f"""DELETE FROM events
    WHERE organization_id = ? AND subject = ? AND kind = '{_PROGRESSED}'"""
_PAGE = """SELECT number, at, kind, subject, actor, data FROM events
    WHERE organization_id = ? AND number > ? AND (noun IN ({nouns}) OR kind IN ({kinds}))
    ORDER BY number LIMIT ?"""


def append(
    statements: Statements,
    organization_id: str,
    at: int,
    kind: str,
    subject: str,
    actor: str,
    data: dict[str, Any] | None = None,
) -> None:
    """Append an event at the end of the transaction. Its kind begins with a noun of `PERMISSIONS`, or nobody learns of it."""
    text = json.dumps(data or {}, separators=(",", ":"))
    text = text if len(text) <= DATA_BYTES_MAX else "{}"
    event: Row = (organization_id, at, kind.partition(".")[0], kind, subject, actor, text)
    statements.gather(("events", organization_id), event, _insert)


def on_job_change(statements: Statements, job: Job, event: JobEvent) -> None:
    """Append the event of a job, which clients know as an operation. Of its progress only the last word is kept."""
    if job.organization_id == NO_ORGANIZATION:
        return
    data: dict[str, Any] = {"kind": job.kind, "state": job.state.value, "attempts": job.attempts}
    if job.progress is not None:
        progress = job.progress
        data["progress"] = {
            "stage": progress.stage,
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
        }
    if job.problem is not None:
        data["problem"] = job.problem
    kind, subject = f"operation.{event.value}", f"operation:{job.job_id}"
    if event is JobEvent.PROGRESSED:
        statements.run(_FORGET_PROGRESS, job.organization_id, subject)
    append(statements, job.organization_id, statements.now(), kind, subject, "system", data)


class SqlEvents(SqlStore):
    """See `EventStore`."""

    def last(self, organization_id: str) -> int:
        """See `EventStore.last`."""
        return self.last_of([organization_id]).get(organization_id, 0)

    def last_of(self, organization_ids: list[str]) -> dict[str, int]:
        """See `EventStore.last_of`."""
        if not organization_ids:
            return {}
        sql = "SELECT organization_id, number FROM event_heads WHERE organization_id IN ({values})"
        with self._reading() as statements:
            return {name: int(number) for name, number in statements.sought(sql, organization_ids)}

    def events(
        self, organization_id: str, after: int, limit: int, kinds: Kinds
    ) -> tuple[list[Event], int]:
        """See `EventStore.events`."""
        nouns, others = sorted(kinds & PERMISSIONS.keys()), sorted(kinds - PERMISSIONS.keys())
        sql = _PAGE.format(nouns=_places(nouns), kinds=_places(others))
        with self._reading() as statements:
            last, removed = _head(statements, organization_id)
            if 0 < after < removed:
                raise EventsGoneError(
                    f"the events up to number {removed} are no longer kept: read the state of things, then go on after {last}"
                )
            if after > last:
                raise UsageError(f"there is no event with number {after} yet; the last is {last}")
            rows = statements.rows(sql, organization_id, after, *nouns, *others, limit)
        found = [_event(row) for row in rows]
        # Where the page is not full, nothing up to the end of the log is left to be told.
        return found, found[-1].number if len(found) == limit else last

    def prune(self, older_than: int) -> int:
        """See `EventStore.prune`."""
        with self._reading() as statements:
            sql = "SELECT organization_id, MAX(number) FROM events WHERE at < ? GROUP BY organization_id"
            ends = statements.rows(sql, older_than)
        removed = 0
        for organization_id, number in ends:
            while count := self._prune(organization_id, number):
                removed += count
        return removed

    def _prune(self, organization_id: str, number: int) -> int:
        """Remove the first events up to a number, and note up to where they are gone, both or neither."""
        sql = "SELECT number FROM events WHERE organization_id = ? AND number <= ? ORDER BY number LIMIT ?"
        with self._writing() as statements:
            rows = statements.rows(sql, organization_id, number, _PRUNED_AT_ONCE)
            if not rows:
                return 0
            last = rows[-1][0]
            sql = "UPDATE event_heads SET removed = ? WHERE organization_id = ? AND removed < ?"
            statements.run(sql, last, organization_id, last)
            sql = "DELETE FROM events WHERE organization_id = ? AND number <= ?"
            return statements.run(sql, organization_id, last)


def _insert(statements: Statements, events: list[Row]) -> None:
    """Number events of one organisation, and write them."""
    (last,) = statements.row(_NEXT, events[0][0], len(events))
    first = last - len(events) + 1
    rows = [(name, number, *values) for number, (name, *values) in enumerate(events, first)]
    statements.run_many(_INSERT, rows)


def _places(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values)) or "NULL"


def _head(statements: Statements, organization_id: str) -> tuple[int, int]:
    sql = "SELECT number, removed FROM event_heads WHERE organization_id = ?"
    rows = statements.rows(sql, organization_id)
    return rows[0] if rows else (0, 0)


def _event(row: Row) -> Event:
    number, at, kind, subject, actor, data = row
    return Event(number, at, kind, subject, actor, json.loads(data))
