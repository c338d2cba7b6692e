"""The archives of a service's organisations: each opened once in a process, and shared by its threads."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.archive.catalog import Kind, ScannedFile
from muniment.bootstrap.archive import Archive
from muniment.errors import ConflictError
from muniment.jobs.run import Run

if TYPE_CHECKING:
    from muniment.adapters.sql.engine import Database

_LOCK_TRIES = 30
_LOCK_WAIT_S = 1.0


class Archives:
    """Opens archives when they are asked for. Safe to use from several threads.

    Args:
        home: Returns an organisation's archive home.
        workers_max: Processes that work on one archive at most.
        database: The service's database, which holds catalogues if it is PostgreSQL.
    """

    def __init__(
        self, home: Callable[[str], Path], workers_max: int, database: "Database | None" = None
    ) -> None:
        self._home, self._workers_max, self._database = home, workers_max, database
        self._open: dict[str, Archive] = {}
        self._lock = threading.Lock()

    def get(self, organization_id: str) -> Archive:
        """Return the archive of an organisation; nobody else closes it.

        Raises:
            UsageError: It has none.
        """
        with self._lock:
            archive = self._open.get(organization_id)
            if archive is None:
                archive = Archive(
                    self._home(organization_id),
                    workers_max=self._workers_max,
                    service_database=self._database,
                )
                # Made here, under the lock: made when first used, two threads could make two.
                archive.settings, archive.store, archive.catalog  # noqa: B018
                self._open[organization_id] = archive
            return archive

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            for archive in self._open.values():
                archive.close()
            self._open.clear()


@contextlib.contextmanager
def holding(archive: Archive, run: Run) -> Iterator[None]:
    """Hold an archive for a change on behalf of a job, whose owner is told when it has to wait.

    Raises:
        ConflictError: Another run has held it for some seconds: try again.
        LostClaimError, JobCancelledError, WorkerStoppingError: As `Run.check`.
    """
    with contextlib.ExitStack() as stack:
        for tries_left in reversed(range(_LOCK_TRIES)):
            try:
                stack.enter_context(archive.lock(timeout_s=0))
                break
            except ConflictError:
                if not tries_left:
                    raise
            run.progress("waiting", 0, unit="files")
            run.wait(_LOCK_WAIT_S)
        yield


class UploadRoot:
    """The folder of an organisation's uploads, as its archive sees it.

    Args:
        folder: Its absolute path.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = os.fsencode(folder)
        self._inside = self.path.lstrip(b"/") + b"/"

    def make(self) -> None:
        """Make the folder if need be."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def prefix(self) -> bytes:
        """The path in the catalogue, without a slash at its end."""
        return self._inside[:-1]

    def place_of(self, path: bytes) -> bytes | None:
        """Return where below the uploads a catalogued path lies, or None if it lies elsewhere."""
        return path[len(self._inside) :] if path.startswith(self._inside) else None

    def path_of(self, place: bytes) -> bytes:
        """Return the catalogued path of a place."""
        return self._inside + place

    def is_wanted(self, file: ScannedFile) -> bool:
        """Tell whether a path is to be archived: the folders of uploads are not, for they change with every upload."""
        if file.kind is not Kind.DIRECTORY:
            return True
        return file.path != self.prefix and not file.path.startswith(self._inside)
