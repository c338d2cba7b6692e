"""Looking at databases without changing them: which version a schema has, whether file and rows are whole, and the audit logs."""

from dataclasses import dataclass

from muniment.accounts.audit import verify_chain
from muniment.adapters.sql import migrations
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.engine import RESTORE, Database
from muniment.adapters.sql.rules import broken_in_catalog, broken_in_service
from muniment.adapters.sql.service import SERVICE_MIGRATIONS, SERVICE_VERSIONS
from muniment.adapters.sql.statements import Statements
from muniment.adapters.sql.transaction import Transaction
from muniment.errors import IntegrityError

NEWEST = len(SERVICE_MIGRATIONS)
"""The version that this software leads a service's database to."""

NEWEST_CATALOG = len(migrations.MIGRATIONS)
"""The version that it leads a catalogue to."""


def version_of(database: Database) -> int:
    """Return the version of a service's schema; 0 for an empty database.

    Raises:
        FormatError: It was written by a newer Muniment.
    """
    return migrations.version_of(database, SERVICE_MIGRATIONS, SERVICE_VERSIONS)


def has_newest_catalog(database: Database) -> bool:
    """Tell whether a server's schema of catalogues is the newest; in a file each catalogue is brought on when it is opened.

    Raises:
        FormatError: It was written by a newer Muniment.
    """
    return not database.is_server or migrations.version_of(database) == NEWEST_CATALOG


def check_file(database: Database) -> None:
    """Check what the database itself can check of its file; a server checks pages by itself when it reads them.

    Raises:
        IntegrityError: It is damaged.
    """
    if database.is_server:
        return
    with database.transaction() as connection:
        statements = Statements(connection, database.dialect)
        found = [row[0] for row in statements.rows("PRAGMA integrity_check(10)")]
        found = [message for message in found if message != "ok"]
        strays = statements.rows("PRAGMA foreign_key_check")
    if found or strays:
        message = found[0] if found else f"{len(strays)} rows belong to nothing"
        raise IntegrityError(f"{database.name} is damaged: {message}; {database.remedy}")


def check_service(database: Database) -> None:
    """Check file and rows of a service's database, at the newest version of its schema.

    Raises:
        IntegrityError: It is damaged, or what is counted is not what is there.
    """
    check_file(database)
    with database.transaction() as connection:
        found = broken_in_service(Statements(connection, database.dialect))
    if found:
        raise IntegrityError(f"{database.name}: {'; '.join(found)}; {RESTORE}")


@dataclass(frozen=True, slots=True)
class CatalogCheck:
    """A catalogue that is whole.

    Attributes:
        commits: Stored commits in it.
        files: Versions of files in them.
    """

    commits: int
    files: int


def check_catalog(database: Database, organization_id: str) -> CatalogCheck | None:
    """Check an organisation's catalogue; None where the database has none of it yet, or it is of an older version.

    Raises:
        IntegrityError: It is damaged, or what is counted is not what is there.
        FormatError: It was written by a newer Muniment.
    """
    if migrations.version_of(database) != NEWEST_CATALOG:
        return None
    check_file(database)
    with database.transaction() as connection:
        sql = "SELECT org_id FROM organizations WHERE id = ?"
        statements = Statements(connection, database.dialect)
        numbers = [org_id for (org_id,) in statements.rows(sql, organization_id)]
        if not numbers:
            return None
        transaction = Transaction(connection, database.dialect, numbers[0])
        found = broken_in_catalog(transaction)
        counted = "SELECT commits, archived_files FROM totals WHERE org_id = ?"
        commits, files = transaction.row(counted, transaction.org_id)
    if found:
        raise IntegrityError(
            f"catalogue of {organization_id}: {'; '.join(found)}; `muniment rebuild` in its home makes it anew from the commits"
        )
    return CatalogCheck(commits, files)


def check_audit(database: Database, organization_id: str) -> tuple[int, str]:
    """Check the audit log of an organisation against its own chain and its head; returns how many entries it has, and the last hash.

    Raises:
        IntegrityError: It was changed, or its end is missing.
        NotFoundError: There is no such organisation.
    """
    accounts = SqlAccounts(database)
    number, head = accounts.audit_head(organization_id)
    # What is appended while this reads comes behind the end that was noted.
    count, last = verify_chain(accounts.export_audit(organization_id, number))
    if (count, last) != (number, head):
        raise IntegrityError(
            f"audit log of {organization_id}: expected {number} entries, got {count}: its end is missing"
        )
    return count, last
