"""Which function does which kind of job, and what its failures mean."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from muniment.errors import MunimentError, UsageError
from muniment.jobs.backoff import Backoff
from muniment.jobs.model import PermanentFailureError, require_name
from muniment.jobs.ports import JobStore
from muniment.jobs.run import Run

Function = Callable[[Run], Any]

PERMANENT: tuple[type[Exception], ...] = (PermanentFailureError, UsageError)
"""Errors that no further attempt mends, unless a handler says otherwise."""


@dataclass(frozen=True, slots=True)
class Handler:
    """How one kind of job is done.

    Attributes:
        function: Does it; what it returns is the job's result.
        backoff: When to try again.
        permanent: Errors after which there is no use in trying again.
    """

    function: Function
    backoff: Backoff
    permanent: tuple[type[Exception], ...]


class Handlers(dict[str, Handler]):
    """Handlers by the kind of job."""

    def add(
        self,
        kind: str,
        function: Function,
        *,
        backoff: Backoff = Backoff(),  # noqa: B008  # it is frozen
        permanent: tuple[type[Exception], ...] = PERMANENT,
    ) -> None:
        """Add the handler of a kind.

        Raises:
            UsageError: The kind has one already.
        """
        if require_name(kind, "kind") in self:
            raise UsageError(f"kind {kind!r} has a handler already")
        self[kind] = Handler(function, backoff, permanent)


def describe(error: Exception) -> dict[str, Any]:
    """Return what the job's owner may know of an error: a stable code, and its words if it was raised on purpose."""
    if isinstance(error, MunimentError):
        name = type(error).__name__.removesuffix("Error")
        return {"code": re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower(), "detail": str(error)[:2_000]}
    return {"code": "internal", "detail": "an unexpected error, which is in the service's log"}


def pruning(store: JobStore, older_than_s: float) -> Function:
    """Return a handler that removes jobs which ended longer ago than that; its result says how many."""

    def prune(run: Run) -> dict[str, int]:
        removed = 0
        while count := store.prune(older_than_s=older_than_s):
            removed += count
            run.progress("pruning", removed, unit="jobs")
            run.check()
        return {"removed": removed}

    return prune
