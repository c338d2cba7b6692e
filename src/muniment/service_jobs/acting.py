"""On whose behalf a job changes things, as the audit log tells it."""

import time

from muniment.accounts.organizations import Act
from muniment.jobs.run import Run

ACTOR = "actor"
"""Field of a payload that says who asked for the job."""


def act_of(run: Run) -> Act:
    """Return the act that a job is: of whoever asked for it, or of the service itself."""
    return Act(
        run.job.organization_id,
        run.job.payload.get(ACTOR, "system"),
        time.time_ns() // 1000,
        origin=f"operation:{run.job.job_id}",
    )
