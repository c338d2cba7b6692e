"""`muniment rebuild`."""

from pathlib import Path

import click

from muniment.bootstrap.archive import Archive
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import IntegrityError
from muniment.text import count, plain

_NO_IDENTITY = (
    "This home has no identity, and without one no database can be made: paths are sealed too. The commits themselves are "
    "served and can be verified. Rebuild where the identity is, or type in the recovery kit: muniment keys recover"
)


@click.command(cls=Command, name="rebuild", short_help="Make the database anew from the commits.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="First copy the commit directories that lie in this folder: a partner's copy, or any other.",
)
@click.option(
    "--from-backup",
    is_flag=True,
    help="First fetch the commits that are missing here from the configured backup.",
)
@click.option("--dry-run", is_flag=True, help="Only list the commits that would be read.")
@pass_session
def command(session: Session, source: Path | None, from_backup: bool, dry_run: bool) -> None:
    """Make the database anew from the commits: the archive is the truth, the database its index.

    Needed when the database is lost or damaged, or to bring back an archive from a copy. What waits to be archived is found
    again by the next `muniment add` or `muniment archive`.
    """
    with session.archive() as archive, archive.lock(), progress_of(session) as progress:
        if dry_run:
            _list(session, archive, source, from_backup=from_backup)
            return
        report = archive.rebuild(
            source,
            from_backup=from_backup,
            stage=lambda commit_id, stage: progress.stage(commit_id, stage, 0),
        )
    if report.imported:
        session.say(f"{count(len(report.imported), 'commit')} copied into the store.")
    session.say(
        f"The database knows {count(report.commits, 'commit')} with {count(report.files, 'path')}."
    )
    session.answer(
        {
            "commits": report.commits,
            "files": report.files,
            "imported": report.imported,
            "problems": [
                {"commit_id": plain(name), "message": message} for name, message in report.problems
            ],
            "dry_run": False,
        }
    )
    if report.problems:
        session.warn(f"{count(len(report.problems), 'commit')} could not be used:")
        session.warn(*(f"  {name}: {message}" for name, message in report.problems))
        if not archive.has_identity:
            session.warn(_NO_IDENTITY)
        click.get_current_context().exit(IntegrityError.exit_code)


def _list(session: Session, archive: Archive, source: Path | None, *, from_backup: bool) -> None:
    names = set(archive.commit_ids())
    if source is not None:
        names |= {path.name for path in source.iterdir() if path.is_dir()}
    if from_backup:
        names |= set(archive.backup_ids())
    session.say(*sorted(names), f"{count(len(names), 'commit')} would be read.")
    session.answer(
        {"commits": len(names), "files": 0, "imported": [], "problems": [], "dry_run": True}
    )
