"""Organisations in SQL: who has an archive here, and how much each may hold."""

from muniment.accounts.organizations import Act, Fields, Organization
from muniment.accounts.quotas import Amount, Quota
from muniment.adapters.sql import audit_log
from muniment.adapters.sql.statements import Row, SqlStore, Statements
from muniment.errors import ConflictError, NotFoundError

TABLES = (
    """CREATE TABLE service_organizations (
        organization_id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        quota_bytes BIGINT,
        quota_files BIGINT,
        used_bytes BIGINT NOT NULL DEFAULT 0,
        used_files BIGINT NOT NULL DEFAULT 0,
        reserved_bytes BIGINT NOT NULL DEFAULT 0,
        reserved_files BIGINT NOT NULL DEFAULT 0
    )""",
)

_ORGANIZATION = """SELECT organization_id, name, created_at, quota_bytes, quota_files, used_bytes, used_files,
    reserved_bytes, reserved_files, pinned_bytes FROM service_organizations"""


class SqlOrganizations(SqlStore):
    """The part of `AccountStore` about organisations."""

    def create_organization(self, act: Act, organization: Organization) -> None:
        """See `AccountStore.create_organization`."""
        with self._writing() as statements:
            if statements.rows(f"{_ORGANIZATION} WHERE organization_id = ?", act.organization_id):
                raise ConflictError(f"there is an organisation {act.organization_id} already")
            statements.run(
                "INSERT INTO service_organizations (organization_id, name, created_at, quota_bytes, quota_files)"
                " VALUES (?, ?, ?, ?, ?)",
                organization.organization_id,
                organization.name,
                organization.created_at,
                organization.quota.size_bytes,
                organization.quota.files,
            )
            audit_log.begin(statements, act.organization_id)
            audit_log.append(
                statements,
                act,
                "organization.created",
                f"organization:{act.organization_id}",
                after=quota_fields(organization.quota) | {"name": organization.name},
            )

    def organization(self, organization_id: str) -> Organization:
        """See `AccountStore.organization`."""
        with self._reading() as statements:
            return found_organization(statements, organization_id)

    def organizations(self) -> list[Organization]:
        """See `AccountStore.organizations`."""
        with self._reading() as statements:
            return [
                _organization(row)
                for row in statements.rows(f"{_ORGANIZATION} ORDER BY organization_id")
            ]

    def set_quota(self, act: Act, quota: Quota) -> None:
        """See `AccountStore.set_quota`."""
        with self._writing() as statements:
            before = found_organization(statements, act.organization_id)
            statements.run(
                "UPDATE service_organizations SET quota_bytes = ?, quota_files = ? WHERE organization_id = ?",
                quota.size_bytes,
                quota.files,
                act.organization_id,
            )
            audit_log.append(
                statements,
                act,
                "organization.quota_changed",
                f"organization:{act.organization_id}",
                quota_fields(before.quota),
                quota_fields(quota),
            )


def found_organization(
    statements: Statements, organization_id: str, *, lock: bool = False
) -> Organization:
    """Return an organisation within a transaction: see `AccountStore.organization`."""
    ending = " {lock}" if lock else ""
    rows = statements.rows(f"{_ORGANIZATION} WHERE organization_id = ?{ending}", organization_id)
    if not rows:
        raise NotFoundError(f"there is no organisation {organization_id!r}")
    return _organization(rows[0])


def _organization(row: Row) -> Organization:
    identifier, name, created_at, *amounts = row
    quota_bytes, quota_files, used_bytes, used_files, *promised, pinned_bytes = amounts
    return Organization(
        identifier,
        name,
        created_at,
        Quota(quota_bytes, quota_files),
        Amount(used_bytes, used_files),
        Amount(*promised),
        pinned_bytes,
    )


def quota_fields(quota: Quota) -> Fields:
    """Return a quota as the audit log tells it."""
    return {"quota_bytes": quota.size_bytes, "quota_files": quota.files}
