"""Scanning folders into the catalogue."""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from muniment.adapters.scan import scan
from muniment.adapters.sql.catalog import open_catalog
from muniment.archive.catalog import Catalog, Problem, ScanCounts, ScannedFile
from muniment.archive.ports import Progress
from muniment.bootstrap.archive import Archive
from muniment.errors import NotFoundError, UsageError
from muniment.text import count

_BATCH_FILES = 5_000


@dataclass
class Scan:
    """What a scan found.

    Attributes:
        counts: New, changed and unchanged versions.
        problems: Paths that cannot be archived.
    """

    counts: ScanCounts = field(default_factory=ScanCounts)
    problems: list[Problem] = field(default_factory=list)

    def summary(self) -> str:
        """Put the counts into words."""
        counts = self.counts
        return f"{count(counts.new, 'new path')}, {counts.changed:,} changed, {counts.unchanged:,} unchanged"


def roots_of(paths: Sequence[str], archive: Archive) -> list[bytes]:
    """Return absolute paths of what is to be archived.

    Raises:
        NotFoundError: A path does not exist.
        UsageError: It belongs to Muniment itself.
    """
    home = os.path.realpath(os.fsencode(archive.home))
    roots = []
    for path in paths:
        root = os.path.abspath(os.fsencode(path))
        if not os.path.lexists(root):
            raise NotFoundError(f"there is no file or folder {os.fsdecode(root)}")
        if os.path.join(os.path.realpath(root), b"").startswith(os.path.join(home, b"")):
            raise UsageError(
                f"{os.fsdecode(root)} belongs to Muniment itself, which is not archived"
            )
        roots.append(root)
    return roots


def scan_into(
    catalog: Catalog,
    roots: "Iterable[bytes]",
    archive: Archive,
    progress: Progress,
    is_wanted: Callable[[ScannedFile], bool] | None = None,
) -> Scan:
    """Record what is below `roots`, with its problems.

    Args:
        catalog: Where it is recorded.
        roots: Absolute paths.
        archive: The archive, whose own folder is left out.
        progress: Told how many paths there are.
        is_wanted: Tells what is recorded; everything if left out.
    """
    result = Scan()
    now = int(time.time())

    def note(path: bytes, message: str) -> None:
        result.problems.append(Problem(path, message, now))

    progress.stage("", "scan", 0)
    files = scan(roots, note, skip=[os.fsencode(archive.home)])
    if is_wanted is not None:
        files = filter(is_wanted, files)
    while batch := list(itertools.islice(files, _BATCH_FILES)):
        result.counts += catalog.record_scan(batch)
        progress.advance(0, len(batch))
    for start in range(0, len(result.problems), _BATCH_FILES):
        catalog.record_problems(result.problems[start : start + _BATCH_FILES])
    return result


@contextlib.contextmanager
def trial_catalog(archive: Archive) -> Iterator[Catalog]:
    """Open a copy of the catalogue to try things out on; it is removed afterwards, and the real one stays as it is."""
    with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=archive.home) as folder:
        copy = Path(folder) / "catalogue.sqlite3"
        archive.catalog.copy_to(copy)
        organization = archive.organization
        catalog = open_catalog(copy, organization.id, organization.name)
        try:
            yield catalog
        finally:
            catalog.close()
