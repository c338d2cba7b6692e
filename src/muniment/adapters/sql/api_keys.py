"""API keys in SQL, each with the allowance that its quota gives it."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

import json
from collections.abc import Callable

from muniment.accounts.api_keys import ApiKey
from muniment.accounts.organizations import Act, Fields
from muniment.accounts.permissions import Permission, Role
from muniment.accounts.quotas import NO_LIMIT, Allowance, Amount, Quota
from muniment.adapters.sql import audit_log
from muniment.adapters.sql.members import found_member, take_turns
from muniment.adapters.sql.organizations import quota_fields
from muniment.adapters.sql.statements import Row, SqlStore, Statements
from muniment.errors import ConflictError, NotFoundError

TABLES = (
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
)

ALLOWANCES = (
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

MAKERS = ("ALTER TABLE key_allowances ADD COLUMN parent_id TEXT NOT NULL DEFAULT ''",)
"""The step of migration that made keys count against the quotas of those that made them."""

_USE_NOTED_S = 60
_MAKERS_MAX = 8
_WHERE = "WHERE organization_id = ? AND key_id = ?"
_ALLOWANCE = """SELECT quota_bytes, quota_files, used_bytes, used_files, reserved_bytes, reserved_files, parent_id
    FROM key_allowances WHERE organization_id = ? AND allowance_id = ?"""
_KEY = """SELECT api_keys.key_id, api_keys.organization_id, name, role, scopes, digest, created_at, expires_at, max_uses, uses,
    last_used_at, revoked_at, member_id, quota_bytes, quota_files, COALESCE(used_bytes, 0), COALESCE(used_files, 0),
    COALESCE(reserved_bytes, 0), COALESCE(reserved_files, 0)
    FROM api_keys LEFT JOIN key_allowances ON key_allowances.organization_id = api_keys.organization_id
    AND key_allowances.allowance_id = api_keys.allowance_id"""


class SqlApiKeys(SqlStore):
    """The part of `AccountStore` about API keys."""

    def add_key(self, act: Act, key: ApiKey, *, maker_id: str = "") -> None:
        """See `AccountStore.add_key`."""
        with self._writing() as statements:
            if key.member_id:
                take_turns(statements, act.organization_id)
                member = found_member(statements, act.organization_id, key.member_id)
                if member.role is not key.role:
                    raise ConflictError(
                        f"expected the role of the member, which is {member.role}, got {key.role}"
                    )
            _insert_allowance(statements, key, _limited_parent(statements, key, maker_id))
            _insert_key(statements, key, key.key_id)
            audit_log.append(
                statements, act, "key.created", f"key:{key.key_id}", after=_key_fields(key)
            )

    def find_key(self, key_id: str) -> ApiKey | None:
        """See `AccountStore.find_key`."""
        with self._reading() as statements:
            rows = statements.rows(f"{_KEY} WHERE key_id = ?", key_id)
        return _key(rows[0]) if rows else None

    def key(self, organization_id: str, key_id: str) -> ApiKey:
        """See `AccountStore.key`."""
        with self._reading() as statements:
            return found_key(statements, organization_id, key_id)

    def keys(self, organization_id: str) -> list[ApiKey]:
        """See `AccountStore.keys`."""
        with self._reading() as statements:
            rows = statements.rows(
                f"{_KEY} WHERE api_keys.organization_id = ? ORDER BY created_at DESC, key_id",
                organization_id,
            )
        return [_key(row) for row in rows]

    def rotate_key(
        self, act: Act, key_id: str, replaced_by: Callable[[ApiKey], ApiKey], *, ends_at: int
    ) -> ApiKey:
        """See `AccountStore.rotate_key`."""
        with self._writing() as statements:
            old = _key_to_change(statements, act, key_id)
            new = replaced_by(old)
            if not old.is_usable_at(act.at):
                raise ConflictError(f"the key {key_id} is no good any more: make a new one")
            ends_at = min(ends_at, old.expires_at or ends_at)
            where = (act.organization_id, key_id)
            statements.run(f"UPDATE api_keys SET expires_at = ? {_WHERE}", ends_at, *where)
            (allowance_id,) = statements.row(f"SELECT allowance_id FROM api_keys {_WHERE}", *where)
            _insert_key(statements, new, allowance_id)
            change: tuple[Fields, Fields] = (
                {"expires_at": old.expires_at, "replaced_by": None},
                {"expires_at": ends_at, "replaced_by": new.key_id},
            )
            audit_log.append(statements, act, "key.rotated", f"key:{key_id}", *change)
            after = _key_fields(new) | {"replaces": key_id}
            audit_log.append(statements, act, "key.created", f"key:{new.key_id}", after=after)
            return found_key(statements, act.organization_id, new.key_id)

    def revoke_key(
        self, act: Act, key_id: str, check: Callable[[ApiKey], None] | None = None
    ) -> None:
        """See `AccountStore.revoke_key`."""
        with self._writing() as statements:
            key = _key_to_change(statements, act, key_id)
            if check is not None:
                check(key)
            if key.revoked_at is not None:
                return
            where = (act.organization_id, key_id)
            statements.run(f"UPDATE api_keys SET revoked_at = ? {_WHERE}", act.at, *where)
            change: tuple[Fields, Fields] = {"revoked_at": None}, {"revoked_at": act.at}
            audit_log.append(statements, act, "key.revoked", f"key:{key_id}", *change)

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


def _key_to_change(statements: Statements, act: Act, key_id: str) -> ApiKey:
    place = (act.organization_id, key_id)
    if found_key(statements, *place).member_id:
        take_turns(statements, act.organization_id)
    # The key alone: what is counted for it is locked behind the organisation.
    statements.rows(f"SELECT 1 FROM api_keys {_WHERE} {{lock}}", *place)
    return found_key(statements, *place)


def found_key(statements: Statements, organization_id: str, key_id: str) -> ApiKey:
    """Return a key within a transaction: see `AccountStore.key`."""
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


def allowances_of(
    statements: Statements, organization_id: str, key_id: str
) -> dict[str, Allowance]:
    """Return by id what a key may bring: its own allowance, and the limited ones of the keys that made it, one after another.

    Raises:
        NotFoundError: The organisation has no such key.
    """
    sql = f"SELECT allowance_id FROM api_keys {_WHERE}"
    rows = statements.rows(sql, organization_id, key_id)
    if not rows:
        raise NotFoundError(f"there is no key {key_id!r}")
    found: dict[str, Allowance] = {}
    whose, allowance_id = "key", rows[0][0]
    while allowance_id:
        *amounts, parent_id = statements.row(_ALLOWANCE, organization_id, allowance_id)
        quota_bytes, quota_files, used_bytes, used_files, *promised = amounts
        held = Amount(used_bytes, used_files) + Amount(*promised)
        found[allowance_id] = Allowance(whose, Quota(quota_bytes, quota_files), held)
        whose, allowance_id = "key that made the key", parent_id
    return found


def _limited_parent(statements: Statements, key: ApiKey, maker_id: str) -> str:
    """Return the first of the maker's allowances that has a limit, against which a new key counts as well; empty for none.

    Raises:
        ConflictError: Too many would count what the key brings.
    """
    if not maker_id:
        return ""
    made_by = allowances_of(statements, key.organization_id, maker_id)
    limited = [place for place, allowance in made_by.items() if allowance.quota != NO_LIMIT]
    if len(limited) >= _MAKERS_MAX:
        raise ConflictError(f"keys with quotas make keys no more than {_MAKERS_MAX} times over")
    return limited[0] if limited else ""


def _insert_allowance(statements: Statements, key: ApiKey, parent_id: str) -> None:
    statements.run(
        "INSERT INTO key_allowances (organization_id, allowance_id, quota_bytes, quota_files, parent_id)"
        " VALUES (?, ?, ?, ?, ?)",
        key.organization_id,
        key.key_id,
        key.quota.size_bytes,
        key.quota.files,
        parent_id,
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
    } | quota_fields(key.quota)
