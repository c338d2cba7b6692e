"""`muniment status`, `commits` and `show` on a service."""

import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from muniment.archive.catalog import CommitState, Problem, Totals
from muniment.entrypoints.cli.commands.commits import tell_commits
from muniment.entrypoints.cli.commands.show import fact_lines, tell_proof
from muniment.entrypoints.cli.commands.status import ArchiveStatus, tell_status
from muniment.entrypoints.cli.remote.connecting import (
    commit_row,
    connect,
    find_commit,
    path_of,
    shown_path,
)
from muniment.entrypoints.cli.remote.evidence import Evidence
from muniment.entrypoints.cli.session import Session
from muniment.errors import NotFoundError, UsageError
from muniment.tasks.owner_view import manifest_view, write_view
from muniment.tasks.views import commit_view
from muniment.text import moment, size, table

if TYPE_CHECKING:
    from muniment.client import Client
    from muniment.client.archive import Commit, Status, Timestamp
    from muniment.client.files import File

_OF_ONE_PROOF = frozenset(
    {"commit_id", "leaf_count", "root", "signer_key_id", "disclosed", "path_bytes"}
)
"""What a proof says when it stands for itself."""


def status(session: Session) -> None:
    """Show what waits, what is archived and what to do next."""
    with connect(session) as client:
        organization, found = client.show_organization(), client.show_status()
    shown = ArchiveStatus(
        organization.organization_id,
        organization.name,
        has_calendars=True,
        backup="the service's backup" if found.has_backup else "",
        backup_step="",
        totals=_totals(found),
        unfinished=[commit_row(commit) for commit in found.unfinished],
        roots=[],
        problems=[
            Problem(path_of(problem.path_bytes), problem.message, problem.noticed_at)
            for problem in found.problems
        ],
    )
    tell_status(session, shown)


def _totals(found: "Status") -> Totals:
    return Totals(
        found.pending_files,
        found.pending_bytes,
        found.archived_files,
        found.archived_bytes,
        found.sealed_bytes,
        found.commits,
        len(found.unfinished),
        found.timestamps_queued,
        found.timestamps_pending,
        found.not_backed_up,
        found.problem_count,
        commit_row(found.last_commit) if found.last_commit else None,
    )


def commits(session: Session, limit: int | None) -> None:
    """List the commits, the newest first."""
    with connect(session) as client:
        stored = (row for row in client.list_commits() if row.state == CommitState.STORED)
        rows = [commit_row(commit) for commit in itertools.islice(stored, limit)]
    tell_commits(session, rows)


def show(session: Session, commit: str, *, files: bool, proof: str | None) -> None:
    """Show one commit: facts, files, proofs."""
    if files and proof:
        raise UsageError("--files and --proof exclude each other")
    with connect(session) as client:
        found = find_commit(client, commit)
        if proof is not None:
            file = _find_file(client, found, proof)
            view = client.show_proof(*file.place)
            Evidence(client).prove(view | {"path_bytes": file.path_bytes})
            tell_proof(session, view, shown_path(file.path_bytes))
        elif session.json:
            _print_view(session, client, found)
        else:
            document = Evidence(client).manifest(found.commit_id)
            timestamp = client.show_timestamp(found.commit_id)
            session.say(*fact_lines(commit_row(found), document, _words(timestamp)))
            if files:
                _list_files(session, client, found)


def _words(timestamp: "Timestamp") -> str:
    words = f"{timestamp.state} ({timestamp.detail})" if timestamp.detail else timestamp.state
    tokens = (timestamp.tokens or {}).get("detail")
    return f"{words}; RFC 3161 {tokens}" if tokens else words


def _find_file(client: "Client", commit: "Commit", path: str) -> "File":
    for file in client.list_files(path=path, commit_id=commit.commit_id):
        if path.strip("/") == shown_path(file.path_bytes).strip("/"):
            return file
    raise NotFoundError(
        f"commit {commit.commit_id} does not hold {path}: `muniment show {commit.commit_id} --files` lists what it holds"
    )


def _list_files(session: Session, client: "Client", commit: "Commit") -> None:
    session.say("")
    rows = (
        (
            str(file.leaf),
            file.kind,
            size(file.size_bytes),
            moment(file.modified_at) or "",
            shown_path(file.path_bytes),
        )
        for file in client.list_files(commit_id=commit.commit_id)
    )
    session.say(*table(("leaf ", "kind", "size ", "modified", "path"), rows))


def _print_view(session: Session, client: "Client", commit: "Commit") -> None:
    evidence, timestamp = Evidence(client), client.show_timestamp(commit.commit_id)
    head = manifest_view(evidence.manifest(commit.commit_id)) | {
        "catalogue": commit_view(commit_row(commit)),
        "timestamp": {
            "state": timestamp.state,
            "detail": timestamp.detail,
            "bitcoin_height": timestamp.bitcoin_height,
            "bitcoin_time": moment(timestamp.bitcoin_time),
            "tokens": timestamp.tokens,
        },
    }
    failure = write_view(head, _proofs(client, evidence, commit), sys.stdout.write)
    if failure is not None:
        session.warn(str(failure))
        click.get_current_context().exit(failure.exit_code)


def _proofs(client: "Client", evidence: Evidence, commit: "Commit") -> Iterator[dict[str, Any]]:
    """Yield every file of a commit with its proof, which holds.

    Raises:
        IntegrityError: One does not.
    """
    for view in client.list_proofs(commit_id=commit.commit_id):
        if view.get("erased") is True:
            continue
        evidence.prove(view)
        yield {name: value for name, value in view.items() if name not in _OF_ONE_PROOF}
