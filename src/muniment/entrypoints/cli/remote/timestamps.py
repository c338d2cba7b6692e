"""`muniment ots` on a service: it asks the calendars, and what it has got is checked on this machine."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from muniment.archive.catalog import TimestampState
from muniment.entrypoints.cli.commands.ots import check_line, tell_checks, tell_steps
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.remote.archiving import OperationBar
from muniment.entrypoints.cli.remote.commit_source import RemoteCommit
from muniment.entrypoints.cli.remote.connecting import (
    commit_row,
    connect,
    find_stored,
    stored_commits,
)
from muniment.entrypoints.cli.remote.evidence import Evidence
from muniment.entrypoints.cli.session import Session
from muniment.errors import ExternalServiceError, IntegrityError
from muniment.tasks.timestamp_checks import TimestampCheck, check_timestamp
from muniment.tasks.timestamp_upgrades import Upgraded
from muniment.text import count

if TYPE_CHECKING:
    from muniment.archive.timestamps import HeaderSource
    from muniment.client import Client
    from muniment.client.archive import Commit


def time_sources(session: Session) -> "tuple[HeaderSource | None, bytes | None]":
    """Return what timestamps are checked with: headers of Bitcoin's blocks, and certificates of timestamp authorities.

    The settings of the archive on this machine name them, if there is one.
    """
    from muniment.bootstrap.archive import CONFIG  # noqa: PLC0415  # costs start-up time

    if not (session.home_folder / CONFIG).is_file():
        return None, None
    with session.archive() as archive:
        return archive.header_source(), archive.timestamp_roots()


def verify(session: Session, commits: tuple[str, ...]) -> None:
    """Check timestamps against Bitcoin's block headers."""
    headers, roots_pem = time_sources(session)
    checks: dict[str, TimestampCheck | str] = {}
    with connect(session) as client:
        evidence = Evidence(client)
        for commit_id in (commit.commit_id for commit in _named(client, commits)):
            try:
                commit = RemoteCommit(client, evidence.manifest(commit_id))
                checks[commit_id] = check_timestamp(commit, headers, roots_pem)
            except IntegrityError as error:
                checks[commit_id] = str(error)
            session.say(check_line(commit_id, checks[commit_id]))
    tell_checks(session, checks)


def info(session: Session, commit: str) -> None:
    """Describe a commit's proof step by step."""
    with connect(session) as client:
        commit_id = find_stored(client, commit).commit_id
        tell_steps(session, RemoteCommit(client, Evidence(client).manifest(commit_id)))


def _named(client: "Client", names: tuple[str, ...]) -> "list[Commit]":
    return [find_stored(client, name) for name in names] or stored_commits(client)


def upgrade(session: Session, commits: tuple[str, ...], *, dry_run: bool) -> None:
    """Have the service fetch what calendars have by now; it does so for all commits, and those that were named are told of."""
    with connect(session) as client, progress_of(session) as progress:
        waiting = [
            row
            for row in map(commit_row, _named(client, commits))
            if row.timestamp is not TimestampState.COMPLETE
        ]
        result: dict[str, Any] = {}
        if waiting and not dry_run:
            operation = client.upgrade_timestamps()
            result = client.wait(operation, progress=OperationBar(progress)).outcome()
        failed = {found["commit_id"]: found["message"] for found in result.get("problems", [])}
        results = []
        for row in waiting:
            now = row if dry_run else commit_row(client.show_commit(row.commit_id))
            changed = now.timestamp is not row.timestamp
            problem = failed.get(row.commit_id, "")
            results.append(Upgraded(now, now.timestamp, changed, failed=problem))
    session.say(*_outcome(results, dry_run=dry_run))
    session.answer({"commits": [found.view() for found in results], "dry_run": dry_run})
    if any(found.failed for found in results):
        click.get_current_context().exit(IntegrityError.exit_code)
    if result.get("unreached"):
        session.warn("muniment: the service reached no calendar for some commits")
        click.get_current_context().exit(ExternalServiceError.exit_code)


def _outcome(results: list[Upgraded], *, dry_run: bool) -> Iterator[str]:
    for found in results:
        outcome = (
            found.failed or f"{found.state}{'' if found.changed or dry_run else ', nothing new'}"
        )
        yield f"{found.row.commit_id}  {outcome}"
    if not results:
        yield "All timestamps are complete."
    elif not dry_run:
        complete = sum(found.state is TimestampState.COMPLETE for found in results)
        left = len(results) - complete
        yield f"{count(complete, 'timestamp')} completed, {left:,} still waiting" + (
            ": try again in some hours." if left else "."
        )
