"""`muniment restore` from a service: one tar of everything that is wanted, unpacked while it comes."""

import fnmatch
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from muniment.adapters.durable import sync_filesystem
from muniment.adapters.restore_target import RestoreTarget
from muniment.archive.catalog import Kind, ScannedFile
from muniment.entrypoints.cli.commands.restore import answer_restored
from muniment.entrypoints.cli.progress import Progress, progress_of
from muniment.entrypoints.cli.remote.connecting import connect, find_commit, path_of, shown_path
from muniment.entrypoints.cli.reporting import list_problems
from muniment.entrypoints.cli.session import Session
from muniment.entrypoints.cli.times import parse_time
from muniment.errors import (
    EXIT_SKIPPED_INPUTS,
    ConflictError,
    FormatError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from muniment.text import count, size

if TYPE_CHECKING:
    from muniment.client import Client
    from muniment.client.files import File

_PROBLEMS_NAME = "muniment-problems.txt"
_PROBLEM_BYTES_MAX = 16 << 20
_PORTION_BYTES = 1 << 20
_NS = 1_000_000_000
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
}


class _Reader(io.RawIOBase):
    """Pieces as a file that can only be read on."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        length = min(len(buffer), len(self._rest))
        buffer[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length


class _Restoring:
    """What is put back, and what is not."""

    def __init__(self, target: RestoreTarget, progress: Progress) -> None:
        self._target, self._progress = target, progress
        self._folders: list[ScannedFile] = []
        self.files = self.size_bytes = 0
        self.problems: list[tuple[bytes, str]] = []

    def take(self, tar: tarfile.TarFile) -> None:
        """Put back every entry of a tar.

        Raises:
            FormatError: It is none.
        """
        try:
            for member in tar:
                self._entry(tar, member)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise FormatError(f"expected a tar from the service: {error}") from error
        for folder in reversed(self._folders):
            self._target.finish_folder(folder)

    def _entry(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = os.fsencode(member.name)
        source = tar.extractfile(member) if member.isreg() else None
        if source is not None and member.name == _PROBLEMS_NAME:
            self._left_out(source)
            return
        kind = _KINDS.get(member.type)
        if kind is None:
            raise FormatError(f"expected files, folders and links in the tar, got {member.type!r}")
        link = os.fsencode(member.linkname) if kind is Kind.SYMLINK else None
        mtime_ns = round(member.mtime * _NS)
        scanned = ScannedFile(path, kind, member.size, member.mode & 0o7777, mtime_ns, 0, 0, link)
        try:
            self._write(scanned, source)
        except (ConflictError, IntegrityError) as error:
            self.problems.append((path, str(error)))
        else:
            self.files += 1
            self.size_bytes += member.size
            self._progress.advance(member.size, 1)

    def _write(self, scanned: ScannedFile, source: IO[bytes] | None) -> None:
        if source is not None:
            self._target.write_file(scanned, iter(lambda: source.read(_PORTION_BYTES), b""))
        elif scanned.kind is Kind.SYMLINK:
            self._target.write_link(scanned)
        else:
            self._target.make_folder(scanned.path)
            self._folders.append(scanned)

    def _left_out(self, source: IO[bytes]) -> None:
        """Take notice of what the service could not open."""
        for line in source.read(_PROBLEM_BYTES_MAX).splitlines()[1:]:
            path, _colon, message = line.partition(b": ")
            self.problems.append((path, message.decode("utf-8", "replace")))


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
    at = parse_time(time) if time else None
    with connect(session) as client:
        commit_id = find_commit(client, commit).commit_id if commit else None
        if dry_run:
            if at is not None:
                raise UsageError("--dry-run lists what is archived now: leave out --at")
            _list(session, client, paths, target, commit_id)
            return
        target.mkdir(parents=True, exist_ok=True)
        pieces = client.bundle(
            [os.fsencode(path) for path in paths], format="tar", commit_id=commit_id, at=at
        )
        folder = RestoreTarget(target, overwrite=overwrite)
        try:
            with progress_of(session) as progress:
                progress.stage("", "restore", 0)
                done = _Restoring(folder, progress)
                reader = io.BufferedReader(_Reader(pieces), _PORTION_BYTES)
                with tarfile.open(fileobj=reader, mode="r|", encoding="utf-8") as tar:
                    done.take(tar)
            if not no_sync:
                _sync(target)
        except tarfile.TarError as error:
            raise FormatError(f"expected a tar from the service: {error}") from error
        finally:
            folder.close()
            pieces.close()
    _finish(session, done, target)


def _sync(target: Path) -> None:
    place = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_filesystem(place)
    finally:
        os.close(place)


def _finish(session: Session, done: _Restoring, target: Path) -> None:
    session.say(
        f"{count(done.files, 'path')} ({size(done.size_bytes)}) restored into {target.absolute()}."
    )
    answer_restored(session, target, done.files, done.size_bytes, done.problems, dry_run=False)
    if done.problems:
        session.warn(f"{count(len(done.problems), 'path')} could not be restored:")
        list_problems(session, done.problems)
        click.get_current_context().exit(EXIT_SKIPPED_INPUTS)


def _list(
    session: Session, client: "Client", paths: tuple[str, ...], target: Path, commit_id: str | None
) -> None:
    wanted = [os.fsencode(path).strip(b"/") for path in paths]
    number = size_bytes = 0
    for file in client.list_files(state="archived", commit_id=commit_id):
        if not wanted or any(_matches(file, pattern) for pattern in wanted):
            number, size_bytes = number + 1, size_bytes + file.size_bytes
            session.say(shown_path(file.path_bytes))
    if not number:
        raise NotFoundError("nothing of that is archived")
    session.say(
        f"{count(number, 'path')} ({size(size_bytes)}) would be restored into {target.absolute()}."
    )
    answer_restored(session, target, number, size_bytes, [], dry_run=True)


def _matches(file: "File", pattern: bytes) -> bool:
    path = path_of(file.path_bytes)
    return (path + b"/").startswith(pattern + b"/") or fnmatch.fnmatchcase(path, pattern)
