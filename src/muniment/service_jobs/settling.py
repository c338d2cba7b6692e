"""What becomes of uploads once a commit holds them: the commit is verified byte by byte, and only then are they let go.

The order survives being killed anywhere: a file is removed when the archive was seen to hold it, and its upload is marked after that.
Whoever comes next finds the commit unsettled, and does again what is left to do.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from muniment.accounts.organizations import Act
from muniment.adapters.sql.stored_commits import SqlStoredCommits
from muniment.archive.catalog import ArchivedFile, CommitRow, CommitState
from muniment.bootstrap.archive import Archive
from muniment.errors import IntegrityError
from muniment.jobs.run import Run
from muniment.service_jobs.archives import UploadRoot
from muniment.service_jobs.progress import JobProgress
from muniment.tasks.verification import Verification
from muniment.uploads.ports import UploadStore

_BATCH = 500
_DAYS_KEPT = 2
"""Empty folders of days as old as this are removed: no upload is on its way into them."""

_DAY_S = 86_400


class Settling:
    """Settles the uploads of one organisation.

    Args:
        archive: Its archive, whose lock the caller holds.
        root: Where its uploads lie.
        commits: What is known of its commits.
        uploads: What is known of its uploads.
        act: On whose behalf.
        keep_staged: Whether the files stay where they are.
    """

    def __init__(
        self,
        archive: Archive,
        root: UploadRoot,
        commits: SqlStoredCommits,
        uploads: UploadStore,
        act: Act,
        *,
        keep_staged: bool,
    ) -> None:
        self._archive, self._root, self._commits, self._uploads = archive, root, commits, uploads
        self._act, self._keep_staged = act, keep_staged

    def run(self, run: Run) -> None:
        """Settle the uploads in all commits where that is still to be done.

        Raises:
            IntegrityError: A commit is damaged; its uploads stay as they are.
        """
        settled = self._commits.settled(self._act.organization_id)
        for commit in self._archive.catalog.commits(CommitState.STORED):
            if commit.commit_id not in settled:
                self._settle(commit, run)

    def _settle(self, commit: CommitRow, run: Run) -> None:
        self._commits.note(self._act, commit)
        if next(self._staged(commit), None) is not None:
            if not self._archive.has_identity:
                return  # nobody here can see that the commit opens, so the uploads stay
            self._verify(commit, run)
            for files in _batches(self._staged(commit)):
                run.check()
                self._let_go(commit, files)
            self._remove_empty_days()
        now = int(time.time())
        self._commits.note_settled(self._act.organization_id, commit.commit_id, now)

    def _staged(self, commit: CommitRow) -> Iterator[ArchivedFile]:
        return self._archive.catalog.newest(prefix=self._root.prefix, commit_id=commit.commit_id)

    def _verify(self, commit: CommitRow, run: Run) -> None:
        verification = Verification(self._archive, None, JobProgress(run), deep=True)
        finding = verification.one(commit.commit_id)
        problem = finding.problems[0] if finding.problems else None
        self._commits.note_verified(self._act, commit.commit_id, problem)
        if problem:
            raise IntegrityError(
                f"commit {commit.commit_id} is not as it should be: {problem}; the uploads in it are kept"
            )

    def _let_go(self, commit: CommitRow, files: Iterable[ArchivedFile]) -> None:
        places = []
        for file in files:
            place = self._root.place_of(file.scanned.path)
            if place is not None and (self._keep_staged or _remove(file)):
                places.append(place)
        self._uploads.mark_archived(self._act, commit.commit_id, places)

    def _remove_empty_days(self) -> None:
        newest = time.strftime("%Y-%m-%d", time.gmtime(time.time() - _DAYS_KEPT * _DAY_S)).encode()
        for day in os.listdir(self._root.path):
            if day < newest and not self._keep_staged:
                for folder, _folders, _files in os.walk(
                    self._root.path + b"/" + day, topdown=False
                ):
                    with contextlib.suppress(OSError):  # it is not empty
                        os.rmdir(folder)


def _remove(file: ArchivedFile) -> bool:
    """Remove a staged file, if it still is what was archived; returns whether it is gone."""
    path, scanned = b"/" + file.scanned.path, file.scanned
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True  # a run that was killed has removed it
    if (status.st_size, status.st_mtime_ns, status.st_ino) != (
        scanned.size,
        scanned.mtime_ns,
        scanned.inode,
    ):
        return False  # it was changed, and will be archived once more
    os.unlink(path)
    return True


def _batches(files: Iterator[ArchivedFile]) -> Iterator[list[ArchivedFile]]:
    while batch := list(islice(files, _BATCH)):
        yield batch
