"""What pinned content counts against the quota of an organisation: each DAG once, however many pins want it."""

from muniment.accounts.quotas import Allowance, Amount, check_room
from muniment.adapters.sql.organizations import found_organization
from muniment.adapters.sql.statements import Statements

TABLES = (
    """CREATE TABLE pin_holdings (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        cid_key {bytes} NOT NULL,
        size_bytes BIGINT NOT NULL,
        PRIMARY KEY (organization_id, cid_key)
    )""",
    "ALTER TABLE service_organizations ADD COLUMN pinned_bytes BIGINT NOT NULL DEFAULT 0",
)

_ADD = (
    """UPDATE service_organizations SET pinned_bytes = pinned_bytes + ? WHERE organization_id = ?"""
)
_HOLD = "INSERT INTO pin_holdings VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_FIND = "SELECT size_bytes FROM pin_holdings WHERE organization_id = ? AND cid_key = ?"


def take_turns(statements: Statements, organization_id: str) -> None:
    """Let nobody else hold or let go of content between the question whether it is wanted and what follows from the answer."""
    statements.take_turns(f"pinned content of {organization_id}")


def hold(statements: Statements, organization_id: str, cid_key: bytes, size_bytes: int) -> None:
    """Count content, unless it is counted already.

    Raises:
        QuotaExceededError: There is no room for it; nothing may be kept of the transaction.
    """
    if not statements.run(_HOLD, organization_id, cid_key, size_bytes):
        return
    # Counted first, which locks the row for uploads that want the same room, and checked then.
    statements.run(_ADD, size_bytes, organization_id)
    found, wanted = found_organization(statements, organization_id), Amount(size_bytes)
    check_room(wanted, Allowance("organisation", found.quota, found.held - wanted))


def let_go(statements: Statements, organization_id: str, cid_key: bytes) -> None:
    """Count content no more, if it was counted."""
    for (size_bytes,) in statements.rows(_FIND, organization_id, cid_key):
        statements.run(
            "DELETE FROM pin_holdings WHERE organization_id = ? AND cid_key = ?",
            organization_id,
            cid_key,
        )
        statements.run(_ADD, -size_bytes, organization_id)


def check(statements: Statements, organization_id: str, size_bytes: int) -> None:
    """Check that there would be room for so much more.

    Raises:
        QuotaExceededError: There is none.
    """
    found = found_organization(statements, organization_id)
    check_room(Amount(size_bytes), Allowance("organisation", found.quota, found.held))
