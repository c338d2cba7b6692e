"""`muniment restore`."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniment.adapters.restoring import restore_files
from muniment.archive.restore import select
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.reporting import list_problems
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.entrypoints.cli.times import parse_time
from muniment.errors import EXIT_SKIPPED_INPUTS, NotFoundError
from muniment.tasks.views import problem_views
from muniment.text import count, display_path, plain, size

if TYPE_CHECKING:
    from muniment.archive.catalog import ArchivedFile
    from muniment.bootstrap.archive import Archive

_GLOB_SIGNS = "*?["


@click.command(cls=Command, name="restore", short_help="Put archived files back into a folder.")
@click.argument("paths", nargs=-1, metavar="[PATH...]", type=click.Path())
@click.option(
    "--target",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder to restore into; it is made if need be.",
)
@click.option("--commit", metavar="ID", help="Only what this commit holds.")
@click.option(
    "--at",
    "time",
    metavar="TIME",
    help="As it was archived by then: 2026-01-31 or 2026-01-31T12:00:00Z.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are in the target.")
@click.option(
    "--no-sync",
    is_flag=True,
    help="Do not wait until everything is on the disk: faster, but a power cut may lose some of it.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be restored.")
@pass_session
def command(
    session: Session,
    paths: tuple[str, ...],
    target: Path,
    commit: str | None,
    time: str | None,
    overwrite: bool,
    no_sync: bool,
    dry_run: bool,
) -> None:
    """Put archived files back into a folder: everything, or only some paths.

    PATH is a file or folder as it was archived (/home/ana/letters), or a pattern in quotes ('*.pdf', '/home/*/letters/*'). Every
    file goes to its own path below the target, so nothing outside of the target is touched.
    """
    at = parse_time(time) if time else None
    with session.archive() as archive:
        commit_id = archive.catalog.commit(commit).commit_id if commit else None
        files = _wanted(archive, paths, at, commit_id)
        if dry_run:
            _list(session, files, target)
        else:
            _restore(session, archive, files, target, overwrite=overwrite, durable=not no_sync)


def _wanted(
    archive: "Archive", paths: tuple[str, ...], at: int | None, commit_id: str | None
) -> "Iterator[ArchivedFile]":
    found: list[Iterator[ArchivedFile]] = []
    for path in paths or (None,):
        for pattern in _patterns(path) if path else ((),):
            files = select(archive.catalog, list(pattern), at=at, commit_id=commit_id)
            first = next(files, None)
            if first is not None:
                found.append(itertools.chain([first], files))
                break
        else:
            raise NotFoundError(_nothing(path, archive))
    return found[0] if len(found) == 1 else _distinct(itertools.chain(*found))


def _patterns(path: str) -> Iterator[tuple[bytes, ...]]:
    """A path as it was given; if nothing is called so, as seen from the folder where the user is."""
    raw = os.fsencode(path)
    yield (os.path.normpath(raw) if raw.startswith(b"/") else raw,)
    if not raw.startswith(b"/"):
        yield (os.path.abspath(raw),)


def _distinct(files: "Iterator[ArchivedFile]") -> "Iterator[ArchivedFile]":
    seen: set[bytes] = set()
    for file in files:
        if file.scanned.path not in seen:
            seen.add(file.scanned.path)
            yield file


def _nothing(path: str | None, archive: "Archive") -> str:
    if not archive.catalog.totals().commits:
        return "nothing is archived yet: muniment archive FOLDER"
    if path is None:
        return "nothing was archived at that time or in that commit: `muniment commits` lists what there is"
    return nothing_called(path)


def nothing_called(path: str) -> str:
    """Say that nothing is archived under a path, and how to find what is."""
    hint = "`muniment show COMMIT --files` lists what there is"
    if not any(sign in path for sign in _GLOB_SIGNS):
        hint += f"; a pattern finds a name anywhere: '*{os.path.basename(path.rstrip('/'))}*'"
    return f"nothing is archived as {path} (at that time, in that commit): {hint}"


def _list(session: Session, files: "Iterator[ArchivedFile]", target: Path) -> None:
    number = size_bytes = 0
    for file in files:
        number, size_bytes = number + 1, size_bytes + file.scanned.size
        session.say(display_path(file.scanned.path))
    session.say(
        f"{count(number, 'path')} ({size(size_bytes)}) would be restored into {target.absolute()}."
    )
    answer_restored(session, target, number, size_bytes, [], dry_run=True)


def _restore(
    session: Session,
    archive: "Archive",
    files: "Iterator[ArchivedFile]",
    target: Path,
    *,
    overwrite: bool,
    durable: bool,
) -> None:
    archive.identities  # noqa: B018  # a home that only writes says so now, not once for every file
    target.mkdir(parents=True, exist_ok=True)
    with progress_of(session) as progress:
        progress.stage("", "restore", 0)
        report = restore_files(
            files,
            archive.store.commits,
            target,
            keyring=archive.open_keyring,
            worker_count=archive.worker_count,
            overwrite=overwrite,
            durable=durable,
            advance=lambda number, size_bytes: progress.advance(size_bytes, number),
        )
    session.say(
        f"{count(report.files, 'path')} ({size(report.size_bytes)}) restored into {target.absolute()}."
    )
    answer_restored(
        session, target, report.files, report.size_bytes, report.problems, dry_run=False
    )
    if report.problems:
        session.warn(f"{count(len(report.problems), 'path')} could not be restored:")
        list_problems(session, report.problems)
        click.get_current_context().exit(EXIT_SKIPPED_INPUTS)


def answer_restored(
    session: Session,
    target: Path,
    files: int,
    size_bytes: int,
    problems: list[tuple[bytes, str]],
    *,
    dry_run: bool,
) -> None:
    """Answer what was, or would be, put back."""
    session.answer(
        {
            "target": plain(str(target.absolute())),
            "files": files,
            "bytes": size_bytes,
            "problems": problem_views(problems),
            "dry_run": dry_run,
        }
    )
