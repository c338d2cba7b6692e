"""Looking at a service's database without changing it: which version its schema has, and whether it is whole."""

from muniment.accounts.audit import verify_chain
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.service import SERVICE_MIGRATIONS, SERVICE_VERSIONS
from muniment.adapters.sql.statements import Statements
from muniment.errors import FormatError, IntegrityError, NotFoundError

NEWEST = len(SERVICE_MIGRATIONS)
"""The version that this software leads to."""


def version_of(database: Database) -> int:
    """Return the version of the schema; 0 for an empty database.

    Raises:
        FormatError: It was written by a newer Muniment.
    """
    with database.transaction() as connection:
        if not connection.dialect.has_table(connection, SERVICE_VERSIONS):
            return 0
        statements = Statements(connection, database.dialect)
        (version,) = statements.row(f"SELECT version FROM {SERVICE_VERSIONS}")  # noqa: S608  # a constant
    if version > NEWEST:
        raise FormatError(
            f"{database.name} has version {version}, and this Muniment knows versions up to {NEWEST}"
        )
    return int(version)


def check_database(database: Database) -> None:
    """Check what the database itself can check of its file; PostgreSQL checks pages by itself when it reads them.

    Raises:
        IntegrityError: It is damaged.
    """
    if database.dialect.clock is not None:
        return
    with database.transaction() as connection:
        statements = Statements(connection, database.dialect)
        found = [row[0] for row in statements.rows("PRAGMA integrity_check(10)")]
        found = [message for message in found if message != "ok"]
        strays = statements.rows("PRAGMA foreign_key_check")
    if found or strays:
        message = found[0] if found else f"{len(strays)} rows belong to nothing"
        raise IntegrityError(f"{database.name} is damaged: {message}")


def check_audit(database: Database, organization_id: str) -> tuple[int, str]:
    """Check the audit log of an organisation against its own chain and its head; returns how many entries it has, and the last hash.

    Raises:
        IntegrityError: It was changed, or its end is missing.
        NotFoundError: There is no such organisation.
    """
    with database.transaction() as connection:
        statements = Statements(connection, database.dialect)
        sql = "SELECT number, hash FROM audit_heads WHERE organization_id = ?"
        heads = statements.rows(sql, organization_id)
    if not heads:
        raise NotFoundError(f"there is no organisation {organization_id!r}")
    number, head = heads[0]
    entries = SqlAccounts(database).export_audit(organization_id)
    # What is appended while this reads comes behind the end that was noted.
    count, last = verify_chain(entry for entry in entries if entry.number <= number)
    if (count, last) != (number, head):
        raise IntegrityError(
            f"audit log of {organization_id}: expected {number} entries, got {count}: its end is missing"
        )
    return count, last
