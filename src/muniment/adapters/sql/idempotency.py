"""`RequestStore` on a SQL database."""

from collections.abc import Callable

from muniment.accounts.idempotency import (
    KEPT_S,
    Found,
    LostRequestError,
    RequestKey,
    Standing,
)
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.statements import Row, SqlStore, Statements

TABLES = (
    """CREATE TABLE idempotency_keys (
        organization_id TEXT NOT NULL,
        key_id TEXT NOT NULL,
        idempotency_key TEXT NOT NULL,
        fingerprint {bytes} NOT NULL,
        token TEXT NOT NULL,
        lease_until BIGINT NOT NULL,
        applied SMALLINT NOT NULL DEFAULT 0,
        answer {bytes},
        expires_at BIGINT NOT NULL,
        PRIMARY KEY (organization_id, key_id, idempotency_key)
    )""",
    "CREATE INDEX idempotency_keys_by_end ON idempotency_keys (expires_at)",
)

LEASE_S = 9.0

_US = 1_000_000
_PRUNED_AT_ONCE = 1_000
_INSERT = """INSERT INTO idempotency_keys
    (organization_id, key_id, idempotency_key, fingerprint, token, lease_until, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_WHERE = "WHERE organization_id = ? AND key_id = ? AND idempotency_key = ?"
_FIND = f"""SELECT fingerprint, lease_until, applied, answer, expires_at FROM idempotency_keys
    {_WHERE} {{lock}}"""  # noqa: S608  # a constant
_TAKE_OVER = f"""UPDATE idempotency_keys
    SET fingerprint = ?, token = ?, lease_until = ?, expires_at = ?, applied = 0, answer = NULL {_WHERE}"""  # noqa: S608
_APPLY = f"UPDATE idempotency_keys SET applied = 1 {_WHERE} AND token = ?"  # noqa: S608
_RENEW = f"UPDATE idempotency_keys SET lease_until = ? {_WHERE} AND token = ?"  # noqa: S608
_FINISH = f"UPDATE idempotency_keys SET answer = ? {_WHERE} AND token = ?"  # noqa: S608
_GIVE_UP = f"DELETE FROM idempotency_keys {_WHERE} AND token = ? AND applied = 0"  # noqa: S608
_END_LEASE = f"UPDATE idempotency_keys SET lease_until = 0 {_WHERE} AND token = ?"  # noqa: S608
_PRUNE = """DELETE FROM idempotency_keys WHERE (organization_id, key_id, idempotency_key) IN (
        SELECT organization_id, key_id, idempotency_key FROM idempotency_keys
        WHERE expires_at <= ? ORDER BY expires_at LIMIT ? {skip_locked}
    )"""


class SqlRequests(SqlStore):
    """See `RequestStore`."""

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        super().__init__(database)
        self.lease_s = lease_s
        self._lease_us = round(lease_s * _US)

    def begin(self, key: RequestKey, fingerprint: bytes, token: str) -> Found:
        """See `RequestStore.begin`."""
        place = (key.organization_id, key.key_id, key.key)
        with self._writing() as statements:
            now = statements.now()
            ends = (now + self._lease_us, now + KEPT_S * _US)
            if statements.run(_INSERT, *place, fingerprint, token, *ends):
                return Found(Standing.FIRST, token)
            rows = statements.rows(_FIND, *place)
            if not rows:  # given up a moment ago: to be sent again
                return Found(Standing.RUNNING)
            found = _found(rows[0], fingerprint, now)
            if found.standing is Standing.FIRST:
                statements.run(_TAKE_OVER, fingerprint, token, *ends, *place)
                return Found(Standing.FIRST, token)
            return found

    def marker(self, key: RequestKey, token: str) -> Callable[[Statements], None]:
        """See `RequestStore.marker`."""

        def mark(statements: Statements) -> None:
            place = (key.organization_id, key.key_id, key.key)
            if not statements.run(_APPLY, *place, token):
                raise LostRequestError("the request took too long, and another one took its place")

        return mark

    def renew(self, key: RequestKey, token: str) -> None:
        """See `RequestStore.renew`."""
        place = (key.organization_id, key.key_id, key.key)
        with self._writing(is_for_good=False) as statements:
            statements.run(_RENEW, statements.now() + self._lease_us, *place, token)

    def finish(self, key: RequestKey, token: str, answer: bytes) -> None:
        """See `RequestStore.finish`."""
        with self._writing() as statements:
            place = (key.organization_id, key.key_id, key.key)
            statements.run(_FINISH, answer, *place, token)

    def give_up(self, key: RequestKey, token: str) -> None:
        """See `RequestStore.give_up`."""
        with self._writing() as statements:
            place = (key.organization_id, key.key_id, key.key)
            statements.run(_GIVE_UP, *place, token)
            statements.run(_END_LEASE, *place, token)

    def prune(self) -> int:
        """See `RequestStore.prune`."""
        removed = 0
        while True:
            with self._writing() as statements:
                count = statements.run(_PRUNE, statements.now(), _PRUNED_AT_ONCE)
            removed += count
            if count < _PRUNED_AT_ONCE:
                return removed


def _found(row: Row, fingerprint: bytes, now: int) -> Found:
    """Tell what a row says about a request that comes now."""
    known, lease_until, applied, answer, expires_at = row
    if expires_at <= now:
        return Found(Standing.FIRST)
    if bytes(known) != fingerprint:
        return Found(Standing.OTHER)
    if answer is not None:
        return Found(Standing.DONE, answer=bytes(answer))
    if lease_until > now:
        return Found(Standing.RUNNING)
    return Found(Standing.LOST if applied else Standing.FIRST)
