"""The audit log's table: entries are appended within the transaction of what they tell of, and an event with each."""

import json

import msgspec

from muniment.accounts.audit import FIRST, AuditEntry
from muniment.accounts.organizations import Act, Fields
from muniment.adapters.sql import events
from muniment.adapters.sql.statements import Row, Statements

TABLES = (
    """CREATE TABLE audit_log (
        organization_id TEXT NOT NULL,
        number BIGINT NOT NULL,
        at BIGINT NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT NOT NULL,
        before TEXT,
        after TEXT,
        request_id TEXT NOT NULL,
        origin TEXT NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL,
        PRIMARY KEY (organization_id, number)
    )""",
    """CREATE TABLE audit_heads (
        organization_id TEXT NOT NULL PRIMARY KEY,
        number BIGINT NOT NULL,
        hash TEXT NOT NULL
    )""",
)


def begin(statements: Statements, organization_id: str) -> None:
    """Start the log of a new organisation."""
    statements.run("INSERT INTO audit_heads VALUES (?, 0, ?)", organization_id, FIRST)


def append(
    statements: Statements,
    act: Act,
    action: str,
    target: str,
    before: Fields | None = None,
    after: Fields | None = None,
) -> None:
    """Append an entry, and an event that tells the same, at the end of the transaction; whoever appends to the same log waits until then."""
    entry = AuditEntry(
        act.organization_id,
        0,
        act.at_us,
        act.actor,
        action,
        target,
        before,
        after,
        act.request_id,
        act.origin,
        FIRST,
    )
    statements.gather(("audit", act.organization_id), entry, _append)
    events.append(statements, act.organization_id, act.at_us, action, target, act.actor, after)


def _append(statements: Statements, entries: list[AuditEntry]) -> None:
    """Chain entries of one organisation to the end of its log."""
    organization_id = entries[0].organization_id
    number, previous = statements.row(
        "SELECT number, hash FROM audit_heads WHERE organization_id = ? {lock}", organization_id
    )
    rows = []
    for entry in entries:
        number += 1
        sealed = msgspec.structs.replace(entry, number=number, previous=previous).sealed()
        previous = sealed.hash
        changes = {"before": _text(sealed.before), "after": _text(sealed.after)}
        rows.append(tuple((msgspec.structs.asdict(sealed) | changes).values()))
    statements.run_many("INSERT INTO audit_log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    statements.run(
        "UPDATE audit_heads SET number = ?, hash = ? WHERE organization_id = ?",
        number,
        previous,
        organization_id,
    )


def page(statements: Statements, organization_id: str, after: int, limit: int) -> list[AuditEntry]:
    """Return entries in order, beginning behind number `after`."""
    rows = statements.rows(
        "SELECT * FROM audit_log WHERE organization_id = ? AND number > ? ORDER BY number LIMIT ?",
        organization_id,
        after,
        limit,
    )
    return [_entry(row) for row in rows]


def _entry(row: Row) -> AuditEntry:
    organization_id, number, at, actor, action, target, *changes = row
    before, after, request_id, origin, previous, digest = changes
    return AuditEntry(
        organization_id,
        number,
        at,
        actor,
        action,
        target,
        _fields(before),
        _fields(after),
        request_id,
        origin,
        previous,
        digest,
    )


def _text(fields: Fields | None) -> str | None:
    return None if fields is None else json.dumps(fields)


def _fields(text: str | None) -> Fields | None:
    return None if text is None else json.loads(text)
