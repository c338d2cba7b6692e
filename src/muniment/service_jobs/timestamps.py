"""The job `ots-upgrade`: what calendars have by now is fetched for all commits whose timestamp is not complete."""

from collections.abc import Callable
from typing import Any

from muniment.archive.catalog import CommitState, TimestampState
from muniment.errors import IntegrityError
from muniment.jobs.run import Run
from muniment.service_jobs.archives import Archives, holding
from muniment.tasks.timestamp_upgrades import Upgraded, upgrade_timestamp

_TOLD = 200


def upgrading(archives: Archives) -> Callable[[Run], dict[str, Any]]:
    """Return the handler of the job."""

    def upgrade(run: Run) -> dict[str, Any]:
        archive = archives.get(run.job.organization_id)
        results: list[Upgraded] = []
        with holding(archive, run):
            source = archive.header_source()
            rows = archive.catalog.commits(CommitState.STORED)
            waiting = [row for row in rows if row.timestamp is not TimestampState.COMPLETE]
            for done, row in enumerate(waiting):
                run.check()
                run.progress(f"upgrade/{row.commit_id}", done, len(waiting), "commits")
                try:
                    results.append(upgrade_timestamp(archive, row, source))
                except IntegrityError as error:
                    results.append(Upgraded(row, row.timestamp, failed=str(error)))
        complete = sum(result.state is TimestampState.COMPLETE for result in results)
        return {
            "completed": complete,
            "waiting": len(results) - complete,
            "unreached": sum(result.unreached for result in results),
            "problems": [
                {"commit_id": result.row.commit_id, "message": result.failed[:200]}
                for result in results
                if result.failed
            ][:_TOLD],
        }

    return upgrade
