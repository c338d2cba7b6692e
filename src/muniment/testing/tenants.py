"""Organisations with keys of every kind, for tests of what a key may do and whom it belongs to."""

import os
import time
from typing import Protocol

from muniment.accounts.api_keys import ApiKey, new_token
from muniment.accounts.organizations import Act
from muniment.accounts.permissions import Permission, Role
from muniment.accounts.ports import AccountStore
from muniment.accounts.quotas import NO_LIMIT, Quota

_HOUR_S = 3600


class OrganizationMaker(Protocol):
    """What makes organisations: whoever runs a service."""

    def create_organization(
        self, organization_id: str, name: str, quota: Quota = ..., *, recovery: bool = ...
    ) -> tuple[str, object]:
        """Make an organisation; returns its owner's key, and more."""


class Tenants:
    """The organisations of a service under test.

    Args:
        maker: Makes them.
        accounts: Where keys are entered.
    """

    def __init__(self, maker: OrganizationMaker, accounts: AccountStore) -> None:
        self._maker = maker
        self._accounts = accounts
        self.owners: dict[str, str] = {}

    def add(self, organization_id: str, quota: Quota = NO_LIMIT) -> str:
        """Make an organisation; returns its owner's key."""
        name = f"The {organization_id} organisation"
        token, _keys = self._maker.create_organization(organization_id, name, quota, recovery=False)
        self.owners[organization_id] = token
        return token

    def key(
        self,
        organization_id: str,
        role: Role = Role.OWNER,
        *scopes: Permission,
        ends_in_s: int | None = None,
        max_uses: int | None = None,
    ) -> str:
        """Make a key; with scopes, it has only these."""
        now = int(time.time())
        token, key_id, digest = new_token(os.urandom)
        key = ApiKey(
            key_id,
            organization_id,
            f"a key of {role}",
            role,
            frozenset(scopes) or None,
            digest,
            now - _HOUR_S,
            expires_at=None if ends_in_s is None else now + ends_in_s,
            max_uses=max_uses,
        )
        self._accounts.add_key(self._act(organization_id), key)
        return token

    def useless_keys(self, organization_id: str) -> dict[str, str]:
        """Make a key of each kind that is good for nothing, and return them by what is wrong with them."""
        revoked, used_up = self.key(organization_id), self.key(organization_id, max_uses=1)
        accounts = self._accounts
        accounts.revoke_key(self._act(organization_id), key_id_of(revoked))
        accounts.use_key(accounts.key(organization_id, key_id_of(used_up)), int(time.time()))
        good = self.owners[organization_id]
        strange = good[:-1] + ("0" if good[-1] != "0" else "1")
        nobody, _key_id, _digest = new_token(os.urandom)
        return {
            "expired": self.key(organization_id, ends_in_s=-1),
            "revoked": revoked,
            "used up": used_up,
            "misspelt": strange,
            "unknown": nobody,
        }

    def _act(self, organization_id: str) -> Act:
        return Act(organization_id, "system", time.time_ns() // 1000, origin="test")


def key_id_of(token: str) -> str:
    """Return the public part of a key."""
    return token.split("_")[1]
