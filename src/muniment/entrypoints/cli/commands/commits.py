"""`muniment commits`."""

from collections import deque
from collections.abc import Sequence

import click

from muniment.archive.catalog import CommitRow, CommitState
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.tasks.views import commit_view
from muniment.text import moment, size, table


@click.command(cls=Command, name="commits", short_help="List the commits.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N commits.")
@pass_session
def command(session: Session, limit: int | None) -> None:
    """List the commits, the newest first."""
    with session.archive() as archive:
        rows = list(reversed(deque(archive.catalog.commits(CommitState.STORED), maxlen=limit)))
    tell_commits(session, rows)


def tell_commits(session: Session, rows: Sequence[CommitRow]) -> None:
    """Tell of commits."""
    session.answer({"commits": [commit_view(row) for row in rows]})
    if not rows:
        session.say("There are no commits yet: muniment archive FOLDER")
        return
    head = ("No. ", "commit", "created", "files ", "size ", "timestamp", "backed up")
    cells = (
        (
            str(row.sequence),
            row.commit_id,
            moment(row.created_at) or "",
            f"{row.leaf_count:,}",
            size(row.source_bytes),
            str(row.timestamp),
            (moment(row.backed_up_at) or "no")[:10],
        )
        for row in rows
    )
    session.say(*table(head, cells))
