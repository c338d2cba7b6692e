"""Which problems an operation can answer with: most come from the gate that all requests go through, and are told of in one place."""

from typing import Any

from muniment.entrypoints.http.contract.document import UNSAFE, Document, Operation
from muniment.entrypoints.http.problem_kinds import KINDS, TYPE_PATH
from muniment.entrypoints.http.problems import MEDIA_TYPE, Problem

_FRONT = ("bad-request", "uri-too-long", "headers-too-large", "internal", "unavailable")
_GATE = (
    "unauthenticated",
    "forbidden",
    "request-timeout",
    "too-large",
    "unsupported-media-type",
    "too-many-requests",
)
_CHANGE = (
    "conflict",
    "precondition-failed",
    "idempotency-mismatch",
    "storage-full",
)
_NAMES_NOTHING = ("path", "name")
"""Parameters of paths that do not say of which thing an answer tells."""


def codes_of(
    method: str, operation: Operation, own: tuple[str, ...], *, is_public: bool
) -> set[str]:
    """Return the codes of the problems that an operation can answer with.

    Args:
        method: Its method.
        operation: What is known of it.
        own: The codes that its route names.
        is_public: Whether it needs no key.
    """
    codes = {*_FRONT, *own}
    parameters = operation.get("parameters", [])
    if parameters or "requestBody" in operation:
        codes.add("invalid-fields")
    if is_public:
        return codes
    codes.update(_GATE)
    if method in UNSAFE:
        codes.update(_CHANGE)
    if any(one["in"] == "path" and one["name"] not in _NAMES_NOTHING for one in parameters):
        codes.add("not-found")
    return codes


def add_problems(operation: Operation, codes: set[str]) -> None:
    """Add the answers for some kinds of problems to an operation, but where it has its own."""
    for status in sorted({KINDS[code].status for code in codes}):
        shared = {"$ref": f"#/components/responses/Problem{status}"}
        operation["responses"].setdefault(str(status), shared)


def drop_failures(operation: Operation, statuses: set[int]) -> None:
    """Drop the answers with an error status that an operation with a body of its own for them cannot give."""
    responses = operation["responses"]
    for status in [name for name in responses if name >= "4" and int(name) not in statuses]:
        del responses[status]


def shared_responses(document: Document) -> Document:
    """Return one answer for each status of a problem that some operation refers to, with an example of each kind."""
    by_status: dict[int, dict[str, Any]] = {}
    for kind in KINDS.values():
        problem = Problem(
            f"{TYPE_PATH}{kind.code}", kind.title, kind.status, kind.advice, kind.code
        )
        by_status.setdefault(kind.status, {})[kind.code] = {"value": problem, "summary": kind.title}
    used = str(document["paths"])
    return {
        f"Problem{status}": {
            "description": " Or: ".join(example["summary"] for example in examples.values()),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": examples,
                }
            },
        }
        for status, examples in sorted(by_status.items())
        if f"/Problem{status}'" in used
    }
