"""A service: several organisations on one deployment, each with an archive home of its own.

A service's home holds::

    service.toml                      settings (docs/reference/settings.md)
    service.sqlite3                   accounts, jobs, uploads, pins, events; or they are in PostgreSQL
    organizations/<organization_id>/  an archive home, as `muniment init` makes one
    incoming/<organization_id>/       uploads that still arrive
    uploads/<organization_id>/        uploaded files that wait to be archived
"""

import os
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.accounts.api_keys import ApiKey, new_token
from muniment.accounts.organizations import Act, Organization
from muniment.accounts.permissions import Permission, Role
from muniment.accounts.quotas import NO_LIMIT, Quota
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.service import open_service_database
from muniment.adapters.sql.uploads import SqlUploads
from muniment.adapters.upload_files import UploadFiles
from muniment.archive import manifest
from muniment.bootstrap import Archive, create_archive
from muniment.service_settings import ServiceSettings
from muniment.uploads.receiving import Receiver

if TYPE_CHECKING:
    from muniment.adapters.sql.engine import Database

CONFIG = "service.toml"
DATABASE = "service.sqlite3"
ORGANIZATIONS = "organizations"
UPLOADS = "uploads"
INCOMING = "incoming"


class Service:
    """The service of one home: its parts, each made when asked for.

    Args:
        home: The service's home; made if need be.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    @cached_property
    def settings(self) -> ServiceSettings:
        """The settings."""
        return ServiceSettings.load(self.home / CONFIG)

    @cached_property
    def database(self) -> "Database":
        """The service's database, at the newest version of its schema."""
        return open_service_database(self.settings.database or self.home / DATABASE)

    @cached_property
    def accounts(self) -> SqlAccounts:
        """Organisations, members, keys and the audit log."""
        return SqlAccounts(self.database)

    @cached_property
    def receiver(self) -> Receiver:
        """What receives uploads."""
        return Receiver(
            SqlUploads(self.database),
            lambda organization_id: UploadFiles(
                self.home / INCOMING / organization_id,
                self.home / UPLOADS / organization_id,
            ),
            lambda at: time.strftime("%Y-%m-%d", time.gmtime(at)).encode(),
        )

    def organization_home(self, organization_id: str) -> Path:
        """Return the archive home of an organisation."""
        return self.home / ORGANIZATIONS / organization_id

    def archive(self, organization_id: str) -> Archive:
        """Open the archive of an organisation; whoever asks closes it."""
        return Archive(self.organization_home(organization_id))

    def create_organization(
        self, organization_id: str, name: str, quota: Quota = NO_LIMIT
    ) -> tuple[str, "object"]:
        """Make an organisation: its archive with new keys, and its first API key, an owner's.

        Returns:
            The API key, and the keys of the new archive, whose recovery kit has to be kept elsewhere.

        Raises:
            ConflictError: There is one of that id.
            UsageError: The id or the name is not valid.
        """
        organization = manifest.Organization(organization_id, name)
        new_keys = create_archive(self.organization_home(organization_id), organization)
        act = self._own_act(organization_id)
        self.accounts.create_organization(act, Organization(organization_id, name, act.at, quota))
        return self.create_key(organization_id, "first key", Role.OWNER), new_keys

    def create_key(
        self,
        organization_id: str,
        name: str,
        role: Role,
        scopes: frozenset[Permission] | None = None,
        expires_at: int | None = None,
    ) -> str:
        """Make an API key on behalf of whoever runs the service, and return it."""
        token, key_id, digest = new_token(os.urandom)
        act = self._own_act(organization_id)
        key = ApiKey(
            key_id, organization_id, name, role, scopes, digest, act.at, expires_at=expires_at
        )
        self.accounts.add_key(act, key)
        return token

    def close(self) -> None:
        """Release the database if it is open."""
        database = self.__dict__.pop("database", None)
        if database is not None:
            database.close()

    def _own_act(self, organization_id: str) -> Act:
        return Act(organization_id, "system", time.time_ns() // 1000, origin="cli")
