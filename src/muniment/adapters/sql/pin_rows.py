"""The tables of pins, and between their rows and the values of the domain.

Everything is kept in the order of creation: `created_ms` is a pin's key in its organisation, and the cursor of every list. So that
a part of millions of pins can be counted, every `BUCKET_PINS` of them that were created together share a row of `pin_counts`.
"""

import hashlib
from collections.abc import Iterator

import msgspec

from muniment.adapters.sql.statements import Row
from muniment.pinning.model import NewPin, Pin, PinStatus, Priority

BUCKET_PINS = 4_096

TABLES = (
    """CREATE TABLE pins (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        created_ms BIGINT NOT NULL,
        request_id TEXT NOT NULL,
        bucket BIGINT NOT NULL,
        status TEXT NOT NULL,
        cid TEXT NOT NULL,
        cid_key {bytes} NOT NULL,
        name TEXT,
        folded_name TEXT,
        origins TEXT NOT NULL,
        meta TEXT NOT NULL,
        tags TEXT NOT NULL,
        in_group TEXT NOT NULL,
        priority TEXT NOT NULL,
        job_id TEXT NOT NULL,
        detail TEXT NOT NULL DEFAULT '',
        size_bytes BIGINT,
        blocks BIGINT,
        changed_ms BIGINT NOT NULL,
        actor TEXT NOT NULL,
        PRIMARY KEY (organization_id, created_ms)
    )""",
    "CREATE INDEX pins_by_status ON pins (organization_id, status, created_ms)",
    "CREATE INDEX pins_by_cid ON pins (organization_id, cid_key, created_ms)",
    """CREATE INDEX pins_by_name ON pins (organization_id, folded_name, created_ms)
        WHERE folded_name IS NOT NULL""",
    """CREATE TABLE pin_heads (
        organization_id TEXT NOT NULL PRIMARY KEY,
        created_ms BIGINT NOT NULL,
        bucket BIGINT NOT NULL,
        bucket_pins BIGINT NOT NULL
    )""",
    """CREATE TABLE pin_counts (
        organization_id TEXT NOT NULL,
        bucket BIGINT NOT NULL,
        queued BIGINT NOT NULL,
        pinning BIGINT NOT NULL,
        pinned BIGINT NOT NULL,
        failed BIGINT NOT NULL,
        PRIMARY KEY (organization_id, bucket)
    )""",
    """CREATE TABLE pin_labels (
        organization_id TEXT NOT NULL,
        label {bytes} NOT NULL,
        created_ms BIGINT NOT NULL,
        PRIMARY KEY (organization_id, label, created_ms)
    )""",
    """CREATE TABLE pin_label_names (
        organization_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        pins BIGINT NOT NULL,
        PRIMARY KEY (organization_id, kind, name)
    )""",
    """CREATE TABLE pin_replaced (
        organization_id TEXT NOT NULL,
        cid_key {bytes} NOT NULL,
        created_ms BIGINT NOT NULL,
        PRIMARY KEY (organization_id, cid_key, created_ms)
    )""",
    "CREATE INDEX pin_replaced_by ON pin_replaced (organization_id, created_ms)",
)

_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_meta = msgspec.json.Decoder(dict[str, str]).decode

COLUMNS = (
    "organization_id, created_ms, request_id, status, cid, name, origins, meta, tags, in_group, priority, job_id, detail,"
    " size_bytes, blocks, changed_ms, actor"
)
"""Columns in the order that `pin_of` reads."""


def pin_of(row: Row) -> Pin:
    """Read a row of `COLUMNS`."""
    organization_id, created_ms, request_id, status, cid, name, origins, meta, tags = row[:9]
    in_group, priority, job_id, *rest = row[9:]
    wanted = NewPin(
        cid,
        name,
        _texts(origins),
        _meta(meta),
        _texts(tags),
        in_group,
        Priority(priority),
    )
    return Pin(organization_id, request_id, created_ms, PinStatus(status), wanted, job_id, *rest)


def labels_of(wanted: NewPin) -> set[bytes]:
    """Return the labels of all that a pin can be found by but its CID and name."""
    labels = {meta_label(key, value) for key, value in wanted.meta.items()}
    return labels | {name_label(kind, name) for kind, name in names_of(wanted)}


def names_of(wanted: NewPin) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what a pin's tags and group are."""
    for tag in wanted.tags:
        yield "tag", tag
    if wanted.group:
        yield "group", wanted.group


def meta_label(key: str, value: str) -> bytes:
    """Return the label of an entry of `meta`."""
    return _label("meta", key, value)


def name_label(kind: str, name: str) -> bytes:
    """Return the label of a tag or a group."""
    return _label(kind, name)


def _label(*words: str) -> bytes:
    """Return a short name for words of any length; no word has a NUL."""
    return hashlib.sha256("\0".join(words).encode()).digest()[:16]
