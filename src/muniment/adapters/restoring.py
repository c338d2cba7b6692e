"""Restoring spread over worker processes."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from muniment.adapters.durable import sync_filesystem
from muniment.adapters.restore_target import RestoreTarget, restore_entry
from muniment.adapters.stored_contents import ContentKeys, StoredContents
from muniment.archive.catalog import ArchivedFile, Kind, ScannedFile
from muniment.archive.keyring import Keyring
from muniment.errors import MunimentError

_TASK_FILES = 256
_TASK_BYTES = 8 << 20
_INLINE_BYTES = 32 << 20  # less than this is restored sooner than a worker process starts


class Wanted(NamedTuple):
    """One entry to be put back, with the key of its content if it has one."""

    file: ArchivedFile
    key: bytes | None


@dataclass
class RestoreReport:
    """What was put back, and what was not.

    Attributes:
        files: Files, links and folders put back.
        size_bytes: Plaintext bytes of the files.
        problems: Path and reason of everything that was not.
    """

    files: int = 0
    size_bytes: int = 0
    problems: list[tuple[bytes, str]] = field(default_factory=list)


def restore_files(
    files: Iterable[ArchivedFile],
    commits: Path,
    target: Path,
    *,
    keyring: Callable[[str], Keyring],
    worker_count: int,
    overwrite: bool = False,
    durable: bool = True,
    advance: Callable[[int, int], object] = lambda _files, _size_bytes: None,
) -> RestoreReport:
    """Put files back below `target`, which must exist.

    They are whole under their names at any time, and on the disk when this returns: the file system of `target` is synced once, at
    the end. A file system that is mounted below `target` is not.

    Args:
        files: What is wanted, in order of path.
        commits: The folder of the store's commits.
        target: Where to.
        keyring: Returns a commit's keys.
        worker_count: How many processes work.
        overwrite: Replace files that are there.
        durable: Whether to wait until everything is on the disk; without, the operating system writes it when it likes.
        advance: Told how many files and bytes were put back.
    """
    report, folders = RestoreReport(), list[ScannedFile]()
    tasks = _Tasks(report, folders, commits, keyring).cut(files)
    # Opened first: a disk that fails from now on is told of at the end.
    place = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _restore(tasks, (commits, target, overwrite), worker_count, report, advance)
        _finish_folders(target, folders, report)
        if durable:
            _sync(place, target, report)
    finally:
        os.close(place)
    return report


def _restore(
    tasks: Iterator[list[Wanted]],
    arguments: tuple[Path, Path, bool],
    worker_count: int,
    report: RestoreReport,
    advance: Callable[[int, int], object],
) -> None:
    """Do the tasks, by `_Restorer` of these arguments: here, if there is but a small one, else in workers."""
    first = next(tasks, [])
    second = next(tasks, None)
    if second is None and sum(wanted.file.scanned.size for wanted in first) <= _INLINE_BYTES:
        restorer = _Restorer(*arguments)
        try:
            _collect(report, [restorer(first)], advance)
        finally:
            restorer.close()
    else:
        from muniment.adapters.worker_pool import WorkerPool  # noqa: PLC0415  # one small file needs no workers

        rest = (task for part in ([first], [second] if second else [], tasks) for task in part)
        with WorkerPool(worker_count, _Restorer, *arguments) as pool:
            _collect(report, pool.map_unordered(rest), advance)


def _sync(place: int, target: Path, report: RestoreReport) -> None:
    try:
        sync_filesystem(place)
    except OSError as error:
        problem = (
            f"the disk failed: do not rely on anything that was restored now: {error.strerror}"
        )
        report.problems.append((os.fsencode(target), problem))


def _collect(
    report: RestoreReport, outcomes: Iterable[RestoreReport], advance: Callable[[int, int], object]
) -> None:
    for outcome in outcomes:
        report.files += outcome.files
        report.size_bytes += outcome.size_bytes
        report.problems += outcome.problems
        advance(outcome.files, outcome.size_bytes)


def _finish_folders(target: Path, folders: list[ScannedFile], report: RestoreReport) -> None:
    """Set modes and times of folders last, the deepest first: what is put into a folder changes its time."""
    place = RestoreTarget(target, overwrite=True)
    try:
        for scanned in reversed(folders):
            try:
                place.finish_folder(scanned)
            except (OSError, MunimentError) as error:
                report.problems.append((scanned.path, str(error)))
    finally:
        place.close()


class _Tasks:
    """Cuts what is wanted into tasks, with the keys that they need."""

    def __init__(
        self,
        report: RestoreReport,
        folders: list[ScannedFile],
        commits: Path,
        keyring: Callable[[str], Keyring],
    ) -> None:
        self._report, self._folders = report, folders
        self._keys = ContentKeys(commits, keyring)

    def cut(self, files: Iterable[ArchivedFile]) -> Iterator[list[Wanted]]:
        task: list[Wanted] = []
        size = 0
        for file in files:
            if file.scanned.kind is Kind.DIRECTORY:
                self._folders.append(file.scanned)
            try:
                task.append(Wanted(file, self._keys.key(file)))
            except MunimentError as error:
                self._report.problems.append((file.scanned.path, str(error)))
                continue
            size += file.scanned.size
            if len(task) >= _TASK_FILES or size >= _TASK_BYTES:
                yield task
                task, size = [], 0
        yield task


class _Restorer:
    """What a worker does."""

    def __init__(self, commits: Path, target: Path, overwrite: bool) -> None:  # noqa: FBT001  # picklable arguments
        self._contents = StoredContents(commits)
        self._target = RestoreTarget(target, overwrite=overwrite)

    def __call__(self, task: list[Wanted]) -> RestoreReport:
        report = RestoreReport()
        for wanted in task:
            scanned = wanted.file.scanned
            try:
                restore_entry(self._target, scanned, self._contents.pieces(wanted.file, wanted.key))
            except (OSError, MunimentError) as error:
                report.problems.append((scanned.path, _reason(error)))
            else:
                report.files += 1
                report.size_bytes += scanned.size
        return report

    def close(self) -> None:
        """Close the files; a worker process leaves that to its end."""
        self._target.close()
        self._contents.close()


def _reason(error: Exception) -> str:
    return f"it cannot be written: {error.strerror}" if isinstance(error, OSError) else str(error)
