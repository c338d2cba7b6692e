"""The job `verify`: every byte of a commit is read and compared with what was signed, and every file opened if wished."""

from collections.abc import Callable
from typing import Any

from muniment.adapters.sql.stored_commits import SqlStoredCommits
from muniment.jobs.run import Run
from muniment.service_jobs.acting import act_of
from muniment.service_jobs.archives import Archives
from muniment.service_jobs.progress import JobProgress
from muniment.tasks.verification import Verification

_TOLD = 50


def verifying(archives: Archives, commits: SqlStoredCommits) -> Callable[[Run], dict[str, Any]]:
    """Return the handler of the job. A damaged commit is a result like any other: the job did what it was asked for."""

    def verify(run: Run) -> dict[str, Any]:
        archive = archives.get(run.job.organization_id)
        commit_id = str(run.job.payload["commit_id"])
        row = archive.catalog.commit(commit_id)
        verification = Verification(
            archive, None, JobProgress(run), deep=bool(run.job.payload.get("deep"))
        )
        finding = verification.one(commit_id)
        act = act_of(run)
        commits.note(act, row)
        commits.note_verified(act, commit_id, finding.problems[0] if finding.problems else None)
        view = finding.view()
        damaged = view["damaged"]
        return view | {
            "problems": finding.problems[:_TOLD],
            "damaged": damaged[:_TOLD],
            "damaged_count": len(damaged),
        }

    return verify
