"""`muniment verify` and `ots upgrade` on a service."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from muniment.archive.catalog import CommitState, TimestampState
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.remote import refuse
from muniment.entrypoints.cli.remote.archiving import OperationBar
from muniment.entrypoints.cli.remote.connecting import commit_row, connect, find_commit
from muniment.entrypoints.cli.session import Session
from muniment.errors import ExternalServiceError, IntegrityError
from muniment.tasks.timestamp_upgrades import Upgraded
from muniment.text import count, size

if TYPE_CHECKING:
    from muniment.client import Client
    from muniment.client.archive import Commit

_VIEW = (
    "commit_id",
    "organization",
    "ok",
    "signer",
    "signer_compared",
    "files",
    "leaves",
    "contents",
    "content_bytes",
    "erased",
    "damaged",
    "timestamp",
    "problems",
)


def verify(session: Session, commits: tuple[str, ...], *, deep: bool, **others: object) -> None:
    """Have the service check that commits are whole, unchanged and signed: all of them, or only some."""
    refuse(
        {f"--{name.removesuffix('s').removesuffix('_id')}": value for name, value in others.items()}
    )
    with connect(session) as client, progress_of(session) as progress:
        views = []
        for commit in _wanted(client, commits):
            operation = client.verify_commit(commit.commit_id, deep=deep)
            result = client.wait(operation, progress=OperationBar(progress)).result or {}
            views.append({name: result.get(name) for name in _VIEW})
            session.say(*_lines(views[-1]))
    damaged = [view for view in views if not view["ok"]]
    session.answer(
        {
            "ok": bool(views) and not damaged,
            "signer_compared": bool(views) and all(view["signer_compared"] for view in views),
            "chains": [],
            "commits": views,
        }
    )
    if not views:
        session.say("There are no commits yet: muniment archive FOLDER")
    elif damaged:
        session.warn(
            f"muniment: {count(len(damaged), 'commit')} of {len(views)} not as they should be: tell whoever runs the service"
        )
        click.get_current_context().exit(IntegrityError.exit_code)
    else:
        session.say(f"{count(len(views), 'commit')} checked by the service: nothing is wrong.")


def _wanted(client: "Client", names: tuple[str, ...]) -> "list[Commit]":
    if names:
        return [find_commit(client, name) for name in names]
    stored = [commit for commit in client.list_commits() if commit.state == CommitState.STORED]
    return stored[::-1]


def _lines(view: dict[str, Any]) -> Iterator[str]:
    if not view["ok"]:
        yield f"DAMAGED  {view['commit_id']}"
        yield from (f"         {problem}" for problem in (view["problems"] or [])[:5])
        return
    opened = (
        f", {count(view['contents'], 'content')} opened ({size(view['content_bytes'])})"
        if view["contents"]
        else ""
    )
    timestamp = (view["timestamp"] or {}).get("state", "unknown")
    yield f"ok       {view['commit_id']}  {count(view['leaves'], 'path')}{opened}; timestamp {timestamp}"


def upgrade(session: Session, commits: tuple[str, ...], *, dry_run: bool) -> None:
    """Have the service fetch what calendars have by now; it does so for all commits, and those that were named are told of."""
    with connect(session) as client, progress_of(session) as progress:
        waiting = [
            row
            for row in map(commit_row, _wanted(client, commits))
            if row.timestamp is not TimestampState.COMPLETE
        ]
        result: dict[str, Any] = {}
        if waiting and not dry_run:
            operation = client.upgrade_timestamps()
            result = client.wait(operation, progress=OperationBar(progress)).result or {}
        failed = {found["commit_id"]: found["message"] for found in result.get("problems", [])}
        results = []
        for row in waiting:
            now = row if dry_run else commit_row(client.show_commit(row.commit_id))
            changed = now.timestamp is not row.timestamp
            problem = failed.get(row.commit_id, "")
            results.append(Upgraded(now, now.timestamp, changed, failed=problem))
    session.say(*_outcome(results, dry_run=dry_run))
    session.answer({"commits": [found.view() for found in results], "dry_run": dry_run})
    if any(found.failed for found in results):
        click.get_current_context().exit(IntegrityError.exit_code)
    if result.get("unreached"):
        session.warn("muniment: the service reached no calendar for some commits")
        click.get_current_context().exit(ExternalServiceError.exit_code)


def _outcome(results: list[Upgraded], *, dry_run: bool) -> Iterator[str]:
    for found in results:
        outcome = (
            found.failed or f"{found.state}{'' if found.changed or dry_run else ', nothing new'}"
        )
        yield f"{found.row.commit_id}  {outcome}"
    if not results:
        yield "All timestamps are complete."
    elif not dry_run:
        complete = sum(found.state is TimestampState.COMPLETE for found in results)
        left = len(results) - complete
        yield f"{count(complete, 'timestamp')} completed, {left:,} still waiting" + (
            ": try again in some hours." if left else "."
        )
