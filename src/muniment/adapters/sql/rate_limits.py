"""`RateCounters` on a SQL database, for several processes and machines: by the database's clock, not theirs."""

from muniment.accounts.rate_limits import RateDecision, RatePolicy, decide
from muniment.adapters.sql.statements import SqlStore

TABLES = (
    """CREATE TABLE rate_limits (
        policy TEXT NOT NULL,
        client TEXT NOT NULL,
        full_at BIGINT NOT NULL,
        PRIMARY KEY (policy, client)
    )""",
    "CREATE INDEX rate_limits_by_end ON rate_limits (full_at)",
)

_US = 1_000_000
_INSERT = "INSERT INTO rate_limits VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_LOOK = "SELECT full_at FROM rate_limits WHERE policy = ? AND client = ?"
_FIND = f"{_LOOK} {{lock}}"
_UPDATE = "UPDATE rate_limits SET full_at = ? WHERE policy = ? AND client = ?"
_PRUNE = "DELETE FROM rate_limits WHERE full_at <= ?"


class SqlRateCounters(SqlStore):
    """See `RateCounters`."""

    def take(self, policy: RatePolicy, client: str, now: float, cost: int = 1) -> RateDecision:
        """See `RateCounters.take`; the time is the database's."""
        place = (policy.name, client)
        if not cost:
            return self._look(policy, place)
        with self._writing() as statements:
            now = statements.now() / _US
            statements.run(_INSERT, *place, 0)
            (full_at,) = statements.row(_FIND, *place)
            decision, after = decide(policy, full_at / _US, now, cost)
            if decision.is_allowed:
                statements.run(_UPDATE, round(after * _US), *place)
        return decision

    def _look(self, policy: RatePolicy, place: tuple[str, str]) -> RateDecision:
        with self._reading() as statements:
            rows = statements.rows(_LOOK, *place)
            full_at = rows[0][0] if rows else 0
            return decide(policy, full_at / _US, statements.now() / _US, 0)[0]

    def prune(self) -> int:
        """Forget the clients whose quota is whole again, and return how many."""
        with self._writing() as statements:
            return statements.run(_PRUNE, statements.now())
