"""`AccountStore` on a SQL database: all that is kept of organisations, in one store."""

from collections.abc import Iterator

from muniment.accounts.audit import AuditEntry
from muniment.adapters.sql import audit_log
from muniment.adapters.sql.api_keys import SqlApiKeys
from muniment.adapters.sql.members import SqlMembers
from muniment.adapters.sql.organizations import SqlOrganizations
from muniment.adapters.sql.quotas import SqlQuotas

_AUDIT_PAGE = 200
"""Entries that are read at once. One holds 64 KiB at most, and a few hundred bytes mostly."""


class SqlAccounts(SqlOrganizations, SqlMembers, SqlApiKeys, SqlQuotas):
    """See `AccountStore`."""

    def audit(self, organization_id: str, after: int, limit: int) -> list[AuditEntry]:
        """See `AccountStore.audit`."""
        with self._reading() as statements:
            return audit_log.page(statements, organization_id, after, limit)

    def export_audit(self, organization_id: str) -> Iterator[AuditEntry]:
        """See `AccountStore.export_audit`."""
        number = 0
        while entries := self.audit(organization_id, number, _AUDIT_PAGE):
            yield from entries
            number = entries[-1].number
