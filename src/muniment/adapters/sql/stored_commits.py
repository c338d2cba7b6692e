"""What a service notes of the commits of its organisations: when each was first seen whole, and whether its uploads were settled."""

from collections.abc import Iterable
from dataclasses import dataclass

from muniment.accounts.organizations import Act
from muniment.adapters.sql import audit_log
from muniment.adapters.sql.statements import Row, SqlStore
from muniment.archive.catalog import CommitRow

TABLES = (
    """CREATE TABLE stored_commits (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        commit_id TEXT NOT NULL,
        noted_at BIGINT NOT NULL,
        verified_at BIGINT,
        problem TEXT,
        settled_at BIGINT,
        PRIMARY KEY (organization_id, commit_id)
    )""",
)

_COLUMNS = "commit_id, noted_at, verified_at, problem, settled_at"


@dataclass(frozen=True, slots=True)
class StoredCommit:
    """A commit as the service knows it; times are seconds since 1970.

    Attributes:
        commit_id: Its id.
        noted_at: When the service first saw it in the store.
        verified_at: When it was last verified; None for never.
        problem: What was wrong then, in words; None for nothing.
        settled_at: When the uploads in it were marked as archived; None for not yet.
    """

    commit_id: str
    noted_at: int
    verified_at: int | None
    problem: str | None
    settled_at: int | None


class SqlStoredCommits(SqlStore):
    """The table of stored commits."""

    def note(self, act: Act, commit: CommitRow) -> StoredCommit:
        """Note a commit, and tell of it in the audit log if it is new."""
        with self._writing() as statements:
            added = statements.run(
                "INSERT INTO stored_commits (organization_id, commit_id, noted_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                act.organization_id,
                commit.commit_id,
                act.at,
            )
            if added:
                after = {
                    "sequence": commit.sequence,
                    "files": commit.leaf_count,
                    "size_bytes": commit.source_bytes,
                    "commit_cid": commit.commit_cid,
                }
                target = f"commit:{commit.commit_id}"
                audit_log.append(statements, act, "commit.stored", target, after=after)
            row = statements.row(
                f"SELECT {_COLUMNS} FROM stored_commits WHERE organization_id = ? AND commit_id = ?",  # noqa: S608
                act.organization_id,
                commit.commit_id,
            )
        return StoredCommit(*row)

    def note_verified(self, act: Act, commit_id: str, problem: str | None) -> None:
        """Note that a commit was verified, and what was wrong with it."""
        with self._writing() as statements:
            statements.run(
                "UPDATE stored_commits SET verified_at = ?, problem = ? WHERE organization_id = ? AND commit_id = ?",
                act.at,
                problem,
                act.organization_id,
                commit_id,
            )
            after = {"problem": problem}
            audit_log.append(statements, act, "commit.verified", f"commit:{commit_id}", after=after)

    def note_settled(self, organization_id: str, commit_id: str, at: int) -> None:
        """Note that all uploads in a commit are settled."""
        with self._writing() as statements:
            statements.run(
                "UPDATE stored_commits SET settled_at = ? WHERE organization_id = ? AND commit_id = ?",
                at,
                organization_id,
                commit_id,
            )

    def settled(self, organization_id: str) -> set[str]:
        """Return the ids of the commits whose uploads are settled."""
        sql = "SELECT commit_id FROM stored_commits WHERE organization_id = ? AND settled_at IS NOT NULL"
        with self._reading() as statements:
            return {commit_id for (commit_id,) in statements.rows(sql, organization_id)}

    def find(self, organization_id: str, commit_ids: Iterable[str]) -> dict[str, StoredCommit]:
        """Return what is known of some commits, by id."""
        wanted = list(dict.fromkeys(commit_ids))
        if not wanted:
            return {}
        sql = f"SELECT {_COLUMNS} FROM stored_commits WHERE organization_id = ? AND commit_id IN ({{values}})"  # noqa: S608
        with self._reading() as statements:
            rows: list[Row] = list(statements.sought(sql, wanted, organization_id))
        return {row[0]: StoredCommit(*row) for row in rows}
