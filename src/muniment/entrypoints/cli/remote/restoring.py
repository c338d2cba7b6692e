"""`muniment restore` from a service: nothing gets its name that was not compared with what was signed."""

import os
from collections.abc import Generator
from pathlib import Path

import click

from muniment.adapters.durable import sync_filesystem
from muniment.adapters.restore_target import RestoreTarget
from muniment.entrypoints.cli.commands.restore import answer_restored, nothing_called
from muniment.entrypoints.cli.progress import Progress, progress_of
from muniment.entrypoints.cli.remote.connecting import connect, find_commit
from muniment.entrypoints.cli.remote.evidence import Evidence
from muniment.entrypoints.cli.remote.unpacking import Expected, Unpacking, expect
from muniment.entrypoints.cli.reporting import list_problems
from muniment.entrypoints.cli.session import Session
from muniment.entrypoints.cli.times import parse_time
from muniment.errors import EXIT_SKIPPED_INPUTS, NotFoundError
from muniment.text import count, display_path, size


def restore(
    session: Session,
    paths: tuple[str, ...],
    *,
    target: Path,
    commit: str | None,
    time: str | None,
    overwrite: bool,
    no_sync: bool,
    dry_run: bool,
) -> None:
    """Put archived files back into a folder: everything, or only some paths, as the service calls them."""
    wanted = [os.fsencode(path) for path in paths]
    at = parse_time(time) if time else None
    with connect(session) as client:
        commit_id = find_commit(client, commit).commit_id if commit else None
        evidence = Evidence(client)
        with progress_of(session) as progress:
            progress.stage("", "proofs", 0)
            try:
                expected = expect(client, evidence, wanted, commit_id=commit_id, at=at)
            except NotFoundError as error:
                raise NotFoundError(
                    nothing_called(" ".join(paths)) if paths else str(error)
                ) from error
            if dry_run:
                _list(session, expected, target)
                return
            pieces = client.bundle(wanted, format="tar", commit_id=commit_id, at=at)
            done = _restore(pieces, expected, target, progress, overwrite=overwrite)
        if not no_sync:
            _sync(target)
    _finish(session, done, target, evidence)


def _restore(
    pieces: Generator[bytes, None, None],
    expected: Expected,
    target: Path,
    progress: Progress,
    *,
    overwrite: bool,
) -> Unpacking:
    progress.stage("", "restore", expected.size_bytes)
    target.mkdir(parents=True, exist_ok=True)
    folder = RestoreTarget(target, overwrite=overwrite)
    try:
        done = Unpacking(folder, expected, progress)
        done.take(pieces)
    finally:
        folder.close()
    return done


def _sync(target: Path) -> None:
    place = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_filesystem(place)
    finally:
        os.close(place)


def _finish(session: Session, done: Unpacking, target: Path, evidence: Evidence) -> None:
    session.say(
        f"{count(done.files, 'path')} ({size(done.size_bytes)}) restored into {target.absolute()}."
    )
    if done.files:
        session.say(f"All of it was compared with commits signed by {', '.join(evidence.signers)}.")
    answer_restored(session, target, done.files, done.size_bytes, done.problems, dry_run=False)
    if done.problems:
        session.warn(f"{count(len(done.problems), 'path')} could not be restored:")
        list_problems(session, done.problems)
        click.get_current_context().exit(EXIT_SKIPPED_INPUTS)


def _list(session: Session, expected: Expected, target: Path) -> None:
    number, size_bytes = len(expected.files), expected.size_bytes
    session.say(*(display_path(path) for path in sorted(expected.files)))
    session.say(
        f"{count(number, 'path')} ({size(size_bytes)}) would be restored into {target.absolute()}."
    )
    problems = list(expected.unproven.items())
    answer_restored(session, target, number, size_bytes, problems, dry_run=True)
