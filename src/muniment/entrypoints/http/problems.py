"""Problems (RFC 9457): every error path ends in one, with a stable code that programs can rely on.

An object of another organisation and one that does not exist give the same problem, byte for byte.
"""

import errno
import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from muniment import errors
from muniment.accounts.events import EventsGoneError
from muniment.accounts.principals import AuthenticationError, PermissionDeniedError
from muniment.accounts.quotas import QuotaExceededError
from muniment.adapters.sql.engine import DatabaseFullError, DatabaseUnavailableError
from muniment.entrypoints.http.problem_kinds import KINDS, TYPE_PATH
from muniment.jobs.model import QueueFullError
from muniment.uploads.digests import ChecksumError
from muniment.uploads.ports import BusyUploadError, PathExistsError, StorageFullError

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "unauthenticated"),
    (PermissionDeniedError, "forbidden"),
    (QuotaExceededError, "quota-exceeded"),
    (ChecksumError, "checksum-mismatch"),
    (BusyUploadError, "locked"),
    (PathExistsError, "precondition-failed"),
    (StorageFullError, "storage-full"),
    (EventsGoneError, "gone"),
    (DatabaseFullError, "storage-full"),
    (DatabaseUnavailableError, "unavailable"),
    (errors.UsageError, "bad-request"),
    (errors.NotFoundError, "not-found"),
    (errors.FormatError, "bad-request"),
    (errors.IntegrityError, "damaged"),
    (errors.KeyUnavailableError, "unavailable"),
    (QueueFullError, "too-many-operations"),
    (errors.ConflictError, "conflict"),
    (errors.ExternalServiceError, "upstream-failed"),
    (errors.PendingError, "pending"),
)
_STATUS_CODES = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
    415: "unsupported-media-type",
    429: "too-many-requests",
    503: "unavailable",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ProblemError(errors.MunimentError):
    """A problem of a kind that no other error means.

    Args:
        code: One of `KINDS`.
        detail: What happened.
        headers: Header fields that belong to the answer.
    """

    def __init__(self, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = KINDS[code]
        self.headers = headers or {}


class FieldProblem(msgspec.Struct, omit_defaults=True):
    """What is wrong with one field.

    Attributes:
        detail: What is wrong.
        pointer: Where in the body (RFC 6901), as a fragment.
        parameter: Or which parameter of path, query or header.
    """

    detail: str
    pointer: str = ""
    parameter: str = ""


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of an answer with an error status.

    Attributes:
        type: Where the service says what the kind is, and what to do about it.
        title: What kind it is.
        status: The HTTP status.
        detail: What happened, and what to do next.
        code: The kind's stable name.
        request_id: For whoever reads the logs.
        errors: The fields that are not valid.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str = ""
    errors: list[FieldProblem] = []


def problem_of(error: Exception) -> tuple[Problem, dict[str, str]]:
    """Describe an error; what nobody foresaw is logged and told in general words only."""
    headers: dict[str, str] = {}
    fields: list[FieldProblem] = []
    detail = str(error)
    match error:
        case ProblemError():
            kind, headers = error.kind, error.headers
        case ValidationException():
            kind, fields = KINDS["invalid-fields"], _field_problems(error.extra)
            detail = "some fields are not valid" if fields else error.detail
        case HTTPException():
            kind = KINDS[_STATUS_CODES.get(error.status_code, "bad-request")]
            headers, detail = dict(error.headers or {}), error.detail
        case RecursionError() if "deserializing" in detail:  # msgspec's, where a body is hostile
            kind, detail = KINDS["bad-request"], "the body is nested too deeply"
        case OSError() if error.errno in _FULL:
            kind = KINDS["storage-full"]
            detail = "the disk of the service is full; nothing that was acknowledged is lost"
        case _:
            code = next((code for type_, code in _CODES if isinstance(error, type_)), "internal")
            kind = KINDS[code]
    if kind.code == "internal":
        _log.error("unexpected error, which is a defect in Muniment", exc_info=error)
        detail = "the service failed to answer"
    if isinstance(error, DatabaseUnavailableError):
        _log.error("%s", error)
        detail, headers = "the database cannot be reached: try again", {"retry-after": "5"}
    if kind.code == "too-many-operations":
        headers = {"retry-after": "30"}
    if kind.code == "unauthenticated":
        headers = headers | {"www-authenticate": 'Bearer realm="muniment"'}
    title = kind.title
    type_ = TYPE_PATH + kind.code
    return Problem(type_, title, kind.status, detail, kind.code, errors=fields), headers


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a request that failed: the application's one exception handler."""
    problem, headers = problem_of(error)
    problem.request_id = request.scope["state"].get("request_id", "")
    body = msgspec.json.encode(problem)
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def _field_problems(extra: object) -> list[FieldProblem]:
    if not isinstance(extra, list):
        return []
    found = []
    for item in extra:
        key, message = str(item.get("key", "")), str(item.get("message", ""))
        if item.get("source", "body") == "body":
            pointer = "#" + "".join(f"/{part}" for part in key.split(".") if part)
            found.append(FieldProblem(message, pointer=pointer))
        else:
            found.append(FieldProblem(message, parameter=key))
    return found
