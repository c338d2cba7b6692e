"""`muniment ots`."""

from collections.abc import Iterator
from typing import Any

import click

from muniment.archive import timestamps
from muniment.archive.catalog import CommitRow, CommitState, TimestampState
from muniment.archive.sources import CommitSource
from muniment.bootstrap.archive import Archive
from muniment.entrypoints.cli.session import Group, Session, pass_session
from muniment.errors import (
    ExternalServiceError,
    IntegrityError,
    NotFoundError,
    PendingError,
)
from muniment.tasks.timestamp_checks import TimestampCheck, check_timestamp, read_proof
from muniment.tasks.timestamp_upgrades import Upgraded, upgrade_timestamp
from muniment.text import count


@click.group(cls=Group, name="ots", short_help="Complete, check and describe timestamps.")
def command() -> None:
    """Complete, check and describe timestamps.

    Calendars promise at once that a commit will be in a Bitcoin block, and know the block some hours later: `upgrade` fetches it.
    """


def _rows(archive: Archive, names: tuple[str, ...]) -> list[CommitRow]:
    if names:
        return [archive.catalog.commit(name) for name in names]
    return list(archive.catalog.commits(CommitState.STORED))


@command.command(short_help="Fetch what calendars have by now.")
@click.argument("commits", nargs=-1, metavar="[COMMIT...]")
@click.option("--dry-run", is_flag=True, help="Only list the commits that would be asked about.")
@pass_session
def upgrade(session: Session, commits: tuple[str, ...], dry_run: bool) -> None:
    """Fetch what calendars have by now, for all commits whose timestamp is not complete.

    Commits that no calendar was reached for are sent now. Run it once a day, or whenever the network is back.
    """
    with session.archive() as archive, archive.lock():
        waiting = [
            row for row in _rows(archive, commits) if row.timestamp is not TimestampState.COMPLETE
        ]
        if dry_run:
            results = [Upgraded(row, row.timestamp) for row in waiting]
        else:
            results = list(_upgrade_each(session, archive, waiting))
    complete = sum(result.state is TimestampState.COMPLETE for result in results)
    if dry_run:
        session.say(*(f"{row.commit_id}  {row.timestamp}" for row in waiting))
    elif not waiting:
        session.say("All timestamps are complete.")
    else:
        left = len(waiting) - complete
        session.say(
            f"{count(complete, 'timestamp')} completed, {left:,} still waiting"
            + (": try again in some hours." if left else ".")
        )
    session.answer({"commits": [result.view() for result in results], "dry_run": dry_run})
    _leave(results)


def _leave(results: list[Upgraded]) -> None:
    context = click.get_current_context()
    if any(result.failed for result in results):
        context.exit(IntegrityError.exit_code)
    if any(result.unreached for result in results):
        context.exit(ExternalServiceError.exit_code)


def _upgrade_each(session: Session, archive: Archive, rows: list[CommitRow]) -> Iterator[Upgraded]:
    source = archive.header_source()
    for row in rows:
        try:
            result = upgrade_timestamp(archive, row, source)
        except IntegrityError as error:
            result = Upgraded(row, row.timestamp, failed=str(error))
        outcome = result.failed or f"{result.state}{'' if result.changed else ', nothing new'}"
        session.say(f"{row.commit_id}  {outcome}")
        if session.verbose or result.unreached:
            session.warn(*(f"  {note}" for note in result.notes))
        yield result


@command.command(short_help="Check timestamps against Bitcoin's block headers.")
@click.argument("commits", nargs=-1, metavar="[COMMIT...]")
@pass_session
def verify(session: Session, commits: tuple[str, ...]) -> None:
    """Check timestamps against Bitcoin's block headers, and tokens of authorities against their roots.

    Ends with 0 when all are verified, with 4 when one is wrong, with 8 when some cannot be told yet. Set `bitcoin_rpc_url`,
    `bitcoin_headers_file` or `esplora_url` to say where headers come from, and `rfc3161_roots_file` to say which authorities you
    trust: their tokens are checked too, but a commit is verified only by a block.
    """
    checks: dict[str, TimestampCheck | str] = {}
    with session.archive() as archive:
        source, roots = archive.header_source(), archive.timestamp_roots()
        for row in _rows(archive, commits):
            try:
                with archive.store.open(row.commit_id) as folder:
                    checks[row.commit_id] = check_timestamp(folder, source, roots)
            except (IntegrityError, NotFoundError) as error:
                checks[row.commit_id] = str(error)
            session.say(check_line(row.commit_id, checks[row.commit_id]))
    tell_checks(session, checks)


def tell_checks(session: Session, checks: dict[str, TimestampCheck | str]) -> None:
    """Answer what is known of commits' timestamps, or what is wrong with them, and end with the exit code for that."""
    if not checks:
        session.say("There are no commits yet: muniment archive FOLDER")
    session.answer({"commits": [_check_view(*item) for item in checks.items()]})
    context = click.get_current_context()
    if any(isinstance(check, str) for check in checks.values()):
        context.exit(IntegrityError.exit_code)
    if any(not isinstance(check, str) and check.state != "verified" for check in checks.values()):
        context.exit(PendingError.exit_code)


def check_line(commit_id: str, check: TimestampCheck | str) -> str:
    """Say what is known of a commit's timestamp, or what is wrong with it."""
    return f"{commit_id}  {f'WRONG: {check}' if isinstance(check, str) else check}"


def _check_view(commit_id: str, check: TimestampCheck | str) -> dict[str, Any]:
    if isinstance(check, str):
        check = TimestampCheck("wrong", check)
    return {"commit_id": commit_id} | check.view()


@command.command(short_help="Describe a commit's proof step by step.")
@click.argument("commit")
@pass_session
def info(session: Session, commit: str) -> None:
    """Describe a commit's proof step by step."""
    with session.archive() as archive:
        row = archive.catalog.commit(commit)
        with archive.store.open(row.commit_id) as folder:
            tell_steps(session, folder)


def tell_steps(session: Session, commit: CommitSource) -> None:
    """Describe a commit's proof step by step.

    Raises:
        NotFoundError: It has none.
    """
    proof = read_proof(commit)
    if proof is None:
        raise NotFoundError(
            f"commit {commit.commit_id} has no timestamp yet: `muniment ots upgrade` asks for one"
        )
    lines = timestamps.info(proof)
    session.say(*lines)
    session.answer({"commit_id": commit.commit_id, "steps": lines})
