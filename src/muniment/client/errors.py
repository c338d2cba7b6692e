"""What can go wrong between a client and a service; each kind is also one of the library's own (`muniment.errors`).

So `except NotFoundError` works on an archive here and on a service elsewhere, and a program ends with the same exit code.
"""

from dataclasses import dataclass

import msgspec

from muniment import errors

_STATUS_NAMES = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    408: "request-timeout",
    409: "conflict",
    413: "too-large",
    429: "too-many-requests",
    503: "unavailable",
}
"""Codes for answers that name none: those of proxies, and of the pinning service."""


_STRANGERS = {
    404: "nothing there speaks version 1 of the API: check the address of the service, and whether it is of an older or newer kind",
    502: "something before the service could not reach it (status 502)",
    503: "something before the service says that it is not available (status 503)",
    504: "something before the service waited for it in vain (status 504)",
}
"""What answers mean that no service has written."""


class FieldProblem(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request.

    Attributes:
        detail: What is wrong.
        pointer: Where in the body (RFC 6901), as a fragment; empty for none.
        parameter: Or which parameter of path, query or header; empty for none.
    """

    detail: str
    pointer: str = ""
    parameter: str = ""


class ApiError(errors.MunimentError):
    """The service answered with a problem (RFC 9457).

    Attributes:
        code: The problem's stable name, as in `not-found`.
        status: The HTTP status.
        detail: What happened, and what to do next.
        request_id: For whoever reads the service's logs.
        errors: The fields of the request that are not valid.
        retry_after_s: Seconds after which it may go better; None if the service did not say.
    """

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        request_id: str = "",
        errors: tuple[FieldProblem, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, status, detail, request_id, errors, retry_after_s)
        self.code, self.status, self.detail = code, status, detail
        self.request_id, self.errors, self.retry_after_s = request_id, errors, retry_after_s

    def __str__(self) -> str:
        fields = "; ".join(
            f"{field.pointer or field.parameter}: {field.detail}" for field in self.errors
        )
        where = f" (request {self.request_id})" if self.status >= 500 and self.request_id else ""
        return f"{self.detail}{': ' if fields else ''}{fields}{where}"


class ApiUsageError(ApiError, errors.UsageError):
    """The service says that the request makes no sense."""


class ApiNotFoundError(ApiError, errors.NotFoundError):
    """The service knows nothing by that name."""


class ApiIntegrityError(ApiError, errors.IntegrityError):
    """The service found bytes, proofs or signatures that do not hold."""


class ApiKeyError(ApiError, errors.KeyUnavailableError):
    """The API key is missing or not valid, or may not do that."""


class ApiConflictError(ApiError, errors.ConflictError):
    """The state of things does not allow it now."""


class ApiServiceError(ApiError, errors.ExternalServiceError):
    """The service, or one that it depends on, failed or has too much to do."""


class ApiPendingError(ApiError, errors.PendingError):
    """The answer is not known yet."""


class ConnectionFailedError(errors.ExternalServiceError):
    """No answer came: the service was not reached, or fell silent."""


_KINDS: dict[str, type[ApiError]] = {
    "bad-request": ApiUsageError,
    "invalid-fields": ApiUsageError,
    "method-not-allowed": ApiUsageError,
    "not-acceptable": ApiUsageError,
    "length-required": ApiUsageError,
    "too-large": ApiUsageError,
    "uri-too-long": ApiUsageError,
    "headers-too-large": ApiUsageError,
    "quota-exceeded": ApiError,
    "unsupported-media-type": ApiUsageError,
    "range-not-satisfiable": ApiUsageError,
    "idempotency-mismatch": ApiUsageError,
    "unauthenticated": ApiKeyError,
    "forbidden": ApiKeyError,
    "not-found": ApiNotFoundError,
    "gone": ApiNotFoundError,
    "conflict": ApiConflictError,
    "precondition-failed": ApiConflictError,
    "locked": ApiConflictError,
    "pending": ApiPendingError,
    "checksum-mismatch": ApiIntegrityError,
    "chunk-mismatch": ApiIntegrityError,
    "damaged": ApiIntegrityError,
    "request-timeout": ApiServiceError,
    "too-many-requests": ApiServiceError,
    "too-many-operations": ApiServiceError,
    "internal": ApiServiceError,
    "upstream-failed": ApiServiceError,
    "unavailable": ApiServiceError,
    "storage-full": ApiServiceError,
}


@dataclass(frozen=True, slots=True)
class _Told:
    """What the body of a problem says."""

    code: str
    detail: str
    fields: tuple[FieldProblem, ...] = ()


class _Problem(msgspec.Struct):
    """The body of a problem."""

    code: str
    detail: str
    errors: tuple[FieldProblem, ...] = ()


class _PinningFailure(msgspec.Struct):
    """What the IPFS Pinning Service API has in the place of a problem."""

    reason: str
    details: str = ""


class _PinningProblem(msgspec.Struct):
    """Its body."""

    error: _PinningFailure


def api_error(
    status: int, body: bytes, request_id: str = "", retry_after_s: float | None = None
) -> ApiError:
    """Return the error that an answer with an error status means, whoever wrote it."""
    told = _read(status, body)
    # A 404 that no service has written says that there is none at that address, not that something is not there.
    other = ApiServiceError if status >= 500 or status == 404 else ApiError
    kind = _KINDS.get(told.code, other)
    return kind(told.code, status, told.detail, request_id, told.fields, retry_after_s)


def error_of(code: str, detail: str) -> ApiError:
    """Return the error that a problem means which was not the answer to a request."""
    return _KINDS.get(code, ApiServiceError)(code, 0, detail)


def _read(status: int, body: bytes) -> _Told:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
        return _Told(problem.code, problem.detail, problem.errors)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass  # not one of ours: perhaps of the pinning service, perhaps of a proxy before it
    code = _STATUS_NAMES.get(status, f"status-{status}")
    try:
        failure = msgspec.json.decode(body, type=_PinningProblem).error
        return _Told(code, failure.details or failure.reason)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        detail = _STRANGERS.get(status, f"expected an answer of a service, got status {status}")
        return _Told("status-404" if status == 404 else code, detail)
