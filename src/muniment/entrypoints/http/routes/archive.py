"""The archive as a whole: catalogue, archive, timestamps, status."""

from typing import Annotated

from litestar import Response, Router, get, post
from litestar.params import Parameter

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.archive.catalog import CommitState
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.entrypoints.http.routes.commits import CommitView, find_commit, show
from muniment.entrypoints.http.routes.operations import OperationView, accepted
from muniment.errors import ConflictError
from muniment.service_jobs.registering import ARCHIVE, CATALOG, UPGRADE, new_archive_job

_GB = 1_000_000_000


@post("/catalog", opt=needs(Permission.ARCHIVE_WRITE), status_code=202, sync_to_thread=True)
def catalog(
    request: HttpRequest, service: Service, principal: Principal
) -> Response[OperationView]:
    """Look at what was uploaded, and enter it in the catalogue; nothing is archived yet."""
    return start(request, service, principal, CATALOG)


@post("/archive", opt=needs(Permission.ARCHIVE_WRITE), status_code=202, sync_to_thread=True)
def archive(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    batch_size_gb: Annotated[float | None, Parameter(gt=0, le=1_000)] = None,
) -> Response[OperationView]:
    """Archive everything that is new: catalogue it, seal it in commits of at most so many GB (10^9 bytes), verify them, let the uploads go."""
    batch_bytes = None if batch_size_gb is None else max(1, int(batch_size_gb * _GB))
    return start(request, service, principal, ARCHIVE, batch_bytes=batch_bytes)


@post(
    "/archive/ots-upgrade",
    opt=needs(Permission.ARCHIVE_WRITE),
    status_code=202,
    sync_to_thread=True,
)
def upgrade_timestamps(
    request: HttpRequest, service: Service, principal: Principal
) -> Response[OperationView]:
    """Ask the calendars for what they have by now, for all commits whose timestamp is not complete."""
    return start(request, service, principal, UPGRADE)


@post(
    "/archive/resume/{commit_id:str}",
    opt=needs(Permission.ARCHIVE_WRITE),
    status_code=202,
    sync_to_thread=True,
)
def resume_commit(
    request: HttpRequest, service: Service, principal: Principal, commit_id: str
) -> Response[OperationView]:
    """Finish a commit that was begun, and those before it, from the stage that it has reached; nothing new is begun."""
    found = find_commit(service, principal, commit_id)
    if found.state is CommitState.STORED:
        raise ConflictError(f"commit {commit_id} is finished: there is nothing to resume")
    return start(request, service, principal, ARCHIVE, resume=commit_id)


@get("/archive/commit/{commit_id:str}", opt=needs(Permission.ARCHIVE_READ), sync_to_thread=True)
def show_archive_commit(service: Service, principal: Principal, commit_id: str) -> CommitView:
    """Show a commit: the same as `/v1/commits/{commit_id}`."""
    return show(service, principal, commit_id)


router = Router(
    "/",
    route_handlers=[catalog, archive, upgrade_timestamps, resume_commit, show_archive_commit],
    tags=["archive"],
)


def start(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    kind: str,
    **payload: str | int | None,
) -> Response[OperationView]:
    """Begin an operation on the principal's archive; what is None is left out of its payload."""
    given = {name: value for name, value in payload.items() if value is not None}
    new = new_archive_job(principal.organization_id, kind, given, principal.actor)
    return accepted(service.operations.start(act_of(request, principal), new))
