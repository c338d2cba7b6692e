"""Archiving everything that is new or changed: the scan, then the eight stages for batch after batch."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from muniment.archive.catalog import Catalog, CommitRow, Problem, ScannedFile
from muniment.archive.ports import Progress
from muniment.bootstrap.archive import Archive
from muniment.tasks.scanning import Scan, scan_into


@dataclass
class ArchiveRun:
    """What a run did.

    Attributes:
        scan: What it saw.
        commits: Finished in it, in order.
        problems: Paths that could not be archived.
        vanished: Number of paths that were gone before they could be read.
    """

    scan: Scan
    commits: list[CommitRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    vanished: int = 0


def archive_changes(
    archive: Archive,
    roots: Sequence[bytes],
    progress: Progress,
    *,
    is_wanted: Callable[[ScannedFile], bool] | None = None,
    batch_bytes: int | None = None,
) -> ArchiveRun:
    """Finish what earlier runs began, and archive what is new or changed. The caller holds the archive's lock.

    Args:
        archive: The archive.
        roots: Absolute paths of what is looked at.
        progress: Told how far it has come.
        is_wanted: Tells what of it is archived; everything if left out.
        batch_bytes: Source bytes that one commit holds at most; as the settings say if left out.

    Raises:
        KeyUnavailableError: The signing key cannot be used.
        ConflictError: The catalogue does not know all commits of the store.
    """
    archive.signing_key  # noqa: B018  # a passphrase is better asked for now than after a long scan
    catalog, started = archive.catalog, int(time.time())
    _date_back_problems(catalog, started)
    # Whatever is unfinished is resumed by this very run, so no claim of it expires: 0 only lets go of what met a problem.
    catalog.expire_claims(0)
    scan = scan_into(catalog, roots, archive, progress, is_wanted)
    result = archive.pipeline(progress, batch_bytes).run()
    catalog.clear_problems(started)
    problems = [*scan.problems, *result.problems]
    return ArchiveRun(scan, result.commits, problems, result.vanished)


def _date_back_problems(catalog: Catalog, started: int) -> None:
    """Let no earlier problem look as if this run had met it: times are whole seconds, and clocks are set back."""
    recent = itertools.takewhile(lambda problem: problem.noticed_at >= started, catalog.problems())
    catalog.record_problems([replace(problem, noticed_at=started - 1) for problem in recent])
