"""`AccountStore` on a SQL database."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

import json
from collections.abc import Callable, Iterator

from muniment.accounts.api_keys import ApiKey
from muniment.accounts.audit import AuditEntry
from muniment.accounts.organizations import Act, Fields, Member, Organization
from muniment.accounts.permissions import Permission, Role
from muniment.accounts.quotas import Allowance, Amount, Quota, check_room
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
    """CREATE TABLE members (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        member_id TEXT NOT NULL,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (organization_id, member_id)
    )""",
    """CREATE TABLE api_keys (
        key_id TEXT NOT NULL PRIMARY KEY,
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        scopes TEXT,
        digest {bytes} NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT,
        max_uses BIGINT,
        uses BIGINT NOT NULL DEFAULT 0,
        last_used_at BIGINT,
        revoked_at BIGINT,
        member_id TEXT NOT NULL
    )""",
    "CREATE INDEX api_keys_by_organization ON api_keys (organization_id, created_at, key_id)",
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

KEY_ALLOWANCES = (
    """CREATE TABLE key_allowances (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        allowance_id TEXT NOT NULL,
        quota_bytes BIGINT,
        quota_files BIGINT,
        used_bytes BIGINT NOT NULL DEFAULT 0,
        used_files BIGINT NOT NULL DEFAULT 0,
        reserved_bytes BIGINT NOT NULL DEFAULT 0,
        reserved_files BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (organization_id, allowance_id)
    )""",
    "ALTER TABLE api_keys ADD COLUMN allowance_id TEXT NOT NULL DEFAULT ''",
    "UPDATE api_keys SET allowance_id = key_id",
    """INSERT INTO key_allowances (organization_id, allowance_id)
        SELECT organization_id, key_id FROM api_keys""",
    "ALTER TABLE reservations ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
)
"""The step of migration that came with quotas of keys. A key and those that take its place, one after another, share an allowance,
which has the id of the first of them."""

_USE_NOTED_S = 60
_AUDIT_PAGE = 1_000
_KEY = """SELECT api_keys.key_id, api_keys.organization_id, name, role, scopes, digest, created_at, expires_at, max_uses, uses,
    last_used_at, revoked_at, member_id, quota_bytes, quota_files, COALESCE(used_bytes, 0), COALESCE(used_files, 0),
    COALESCE(reserved_bytes, 0), COALESCE(reserved_files, 0)
    FROM api_keys LEFT JOIN key_allowances ON key_allowances.organization_id = api_keys.organization_id
    AND key_allowances.allowance_id = api_keys.allowance_id"""
_ORGANIZATION = """SELECT organization_id, name, created_at, quota_bytes, quota_files, used_bytes, used_files,
    reserved_bytes, reserved_files, pinned_bytes FROM service_organizations"""
_MEMBER = "SELECT member_id, organization_id, name, role, created_at FROM members"


class SqlAccounts(SqlStore):
    """See `AccountStore`."""

    # Organisations

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
            _note(
                statements,
                act,
                "organization.created",
                f"organization:{act.organization_id}",
                after=_quota_fields(organization.quota) | {"name": organization.name},
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
            _note(
                statements,
                act,
                "organization.quota_changed",
                f"organization:{act.organization_id}",
                _quota_fields(before.quota),
                _quota_fields(quota),
            )

    # Members

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
            _note(statements, act, "member.added", f"member:{member.member_id}", after=after)

    def members(self, organization_id: str) -> list[Member]:
        """See `AccountStore.members`."""
        with self._reading() as statements:
            rows = statements.rows(
                f"{_MEMBER} WHERE organization_id = ? ORDER BY member_id", organization_id
            )
            return [_member(row) for row in rows]

    def set_role(
        self, act: Act, member_id: str, role: Role, check: Callable[[Member], None] | None = None
    ) -> Member:
        """See `AccountStore.set_role`."""
        with self._writing() as statements:
            before = _member_to_change(statements, act, member_id, check)
            if role is not Role.OWNER:
                _check_owners(statements, act, before)
            where = (act.organization_id, member_id)
            statements.run(
                "UPDATE members SET role = ? WHERE organization_id = ? AND member_id = ?",
                role,
                *where,
            )
            statements.run(
                "UPDATE api_keys SET role = ? WHERE organization_id = ? AND member_id = ?",
                role,
                *where,
            )
            change = {"role": before.role}, {"role": role}
            _note(statements, act, "member.role_changed", f"member:{member_id}", *change)
            return _found_member(statements, act, member_id)

    def remove_member(
        self, act: Act, member_id: str, check: Callable[[Member], None] | None = None
    ) -> None:
        """See `AccountStore.remove_member`."""
        with self._writing() as statements:
            member = _member_to_change(statements, act, member_id, check)
            _check_owners(statements, act, member)
            where = (act.organization_id, member_id)
            statements.run(
                "UPDATE api_keys SET revoked_at = ? WHERE organization_id = ? AND member_id = ? AND revoked_at IS NULL",
                act.at,
                *where,
            )
            statements.run(
                "DELETE FROM members WHERE organization_id = ? AND member_id = ?", *where
            )
            before = {"name": member.name, "role": member.role}
            _note(statements, act, "member.removed", f"member:{member_id}", before)

    # Keys

    def add_key(self, act: Act, key: ApiKey) -> None:
        """See `AccountStore.add_key`."""
        with self._writing() as statements:
            if key.member_id:
                member = _found_member(statements, act, key.member_id)
                if member.role is not key.role:
                    raise ConflictError(
                        f"expected the role of the member, which is {member.role}, got {key.role}"
                    )
            _insert_allowance(statements, key)
            _insert_key(statements, key, key.key_id)
            _note(statements, act, "key.created", f"key:{key.key_id}", after=_key_fields(key))

    def find_key(self, key_id: str) -> ApiKey | None:
        """See `AccountStore.find_key`."""
        with self._reading() as statements:
            rows = statements.rows(f"{_KEY} WHERE key_id = ?", key_id)
        return _key(rows[0]) if rows else None

    def key(self, organization_id: str, key_id: str) -> ApiKey:
        """See `AccountStore.key`."""
        with self._reading() as statements:
            return _found_key(statements, organization_id, key_id)

    def keys(self, organization_id: str) -> list[ApiKey]:
        """See `AccountStore.keys`."""
        with self._reading() as statements:
            rows = statements.rows(
                f"{_KEY} WHERE api_keys.organization_id = ? ORDER BY created_at DESC, key_id",
                organization_id,
            )
        return [_key(row) for row in rows]

    def rotate_key(self, act: Act, key_id: str, new: ApiKey, *, ends_at: int) -> None:
        """See `AccountStore.rotate_key`."""
        with self._writing() as statements:
            old = _found_key(statements, act.organization_id, key_id, lock=True)
            if not old.is_usable_at(act.at):
                raise ConflictError(f"the key {key_id} is no good any more: make a new one")
            ends_at = min(ends_at, old.expires_at or ends_at)
            statements.run(
                "UPDATE api_keys SET expires_at = ? WHERE organization_id = ? AND key_id = ?",
                ends_at,
                act.organization_id,
                key_id,
            )
            (allowance_id,) = statements.row(
                "SELECT allowance_id FROM api_keys WHERE organization_id = ? AND key_id = ?",
                act.organization_id,
                key_id,
            )
            _insert_key(statements, new, allowance_id)
            _note(
                statements,
                act,
                "key.rotated",
                f"key:{key_id}",
                {"expires_at": old.expires_at},
                {"expires_at": ends_at, "replaced_by": new.key_id},
            )

    def revoke_key(self, act: Act, key_id: str) -> None:
        """See `AccountStore.revoke_key`."""
        with self._writing() as statements:
            key = _found_key(statements, act.organization_id, key_id, lock=True)
            if key.revoked_at is not None:
                return
            statements.run(
                "UPDATE api_keys SET revoked_at = ? WHERE organization_id = ? AND key_id = ?",
                act.at,
                act.organization_id,
                key_id,
            )
            change: tuple[Fields, Fields] = {"revoked_at": None}, {"revoked_at": act.at}
            _note(statements, act, "key.revoked", f"key:{key_id}", *change)

    def use_key(self, key: ApiKey, now: int) -> bool:
        """See `AccountStore.use_key`."""
        if key.max_uses is None and now - (key.last_used_at or 0) < _USE_NOTED_S:
            return True
        with self._writing() as statements:
            return bool(
                statements.run(
                    "UPDATE api_keys SET uses = uses + 1, last_used_at = ?"
                    " WHERE key_id = ? AND (max_uses IS NULL OR uses < max_uses)",
                    now,
                    key.key_id,
                )
            )

    # Quotas

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

    # The audit log

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


def reserve(
    statements: Statements,
    organization_id: str,
    reservation_id: str,
    amount: Amount,
    expires_at: int,
    key_id: str,
) -> None:
    """Reserve room within a transaction: see `AccountStore.reserve`."""
    # The row is locked: two uploads never both get the last free byte, neither of the organisation nor of a key of it.
    found = found_organization(statements, organization_id, lock=True)
    allowances = [Allowance("organisation", found.quota, found.held)]
    if key_id:
        key = _found_key(statements, organization_id, key_id)
        allowances.append(Allowance("key", key.quota, key.used + key.reserved))
    check_room(amount, *allowances)
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
    _add(statements, organization_id, key_id, "reserved", amount)


def settle(
    statements: Statements, organization_id: str, reservation_id: str, used: Amount | None
) -> None:
    """Settle a reservation within a transaction: see `AccountStore.settle`."""
    where = (organization_id, reservation_id)
    rows = statements.rows(
        "SELECT size_bytes, files, key_id FROM reservations WHERE organization_id = ? AND reservation_id = ?",
        *where,
    )
    removed = statements.run(
        "DELETE FROM reservations WHERE organization_id = ? AND reservation_id = ?", *where
    )
    if removed:
        size_bytes, files, key_id = rows[0]
        _add(statements, organization_id, key_id, "reserved", Amount() - Amount(size_bytes, files))
        _add(statements, organization_id, key_id, "used", used or Amount())


def release(statements: Statements, organization_id: str, key_id: str, amount: Amount) -> None:
    """Give back within a transaction what was used by something that is no more, and that this key brought."""
    _add(statements, organization_id, key_id, "used", Amount() - amount)


_note = audit_log.append


def _add(
    statements: Statements, organization_id: str, key_id: str, what: str, amount: Amount
) -> None:
    """Add to what is counted for the organisation, and for the key: always in this order, so that nobody waits for each other."""
    change = f"{what}_bytes = {what}_bytes + ?, {what}_files = {what}_files + ?"
    amounts = amount.size_bytes, amount.files
    statements.run(
        f"UPDATE service_organizations SET {change} WHERE organization_id = ?",
        *amounts,
        organization_id,
    )
    if key_id:
        statements.run(
            f"UPDATE key_allowances SET {change} WHERE organization_id = ? AND allowance_id ="
            " (SELECT allowance_id FROM api_keys WHERE organization_id = ? AND key_id = ?)",
            *amounts,
            organization_id,
            organization_id,
            key_id,
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


def _member_to_change(
    statements: Statements, act: Act, member_id: str, check: Callable[[Member], None] | None
) -> Member:
    # Who changes members of the same organisation waits here: else two of them could each wait for the other's owner.
    found_organization(statements, act.organization_id, lock=True)
    member = _found_member(statements, act, member_id)
    if check is not None:
        check(member)
    return member


def _found_member(statements: Statements, act: Act, member_id: str) -> Member:
    rows = statements.rows(
        f"{_MEMBER} WHERE organization_id = ? AND member_id = ? {{lock}}",
        act.organization_id,
        member_id,
    )
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
        "SELECT member_id FROM members WHERE organization_id = ? AND role = ? {lock}",
        act.organization_id,
        Role.OWNER,
    )
    if len(owners) == 1:
        raise ConflictError("an organisation keeps at least one owner: make another one first")


def _found_key(
    statements: Statements, organization_id: str, key_id: str, *, lock: bool = False
) -> ApiKey:
    if lock:  # of the key alone: what is counted for it is locked behind the organisation
        statements.rows(
            "SELECT 1 FROM api_keys WHERE organization_id = ? AND key_id = ? {lock}",
            organization_id,
            key_id,
        )
    rows = statements.rows(
        f"{_KEY} WHERE api_keys.organization_id = ? AND key_id = ?", organization_id, key_id
    )
    if not rows:
        raise NotFoundError(f"there is no key {key_id!r}")
    return _key(rows[0])


def _key(row: Row) -> ApiKey:
    key_id, organization_id, name, role, scopes, digest, *rest = row
    created_at, expires_at, max_uses, uses, last_used_at, revoked_at, member_id, *amounts = rest
    quota_bytes, quota_files, used_bytes, used_files, reserved_bytes, reserved_files = amounts
    return ApiKey(
        key_id,
        organization_id,
        name,
        Role(role),
        None if scopes is None else frozenset(map(Permission, json.loads(scopes))),
        bytes(digest),
        created_at,
        expires_at,
        max_uses,
        uses,
        last_used_at,
        revoked_at,
        member_id,
        Quota(quota_bytes, quota_files),
        Amount(used_bytes, used_files),
        Amount(reserved_bytes, reserved_files),
    )


def _insert_allowance(statements: Statements, key: ApiKey) -> None:
    statements.run(
        "INSERT INTO key_allowances (organization_id, allowance_id, quota_bytes, quota_files) VALUES (?, ?, ?, ?)",
        key.organization_id,
        key.key_id,
        key.quota.size_bytes,
        key.quota.files,
    )


def _insert_key(statements: Statements, key: ApiKey, allowance_id: str) -> None:
    statements.run(
        "INSERT INTO api_keys (key_id, organization_id, name, role, scopes, digest, created_at, expires_at, max_uses, uses,"
        " last_used_at, revoked_at, member_id, allowance_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        key.key_id,
        key.organization_id,
        key.name,
        key.role,
        None if key.scopes is None else json.dumps(sorted(key.scopes)),
        key.digest,
        key.created_at,
        key.expires_at,
        key.max_uses,
        key.uses,
        key.last_used_at,
        key.revoked_at,
        key.member_id,
        allowance_id,
    )


def _key_fields(key: ApiKey) -> Fields:
    return {
        "name": key.name,
        "role": key.role,
        "scopes": None if key.scopes is None else sorted(key.scopes),
        "expires_at": key.expires_at,
        "max_uses": key.max_uses,
        "member_id": key.member_id,
    } | _quota_fields(key.quota)


def _quota_fields(quota: Quota) -> Fields:
    return {"quota_bytes": quota.size_bytes, "quota_files": quota.files}
