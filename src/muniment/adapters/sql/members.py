"""Members of organisations in SQL: what each may do, and that an owner is left."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Callable
from dataclasses import replace

from muniment.accounts.organizations import Act, Fields, Member
from muniment.accounts.permissions import Role
from muniment.adapters.sql import audit_log
from muniment.adapters.sql.statements import Row, SqlStore, Statements
from muniment.errors import ConflictError, NotFoundError

TABLES = (
    """CREATE TABLE members (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        member_id TEXT NOT NULL,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (organization_id, member_id)
    )""",
)

_MEMBER = "SELECT member_id, organization_id, name, role, created_at FROM members"
_WHERE = "WHERE organization_id = ? AND member_id = ?"


class SqlMembers(SqlStore):
    """The part of `AccountStore` about members."""

    def add_member(self, act: Act, member: Member) -> None:
        """See `AccountStore.add_member`."""
        with self._writing() as statements:
            statements.run(
                "INSERT INTO members (member_id, organization_id, name, role, created_at) VALUES (?, ?, ?, ?, ?)",
                member.member_id,
                act.organization_id,
                member.name,
                member.role,
                member.created_at,
            )
            after = {"name": member.name, "role": member.role}
            audit_log.append(
                statements, act, "member.added", f"member:{member.member_id}", after=after
            )

    def members(self, organization_id: str) -> list[Member]:
        """See `AccountStore.members`."""
        with self._reading() as statements:
            rows = statements.rows(
                f"{_MEMBER} WHERE organization_id = ? ORDER BY member_id", organization_id
            )
            return [_member(row) for row in rows]

    def member(self, organization_id: str, member_id: str) -> Member:
        """See `AccountStore.member`."""
        with self._reading() as statements:
            return found_member(statements, organization_id, member_id)

    def set_role(
        self, act: Act, member_id: str, role: Role, check: Callable[[Member], None] | None = None
    ) -> Member:
        """See `AccountStore.set_role`."""
        with self._writing() as statements:
            before = _member_to_change(statements, act, member_id, check)
            if role is not Role.OWNER:
                _check_owners(statements, act, before)
            where = (act.organization_id, member_id)
            statements.run(f"UPDATE members SET role = ? {_WHERE}", role, *where)
            statements.run(f"UPDATE api_keys SET role = ? {_WHERE}", role, *where)
            change = {"role": before.role}, {"role": role}
            audit_log.append(statements, act, "member.role_changed", f"member:{member_id}", *change)
            return replace(before, role=role)

    def remove_member(
        self, act: Act, member_id: str, check: Callable[[Member], None] | None = None
    ) -> None:
        """See `AccountStore.remove_member`."""
        with self._writing() as statements:
            member = _member_to_change(statements, act, member_id, check)
            _check_owners(statements, act, member)
            where = (act.organization_id, member_id)
            revoked = statements.rows(
                f"UPDATE api_keys SET revoked_at = ? {_WHERE} AND revoked_at IS NULL RETURNING key_id",
                act.at,
                *where,
            )
            statements.run(f"DELETE FROM members {_WHERE}", *where)
            change: tuple[Fields, Fields] = {"revoked_at": None}, {"revoked_at": act.at}
            for (key_id,) in sorted(revoked):
                audit_log.append(statements, act, "key.revoked", f"key:{key_id}", *change)
            before = {"name": member.name, "role": member.role}
            audit_log.append(statements, act, "member.removed", f"member:{member_id}", before)


def _member_to_change(
    statements: Statements, act: Act, member_id: str, check: Callable[[Member], None] | None
) -> Member:
    take_turns(statements, act.organization_id)
    member = found_member(statements, act.organization_id, member_id)
    if check is not None:
        check(member)
    return member


def take_turns(statements: Statements, organization_id: str) -> None:
    """Let nobody else change members of an organisation, or add keys of theirs, until the end of the transaction.

    It is the first lock that a transaction takes. Locks of rows would not do: a change of a role would miss a key that is being added, and
    of two owners that remove each other, both could go.
    """
    statements.take_turns(f"members of {organization_id}")


def found_member(statements: Statements, organization_id: str, member_id: str) -> Member:
    """Return a member within a transaction: see `AccountStore.member`."""
    rows = statements.rows(f"{_MEMBER} {_WHERE}", organization_id, member_id)
    if not rows:
        raise NotFoundError(f"there is no member {member_id!r}")
    return _member(rows[0])


def _member(row: Row) -> Member:
    member_id, organization_id, name, role, created_at = row
    return Member(member_id, organization_id, name, Role(role), created_at)


def _check_owners(statements: Statements, act: Act, member: Member) -> None:
    """Check that an organisation keeps an owner when this member is one no more."""
    if member.role is not Role.OWNER:
        return
    owners = statements.rows(
        "SELECT member_id FROM members WHERE organization_id = ? AND role = ? LIMIT 2",
        act.organization_id,
        Role.OWNER,
    )
    if len(owners) == 1:
        raise ConflictError("an organisation keeps at least one owner: make another one first")
