"""Where an archive's catalogue is: in a file of its home, or in the database of the service whose home it lies in.

An organisation's home lies in ``<service home>/organizations/<organization_id>/``. The database's address, with a password maybe, is written in
the service's settings alone: whoever works in an organisation's home has to be allowed to read those.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from muniment.errors import UsageError
from muniment.settings.archive import ArchiveSettings
from muniment.settings.service import ServiceSettings

if TYPE_CHECKING:
    from muniment.adapters.sql.catalog import SqlCatalog
    from muniment.adapters.sql.engine import Database

CATALOG = "catalogue.sqlite3"
ORGANIZATIONS = "organizations"
SERVICE_CONFIG = "service.toml"


def has_catalog(home: Path, settings: ArchiveSettings) -> bool:
    """Tell whether a home has a catalogue; opening one makes it."""
    return settings.catalog == "service" or (home / CATALOG).exists()


def open_home_catalog(
    home: Path, settings: ArchiveSettings, service: "Database | None" = None
) -> "SqlCatalog":
    """Open the catalogue of a home.

    Args:
        home: The home.
        settings: Its settings, which say where the catalogue is.
        service: The database of its service, for who has it open already.

    Raises:
        UsageError: The catalogue is in a service's database, and the home is not that of an organisation of a service, or the service has no such database.
    """
    from muniment.adapters.sql.catalog import (  # noqa: PLC0415  # SQLAlchemy takes 0.2 s to import
        open_catalog,
        shared_catalog,
    )
    from muniment.adapters.sql.engine import RESTORE  # noqa: PLC0415  # likewise

    names = settings.organization_id, settings.organization_name
    if settings.catalog == "home":
        return open_catalog(home / CATALOG, *names)
    url = _service_database(home, settings)
    if service is not None and service.is_server:
        return shared_catalog(service, *names)
    return open_catalog(url, *names, remedy=RESTORE)


def _service_database(home: Path, settings: ArchiveSettings) -> str:
    """Return the address of the database of the service that an organisation's home belongs to."""
    home = home.resolve()
    wanted = Path(ORGANIZATIONS, settings.organization_id)
    if Path(*home.parts[-2:]) != wanted:
        raise UsageError(
            f"the catalogue is in the database of a service, so the home must be SERVICE/{wanted}, got {home};"
            " for a home of its own, remove `catalog` from its config.toml and run `muniment rebuild`"
        )
    config = home.parents[1] / SERVICE_CONFIG
    url = ServiceSettings.load(config).database
    if not url.startswith("postgresql"):
        raise UsageError(
            f"the catalogue is in the PostgreSQL database of the service, which neither {config} nor"
            " MUNIMENT_SERVICE_DATABASE names"
        )
    return url
