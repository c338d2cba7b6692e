"""`muniment backup`."""

from typing import Any

import click

from muniment.archive.backup import Action, BackupReport
from muniment.archive.catalog import CommitRow, CommitState
from muniment.bootstrap.archive import Archive
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import ExternalServiceError, IntegrityError, MunimentError, NotFoundError
from muniment.text import count, size


@click.command(
    cls=Command, name="backup", short_help="Copy commits to the configured backup, or check it."
)
@click.argument("commits", nargs=-1, metavar="[COMMIT...]")
@click.option("--verify", is_flag=True, help="Read the whole backup and compare it; send nothing.")
@click.option("--dry-run", is_flag=True, help="Only list the commits that are not backed up.")
@pass_session
def command(session: Session, commits: tuple[str, ...], verify: bool, dry_run: bool) -> None:
    """Copy commits to the configured backup, or check it: all of them, or only some.

    Sends what is not there yet, checks that it arrived, and brings keys and timestamps of the others up to date. It can be
    stopped and run again at any time. Where the backup is, says the setting `backup`.
    """
    results: list[dict[str, Any]] = []
    failure: MunimentError | None = None
    with session.archive() as archive, archive.lock():
        archive.backup()  # says at once if none is configured
        rows = [archive.catalog.commit(name) for name in commits]
        rows = rows or list(archive.catalog.commits(CommitState.STORED))
        if dry_run:
            waiting = [row.commit_id for row in rows if row.backed_up_at is None]
            session.say(*waiting, f"{count(len(waiting), 'commit')} would be sent.")
            views = [_view(commit_id, None, None) for commit_id in waiting]
            session.answer({"commits": views, "dry_run": True})
            return
        with progress_of(session) as progress:
            for row in rows:
                progress.stage(row.commit_id, "verify backup" if verify else "backup", 0)
                result, error = _handle(archive, row, verify=verify)
                results.append(result)
                failure = failure or error
                _say(session, result, verify=verify)
    if not results:
        session.say("There are no commits yet: muniment archive FOLDER")
    session.answer({"commits": results, "dry_run": False})
    if failure is not None:
        click.get_current_context().exit(failure.exit_code)


def _handle(
    archive: Archive, row: CommitRow, *, verify: bool
) -> tuple[dict[str, Any], MunimentError | None]:
    """Back up or check one commit; the next one is tried even if this fails."""
    try:
        report = archive.verify_backup(row.commit_id) if verify else _send(archive, row)
    except (IntegrityError, ExternalServiceError, NotFoundError) as error:
        return _view(row.commit_id, None, str(error)), error
    return _view(row.commit_id, report, None), None


def _send(archive: Archive, row: CommitRow) -> BackupReport:
    if row.backed_up_at is None:
        return archive.back_up(row.commit_id)
    try:
        return archive.refresh_backup(row.commit_id)
    except NotFoundError:  # it was there once: somebody removed it, or the setting changed
        return archive.back_up(row.commit_id)


def _view(commit_id: str, report: BackupReport | None, problem: str | None) -> dict[str, Any]:
    return {
        "commit_id": commit_id,
        "objects": len(report.objects) if report else 0,
        "sent": list(report.names(Action.SENT)) if report else [],
        "replaced": list(report.names(Action.REPLACED)) if report else [],
        "sent_bytes": report.sent_bytes if report else 0,
        "problem": problem,
    }


def _say(session: Session, result: dict[str, Any], *, verify: bool) -> None:
    name = result["commit_id"]
    if result["problem"]:
        session.warn(f"{name}  FAILED: {result['problem']}")
    elif verify:
        session.say(f"{name}  whole: {count(result['objects'], 'object')} read and compared")
    elif result["sent_bytes"]:
        session.say(f"{name}  {size(result['sent_bytes'])} sent and verified")
    else:
        session.say(f"{name}  up to date")
