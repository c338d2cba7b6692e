"""Who may do what: one table, from role to permissions. What it does not list is denied.

A permission is what a scope of an API key names as well, so a key can be given less than its owner's role.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from muniment.errors import UsageError


class Permission(StrEnum):
    """One thing that can be allowed. The name is stable: API keys carry it as a scope."""

    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_WRITE = "organization:write"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    AUDIT_READ = "audit:read"
    FILES_LIST = "files:list"  # names, sizes, times: what a catalogue shows
    FILES_READ = "files:read"  # contents, decrypted
    FILES_WRITE = "files:write"  # uploads
    ARCHIVE_READ = "archive:read"  # commits, proofs, status
    ARCHIVE_WRITE = "archive:write"  # catalogue, archive, upgrade of timestamps
    OPERATIONS_READ = "operations:read"
    OPERATIONS_WRITE = "operations:write"  # resume and cancel
    PINS_READ = "pins:read"
    PINS_WRITE = "pins:write"
    EVENTS_READ = "events:read"


class Role(StrEnum):
    """What a member of an organisation is."""

    OWNER = "owner"
    ADMIN = "admin"
    ARCHIVIST = "archivist"
    CONTRIBUTOR = "contributor"
    READER = "reader"
    AUDITOR = "auditor"


_SEES = frozenset(
    {
        Permission.ORGANIZATION_READ,
        Permission.FILES_LIST,
        Permission.ARCHIVE_READ,
        Permission.OPERATIONS_READ,
        Permission.PINS_READ,
        Permission.EVENTS_READ,
    }
)
_WORKS = _SEES | {
    Permission.FILES_READ,
    Permission.FILES_WRITE,
    Permission.ARCHIVE_WRITE,
    Permission.OPERATIONS_WRITE,
    Permission.PINS_WRITE,
}

ROLES: Mapping[Role, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission),
    Role.ADMIN: frozenset(Permission) - {Permission.ORGANIZATION_WRITE},
    Role.ARCHIVIST: _WORKS,
    # Brings files in and sees how that goes; learns nothing of what others brought.
    Role.CONTRIBUTOR: frozenset(
        {Permission.ORGANIZATION_READ, Permission.FILES_WRITE, Permission.OPERATIONS_READ}
    ),
    Role.READER: _SEES | {Permission.FILES_READ},
    # Sees that everything is there and who did what, and no content.
    Role.AUDITOR: _SEES | {Permission.MEMBERS_READ, Permission.KEYS_READ, Permission.AUDIT_READ},
}
"""The table: everything that each role may do."""


def parse_scopes(names: Iterable[str]) -> frozenset[Permission]:
    """Return the permissions of these names.

    Raises:
        UsageError: One is unknown, or there is none.
    """
    scopes = set()
    for name in names:
        try:
            scopes.add(Permission(name))
        except ValueError:
            raise UsageError(
                f"expected a scope as in {', '.join(Permission)}, got {name!r}"
            ) from None
    if not scopes:
        raise UsageError("an empty list of scopes would allow nothing: name one, or leave it out")
    return frozenset(scopes)
