"""`AccountStore` on a SQL database: all that is kept of organisations, in one store."""

from collections.abc import Iterator

from muniment.accounts.audit import AuditEntry
from muniment.adapters.sql import audit_log
from muniment.adapters.sql.api_keys import SqlApiKeys
from muniment.adapters.sql.members import SqlMembers
from muniment.adapters.sql.organizations import SqlOrganizations
from muniment.adapters.sql.quotas import SqlQuotas
from muniment.errors import NotFoundError

_AUDIT_PAGE = 200
"""Entries that are read at once. One holds 64 KiB at most, and a few hundred bytes mostly."""


class SqlAccounts(SqlOrganizations, SqlMembers, SqlApiKeys, SqlQuotas):
    """See `AccountStore`."""

    def audit(self, organization_id: str, after: int, limit: int) -> list[AuditEntry]:
        """See `AccountStore.audit`."""
        with self._reading() as statements:
            return audit_log.page(statements, organization_id, after, limit)

    def audit_head(self, organization_id: str) -> tuple[int, str]:
        """See `AccountStore.audit_head`."""
        sql = "SELECT number, hash FROM audit_heads WHERE organization_id = ?"
        with self._reading() as statements:
            heads = statements.rows(sql, organization_id)
        if not heads:
            raise NotFoundError(f"there is no organisation {organization_id!r}")
        number, digest = heads[0]
        return int(number), str(digest)

    def export_audit(self, organization_id: str, last: int | None = None) -> Iterator[AuditEntry]:
        """See `AccountStore.export_audit`."""
        if last is None:
            last, _hash = self.audit_head(organization_id)
        number = 0
        while number < last:
            entries = self.audit(organization_id, number, min(_AUDIT_PAGE, last - number))
            if not entries:
                return
            yield from entries
            number = entries[-1].number
