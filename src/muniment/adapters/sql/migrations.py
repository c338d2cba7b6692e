"""The schema's versions: an ordered list of steps that only go forward.

A step that was released is never edited: a change of the schema is a new step. `schema.py` describes what the last step
leaves behind, and a test holds the two together.
"""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from dataclasses import dataclass

from sqlalchemy import Connection

from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.statements import Statements
from muniment.errors import FormatError

Steps = tuple[tuple[str, ...], ...]

VERSIONS = "schema_version"

_INITIAL = (
    """CREATE TABLE organizations (
        org_id {number},
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL
    )""",
    """CREATE TABLE totals (
        org_id BIGINT NOT NULL PRIMARY KEY REFERENCES organizations (org_id),
        pending_files BIGINT NOT NULL DEFAULT 0,
        pending_bytes BIGINT NOT NULL DEFAULT 0,
        archived_files BIGINT NOT NULL DEFAULT 0,
        archived_bytes BIGINT NOT NULL DEFAULT 0,
        sealed_bytes BIGINT NOT NULL DEFAULT 0,
        commits BIGINT NOT NULL DEFAULT 0,
        unfinished_commits BIGINT NOT NULL DEFAULT 0,
        timestamps_queued BIGINT NOT NULL DEFAULT 0,
        timestamps_pending BIGINT NOT NULL DEFAULT 0,
        not_backed_up BIGINT NOT NULL DEFAULT 0,
        problems BIGINT NOT NULL DEFAULT 0
    )""",
    """CREATE TABLE roots (
        org_id BIGINT NOT NULL REFERENCES organizations (org_id),
        path {bytes} NOT NULL,
        PRIMARY KEY (org_id, path)
    )""",
    """CREATE TABLE problems (
        org_id BIGINT NOT NULL REFERENCES organizations (org_id),
        path {bytes} NOT NULL,
        message TEXT NOT NULL,
        noticed_at BIGINT NOT NULL,
        PRIMARY KEY (org_id, path)
    )""",
    "CREATE INDEX problems_by_time ON problems (org_id, noticed_at, path)",
    """CREATE TABLE commits (
        number {number},
        org_id BIGINT NOT NULL REFERENCES organizations (org_id),
        commit_id TEXT NOT NULL,
        state TEXT NOT NULL,
        claim_expires_at BIGINT,
        created_at BIGINT NOT NULL,
        chunk_bytes BIGINT NOT NULL,
        sequence BIGINT,
        merkle_root {bytes},
        manifest_sha256 {bytes},
        leaf_count BIGINT NOT NULL,
        source_bytes BIGINT NOT NULL,
        sealed_bytes BIGINT NOT NULL,
        commit_cid TEXT,
        timestamp TEXT NOT NULL,
        bitcoin_height BIGINT,
        bitcoin_time BIGINT,
        backed_up_at BIGINT,
        UNIQUE (org_id, commit_id)
    )""",
    "CREATE INDEX commits_by_time ON commits (org_id, created_at, number)",
    "CREATE INDEX commits_by_sequence ON commits (org_id, sequence)",
    "CREATE INDEX commits_unfinished ON commits (org_id, number) WHERE state <> 'stored'",
    """CREATE TABLE files (
        file_id {number},
        org_id BIGINT NOT NULL REFERENCES organizations (org_id),
        path {bytes} NOT NULL,
        kind TEXT NOT NULL,
        size BIGINT NOT NULL,
        mode BIGINT NOT NULL,
        mtime_ns BIGINT NOT NULL,
        ctime_ns BIGINT NOT NULL,
        inode BIGINT NOT NULL,
        target {bytes},
        latest SMALLINT NOT NULL,
        held SMALLINT NOT NULL DEFAULT 0,
        commit_number BIGINT REFERENCES commits (number),
        leaf BIGINT,
        sequence BIGINT,
        digest {bytes},
        media_type TEXT,
        content_commit_id TEXT,
        content_leaf BIGINT,
        content_offset BIGINT,
        sealed_size BIGINT,
        packed_size BIGINT,
        compression TEXT
    )""",
    "CREATE UNIQUE INDEX files_latest ON files (org_id, path) WHERE latest = 1",
    "CREATE UNIQUE INDEX files_pending ON files (org_id, path) WHERE commit_number IS NULL",
    "CREATE INDEX files_held ON files (org_id) WHERE held = 1",
    "CREATE INDEX files_archived ON files (org_id, path, sequence) WHERE sequence IS NOT NULL",
    "CREATE INDEX files_by_commit ON files (commit_number, leaf) WHERE commit_number IS NOT NULL",
    """CREATE INDEX files_by_digest ON files (org_id, digest)
        WHERE content_offset IS NOT NULL AND content_commit_id IS NULL""",
    """CREATE INDEX files_by_size ON files (org_id, size)
        WHERE content_offset IS NOT NULL AND content_commit_id IS NULL""",
)

_COPIES = (
    "CREATE INDEX files_copies ON files (org_id, digest) WHERE content_commit_id IS NOT NULL",
)

MIGRATIONS: Steps = (_INITIAL, _COPIES)
"""Step n, counted from 1, leads from schema version n - 1 to n."""


def version_of(database: Database, steps: Steps | None = None, versions: str = VERSIONS) -> int:
    """Return the version of a schema; 0 where there is none yet. The arguments are those of `migrate`.

    Raises:
        FormatError: The database was written by a newer Muniment.
    """
    schema = _Schema(database, MIGRATIONS if steps is None else steps, versions)
    with database.transaction() as connection:
        return schema.version(connection)


def migrate(database: Database, steps: Steps | None = None, versions: str = VERSIONS) -> None:
    """Bring a schema to its newest version, each step in a transaction of its own.

    Args:
        database: Where the schema is.
        steps: Its steps; those of the catalogue if left out.
        versions: Name of the table that holds its version.

    Raises:
        FormatError: The database was written by a newer Muniment.
    """
    steps = MIGRATIONS if steps is None else steps
    schema = _Schema(database, steps, versions)
    with database.transaction() as connection:
        if schema.version(connection) == len(steps):
            return
    for target in range(1, len(steps) + 1):
        with database.transaction(write=True) as connection:
            # Several processes may start at once with a database that is empty or old.
            Statements(connection, database.dialect).take_turns(f"migration of {versions}")
            if schema.version(connection) < target:
                schema.step(connection, target)


@dataclass(frozen=True, slots=True)
class _Schema:
    database: Database
    steps: Steps
    versions: str

    def version(self, connection: Connection) -> int:
        if not connection.dialect.has_table(connection, self.versions):
            return 0
        version = int(
            connection.exec_driver_sql(f"SELECT version FROM {self.versions}").scalar_one()
        )
        if version > len(self.steps):
            raise FormatError(
                f"{self.database.name} has schema version {version}, and this Muniment knows versions up to"
                f" {len(self.steps)}: use the newer Muniment that wrote it"
            )
        return version

    def step(self, connection: Connection, target: int) -> None:
        if target == 1:
            connection.exec_driver_sql(f"CREATE TABLE {self.versions} (version BIGINT NOT NULL)")
            connection.exec_driver_sql(f"INSERT INTO {self.versions} VALUES (0)")
        for statement in self.steps[target - 1]:
            connection.exec_driver_sql(self.database.dialect.sql(statement))
        connection.exec_driver_sql(f"UPDATE {self.versions} SET version = {target}")
