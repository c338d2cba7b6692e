"""Operations: work that takes longer than a request, how far it has come, and what became of it."""

import asyncio
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.params import Parameter, QueryParameter

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.contract.shapes import RESULT_SCHEMA
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    page_response,
)
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.jobs.model import Job, JobState
from muniment.service_jobs.registering import ARCHIVE

WAIT_MAX_S = 30
_POLL_S = 0.2
_SECOND = 1_000_000

STAGES = (
    "collect",
    "hash",
    "encrypt",
    "build-tree",
    "package",
    "sign",
    "timestamp",
    "upload",
)
"""The stages of a commit."""

_AT_ONCE = {"seal": ("hash", "encrypt")}  # one pass over the data
_BEFORE = ("waiting", "scan", "prepare")
_CODES = {
    "usage": "bad-request",
    "integrity": "damaged",
    "format": "damaged",
    "signature": "damaged",
    "missing-data": "damaged",
    "key-unavailable": "unavailable",
    "external-service": "upstream-failed",
}


class StageState(StrEnum):
    """How far a stage of the commit that is being made has come."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


class StageView(msgspec.Struct):
    """A stage of a commit."""

    name: str
    state: StageState


class ProgressView(msgspec.Struct):
    """How far an operation has come.

    Attributes:
        stage: What it is doing.
        commit_id: The commit that it is at; empty for none.
        done: So much of it is done.
        total: Of so much; null where nobody knows.
        unit: Of `done` and `total`: `bytes`, `files`, `commits`.
    """

    stage: str
    commit_id: str
    done: int
    total: int | None
    unit: str


class OperationProblem(msgspec.Struct):
    """What went wrong last.

    Attributes:
        code: As in the problems of requests, or `worker-lost`.
        detail: What happened.
    """

    code: str
    detail: str


Result = Annotated[dict[str, Any], msgspec.Meta(extra_json_schema=RESULT_SCHEMA)]


class OperationView(msgspec.Struct):
    """An operation.

    Attributes:
        state: It ends as `succeeded`, `failed` or `cancelled`.
        attempts: How often it was begun: it is begun again when its worker dies or something fails that may pass.
        cancel_requested: It ends as soon as its worker notices.
        progress: How far it says it has come; null before it begins.
        stages: The eight stages of the commit that it is at; empty for what makes no commit.
        result: What it did; null before it has succeeded.
        problem: What went wrong last; it may go on all the same.
        created_at: Seconds since 1970.
    """

    operation_id: str
    kind: str
    state: JobState
    attempts: int
    cancel_requested: bool
    progress: ProgressView | None
    stages: list[StageView]
    result: Result | None
    problem: OperationProblem | None
    created_at: int
    started_at: int | None
    finished_at: int | None


@get("/operations", opt=needs(Permission.OPERATIONS_READ), sync_to_thread=True)
def list_operations(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    in_state: Annotated[JobState | None, QueryParameter(name="state")] = None,
    kind: Annotated[str, Parameter(max_length=64)] = "",
    limit: Annotated[int, Parameter(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[OperationView]]:
    """List the operations, newest first."""
    before = decode_cursor(cursor, tuple[str])[0] if cursor else None
    jobs = service.jobs.jobs(
        principal.organization_id,
        states=[in_state] if in_state else [],
        kinds=[kind] if kind else [],
        before=before,
        limit=limit + 1,
    )
    views = [operation_view(job) for job in jobs]
    return page_response(request, views, limit, lambda view: (view.operation_id,))


@get("/operations/{operation_id:str}", opt=needs(Permission.OPERATIONS_READ))
async def show_operation(
    service: Service,
    principal: Principal,
    operation_id: str,
    wait_s: Annotated[float, Parameter(ge=0, le=WAIT_MAX_S)] = 0,
) -> OperationView:
    """Show an operation; with `wait_s`, when it has ended, or after so many seconds."""
    until_s = time.monotonic() + wait_s
    while True:
        job = await asyncio.to_thread(service.jobs.job, principal.organization_id, operation_id)
        left_s = until_s - time.monotonic()
        if job.state.is_end or left_s <= 0:
            return operation_view(job)
        await asyncio.sleep(min(_POLL_S, left_s))


@post(
    "/operations/{operation_id:str}/cancel",
    opt=needs(Permission.OPERATIONS_WRITE),
    status_code=200,
    sync_to_thread=True,
)
def cancel_operation(
    request: HttpRequest, service: Service, principal: Principal, operation_id: str
) -> OperationView:
    """Have an operation end. One that runs takes a moment; what it has finished stays; one that has ended stays as it is."""
    return operation_view(service.operations.cancel(act_of(request, principal), operation_id))


@post(
    "/operations/{operation_id:str}/resume",
    opt=needs(Permission.OPERATIONS_WRITE),
    status_code=202,
    sync_to_thread=True,
)
def resume_operation(
    request: HttpRequest, service: Service, principal: Principal, operation_id: str
) -> Response[OperationView]:
    """Go on with an operation that failed or was cancelled, where it stopped."""
    return accepted(service.operations.resume(act_of(request, principal), operation_id))


router = Router(
    "/",
    route_handlers=[list_operations, show_operation, cancel_operation, resume_operation],
    tags=["operations"],
)


def accepted(job: Job) -> Response[OperationView]:
    """Answer that an operation was accepted, and where it can be watched."""
    address = f"/v1/operations/{job.job_id}"
    return Response(operation_view(job), status_code=202, headers={"location": address})


def operation_view(job: Job) -> OperationView:
    """Describe a job."""
    progress = None
    if job.progress is not None:
        stage, _slash, commit_id = job.progress.stage.partition("/")
        progress = ProgressView(
            stage, commit_id, job.progress.done, job.progress.total, job.progress.unit
        )
    problem = None
    if job.problem is not None:
        code = str(job.problem.get("code", "internal"))
        problem = OperationProblem(_CODES.get(code, code), str(job.problem.get("detail", "")))
    return OperationView(
        job.job_id,
        job.kind,
        job.state,
        job.attempts,
        job.cancel_requested,
        progress,
        list(_stages(job, progress.stage if progress else "")) if job.kind == ARCHIVE else [],
        job.result,
        problem,
        job.created_at // _SECOND,
        _seconds(job.started_at),
        _seconds(job.finished_at),
    )


def _stages(job: Job, current: str) -> Iterator[StageView]:
    running: tuple[str, ...] = _AT_ONCE.get(current, (current,))
    # What comes behind the eight, such as verification, finds them all done.
    first = STAGES.index(running[0]) if running[0] in STAGES else len(STAGES)
    if not current or current in _BEFORE:
        first = 0
    if job.state is JobState.SUCCEEDED:
        first, running = len(STAGES), ()
    for place, name in enumerate(STAGES):
        if name in running:
            yield StageView(name, StageState.RUNNING)
        else:
            yield StageView(name, StageState.DONE if place < first else StageState.WAITING)


def _seconds(time_us: int | None) -> int | None:
    return None if time_us is None else time_us // _SECOND
