"""`muniment verify` and `ots upgrade` on a service."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.archive.catalog import CommitState, TimestampState
from muniment.entrypoints.cli.commands.verify import finish, read_signers, tell_each
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.remote import refuse
from muniment.entrypoints.cli.remote.archiving import OperationBar
from muniment.entrypoints.cli.remote.connecting import commit_row, connect, find_commit
from muniment.entrypoints.cli.remote.evidence import Evidence
from muniment.entrypoints.cli.remote.verifying import Manner, RemoteVerification
from muniment.entrypoints.cli.session import Session
from muniment.errors import ExternalServiceError, IntegrityError, NotFoundError
from muniment.tasks.timestamp_upgrades import Upgraded
from muniment.text import count

if TYPE_CHECKING:
    from muniment.archive.timestamps import HeaderSource
    from muniment.client import Client
    from muniment.client.archive import Commit


def verify(
    session: Session,
    commits: tuple[str, ...],
    *,
    deep: bool,
    signers: tuple[str, ...],
    folders: tuple[Path, ...],
    organization_id: str | None,
    on_service: bool,
) -> None:
    """Check that commits are whole, unchanged and in order: all of them, or only some."""
    refuse({"--folder": folders})
    expected = read_signers(signers)
    headers, roots_pem = _time_sources(session)
    manner = Manner(deep, on_service, headers, roots_pem)
    with connect(session) as client, progress_of(session) as progress:
        listed = [found.commit_id for found in _stored(client)]
        wanted = {find_commit(client, name).commit_id for name in commits} or set(listed)
        if organization_id not in (None, client.show_organization().organization_id):
            raise NotFoundError(f"the service has no commit of organisation {organization_id!r}")
        run = RemoteVerification(
            client,
            Evidence(client, expected, organization_id),
            manner,
            progress,
            is_signer_known=expected is not None,
        )
        findings = list(tell_each(session, run.findings(listed, wanted)))
    finish(session, findings, run.chains, "tell whoever runs the service")


def _time_sources(session: Session) -> "tuple[HeaderSource | None, bytes | None]":
    """Return what timestamps are checked with: what the settings of the archive on this machine say, if there is one."""
    from muniment.bootstrap.archive import CONFIG  # noqa: PLC0415  # costs start-up time

    if not (session.home_folder / CONFIG).is_file():
        return None, None
    with session.archive() as archive:
        return archive.header_source(), archive.timestamp_roots()


def _stored(client: "Client") -> "list[Commit]":
    """Return the finished commits, oldest first."""
    return [found for found in client.list_commits() if found.state == CommitState.STORED][::-1]


def upgrade(session: Session, commits: tuple[str, ...], *, dry_run: bool) -> None:
    """Have the service fetch what calendars have by now; it does so for all commits, and those that were named are told of."""
    with connect(session) as client, progress_of(session) as progress:
        named = [find_commit(client, name) for name in commits] or _stored(client)
        waiting = [
            row for row in map(commit_row, named) if row.timestamp is not TimestampState.COMPLETE
        ]
        result: dict[str, Any] = {}
        if waiting and not dry_run:
            operation = client.upgrade_timestamps()
            result = client.wait(operation, progress=OperationBar(progress)).result or {}
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
