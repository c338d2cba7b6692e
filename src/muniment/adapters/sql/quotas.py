"""Room in the quotas, in SQL: promised to uploads that run, used by what is there, given back when it goes."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Iterable, Mapping

from muniment.accounts.quotas import NOTHING, Allowance, Amount, check_room
from muniment.adapters.sql.api_keys import allowances_of
from muniment.adapters.sql.organizations import found_organization
from muniment.adapters.sql.statements import SqlStore, Statements

TABLES = (
    """CREATE TABLE reservations (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        reservation_id TEXT NOT NULL,
        size_bytes BIGINT NOT NULL,
        files BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        PRIMARY KEY (organization_id, reservation_id)
    )""",
    "CREATE INDEX reservations_by_end ON reservations (expires_at)",
)

_CHANGE = """reserved_bytes = reserved_bytes + ?, reserved_files = reserved_files + ?,
    used_bytes = used_bytes + ?, used_files = used_files + ?"""


class SqlQuotas(SqlStore):
    """The part of `AccountStore` about quotas."""

    def reserve(
        self,
        organization_id: str,
        reservation_id: str,
        amount: Amount,
        expires_at: int,
        key_id: str = "",
    ) -> None:
        """See `AccountStore.reserve`."""
        with self._writing() as statements:
            reserve(statements, organization_id, reservation_id, amount, expires_at, key_id)

    def settle(self, organization_id: str, reservation_id: str, used: Amount | None) -> None:
        """See `AccountStore.settle`."""
        with self._writing() as statements:
            settle(statements, organization_id, reservation_id, used)


def reserve(
    statements: Statements,
    organization_id: str,
    reservation_id: str,
    amount: Amount,
    expires_at: int,
    key_id: str,
) -> None:
    """Reserve room within a transaction: see `AccountStore.reserve`."""
    allowances = check(statements, organization_id, amount, key_id, lock=True)
    statements.run(
        "INSERT INTO reservations (organization_id, reservation_id, size_bytes, files, expires_at, key_id)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        organization_id,
        reservation_id,
        amount.size_bytes,
        amount.files,
        expires_at,
        key_id,
    )
    _count(statements, organization_id, allowances, reserved=amount)


def use(statements: Statements, organization_id: str, amount: Amount, key_id: str) -> None:
    """Count within a transaction what is there now and had no room reserved before.

    Raises:
        QuotaExceededError: There is no room for it.
    """
    allowances = check(statements, organization_id, amount, key_id, lock=True)
    _count(statements, organization_id, allowances, used=amount)


def check(
    statements: Statements,
    organization_id: str,
    amount: Amount,
    key_id: str,
    *,
    lock: bool = False,
) -> Mapping[str, Allowance]:
    """Check within a transaction that there is room; returns the allowances of the key by their ids.

    Args:
        statements: The transaction.
        organization_id: Whose room it is.
        amount: For what.
        key_id: The key that brings it; empty for none.
        lock: Whether nobody else may take it before the transaction ends: two uploads never both get the last free byte, neither of the
            organisation nor of a key of it.

    Raises:
        QuotaExceededError: There is none.
    """
    found = found_organization(statements, organization_id, lock=lock)
    allowances = allowances_of(statements, organization_id, key_id) if key_id else {}
    check_room(amount, Allowance("organisation", found.quota, found.held), *allowances.values())
    return allowances


def settle(
    statements: Statements, organization_id: str, reservation_id: str, used: Amount | None
) -> None:
    """Settle a reservation within a transaction: see `AccountStore.settle`."""
    removed = statements.rows(
        "DELETE FROM reservations WHERE organization_id = ? AND reservation_id = ?"
        " RETURNING size_bytes, files, key_id",
        organization_id,
        reservation_id,
    )
    for size_bytes, files, key_id in removed:
        allowances = allowances_of(statements, organization_id, key_id) if key_id else ()
        promised = NOTHING - Amount(size_bytes, files)
        _count(statements, organization_id, allowances, reserved=promised, used=used or NOTHING)


def release(statements: Statements, organization_id: str, key_id: str, amount: Amount) -> None:
    """Give back within a transaction what was used by something that is no more, and that this key brought."""
    allowances = allowances_of(statements, organization_id, key_id) if key_id else ()
    _count(statements, organization_id, allowances, used=NOTHING - amount)


def _count(
    statements: Statements,
    organization_id: str,
    allowance_ids: Iterable[str],
    *,
    reserved: Amount = NOTHING,
    used: Amount = NOTHING,
) -> None:
    """Count for the organisation, the key and those that made it: in this order, so that nobody waits for each other."""
    amounts = (reserved.size_bytes, reserved.files, used.size_bytes, used.files)
    statements.run(
        f"UPDATE service_organizations SET {_CHANGE} WHERE organization_id = ?",
        *amounts,
        organization_id,
    )
    for allowance_id in allowance_ids:
        statements.run(
            f"UPDATE key_allowances SET {_CHANGE} WHERE organization_id = ? AND allowance_id = ?",
            *amounts,
            organization_id,
            allowance_id,
        )
