"""`Principal`: on whose behalf a request is made, in which organisation, and what it may do there."""

from dataclasses import dataclass

from muniment.accounts.permissions import Permission
from muniment.errors import MunimentError


class AuthenticationError(MunimentError):
    """The credentials are missing, unknown, expired, used up or revoked; which of them is not told."""


class PermissionDeniedError(MunimentError):
    """The principal may not do that."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts.

    Attributes:
        organization_id: The one organisation whose objects exist for this principal.
        actor: Who it is, for the audit log: `key:<key id>` or `member:<member id>`.
        permissions: What it may do.
        key_id: The API key that it came with; empty for none.
    """

    organization_id: str
    actor: str
    permissions: frozenset[Permission]
    key_id: str = ""

    def require(self, permission: Permission) -> None:
        """Check that it may do something.

        Raises:
            PermissionDeniedError: It may not.
        """
        if permission not in self.permissions:
            raise PermissionDeniedError(f"this key may not do that: it lacks {permission}")
