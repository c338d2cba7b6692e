"""`muniment archive` on a service: files are uploaded, archived there, and waited for."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from muniment.archive import manifest
from muniment.archive.catalog import CommitRow, ScanCounts
from muniment.entrypoints.cli.commands.archive import Done, commit_lines
from muniment.entrypoints.cli.progress import Progress, progress_of
from muniment.entrypoints.cli.remote.connecting import commit_row, connect
from muniment.entrypoints.cli.remote.uploading import find_inputs, upload_all
from muniment.entrypoints.cli.reporting import skipped_inputs
from muniment.entrypoints.cli.session import Session
from muniment.tasks.scanning import Scan
from muniment.text import count, size

if TYPE_CHECKING:
    from muniment.client import Client
    from muniment.client.operations import Operation


class OperationBar:
    """Shows an operation as the progress of a run here.

    Args:
        progress: Where it is shown.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage: tuple[str, str] | None = None
        self._done = 0

    def __call__(self, operation: "Operation") -> None:
        """Take notice of how far it has come."""
        told = operation.progress
        if told is None:
            return
        if (told.commit_id, told.stage) != self._stage:
            self._stage, self._done = (told.commit_id, told.stage), 0
            in_bytes = told.unit == "bytes"
            self._progress.stage(told.commit_id, told.stage, (told.total or 0) if in_bytes else 0)
        if told.unit == "bytes" and told.done > self._done:
            self._progress.advance(told.done - self._done)
            self._done = told.done


def archive(session: Session, paths: tuple[str, ...], *, dry_run: bool) -> None:
    """Upload files and folders, and archive what was uploaded and is not archived yet."""
    problems: list[tuple[bytes, str]] = []
    inputs = [found for path in paths for found in find_inputs(os.fsencode(path), problems)]
    total_bytes = sum(found.size_bytes for found in inputs)
    done = Done(Scan(counts=ScanCounts(new=len(inputs))), problems=problems)
    if dry_run:
        session.say(
            f"{count(len(inputs), 'file')} ({size(total_bytes)}) would be uploaded and archived; nothing was sent."
        )
    else:
        with connect(session) as client, progress_of(session) as progress:
            if inputs:
                progress.stage("", "upload", total_bytes)
                upload_all(client, inputs, progress, problems)
            operation = client.wait(client.archive(), progress=OperationBar(progress))
            lines = list(_take_result(client, operation.outcome(), done))
        session.say(*lines)
        if not done.commits and not problems:
            session.say("Nothing is new: everything that was uploaded is archived.")
    session.answer(done.view() | {"dry_run": dry_run})
    skipped_inputs(session, done.problems, "could not be uploaded or archived")


def _take_result(client: "Client", result: dict[str, Any], done: Done) -> Iterator[str]:
    """Enter what the operation did, and describe it."""
    done.vanished = int(result.get("vanished", 0))
    if done.vanished:
        yield f"{count(done.vanished, 'path')} vanished before they could be read."
    counts = result.get("scan", {})
    done.scan = Scan(
        counts=ScanCounts(
            counts.get("new", 0), counts.get("changed", 0), counts.get("unchanged", 0)
        )
    )
    for problem in result.get("problems", []):
        path = bytes.fromhex(problem["path_hex"]).lstrip(b"/")
        done.problems.append((path, problem["message"]))
    for told in result.get("commits", []):
        row: CommitRow = commit_row(client.show_commit(told["commit_id"]))
        done.commits.append(row)
        signer = manifest.decode(client.show_document(row.commit_id)).keys.signer
        yield from commit_lines(row, signer.key_id)
