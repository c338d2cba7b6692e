"""`muniment archive`."""

import time
from typing import TYPE_CHECKING, Any

import click

from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.reporting import skipped_inputs
from muniment.entrypoints.cli.scanning import Scan, roots_of, scan_into, trial_catalog
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.entrypoints.cli.text import count, size
from muniment.entrypoints.cli.views import commit_view, problem_pair, problem_views

if TYPE_CHECKING:
    from muniment.archive.catalog import CommitRow
    from muniment.bootstrap import Archive


@click.command(cls=Command, name="archive", short_help="Archive everything that is new or changed.")
@click.argument("paths", nargs=-1, metavar="[PATH...]", type=click.Path())
@click.option("--dry-run", is_flag=True, help="Only tell what would be archived; write nothing.")
@pass_session
def command(session: Session, paths: tuple[str, ...], dry_run: bool) -> None:
    """Archive everything that is new or changed.

    Looks at the paths given, which are remembered, and at all that were added before. A run that was interrupted goes on
    where it stopped.
    """
    with session.archive() as archive, archive.lock():
        if dry_run:
            _try(session, archive, paths)
        else:
            _archive(session, archive, paths)


def _try(session: Session, archive: "Archive", paths: tuple[str, ...]) -> None:

    with trial_catalog(archive) as catalog, progress_of(session) as progress:
        roots = [*catalog.roots(), *roots_of(paths, archive)]
        scan = scan_into(catalog, roots, archive, progress)
        totals = catalog.totals()
    session.say(
        f"{scan.summary()}.",
        f"{count(totals.pending_files, 'path')} ({size(totals.pending_bytes)}) would be archived; nothing was written.",
    )
    _finish(session, scan, [], [], 0, dry_run=True)


def _archive(session: Session, archive: "Archive", paths: tuple[str, ...]) -> None:

    archive.signing_key  # noqa: B018  # a passphrase is better asked for now than after a long scan
    catalog, started = archive.catalog, int(time.time())
    for root in roots_of(paths, archive):
        catalog.add_root(root)
    # Whatever is unfinished is resumed by this very run, so no claim of it expires: 0 only lets go of what met a problem.
    catalog.expire_claims(0)
    with progress_of(session) as progress:
        scan = scan_into(catalog, catalog.roots(), archive, progress)
        result = archive.pipeline(progress).run()
    catalog.clear_problems(started)
    for row in result.commits:
        _say_commit(session, archive, row)
    if result.vanished:
        session.say(f"{count(result.vanished, 'path')} vanished before they could be read.")
    if not result.commits and not result.problems and not scan.problems:
        if catalog.roots():
            session.say("Nothing is new or changed: everything is archived.")
        else:
            session.say("Nothing to archive yet: muniment archive FOLDER")
    problems = [problem_pair(problem) for problem in result.problems]
    _finish(session, scan, result.commits, problems, result.vanished, dry_run=False)


def _say_commit(session: Session, archive: "Archive", row: "CommitRow") -> None:

    root = row.merkle_root.hex() if row.merkle_root else "?"
    timestamp = {
        "queued": "queued until a calendar can be reached: muniment ots upgrade",
        "pending": "promised; complete in some hours: muniment ots upgrade",
    }.get(str(row.timestamp), str(row.timestamp))
    session.say(
        f"Commit {row.commit_id} (number {row.sequence})",
        f"  files      {count(row.leaf_count, 'path')}, {size(row.source_bytes)}, sealed in {size(row.sealed_bytes)}",
        f"  root       blake3:{root}",
        f"  CID        {row.commit_cid}",
        f"  signed by  {archive.verify_key.key_id}",
        f"  timestamp  {timestamp}",
    )


def _finish(
    session: Session,
    scan: "Scan",
    commits: "list[CommitRow]",
    problems: list[tuple[bytes, str]],
    vanished: int,
    *,
    dry_run: bool,
) -> None:

    problems = [*map(problem_pair, scan.problems), *problems]
    counts = scan.counts
    answer: dict[str, Any] = {
        "scan": {"new": counts.new, "changed": counts.changed, "unchanged": counts.unchanged},
        "commits": [commit_view(row) for row in commits],
        "vanished": vanished,
        "problems": problem_views(problems),
        "dry_run": dry_run,
    }
    session.answer(answer)
    skipped_inputs(session, problems)
