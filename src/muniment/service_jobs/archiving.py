"""The jobs `catalog` and `archive`: uploads and the archive's own folders are looked at, sealed, verified, and let go."""

from collections.abc import Callable
from typing import Any

from muniment.adapters.sql.stored_commits import SqlStoredCommits
from muniment.archive.catalog import CommitRow, CommitState, Problem
from muniment.bootstrap.archive import Archive
from muniment.errors import MunimentError
from muniment.jobs.run import Run
from muniment.service_jobs.acting import act_of
from muniment.service_jobs.archives import Archives, UploadRoot, holding
from muniment.service_jobs.progress import JobProgress
from muniment.service_jobs.settling import Settling
from muniment.tasks.archiving import archive_changes
from muniment.tasks.scanning import Scan, scan_into
from muniment.tasks.views import path_view
from muniment.uploads.ports import UploadStore

_TOLD = 200
"""Commits and problems that a result names; what is beyond is counted, and can be asked for."""


class Archiving:
    """Does the jobs `catalog` and `archive`.

    Args:
        archives: The organisations' archives.
        root: Returns where an organisation's uploads lie.
        commits: What is known of commits.
        uploads: What is known of uploads.
        keep_staged: Whether uploaded files stay where they are when they are archived.
    """

    def __init__(
        self,
        archives: Archives,
        root: Callable[[str], UploadRoot],
        commits: SqlStoredCommits,
        uploads: UploadStore,
        *,
        keep_staged: bool,
    ) -> None:
        self._archives, self._root = archives, root
        self._commits, self._uploads, self._keep_staged = commits, uploads, keep_staged

    def catalog(self, run: Run) -> dict[str, Any]:
        """See what is new or changed, and archive nothing."""
        archive, root = self._of(run)
        with holding(archive, run):
            roots = [*archive.catalog.roots(), root.path]
            scan = scan_into(archive.catalog, roots, archive, JobProgress(run), root.is_wanted)
            totals = archive.catalog.totals()
        waiting = {"pending_files": totals.pending_files, "pending_bytes": totals.pending_bytes}
        return _scan_view(scan) | waiting | _problems_view(scan.problems)

    def archive(self, run: Run) -> dict[str, Any]:
        """Archive what is new or changed, or only finish what earlier runs began; then settle the uploads that commits hold.

        Commits of attempts before this one belong to the result, too: it names what was stored since the job first began.
        """
        archive, root = self._of(run)
        progress = JobProgress(run)
        with holding(archive, run):
            before = run.step("begin", lambda _step: _last_sequence(archive))
            if run.job.payload.get("resume"):
                result = archive.pipeline(progress).resume()
                scanned, problems, vanished = Scan(), result.problems, result.vanished
            else:
                done = archive_changes(
                    archive,
                    [*archive.catalog.roots(), root.path],
                    progress,
                    is_wanted=root.is_wanted,
                    batch_bytes=run.job.payload.get("batch_bytes"),
                )
                scanned, problems, vanished = done.scan, done.problems, done.vanished
            commits = _since(archive, before)
            act = act_of(run)
            for commit in commits:
                self._commits.note(act, commit)
            settling = Settling(
                archive,
                root,
                self._commits,
                self._uploads,
                act,
                keep_staged=self._keep_staged,
            )
            settling.run(run)
            failed = _back_up(archive, commits, progress) if archive.settings.backup else {}
        return (
            _scan_view(scanned)
            | {
                "commits": [_commit_view(commit) for commit in commits[:_TOLD]],
                "commit_count": len(commits),
                "vanished": vanished,
                "backup_problems": dict(list(failed.items())[:_TOLD]),
            }
            | _problems_view(problems)
        )

    def _of(self, run: Run) -> tuple[Archive, UploadRoot]:
        organization_id = run.job.organization_id
        root = self._root(organization_id)
        root.make()
        return self._archives.get(organization_id), root


def _last_sequence(archive: Archive) -> int:
    last = archive.catalog.totals().last_commit
    return last.sequence or 0 if last else 0


def _since(archive: Archive, sequence: int) -> list[CommitRow]:
    rows = archive.catalog.commits(CommitState.STORED)
    return sorted(
        (row for row in rows if (row.sequence or 0) > sequence), key=lambda row: row.sequence or 0
    )


def _back_up(archive: Archive, commits: list[CommitRow], progress: JobProgress) -> dict[str, str]:
    """Copy new commits to the backup; one that fails is archived all the same, and sent another time."""
    failed = {}
    for commit in commits:
        progress.stage(commit.commit_id, "backup", 0)
        try:
            archive.back_up(commit.commit_id)
        except MunimentError as error:
            failed[commit.commit_id] = str(error)[:200]
    return failed


def _scan_view(scan: Scan) -> dict[str, Any]:
    counts = scan.counts
    return {"scan": {"new": counts.new, "changed": counts.changed, "unchanged": counts.unchanged}}


def _commit_view(commit: CommitRow) -> dict[str, Any]:
    return {
        "commit_id": commit.commit_id,
        "sequence": commit.sequence,
        "files": commit.leaf_count,
        "commit_cid": commit.commit_cid,
    }


def _problems_view(problems: list[Problem]) -> dict[str, Any]:
    return {
        "problems": [
            path_view(problem.path[:500]) | {"message": problem.message[:200]}
            for problem in problems[: _TOLD // 10]
        ],
        "problem_count": len(problems),
    }
