"""`muniment db`."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from muniment.entrypoints.cli.services import service_home
from muniment.entrypoints.cli.session import Group, Session, pass_session
from muniment.errors import PendingError

if TYPE_CHECKING:
    from muniment.adapters.sql.engine import Database


@click.group(cls=Group, name="db", short_help="Look after the database of a service.")
def command() -> None:
    """Look after the database of a service: SQLite in its home, or PostgreSQL."""


@command.command("upgrade", short_help="Bring the database to the newest version.")
@pass_session
def upgrade(session: Session) -> None:
    """Bring the database to the version that this software needs; `muniment serve` does the same when it starts.

    Versions only go forward, and what an upgrade does, running servers of the version before can live with.
    """
    from muniment.adapters.sql.checking import NEWEST, version_of  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.sql.migrations import migrate  # noqa: PLC0415
    from muniment.adapters.sql.service import (  # noqa: PLC0415
        SERVICE_MIGRATIONS,
        SERVICE_VERSIONS,
    )

    with _database(session) as database:
        before = version_of(database)
        migrate(database, SERVICE_MIGRATIONS, SERVICE_VERSIONS)
    session.say(
        f"The database has version {NEWEST}"
        + (" as before." if before == NEWEST else f"; before, it had {before}.")
    )
    session.answer({"version": NEWEST, "version_before": before})


@command.command("check", short_help="Check the database: its version, its file, the audit logs.")
@pass_session
def check(session: Session) -> None:
    """Check that the database has the version that this software needs, that its file is whole, and that no audit log was changed.

    Nothing is written. It ends with 8 where `muniment db upgrade` is due, and with 4 where something is damaged.
    """
    from muniment.adapters.sql import checking  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.sql.accounts import SqlAccounts  # noqa: PLC0415

    with _database(session) as database:
        version = checking.version_of(database)
        if version:
            checking.check_database(database)
        if version < checking.NEWEST:
            raise PendingError(
                f"the database has version {version}, expected {checking.NEWEST}: run `muniment db upgrade`"
            )
        organizations = SqlAccounts(database).organizations()
        entries = {
            organization.organization_id: checking.check_audit(
                database, organization.organization_id
            )[0]
            for organization in organizations
        }
    session.say(
        f"The database is whole, and has version {version}.",
        *(f"{name}  {count:,} audit entries, none changed" for name, count in entries.items()),
    )
    session.answer({"version": version, "audit_entries": entries})


@contextlib.contextmanager
def _database(session: Session) -> "Iterator[Database]":
    from muniment.adapters.sql.engine import open_database  # noqa: PLC0415  # costs start-up time
    from muniment.bootstrap.service import CONFIG, DATABASE  # noqa: PLC0415
    from muniment.settings.service import ServiceSettings  # noqa: PLC0415

    home = service_home(session)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(ServiceSettings.load(home / CONFIG).database or home / DATABASE)
    try:
        yield database
    finally:
        database.close()
