"""The table of uploads, its steps of migration, and its rows: written, and read back as `Upload`."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from muniment.adapters.sql.statements import Row, Statements
from muniment.errors import ConflictError, NotFoundError
from muniment.uploads.upload import Upload, UploadState

TABLES = (
    """CREATE TABLE uploads (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        upload_id TEXT NOT NULL,
        path {bytes} NOT NULL,
        size_bytes BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        actor TEXT NOT NULL,
        state TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        place {bytes},
        PRIMARY KEY (organization_id, upload_id)
    )""",
    "CREATE INDEX uploads_by_time ON uploads (organization_id, created_at, upload_id)",
    "CREATE UNIQUE INDEX uploads_by_place ON uploads (organization_id, place) WHERE place IS NOT NULL",
    "CREATE INDEX uploads_unfinished ON uploads (state) WHERE state IN ('receiving', 'moving')",
)

RESUMABLE = (
    "ALTER TABLE uploads ADD COLUMN is_resumable SMALLINT NOT NULL DEFAULT 0",
    "ALTER TABLE uploads ADD COLUMN metadata TEXT NOT NULL DEFAULT ''",
    "DROP INDEX uploads_unfinished",
    "CREATE INDEX uploads_unfinished ON uploads (state) WHERE state IN ('receiving', 'moving', 'deleting')",
    "CREATE INDEX uploads_waiting_by_path ON uploads (organization_id, path) WHERE state IN ('moving', 'received')",
)
"""The step of migration that came with resumable uploads, and with deleting received ones."""

PLACED_AT_ONCE = (
    "UPDATE uploads SET state = 'receiving' WHERE state = 'moving'",
    "DROP INDEX uploads_unfinished",
    "CREATE INDEX uploads_unfinished ON uploads (state) WHERE state IN ('receiving', 'deleting')",
    "DROP INDEX uploads_waiting_by_path",
    "CREATE INDEX uploads_waiting_by_path ON uploads (organization_id, path) WHERE state = 'received'",
)
"""The step of migration since which an upload is received, placed and counted in one transaction."""

KEYED = ("ALTER TABLE uploads ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",)
"""The step of migration that came with quotas of keys."""

JOINED = ("ALTER TABLE uploads ADD COLUMN concat TEXT NOT NULL DEFAULT ''",)
"""The step of migration that came with uploads in several parts at once."""

DATED = ("ALTER TABLE uploads ADD COLUMN modified_at_ns BIGINT",)
"""The step of migration since which an upload keeps the time of modification that its client gave."""

_COLUMNS = """organization_id, upload_id, path, size_bytes, created_at, expires_at, actor, state, sha256, place,
    is_resumable, metadata, key_id, concat, modified_at_ns"""

UPLOAD = f"SELECT {_COLUMNS} FROM uploads"
"""The beginning of a statement whose rows `upload_of` understands."""


def insert(statements: Statements, upload: Upload) -> None:
    """Enter an upload."""
    statements.run(
        f"INSERT INTO uploads ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        upload.organization_id,
        upload.upload_id,
        upload.path,
        upload.size_bytes,
        upload.created_at,
        upload.expires_at,
        upload.actor,
        upload.state,
        upload.sha256,
        upload.place or None,
        int(upload.is_resumable),
        upload.metadata,
        upload.key_id,
        upload.concat,
        upload.modified_at_ns,
    )


def note_received(statements: Statements, upload: Upload) -> None:
    """Note that an upload that was being received is received.

    Raises:
        ConflictError: It was given up, or received already.
    """
    changed = statements.run(
        "UPDATE uploads SET state = ?, size_bytes = ?, sha256 = ?, place = ?"
        " WHERE organization_id = ? AND upload_id = ? AND state = ?",
        upload.state,
        upload.size_bytes,
        upload.sha256,
        upload.place,
        upload.organization_id,
        upload.upload_id,
        UploadState.RECEIVING,
    )
    if not changed:
        raise ConflictError(f"the upload {upload.upload_id} is over already")


def found_upload(statements: Statements, organization_id: str, upload_id: str) -> Upload:
    """Return an upload.

    Raises:
        NotFoundError: The organisation has no such upload.
    """
    rows = statements.rows(
        f"{UPLOAD} WHERE organization_id = ? AND upload_id = ?", organization_id, upload_id
    )
    if not rows:
        raise NotFoundError(f"there is no upload {upload_id!r}")
    return upload_of(rows[0])


def upload_of(row: Row) -> Upload:
    """Return what a row says."""
    organization_id, upload_id, path, size_bytes, created_at, expires_at, *rest = row
    actor, state, sha256, place, is_resumable, metadata, key_id, concat, modified_at_ns = rest
    return Upload(
        organization_id,
        upload_id,
        bytes(path),
        size_bytes,
        created_at,
        expires_at,
        actor,
        UploadState(state),
        sha256,
        bytes(place or b""),
        bool(is_resumable),
        metadata,
        key_id,
        concat=concat,
        modified_at_ns=modified_at_ns,
    )
