"""`muniment add`."""

import click

from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.reporting import skipped_inputs
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.tasks.scanning import roots_of, scan_into, trial_catalog
from muniment.tasks.views import problem_pair, problem_views
from muniment.text import count, size


@click.command(
    cls=Command, name="add", short_help="Remember folders and files, and see what is new in them."
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option("--dry-run", is_flag=True, help="Only tell what is new; remember nothing.")
@pass_session
def command(session: Session, paths: tuple[str, ...], dry_run: bool) -> None:
    """Remember folders and files, and see what is new in them.

    Nothing is archived yet: `muniment archive` does that, and looks at all that was ever added.
    """
    with session.archive() as archive, archive.lock():
        roots = roots_of(paths, archive)
        with progress_of(session) as progress:
            if dry_run:
                with trial_catalog(archive) as catalog:
                    scan = scan_into(catalog, roots, archive, progress)
                    totals = catalog.totals()
            else:
                for root in roots:
                    archive.catalog.add_root(root)
                scan = scan_into(archive.catalog, roots, archive, progress)
                totals = archive.catalog.totals()

    problems = [problem_pair(problem) for problem in scan.problems]
    session.say(f"{scan.summary()}.")
    session.say(
        f"{count(totals.pending_files, 'path')} ({size(totals.pending_bytes)}) wait to be archived"
        + (": muniment archive" if totals.pending_files else ".")
    )
    session.answer(
        {
            "new": scan.counts.new,
            "changed": scan.counts.changed,
            "unchanged": scan.counts.unchanged,
            "pending_files": totals.pending_files,
            "pending_bytes": totals.pending_bytes,
            "problems": problem_views(problems),
            "dry_run": dry_run,
        }
    )
    skipped_inputs(session, problems)
