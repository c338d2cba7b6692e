"""`muniment rebuild`."""

from pathlib import Path

import click

from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.entrypoints.cli.text import count, plain
from muniment.errors import IntegrityError


@click.command(cls=Command, name="rebuild", short_help="Make the database anew from the commits.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="First copy the commit directories that lie in this folder: a backup, or a partner's copy.",
)
@click.option("--dry-run", is_flag=True, help="Only list the commits that would be read.")
@pass_session
def command(session: Session, source: Path | None, dry_run: bool) -> None:
    """Make the database anew from the commits: the archive is the truth, the database its index.

    Needed when the database is lost or damaged, or to bring back an archive from a copy. What waits to be archived is found
    again by the next `muniment add` or `muniment archive`.
    """
    with session.archive() as archive, archive.lock(), progress_of(session) as progress:
        if dry_run:
            names = set(archive.commit_ids())
            names |= {path.name for path in source.iterdir() if path.is_dir()} if source else set()
            session.say(*sorted(names), f"{count(len(names), 'commit')} would be read.")
            session.answer(
                {
                    "commits": len(names),
                    "files": 0,
                    "imported": [],
                    "problems": [],
                    "dry_run": True,
                }
            )
            return
        report = archive.rebuild(source, lambda commit_id: progress.stage(commit_id, "rebuilt", 0))
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
        click.get_current_context().exit(IntegrityError.exit_code)
