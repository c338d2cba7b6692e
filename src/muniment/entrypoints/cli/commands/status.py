"""`muniment status`."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from muniment.archive.catalog import CommitRow, CommitState, Problem, Totals
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.entrypoints.cli.text import count, display_path, moment, size
from muniment.entrypoints.cli.views import commit_view, path_view, problem_pair, problem_views

if TYPE_CHECKING:
    from muniment.settings import Settings


_SHOWN_PROBLEMS = 5


@click.command(
    cls=Command,
    name="status",
    short_help="Show what waits, what is archived and what to do next.",
)
@pass_session
def command(session: Session) -> None:
    """Show what waits, what is archived and what to do next."""
    with session.archive() as archive:
        catalog, settings = archive.catalog, archive.settings
        totals = catalog.totals()
        states = [state for state in CommitState if state is not CommitState.STORED]
        unfinished = list(catalog.commits(*states)) if totals.unfinished_commits else []
        problems = list(
            itertools.islice(catalog.problems(), _SHOWN_PROBLEMS if not session.json else None)
        )
        roots = catalog.roots()
    steps = list(_next_steps(totals, settings, bool(roots)))
    _answer(session, settings, totals, unfinished, problems, roots, steps)
    _say(session, settings, totals, unfinished, problems, roots)
    if steps:
        session.say("", "Next:", *(f"  {step}" for step in steps))


def _next_steps(totals: "Totals", settings: "Settings", has_roots: bool) -> Iterator[str]:

    if totals.unfinished_commits:
        yield f"{count(totals.unfinished_commits, 'commit')} not finished: muniment archive"
    elif totals.pending_files:
        yield f"{count(totals.pending_files, 'path')} to archive: muniment archive"
    elif not has_roots and not totals.commits:
        yield "nothing was added yet: muniment archive FOLDER"
    waiting = totals.timestamps_queued + totals.timestamps_pending
    if waiting and (settings.calendars or totals.timestamps_pending):
        verb = "waits" if waiting == 1 else "wait"
        yield f"{count(waiting, 'timestamp')} {verb}: muniment ots upgrade"
    if totals.not_backed_up and settings.backup:
        yield f"{count(totals.not_backed_up, 'commit')} not backed up: muniment backup"
    elif totals.commits and not settings.backup:
        yield "no backup is configured: set `backup` in config.toml"


def _say(
    session: Session,
    settings: "Settings",
    totals: "Totals",
    unfinished: "list[CommitRow]",
    problems: "list[Problem]",
    roots: list[bytes],
) -> None:

    last = totals.last_commit
    backup = f"{totals.commits - totals.not_backed_up:,} of {count(totals.commits, 'commit')} in {settings.backup}"
    complete = totals.commits - totals.timestamps_queued - totals.timestamps_pending
    session.say(
        f"Archive of {settings.organization_name}",
        f"  waiting     {count(totals.pending_files, 'path')}, {size(totals.pending_bytes)}",
        f"  archived    {count(totals.archived_files, 'version')}, {size(totals.archived_bytes)}, sealed in {size(totals.sealed_bytes)}",
        f"  commits     {totals.commits:,}"
        + (f", the last {last.commit_id} of {moment(last.created_at)}" if last else ""),
        f"  timestamps  {complete:,} complete, {totals.timestamps_pending:,} pending, {totals.timestamps_queued:,} queued",
        f"  backup      {backup if settings.backup else 'not configured'}",
        f"  looks at    {count(len(roots), 'place')}",
        *(f"              {display_path(root.lstrip(b'/'))}" for root in roots[:10]),
    )
    for row in unfinished:
        session.say(f"  unfinished  {row.commit_id} ({row.state})")
    if totals.problems:
        session.say(f"  problems    {count(totals.problems, 'path')} could not be archived")
        for problem in problems[:_SHOWN_PROBLEMS]:
            session.say(f"              {display_path(problem.path)}: {problem.message}")


def _answer(
    session: Session,
    settings: "Settings",
    totals: "Totals",
    unfinished: "list[CommitRow]",
    problems: "list[Problem]",
    roots: list[bytes],
    steps: list[str],
) -> None:

    session.answer(
        {
            "organization": {
                "id": settings.organization_id,
                "name": settings.organization_name,
            },
            "pending_files": totals.pending_files,
            "pending_bytes": totals.pending_bytes,
            "archived_files": totals.archived_files,
            "archived_bytes": totals.archived_bytes,
            "sealed_bytes": totals.sealed_bytes,
            "commits": totals.commits,
            "timestamps_queued": totals.timestamps_queued,
            "timestamps_pending": totals.timestamps_pending,
            "backup": settings.backup or None,
            "not_backed_up": totals.not_backed_up,
            "last_commit": commit_view(totals.last_commit) if totals.last_commit else None,
            "unfinished": [commit_view(row) for row in unfinished],
            "roots": [path_view(root.lstrip(b"/")) for root in roots],
            "problems": problem_views(map(problem_pair, problems)),
            "next_steps": steps,
        }
    )
