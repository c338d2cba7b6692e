"""Rows of `commits`, and what each adds to the totals."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import Select, func, insert, select, tuple_, update

from muniment.adapters.sql.schema import commits
from muniment.adapters.sql.transaction import Transaction
from muniment.archive.catalog import CommitRow, CommitState, TimestampState
from muniment.errors import ConflictError, NotFoundError

_NAMES = tuple(field.name for field in fields(CommitRow))
COLUMNS = [commits.c[name] for name in _NAMES]
_ORDER = tuple(CommitState)


def contribution(row: CommitRow) -> Counter[str]:
    """Return what one commit adds to the totals. Only stored commits count; the others are unfinished."""
    if row.state is not CommitState.STORED:
        return Counter(unfinished_commits=1)
    return Counter(
        commits=1,
        sealed_bytes=row.sealed_bytes,
        timestamps_queued=int(row.timestamp is TimestampState.QUEUED),
        timestamps_pending=int(row.timestamp is TimestampState.PENDING),
        not_backed_up=int(row.backed_up_at is None),
    )


def find(transaction: Transaction, commit_id: str) -> tuple[int, CommitRow]:
    """Return a commit's number and row.

    Raises:
        NotFoundError: There is no such commit.
    """
    found = find_exact(transaction, commit_id)
    if found is None:
        raise NotFoundError(f"no commit {commit_id!r}")
    return found


def find_exact(transaction: Transaction, commit_id: str) -> tuple[int, CommitRow] | None:
    """Return a commit's number and row, or None."""
    return _first(transaction, _select(transaction).where(commits.c.commit_id == commit_id))


def find_beginning(transaction: Transaction, beginning: str) -> CommitRow:
    """Return the only commit whose id begins so.

    Raises:
        NotFoundError: No commit begins so, or more than one.
    """
    exact = find_exact(transaction, beginning)
    if exact is not None:
        return exact[1]
    begins = func.substr(commits.c.commit_id, 1, len(beginning)) == beginning
    query = _select(transaction).where(begins).order_by(commits.c.commit_id).limit(2)
    found = (
        [row_of(values) for values in transaction.connection.execute(query)] if beginning else []
    )
    if len(found) > 1:
        raise NotFoundError(f"more than one commit begins with {beginning!r}: give more of its id")
    if not found:
        raise NotFoundError(f"no commit {beginning!r}")
    return found[0][1]


def page(
    transaction: Transaction, states: Sequence[CommitState], after: tuple[int, int], count: int
) -> list[tuple[int, CommitRow]]:
    """Return the next commits in order of (created_at, number)."""
    place = tuple_(commits.c.created_at, commits.c.number)
    query = _select(transaction).where(place > after)
    if states:
        query = query.where(commits.c.state.in_([state.value for state in states]))
    query = query.order_by(commits.c.created_at, commits.c.number).limit(count)
    return [row_of(values) for values in transaction.connection.execute(query)]


def chain_head(transaction: Transaction, *states: CommitState) -> CommitRow | None:
    """Return the commit with the highest sequence, of all or of those in the given states."""
    query = _select(transaction).where(commits.c.sequence.is_not(None))
    if states:
        query = query.where(commits.c.state.in_([state.value for state in states]))
    query = query.order_by(commits.c.sequence.desc(), commits.c.number.desc()).limit(1)
    found = _first(transaction, query)
    return None if found is None else found[1]


def add(transaction: Transaction, row: CommitRow, claim_expires_at: int | None = None) -> int:
    """Insert a commit and return its number.

    Raises:
        ConflictError: There is a commit with that id.
    """
    if find_exact(transaction, row.commit_id):
        raise ConflictError(f"commit {row.commit_id!r} exists already")
    values = _plain(asdict(row)) | {
        "org_id": transaction.org_id,
        "claim_expires_at": claim_expires_at,
    }
    number = transaction.connection.execute(insert(commits).values(values)).inserted_primary_key
    assert number is not None, "an insert of one row returns its key"
    transaction.change.update(contribution(row))
    return int(number[0])


def change(transaction: Transaction, number: int, row: CommitRow, **columns: object) -> CommitRow:
    """Set columns of a commit, and its part in the totals; return the new row."""
    unknown = columns.keys() - set(_NAMES) - {"commit_id"}
    if unknown or "commit_id" in columns:
        raise TypeError(f"not a column to set: {', '.join(sorted(unknown or {'commit_id'}))}")
    changed = replace(row, **columns)  # type: ignore[arg-type]  # names were checked, values are the caller's
    statement = update(commits).where(
        commits.c.number == number, commits.c.org_id == transaction.org_id
    )
    if columns:
        transaction.connection.execute(statement.values(_plain(columns)))
    transaction.change.update(contribution(changed))
    transaction.change.subtract(contribution(row))
    return changed


def remove(transaction: Transaction, number: int, row: CommitRow) -> None:
    """Delete a commit that no version names any more."""
    transaction.run(
        "DELETE FROM commits WHERE number = ? AND org_id = ?", number, transaction.org_id
    )
    transaction.change.subtract(contribution(row))


def require_before(row: CommitRow, state: CommitState) -> None:
    """Check that a commit is in the state before `state`.

    Raises:
        ConflictError: It is in another one.
    """
    place = _ORDER.index(state)
    if place == 0 or row.state is not _ORDER[place - 1]:
        raise ConflictError(
            f"commit {row.commit_id} cannot become {state.value}: expected state"
            f" {_ORDER[place - 1].value if place else 'none'}, got {row.state.value}"
        )


def expired(transaction: Transaction, now: int) -> list[tuple[int, CommitRow]]:
    """Return the commits that only claimed files and whose claim has expired."""
    query = _select(transaction).where(
        commits.c.state == CommitState.COLLECTED.value, commits.c.claim_expires_at <= now
    )
    return [row_of(values) for values in transaction.connection.execute(query)]


def _first(transaction: Transaction, query: "Select[Any]") -> tuple[int, CommitRow] | None:
    """Return the first row of a query of commits."""
    values = transaction.connection.execute(query).first()
    return None if values is None else row_of(values)


def _select(transaction: Transaction) -> "Select[Any]":
    return select(commits.c.number, *COLUMNS).where(commits.c.org_id == transaction.org_id)


def row_of(values: Sequence[Any]) -> tuple[int, CommitRow]:
    """Read a commit's number and `COLUMNS`."""
    number, *rest = values
    row = CommitRow(*rest)
    return number, replace(
        row, state=CommitState(row.state), timestamp=TimestampState(row.timestamp)
    )


def _plain(columns: dict[str, Any]) -> dict[str, Any]:
    """Turn enums into the text that is stored."""
    enums = (CommitState, TimestampState)
    return {
        name: value.value if isinstance(value, enums) else value for name, value in columns.items()
    }


def iterate(transaction: Transaction) -> Iterator[CommitRow]:
    """Iterate over all commits of a transaction (for a recount)."""
    for values in transaction.connection.execute(_select(transaction)):
        yield row_of(values)[1]
