"""The service's database: its steps of migration, over the tables of the modules that use them."""

import os

from muniment.adapters.sql import (
    api_keys,
    audit_log,
    events,
    idempotency,
    job_rows,
    members,
    organizations,
    pin_batches,
    pin_counts,
    pin_holdings,
    pin_rows,
    quotas,
    rate_limits,
    stored_commits,
    upload_rows,
    workers,
)
from muniment.adapters.sql.engine import RESTORE, Database, open_database
from muniment.adapters.sql.migrations import Steps, migrate

SERVICE_MIGRATIONS: Steps = (
    (
        *audit_log.TABLES,
        *organizations.TABLES,
        *members.TABLES,
        *api_keys.TABLES,
        *quotas.TABLES,
    ),
    upload_rows.TABLES,
    job_rows.TABLES,
    events.TABLES,
    (*idempotency.TABLES, *rate_limits.TABLES),
    stored_commits.TABLES,
    upload_rows.RESUMABLE,
    pin_rows.TABLES,
    workers.TABLES,
    pin_batches.TABLES,
    (*api_keys.ALLOWANCES, *upload_rows.KEYED),
    pin_holdings.TABLES,
    api_keys.MAKERS,
    pin_counts.TOTALS,
    upload_rows.PLACED_AT_ONCE,
    job_rows.LANES,
    upload_rows.JOINED,
    upload_rows.DATED,
)
"""Step n, counted from 1, leads from version n - 1 to n. A step that was released is never edited."""

CONNECTIONS = 16
"""Connections that a process keeps open: one for each thread that answers requests."""

_CACHE_KIB = 8 * 1024

SERVICE_VERSIONS = "service_schema_version"


def migrate_service(database: Database) -> None:
    """Bring a service's database to its newest version. On a server the organisations' catalogues are in it, too.

    Raises:
        FormatError: The database was written by a newer Muniment.
    """
    migrate(database, SERVICE_MIGRATIONS, SERVICE_VERSIONS)
    if database.is_server:
        migrate(database)


def open_service_database(url_or_path: str | os.PathLike[str]) -> Database:
    """Open the database of a service, creating and migrating it where need be.

    Raises:
        UsageError: The database cannot be opened.
        FormatError: The database was written by a newer Muniment.
        IntegrityError: The file is damaged or no database.
    """
    database = open_database(url_or_path, CONNECTIONS, _CACHE_KIB, RESTORE)
    try:
        migrate_service(database)
    except BaseException:
        database.close()
        raise
    return database
