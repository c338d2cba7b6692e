"""`muniment status`."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from muniment.archive.catalog import CommitRow, CommitState, Problem, Totals
from muniment.bootstrap.archive import Archive
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.tasks.views import commit_view, path_view, problem_pair, problem_views
from muniment.text import count, display_path, moment, size

_SHOWN_PROBLEMS = 5
_SHOWN_ROOTS = 10


@dataclass(frozen=True)
class ArchiveStatus:
    """Everything that is shown.

    Attributes:
        organization_id: Whose archive it is.
        organization_name: Their full name.
        has_calendars: Whether timestamps can be asked for.
        backup: Where the backup is; empty for none.
        backup_step: What is to be done where there is no backup.
        totals: What is counted.
        unfinished: Commits that were begun.
        roots: Places that are looked at.
        problems: Paths that could not be archived.
    """

    organization_id: str
    organization_name: str
    has_calendars: bool
    backup: str
    backup_step: str
    totals: Totals
    unfinished: list[CommitRow]
    roots: list[bytes]
    problems: list[Problem]

    def next_steps(self) -> Iterator[str]:
        """Say what is to be done, and how."""
        totals = self.totals
        if totals.unfinished_commits:
            yield f"{count(totals.unfinished_commits, 'commit')} not finished: muniment archive"
        elif totals.pending_files:
            yield f"{count(totals.pending_files, 'path')} to archive: muniment archive"
        elif not self.roots and not totals.commits:
            yield "nothing was added yet: muniment archive FOLDER"
        waiting = totals.timestamps_queued + totals.timestamps_pending
        if waiting and (self.has_calendars or totals.timestamps_pending):
            verb = "waits" if waiting == 1 else "wait"
            yield f"{count(waiting, 'timestamp')} {verb}: muniment ots upgrade"
        if totals.not_backed_up and self.backup:
            yield f"{count(totals.not_backed_up, 'commit')} not backed up: muniment backup"
        elif totals.commits and not self.backup and self.backup_step:
            yield self.backup_step

    def view(self) -> dict[str, Any]:
        """Describe it as JSON."""
        totals = self.totals
        return {
            "organization": {"id": self.organization_id, "name": self.organization_name},
            "pending_files": totals.pending_files,
            "pending_bytes": totals.pending_bytes,
            "archived_files": totals.archived_files,
            "archived_bytes": totals.archived_bytes,
            "sealed_bytes": totals.sealed_bytes,
            "commits": totals.commits,
            "timestamps_queued": totals.timestamps_queued,
            "timestamps_pending": totals.timestamps_pending,
            "backup": self.backup or None,
            "not_backed_up": totals.not_backed_up,
            "last_commit": commit_view(totals.last_commit) if totals.last_commit else None,
            "unfinished": [commit_view(row) for row in self.unfinished],
            "roots": [path_view(root.lstrip(b"/")) for root in self.roots],
            "problems": problem_views(map(problem_pair, self.problems)),
            "next_steps": list(self.next_steps()),
        }


@click.command(
    cls=Command,
    name="status",
    short_help="Show what waits, what is archived and what to do next.",
)
@pass_session
def command(session: Session) -> None:
    """Show what waits, what is archived and what to do next."""
    with session.archive() as archive:
        status = _read(archive, max_problems=None if session.json else _SHOWN_PROBLEMS)
    tell_status(session, status)


def tell_status(session: Session, status: ArchiveStatus) -> None:
    """Tell of the state of an archive."""
    session.answer(status.view())
    session.say(*_lines(status))
    if steps := list(status.next_steps()):
        session.say("", "Next:", *(f"  {step}" for step in steps))


def _read(archive: Archive, *, max_problems: int | None) -> ArchiveStatus:
    catalog = archive.catalog
    totals = catalog.totals()
    states = [state for state in CommitState if state is not CommitState.STORED]
    settings = archive.settings
    return ArchiveStatus(
        settings.organization_id,
        settings.organization_name,
        bool(settings.calendars),
        settings.backup,
        "no backup is configured: set `backup` in config.toml",
        totals,
        list(catalog.commits(*states)) if totals.unfinished_commits else [],
        catalog.roots(),
        list(itertools.islice(catalog.problems(), max_problems)),
    )


def _lines(status: ArchiveStatus) -> Iterator[str]:
    totals = status.totals
    last = totals.last_commit
    last_words = f", the last {last.commit_id} of {moment(last.created_at)}" if last else ""
    complete = totals.commits - totals.timestamps_queued - totals.timestamps_pending
    backed_up = f"{totals.commits - totals.not_backed_up:,} of {count(totals.commits, 'commit')}"
    yield f"Archive of {status.organization_name}"
    yield f"  waiting     {count(totals.pending_files, 'path')}, {size(totals.pending_bytes)}"
    yield (
        f"  archived    {count(totals.archived_files, 'version')}, {size(totals.archived_bytes)}, "
        f"sealed in {size(totals.sealed_bytes)}"
    )
    yield f"  commits     {totals.commits:,}{last_words}"
    yield (
        f"  timestamps  {complete:,} complete, {totals.timestamps_pending:,} pending, "
        f"{totals.timestamps_queued:,} queued"
    )
    yield f"  backup      {f'{backed_up} in {status.backup}' if status.backup else 'not configured'}"
    yield f"  looks at    {count(len(status.roots), 'place')}"
    yield from (
        f"              {display_path(r.lstrip(b'/'))}" for r in status.roots[:_SHOWN_ROOTS]
    )
    yield from (f"  unfinished  {row.commit_id} ({row.state})" for row in status.unfinished)
    if totals.problems:
        yield f"  problems    {count(totals.problems, 'path')} could not be archived"
    for problem in status.problems[:_SHOWN_PROBLEMS]:
        yield f"              {display_path(problem.path)}: {problem.message}"
