"""What accounts need of a database. Every change is written together with its entry in the audit log, or not at all.

Where a change takes a `check`, that is called within the transaction, with what is about to be changed and cannot change any more.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from muniment.accounts.api_keys import ApiKey
from muniment.accounts.audit import AuditEntry
from muniment.accounts.organizations import Act, Member, Organization
from muniment.accounts.permissions import Role
from muniment.accounts.quotas import Amount, Quota


class AccountStore(Protocol):
    """Organisations, members, keys, reservations and the audit log."""

    def create_organization(self, act: Act, organization: Organization) -> None:
        """Add an organisation.

        Raises:
            ConflictError: There is one of that id.
        """

    def organization(self, organization_id: str) -> Organization:
        """Return an organisation.

        Raises:
            NotFoundError: There is none of that id.
        """

    def organizations(self) -> list[Organization]:
        """Return all organisations by id: for whoever runs the service, never for a principal."""

    def set_quota(self, act: Act, quota: Quota) -> None:
        """Change what the organisation of the act may hold."""

    def add_member(self, act: Act, member: Member) -> None:
        """Add a member."""

    def members(self, organization_id: str) -> list[Member]:
        """Return the members by id."""

    def member(self, organization_id: str, member_id: str) -> Member:
        """Return a member.

        Raises:
            NotFoundError: There is no such member.
        """

    def set_role(
        self, act: Act, member_id: str, role: Role, check: Callable[[Member], None] | None = None
    ) -> Member:
        """Change what a member, and with it every key of theirs, may do; unless `check` raises at the sight of the member.

        Raises:
            NotFoundError: There is no such member.
            ConflictError: It is the last owner.
        """

    def remove_member(
        self, act: Act, member_id: str, check: Callable[[Member], None] | None = None
    ) -> None:
        """Remove a member, and revoke every key of theirs; unless `check` raises at the sight of the member.

        Raises:
            NotFoundError: There is no such member.
            ConflictError: It is the last owner.
        """

    def add_key(self, act: Act, key: ApiKey, *, maker_id: str = "") -> None:
        """Add a key. That of a member has the member's role, always. What it brings counts against the quota of the key that made it, too.

        Raises:
            NotFoundError: There is no such member, or no such maker.
            ConflictError: The role is not the member's; or too many keys with quotas made each other.
        """

    def find_key(self, key_id: str) -> ApiKey | None:
        """Return the key of any organisation: only for authentication."""

    def key(self, organization_id: str, key_id: str) -> ApiKey:
        """Return a key of the organisation.

        Raises:
            NotFoundError: It has no such key.
        """

    def keys(self, organization_id: str) -> list[ApiKey]:
        """Return the keys, newest first; those revoked or expired as well."""

    def rotate_key(
        self, act: Act, key_id: str, replaced_by: Callable[[ApiKey], ApiKey], *, ends_at: int
    ) -> ApiKey:
        """Add a key in the place of one that goes on working until `ends_at`, seconds since 1970. The two share one quota.

        Args:
            act: The change.
            key_id: The key that is to be replaced.
            replaced_by: Called like a `check`; returns the key that takes the place of the one that it is given.
            ends_at: When the old one ends.

        Returns:
            The new key.

        Raises:
            NotFoundError: The organisation has no such key.
            ConflictError: It is revoked, expired or used up: nothing that was ended comes back.
        """

    def revoke_key(
        self, act: Act, key_id: str, check: Callable[[ApiKey], None] | None = None
    ) -> None:
        """Revoke a key at once, unless `check` raises at the sight of it.

        Raises:
            NotFoundError: The organisation has no such key.
        """

    def use_key(self, key: ApiKey, now: int) -> bool:
        """Count one use of a key; returns whether it was still allowed. Uses of keys without a limit are noted once a minute."""

    def reserve(
        self,
        organization_id: str,
        reservation_id: str,
        amount: Amount,
        expires_at: int,
        key_id: str = "",
    ) -> None:
        """Promise room to an upload before it begins: in the organisation's quota, and in that of the key that brings it.

        Raises:
            QuotaExceededError: There is none in one of them.
        """

    def settle(self, organization_id: str, reservation_id: str, used: Amount | None) -> None:
        """Replace a reservation by what was really used; None gives everything back. Settling twice changes nothing."""

    def audit(self, organization_id: str, after: int, limit: int) -> list[AuditEntry]:
        """Return entries in order, beginning behind number `after`."""

    def audit_head(self, organization_id: str) -> tuple[int, str]:
        """Return the number and the hash of the last entry.

        Raises:
            NotFoundError: There is no such organisation.
        """

    def export_audit(self, organization_id: str, last: int | None = None) -> Iterator[AuditEntry]:
        """Iterate over all entries in order, up to number `last` or the one that is the last now, holding few of them at a time."""
