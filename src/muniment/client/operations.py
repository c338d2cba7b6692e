"""Operations: work of the service that takes longer than a request, watched until it ends."""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from muniment.client.calls import Caller, call, segment, stream
from muniment.client.errors import error_of
from muniment.client.flows import Emitting, Flow
from muniment.errors import ConflictError, PendingError

_ENDS = frozenset({"succeeded", "failed", "cancelled"})
_WAIT_S = 20


class Stage(msgspec.Struct, frozen=True):
    """A stage of a commit that is being made: `waiting`, `running` or `done`."""

    name: str
    state: str


class OperationProgress(msgspec.Struct, frozen=True):
    """How far an operation has come.

    Attributes:
        stage: What it is doing.
        commit_id: The commit that it is at; empty for none.
        done: So much of it is done.
        total: Of so much; None where nobody knows.
        unit: Of `done` and `total`: `bytes`, `files`, `commits`.
    """

    stage: str
    commit_id: str
    done: int
    total: int | None
    unit: str


class OperationProblem(msgspec.Struct, frozen=True):
    """What went wrong last: a code as that of `ApiError`, and words."""

    code: str
    detail: str


class Operation(msgspec.Struct, frozen=True):
    """An operation.

    Attributes:
        state: It ends as `succeeded`, `failed` or `cancelled`.
        attempts: How often it was begun.
        cancel_requested: It ends as soon as its worker notices.
        progress: How far it has come; None before it begins.
        stages: The eight stages of the commit that it is at; empty for what makes no commit.
        result: What it did; None before it has succeeded.
        problem: What went wrong last; it may go on all the same.
        created_at: Seconds since 1970, as all times.
    """

    operation_id: str
    kind: str
    state: str
    attempts: int
    cancel_requested: bool
    progress: OperationProgress | None
    stages: list[Stage]
    result: dict[str, Any] | None
    problem: OperationProblem | None
    created_at: int
    started_at: int | None
    finished_at: int | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in _ENDS

    def outcome(self) -> dict[str, Any]:
        """Return what it did.

        Raises:
            ApiError, ConflictError, PendingError: It has not succeeded; see `check`.
        """
        self.check()
        return self.result or {}

    def check(self) -> None:
        """Check that it succeeded.

        Raises:
            ApiError: It failed.
            ConflictError: It was cancelled.
            PendingError: It has not ended yet.
        """
        if self.state == "failed":
            problem = self.problem or OperationProblem("internal", "it does not say why")
            raise error_of(
                problem.code, f"the operation {self.operation_id} failed: {problem.detail}"
            )
        if self.state == "cancelled":
            raise ConflictError(f"the operation {self.operation_id} was cancelled")
        if self.state != "succeeded":
            raise PendingError(f"the operation {self.operation_id} goes on: it is {self.state}")


class OperationCalls(Caller):
    """Calls about operations."""

    @stream
    def list_operations(self, *, state: str | None = None, kind: str = "") -> Emitting[Operation]:
        """Iterate over the operations, newest first; only those of a state or kind if wished."""
        return self.pages("/v1/operations", Operation, {"state": state, "kind": kind or None})

    @call
    def show_operation(self, operation_id: str, *, wait_s: float = 0) -> Flow[Operation]:
        """Show an operation; when it has ended, or at the latest after `wait_s` seconds (30 at most)."""
        path = f"/v1/operations/{segment(operation_id)}"
        return self.get(path, Operation, {"wait_s": str(wait_s)} if wait_s else None)

    @call
    def cancel_operation(self, operation_id: str) -> Flow[Operation]:
        """Have an operation end. What it has finished stays."""
        return self.write("POST", f"/v1/operations/{segment(operation_id)}/cancel", Operation)

    @call
    def resume_operation(self, operation_id: str) -> Flow[Operation]:
        """Go on with an operation that failed or was cancelled, where it stopped."""
        return self.write("POST", f"/v1/operations/{segment(operation_id)}/resume", Operation)

    @call
    def wait(
        self,
        operation: Operation | str,
        *,
        timeout_s: float | None = None,
        progress: Callable[[Operation], object] | None = None,
    ) -> Flow[Operation]:
        """Wait until an operation has succeeded, and return it.

        Args:
            operation: The operation, or its id.
            timeout_s: How long at most; without end if left out.
            progress: Told of it whenever something is known.

        Raises:
            ApiError: It failed.
            ConflictError: It was cancelled.
            PendingError: The time is over, and it still goes on.
        """
        operation_id = operation if isinstance(operation, str) else operation.operation_id
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        # Whoever is told of progress wants to be told while it happens.
        each_s = min(self.timeout_s / 2, 0.5 if progress else _WAIT_S)
        while True:
            left_s = each_s if until_s is None else until_s - time.monotonic()
            path = f"/v1/operations/{segment(operation_id)}"
            wait_s = f"{max(0.0, min(each_s, left_s)):.3f}"
            found = yield from self.get(path, Operation, {"wait_s": wait_s})
            if progress is not None:
                progress(found)
            if found.has_ended or left_s <= 0:
                found.check()
                return found
