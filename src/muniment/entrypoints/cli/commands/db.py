"""`muniment db`."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from muniment.entrypoints.cli.services import service_home
from muniment.entrypoints.cli.session import Group, Session, pass_session
from muniment.errors import IntegrityError
from muniment.text import count

if TYPE_CHECKING:
    from muniment.adapters.sql.checking import CatalogCheck
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
    from muniment.adapters.sql.service import migrate_service  # noqa: PLC0415

    with _database(session) as database:
        before = version_of(database)
        migrate_service(database)
    session.say(
        f"The database has version {NEWEST}"
        + (" as before." if before == NEWEST else f"; before, it had {before}.")
    )
    session.answer({"version": NEWEST, "version_before": before})


@command.command("check", short_help="Check the databases: their files, counts, audit logs.")
@pass_session
def check(session: Session) -> None:
    """Check the databases of a service: its own, and the catalogue of every organisation.

    That is: the version that this software needs, whole files, counts that agree with what they count (quotas, pins,
    jobs, catalogues), and audit logs that nobody changed.

    Nothing is written. It ends with 8 where `muniment db upgrade` is due, and with 4 where something is damaged.
    """
    from muniment.bootstrap.checking import check_service  # noqa: PLC0415  # costs start-up time

    with _database(session) as database:
        found = check_service(service_home(session), database)
    if found.problems:
        raise IntegrityError("; ".join(map(str, found.problems)))
    session.say(
        f"The database is whole, and has version {found.version}.",
        *(
            f"{name}  {entries:,} audit entries, none changed; {_catalog_text(found.catalogs[name])}"
            for name, entries in found.audit_entries.items()
        ),
    )
    catalogs = {
        name: catalog and {"commits": catalog.commits, "files": catalog.files}
        for name, catalog in found.catalogs.items()
    }
    session.answer(
        {"version": found.version, "audit_entries": found.audit_entries, "catalogs": catalogs}
    )


def _catalog_text(catalog: "CatalogCheck | None") -> str:
    if catalog is None:
        return "no catalogue yet"
    return f"a catalogue of {count(catalog.commits, 'commit')} and {count(catalog.files, 'file')}"


@contextlib.contextmanager
def _database(session: Session) -> "Iterator[Database]":
    from muniment.adapters.sql.engine import RESTORE, open_database  # noqa: PLC0415  # costs start-up time
    from muniment.bootstrap.service import CONFIG, DATABASE  # noqa: PLC0415
    from muniment.settings.service import ServiceSettings  # noqa: PLC0415

    home = service_home(session)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = ServiceSettings.load(home / CONFIG).database or home / DATABASE
    database = open_database(address, remedy=RESTORE)
    try:
        yield database
    finally:
        database.close()
