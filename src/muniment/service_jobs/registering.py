"""Which handler does which kind of job, how often it is tried, and which of its failures are final."""

from collections.abc import Callable
from typing import Any

from muniment.errors import IntegrityError, KeyUnavailableError, NotFoundError, UsageError
from muniment.jobs.backoff import Backoff
from muniment.jobs.handlers import Handlers
from muniment.jobs.model import NewJob, PermanentFailureError
from muniment.jobs.run import Run
from muniment.service_jobs.acting import ACTOR

CATALOG, ARCHIVE, UPGRADE, VERIFY = "catalog", "archive", "ots-upgrade", "verify"

_ATTEMPTS_MAX = 20
"""Half an hour of trying: a run of the command line may hold the archive, a disk be full, a worker be killed again and again."""

_BACKOFF = Backoff(base_s=1, cap_s=120)
_PERMANENT = (
    PermanentFailureError,
    UsageError,
    NotFoundError,
    IntegrityError,
    KeyUnavailableError,
)

Function = Callable[[Run], dict[str, Any]]


def add_archive_handlers(
    handlers: Handlers, *, catalog: Function, archive: Function, upgrade: Function, verify: Function
) -> None:
    """Add the handlers of the jobs that concern archives."""
    functions = {CATALOG: catalog, ARCHIVE: archive, UPGRADE: upgrade, VERIFY: verify}
    for kind, function in functions.items():
        handlers.add(kind, function, backoff=_BACKOFF, permanent=_PERMANENT)


def new_archive_job(organization_id: str, kind: str, payload: dict[str, Any], actor: str) -> NewJob:
    """Return a job on an archive: of one organisation, those that change it run one after another, and so do those that verify."""
    return NewJob(
        organization_id,
        kind,
        payload | {ACTOR: actor},
        max_attempts=_ATTEMPTS_MAX,
        concurrency_key=VERIFY if kind == VERIFY else ARCHIVE,
    )
