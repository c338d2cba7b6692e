"""Checking all databases of a service without changing them: its own, and the catalogue of every organisation."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from muniment.adapters.sql import checking
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.catalog import REBUILD
from muniment.adapters.sql.checking import CatalogCheck
from muniment.adapters.sql.engine import Database, open_database
from muniment.bootstrap.archive import CONFIG
from muniment.bootstrap.catalogs import CATALOG, ORGANIZATIONS
from muniment.errors import MunimentError, NotFoundError, PendingError
from muniment.settings.archive import ArchiveSettings


@dataclass(slots=True)
class ServiceCheck:
    """What a check found.

    Attributes:
        version: The version of the service's schema.
        audit_entries: By organisation, how many entries its audit log has that nobody has changed.
        catalogs: By organisation, what its catalogue holds, where that is whole; None for one that nothing is in yet.
        problems: What is damaged.
    """

    version: int = 0
    audit_entries: dict[str, int] = field(default_factory=dict)
    catalogs: dict[str, CatalogCheck | None] = field(default_factory=dict)
    problems: list[MunimentError] = field(default_factory=list)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Do a check, and note what it finds damaged."""
        try:
            yield
        except MunimentError as error:
            self.problems.append(error)


def check_service(home: Path, database: Database) -> ServiceCheck:
    """Check the databases of the service of a home.

    Raises:
        FormatError: Its database was written by a newer Muniment.
        PendingError: It has to be upgraded first.
    """
    found = ServiceCheck(checking.version_of(database))
    if found.version < checking.NEWEST or not checking.has_newest_catalog(database):
        raise PendingError(
            f"the database has version {found.version}, expected {checking.NEWEST}: run `muniment db upgrade`"
        )
    with found.noting():
        checking.check_service(database)
    for organization in SqlAccounts(database).organizations():
        name = organization.organization_id
        with found.noting():
            found.audit_entries[name] = checking.check_audit(database, name)[0]
        with found.noting():
            found.catalogs[name] = _check_catalog(home, name, database)
    return found


def _check_catalog(service: Path, organization_id: str, database: Database) -> CatalogCheck | None:
    home = service / ORGANIZATIONS / organization_id
    if not (home / CONFIG).is_file():
        raise NotFoundError(f"there is no archive in {home}")
    if ArchiveSettings.load(home / CONFIG).catalog == "service":
        return checking.check_catalog(database, organization_id)
    if not (home / CATALOG).exists():
        return None
    with contextlib.closing(open_database(home / CATALOG, remedy=REBUILD)) as own:
        return checking.check_catalog(own, organization_id)
