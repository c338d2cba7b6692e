"""What waits, what is archived, and what went wrong."""

import itertools

import msgspec
from litestar import Router, get

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.archive.catalog import CommitState
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.paths import Paths, PathView
from muniment.entrypoints.http.routes.commits import CommitView, commit_view

_PROBLEMS_SHOWN = 100
_UNFINISHED_SHOWN = 100


class ProblemPath(PathView):
    """A path that could not be archived; it is tried again on the next run."""

    message: str
    noticed_at: int


class StatusView(msgspec.Struct):
    """The state of an archive.

    Attributes:
        pending_files: Versions that were catalogued and are not archived yet.
        archived_files: Archived versions.
        sealed_bytes: What the stored commits take, parity included.
        timestamps_queued: Commits that no calendar was reached for yet.
        timestamps_pending: Commits whose timestamp waits for its block.
        not_backed_up: Commits without a verified backup; counts where there is a backup.
        unfinished: Commits that were begun.
        problem_count: Paths that could not be archived.
        problems: The newest of them.
    """

    pending_files: int
    pending_bytes: int
    archived_files: int
    archived_bytes: int
    sealed_bytes: int
    commits: int
    timestamps_queued: int
    timestamps_pending: int
    has_backup: bool
    not_backed_up: int
    last_commit: CommitView | None
    unfinished: list[CommitView]
    problem_count: int
    problems: list[ProblemPath]


@get("/status", opt=needs(Permission.ARCHIVE_READ), sync_to_thread=True)
def show_status(service: Service, principal: Principal) -> StatusView:
    """Show what waits, what is archived, and what went wrong."""
    archive = service.archives.get(principal.organization_id)
    totals = archive.catalog.totals()
    paths = Paths(service, principal)
    states = [state for state in CommitState if state is not CommitState.STORED]
    unfinished = itertools.islice(archive.catalog.commits(*states), _UNFINISHED_SHOWN)
    problems = itertools.islice(archive.catalog.problems(), _PROBLEMS_SHOWN)
    return StatusView(
        totals.pending_files,
        totals.pending_bytes,
        totals.archived_files,
        totals.archived_bytes,
        totals.sealed_bytes,
        totals.commits,
        totals.timestamps_queued,
        totals.timestamps_pending,
        bool(archive.settings.backup),
        totals.not_backed_up,
        commit_view(totals.last_commit, None) if totals.last_commit else None,
        [commit_view(row, None) for row in unfinished] if totals.unfinished_commits else [],
        totals.problems,
        [
            ProblemPath(
                *paths.names(problem.path), message=problem.message, noticed_at=problem.noticed_at
            )
            for problem in problems
        ],
    )


router = Router("/", route_handlers=[show_status], tags=["archive"])
