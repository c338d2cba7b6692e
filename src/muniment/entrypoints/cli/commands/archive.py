"""`muniment archive`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from muniment.archive.catalog import CommitRow, TimestampState
from muniment.bootstrap.archive import Archive
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.reporting import skipped_inputs
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import MunimentError
from muniment.tasks.archiving import archive_changes
from muniment.tasks.scanning import Scan, roots_of, scan_into, trial_catalog
from muniment.tasks.views import commit_view, problem_pair, problem_views
from muniment.text import count, size

_TIMESTAMPS = {
    TimestampState.QUEUED: "queued until a calendar can be reached: muniment ots upgrade",
    TimestampState.PENDING: "promised; complete in some hours: muniment ots upgrade",
    TimestampState.COMPLETE: "complete",
}


@dataclass
class Done:
    """What a run did, or would do."""

    scan: Scan
    commits: list[CommitRow] = field(default_factory=list)
    problems: list[tuple[bytes, str]] = field(default_factory=list)
    vanished: int = 0

    def view(self) -> dict[str, Any]:
        """Describe it as JSON."""
        counts = self.scan.counts
        return {
            "scan": {"new": counts.new, "changed": counts.changed, "unchanged": counts.unchanged},
            "commits": [commit_view(row) for row in self.commits],
            "vanished": self.vanished,
            "problems": problem_views(self.problems),
        }


@click.command(cls=Command, name="archive", short_help="Archive everything that is new or changed.")
@click.argument("paths", nargs=-1, metavar="[PATH...]", type=click.Path())
@click.option("--dry-run", is_flag=True, help="Only tell what would be archived; write nothing.")
@pass_session
def command(session: Session, paths: tuple[str, ...], dry_run: bool) -> None:
    """Archive everything that is new or changed.

    Looks at the paths given, which are remembered, and at all that were added before. A run that was interrupted goes on
    where it stopped. New commits are copied to the backup, if one is configured.
    """
    with session.archive() as archive, archive.lock():
        done = _try(session, archive, paths) if dry_run else _archive(session, archive, paths)
        if not dry_run and archive.settings.backup:
            done.commits = [_back_up(session, archive, row) for row in done.commits]
        for row in done.commits:
            session.say(*commit_lines(row, archive.verify_key.key_id))
            if row.backed_up_at is not None:
                session.say(f"  backup     {archive.settings.backup}")
    session.answer(done.view() | {"dry_run": dry_run})
    skipped_inputs(session, done.problems)


def _try(session: Session, archive: Archive, paths: tuple[str, ...]) -> Done:
    with trial_catalog(archive) as catalog, progress_of(session) as progress:
        roots = [*catalog.roots(), *roots_of(paths, archive)]
        scan = scan_into(catalog, roots, archive, progress)
        totals = catalog.totals()
    session.say(
        f"{scan.summary()}.",
        f"{count(totals.pending_files, 'path')} ({size(totals.pending_bytes)}) would be archived; nothing was written.",
    )
    return Done(scan, problems=[problem_pair(problem) for problem in scan.problems])


def _archive(session: Session, archive: Archive, paths: tuple[str, ...]) -> Done:
    catalog = archive.catalog
    for root in roots_of(paths, archive):
        catalog.add_root(root)
    with progress_of(session) as progress:
        run = archive_changes(archive, catalog.roots(), progress)
    problems = [problem_pair(problem) for problem in run.problems]
    if run.vanished:
        session.say(f"{count(run.vanished, 'path')} vanished before they could be read.")
    if not run.commits and not problems:
        is_empty = not catalog.roots()
        session.say(
            "Nothing to archive yet: muniment archive FOLDER"
            if is_empty
            else "Nothing is new or changed: everything is archived."
        )
    return Done(run.scan, run.commits, problems, run.vanished)


def _back_up(session: Session, archive: Archive, row: CommitRow) -> CommitRow:
    """Copy a new commit to the backup; if that fails, it is archived all the same and sent another time."""
    try:
        archive.back_up(row.commit_id)
    except MunimentError as error:
        session.warn(f"muniment: {row.commit_id} is archived, but not backed up yet: {error}")
        session.warn("  Try again later: muniment backup")
    return archive.catalog.commit(row.commit_id)


def commit_lines(row: CommitRow, key_id: str) -> Iterator[str]:
    """Describe a new commit."""
    root = row.merkle_root.hex() if row.merkle_root else "?"
    yield f"Commit {row.commit_id} (number {row.sequence})"
    yield f"  files      {count(row.leaf_count, 'path')}, {size(row.source_bytes)}, sealed in {size(row.sealed_bytes)}"
    yield f"  root       blake3:{root}"
    yield f"  CID        {row.commit_cid}"
    yield f"  signed by  {key_id}"
    yield f"  timestamp  {_TIMESTAMPS[row.timestamp]}"
