"""`muniment restore` from a service: first the proofs of everything that is wanted, then one tar of it, compared with them while it comes."""

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from blake3 import blake3

from muniment.adapters.durable import sync_filesystem
from muniment.adapters.restore_target import RestoreTarget, restore_entry
from muniment.archive.catalog import Kind, ScannedFile
from muniment.archive.proof import ProvenFile
from muniment.entrypoints.cli.commands.restore import answer_restored
from muniment.entrypoints.cli.progress import Progress, progress_of
from muniment.entrypoints.cli.remote.connecting import connect, find_commit, path_of
from muniment.entrypoints.cli.remote.evidence import Evidence
from muniment.entrypoints.cli.reporting import list_problems
from muniment.entrypoints.cli.session import Session
from muniment.entrypoints.cli.times import parse_time
from muniment.errors import EXIT_SKIPPED_INPUTS, ConflictError, FormatError, IntegrityError
from muniment.text import count, display_path, size

if TYPE_CHECKING:
    from muniment.client import Client

_PROBLEMS_NAME = "muniment-problems.txt"
_PROBLEM_BYTES_MAX = 16 << 20
_PORTION_BYTES = 1 << 20
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


Expected = dict[bytes, ProvenFile | str]
"""What the service proves that it archived, by path as it is called in the tar; or why it does not."""


class _Restoring:
    """What is put back, and what is not.

    Args:
        target: Where to.
        expected: What has to come; everything else is refused.
        progress: Told of what was put back.
    """

    def __init__(self, target: RestoreTarget, expected: Expected, progress: Progress) -> None:
        self._target, self._expected, self._progress = target, expected, progress
        self._folders: list[ScannedFile] = []
        self.files = self.size_bytes = 0
        self.problems: list[tuple[bytes, str]] = []

    def take(self, tar: tarfile.TarFile) -> None:
        """Put back every entry of a tar that is what it has to be.

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
        told = {path for path, _message in self.problems}
        for path, missing in self._expected.items():
            if path not in told:
                why = missing if isinstance(missing, str) else "the service did not send it"
                self.problems.append((path, why))

    def _entry(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = os.fsencode(member.name)
        source = tar.extractfile(member) if member.isreg() else None
        if source is not None and path not in self._expected and member.name == _PROBLEMS_NAME:
            self._left_out(source)
            return
        try:
            proven = self._proven(path, member)
            self._write(proven, source)
        except (ConflictError, IntegrityError) as error:
            self.problems.append((path, str(error)))
        else:
            self.files += 1
            self.size_bytes += proven.scanned.size
            self._progress.advance(proven.scanned.size, 1)

    def _proven(self, path: bytes, member: tarfile.TarInfo) -> ProvenFile:
        proven = self._expected.pop(path, "the service sent it without a proof")
        if isinstance(proven, str):
            raise IntegrityError(proven)
        kind = _KINDS.get(member.type)
        size_bytes = member.size if member.isreg() else 0
        if (kind, size_bytes) != (proven.scanned.kind, proven.scanned.size):
            raise IntegrityError("the service sent something else than what was archived")
        return proven

    def _write(self, proven: ProvenFile, source: IO[bytes] | None) -> None:
        """Put something back as it was archived: of the tar, only the content is used, and only if it has the proven digest."""
        if source is not None:
            self._target.write_file(proven.scanned, _checked(source, proven))
            return
        restore_entry(self._target, proven.scanned, ())
        if proven.scanned.kind is Kind.DIRECTORY:
            self._folders.append(proven.scanned)

    def _left_out(self, source: IO[bytes]) -> None:
        """Take notice of what the service could not open."""
        for line in source.read(_PROBLEM_BYTES_MAX).splitlines()[1:]:
            path, _colon, message = line.partition(b": ")
            self.problems.append((path, message.decode("utf-8", "replace")))


def _checked(source: IO[bytes], proven: ProvenFile) -> Iterator[bytes]:
    """Yield content as it comes.

    Raises:
        IntegrityError: At its end: it was not what was archived.
    """
    assert proven.digest is not None
    found = blake3()
    while piece := source.read(_PORTION_BYTES):
        found.update(piece)
        yield piece
    if found.digest() != proven.digest:
        raise IntegrityError(
            f"expected content with the digest blake3:{proven.digest.hex()}, got blake3:{found.hexdigest()}"
        )


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
            expected = _expected(client, evidence, wanted, commit_id, at)
            if dry_run:
                _list(session, expected, target)
                return
            pieces = client.bundle(wanted, format="tar", commit_id=commit_id, at=at)
            with contextlib.closing(pieces):
                done = _unpack(pieces, expected, target, progress, overwrite=overwrite)
        if not no_sync:
            _sync(target)
    _finish(session, done, target, evidence)


def _expected(
    client: "Client",
    evidence: Evidence,
    paths: list[bytes],
    commit_id: str | None,
    at: int | None,
) -> Expected:
    """Ask for the proof of everything that is wanted, and check it."""
    expected: Expected = {}
    for view in client.list_proofs(paths, commit_id=commit_id, at=at):
        path = path_of(str(view.get("path_bytes", "")))
        try:
            proven = evidence.prove(view)
        except IntegrityError as error:
            if path:  # what has none was erased: the tar says so
                expected[path] = str(error)
        else:
            expected[path] = proven._replace(scanned=proven.scanned._replace(path=path))
    return expected


def _unpack(
    pieces: Iterator[bytes],
    expected: Expected,
    target: Path,
    progress: Progress,
    *,
    overwrite: bool,
) -> _Restoring:
    total_bytes = sum(
        proven.scanned.size for proven in expected.values() if isinstance(proven, ProvenFile)
    )
    target.mkdir(parents=True, exist_ok=True)
    folder = RestoreTarget(target, overwrite=overwrite)
    try:
        progress.stage("", "restore", total_bytes)
        done = _Restoring(folder, expected, progress)
        reader = io.BufferedReader(_Reader(pieces), _PORTION_BYTES)
        with tarfile.open(fileobj=reader, mode="r|", encoding="utf-8") as tar:
            done.take(tar)
    except tarfile.TarError as error:
        raise FormatError(f"expected a tar from the service: {error}") from error
    finally:
        folder.close()
    return done


def _sync(target: Path) -> None:
    place = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_filesystem(place)
    finally:
        os.close(place)


def _finish(session: Session, done: _Restoring, target: Path, evidence: Evidence) -> None:
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
    problems = [(path, why) for path, why in expected.items() if isinstance(why, str)]
    found = {path: file for path, file in expected.items() if isinstance(file, ProvenFile)}
    size_bytes = sum(file.scanned.size for file in found.values())
    session.say(*(display_path(path) for path in sorted(found)))
    session.say(
        f"{count(len(found), 'path')} ({size(size_bytes)}) would be restored into {target.absolute()}."
    )
    answer_restored(session, target, len(found), size_bytes, problems, dry_run=True)
