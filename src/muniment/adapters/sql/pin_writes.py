"""Writing the rows of pins, with the labels that they are found by."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial

from muniment.adapters.sql.pin_rows import labels_of, names_of
from muniment.adapters.sql.statements import Statements
from muniment.pinning.filters import fold
from muniment.pinning.model import NewPin, Pin

_INSERT = """INSERT INTO pins (organization_id, created_ms, request_id, bucket, status, cid, cid_key, name, folded_name, origins,
    meta, tags, in_group, priority, job_id, changed_ms, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_CHANGE = """UPDATE pins SET name = ?, folded_name = ?, meta = ?, tags = ?, in_group = ?, priority = ?, changed_ms = ?
    WHERE organization_id = ? AND created_ms = ?"""
_LABELLED = """INSERT INTO pin_label_names (organization_id, kind, name, pins) VALUES (?, ?, ?, ?)
    ON CONFLICT (organization_id, kind, name) DO UPDATE SET pins = pin_label_names.pins + excluded.pins"""


def insert(statements: Statements, pins: Sequence[Pin], bucket: int) -> None:
    """Write new pins of one bucket."""
    rows = [
        (
            pin.organization_id,
            pin.created_ms,
            pin.request_id,
            bucket,
            pin.status,
            pin.wanted.cid,
            pin.wanted.key,
            *_names(pin.wanted),
            json.dumps(list(pin.wanted.origins)),
            *_notes(pin.wanted),
            pin.job_id,
            pin.changed_ms,
            pin.actor,
        )
        for pin in pins
    ]
    statements.run_many(_INSERT, rows)
    for pin in pins:
        relabel(statements, pin, None, pin.wanted)


def update(statements: Statements, old: Pin, new: Pin) -> None:
    """Write what has changed about a pin, and tell its job if that is to be done before others."""
    place = (old.organization_id, old.created_ms)
    notes = (*_names(new.wanted), *_notes(new.wanted))
    statements.run(_CHANGE, *notes, new.changed_ms, *place)
    relabel(statements, old, old.wanted, new.wanted)
    if new.wanted.priority is not old.wanted.priority:
        sql = "UPDATE jobs SET priority = ? WHERE organization_id = ? AND job_id = ?"
        statements.run(sql, new.wanted.priority.of_job, old.organization_id, old.job_id)


def _names(wanted: NewPin) -> tuple[str | None, str | None]:
    return wanted.name, None if wanted.name is None else fold(wanted.name)


def _notes(wanted: NewPin) -> tuple[str, str, str, str]:
    return (
        json.dumps(dict(wanted.meta)),
        json.dumps(list(wanted.tags)),
        wanted.group,
        wanted.priority,
    )


def relabel(statements: Statements, pin: Pin, before: NewPin | None, after: NewPin | None) -> None:
    """Change by what a pin is found, and the counts of tags and groups."""
    old = labels_of(before) if before else set()
    new = labels_of(after) if after else set()
    statements.run_many(
        "DELETE FROM pin_labels WHERE organization_id = ? AND label = ? AND created_ms = ?",
        [(pin.organization_id, label, pin.created_ms) for label in sorted(old - new)],
    )
    statements.run_many(
        "INSERT INTO pin_labels VALUES (?, ?, ?)",
        [(pin.organization_id, label, pin.created_ms) for label in sorted(new - old)],
    )
    counts = Counter(names_of(after) if after else ())
    counts.subtract(names_of(before) if before else ())
    for (kind, name), count in counts.items():
        if count:
            write = partial(_count_label, statements, pin.organization_id, kind, name, count)
            statements.at_end(("pins", f"{pin.organization_id} {kind} {name}"), write)


def _count_label(
    statements: Statements, organization_id: str, kind: str, name: str, count: int
) -> None:
    statements.run(_LABELLED, organization_id, kind, name, count)
    if count < 0:
        sql = """DELETE FROM pin_label_names
            WHERE organization_id = ? AND kind = ? AND name = ? AND pins <= 0"""
        statements.run(sql, organization_id, kind, name)
