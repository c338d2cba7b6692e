"""What whoever runs the machine of a service may do there, without an API key."""

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.accounts.api_keys import ApiKey, new_token
from muniment.accounts.organizations import Act, Organization
from muniment.accounts.permissions import Permission, Role
from muniment.accounts.quotas import NO_LIMIT, Quota
from muniment.adapters.commit_store import COMMITS
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.archive import manifest
from muniment.bootstrap.archive import STAGING, STORE, Archive
from muniment.bootstrap.new_archive import create_archive
from muniment.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from muniment.adapters.key_files import NewKeys


def own_act(organization_id: str) -> Act:
    """Return the act of the service itself, or of whoever runs it."""
    return Act(organization_id, "system", time.time_ns() // 1000, origin="cli")


class Operator:
    """Whoever runs a service.

    Args:
        accounts: Its accounts.
        organization_home: Returns the archive home of an organisation.
        catalog: Where new organisations have their catalogue: the setting `catalog` of an archive.
    """

    def __init__(
        self,
        accounts: SqlAccounts,
        organization_home: Callable[[str], Path],
        catalog: str = "home",
    ) -> None:
        self._accounts = accounts
        self._organization_home = organization_home
        self._catalog = catalog

    def create_organization(
        self, organization_id: str, name: str, quota: Quota = NO_LIMIT, *, recovery: bool = True
    ) -> tuple[str, "NewKeys"]:
        """Make an organisation: its archive with new keys, and its first API key, an owner's.

        Returns:
            The API key, and the keys of the new archive, whose recovery kit has to be kept elsewhere.

        Raises:
            ConflictError: There is one of that id, or an archive in its place.
            UsageError: The id or the name is not valid.
        """
        organization = manifest.Organization(organization_id, name)
        home = self._organization_home(organization_id)
        self._check_is_new(organization_id)
        if home.exists():
            if _holds_commits(home):
                raise ConflictError(
                    f"there is an archive in {home} already: take it up with `muniment org adopt {organization_id}`"
                )
            # A run was killed before anybody saw the keys: nothing is sealed to them.
            os.rename(home, home.with_name(f".abandoned-{organization_id}-{secrets.token_hex(4)}"))
        new_keys = create_archive(home, organization, recovery=recovery, catalog=self._catalog)
        return self._enter(organization_id, name, quota), new_keys

    def adopt_organization(
        self, organization_id: str, quota: Quota = NO_LIMIT
    ) -> tuple[str, Organization]:
        """Make an organisation of an archive that lies in its place already, and its first API key, an owner's.

        Raises:
            ConflictError: There is one of that id.
            NotFoundError: There is no archive in its place.
            UsageError: The archive there is another organisation's.
        """
        self._check_is_new(organization_id)
        home = self._organization_home(organization_id)
        try:
            organization = Archive(home).organization
        except UsageError as error:
            raise NotFoundError(f"there is no archive in {home}") from error
        if organization.id != organization_id:
            raise UsageError(
                f"expected the archive of {organization_id} in {home}, got that of {organization.id}"
            )
        token = self._enter(organization_id, organization.name, quota)
        return token, self._accounts.organization(organization_id)

    def set_quota(self, organization_id: str, quota: Quota) -> Organization:
        """Change what an organisation may hold.

        Raises:
            NotFoundError: There is no such organisation.
        """
        self._accounts.set_quota(own_act(organization_id), quota)
        return self._accounts.organization(organization_id)

    def create_key(
        self,
        organization_id: str,
        name: str,
        role: Role,
        scopes: frozenset[Permission] | None = None,
        expires_at: int | None = None,
        max_uses: int | None = None,
        quota: Quota = NO_LIMIT,
    ) -> str:
        """Make an API key, and return it.

        Raises:
            NotFoundError: There is no such organisation.
        """
        self._accounts.organization(organization_id)
        token, key_id, digest = new_token(os.urandom)
        act = own_act(organization_id)
        key = ApiKey(
            key_id,
            organization_id,
            name,
            role,
            scopes,
            digest,
            act.at,
            expires_at,
            max_uses,
            quota=quota,
        )
        self._accounts.add_key(act, key)
        return token

    def rotate_key(self, organization_id: str, key_id: str, overlap_s: int) -> str:
        """Make a key in the place of one that goes on working for so long, and return it.

        Raises:
            NotFoundError: The organisation has no such key.
        """
        act = own_act(organization_id)
        token, new_id, digest = new_token(os.urandom)
        self._accounts.rotate_key(
            act,
            key_id,
            lambda old: old.successor(new_id, digest, act.at),
            ends_at=act.at + overlap_s,
        )
        return token

    def revoke_key(self, organization_id: str, key_id: str) -> None:
        """Revoke a key at once.

        Raises:
            NotFoundError: The organisation has no such key.
        """
        self._accounts.revoke_key(own_act(organization_id), key_id)

    def _check_is_new(self, organization_id: str) -> None:
        with contextlib.suppress(NotFoundError):
            self._accounts.organization(organization_id)
            raise ConflictError(f"there is an organisation {organization_id} already")

    def _enter(self, organization_id: str, name: str, quota: Quota) -> str:
        act = own_act(organization_id)
        self._accounts.create_organization(act, Organization(organization_id, name, act.at, quota))
        return self.create_key(organization_id, "first key", Role.OWNER)


def _holds_commits(home: Path) -> bool:
    """Tell whether anything was ever sealed, or is being sealed, to the keys of a home."""
    return any(
        next(folder.iterdir(), None) is not None
        for folder in (home / STORE / COMMITS, home / STAGING)
        if folder.is_dir()
    )
