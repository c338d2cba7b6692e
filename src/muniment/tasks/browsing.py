"""Browsing the catalogue: what is archived and what waits, in order of path, page by page."""

import fnmatch
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from muniment.adapters.sql.catalog import SqlCatalog
from muniment.archive.catalog import ArchivedFile, Kind, ScannedFile

_WINDOW = 1_000
"""Files that are read at once where not all of them are wanted."""

LOOKED_AT_MAX = 50_000
"""Files that are looked at for one page: where few are wanted, a page is shorter than it might be, and says where to go on."""


class FileState(StrEnum):
    """Whether a version of a file is in a commit."""

    ARCHIVED = "archived"
    PENDING = "pending"  # seen, and waits to be archived, or is being archived


class Listed(NamedTuple):
    """A version of a file as it is listed.

    Attributes:
        scanned: What was seen of it.
        archived: What is known of it in its commit; None where it is not archived.
    """

    scanned: ScannedFile
    archived: ArchivedFile | None

    @property
    def state(self) -> FileState:
        """Whether it is archived."""
        return FileState.PENDING if self.archived is None else FileState.ARCHIVED

    @property
    def key(self) -> "Key":
        """Its place in the list."""
        return self.scanned.path, int(self.archived is None)


Key = tuple[bytes, int]
"""Path, and 1 for a version that waits: it comes behind the archived one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files are listed.

    Attributes:
        prefix: This path and what lies below it; all if empty.
        state: Only those in this state.
        kind: Only those of this kind.
        media_type: Only those of this type; of all below it if it ends in `/`.
        name: A pattern (`*`, `?`, `[...]`) of the last name of the path.
        commit_id: Only what this commit holds.
    """

    prefix: bytes = b""
    state: FileState | None = None
    kind: Kind | None = None
    media_type: str = ""
    name: bytes = b""
    commit_id: str | None = None

    @property
    def is_everything(self) -> bool:
        """Whether all that the catalogue was asked for is wanted."""
        return self.kind is None and not self.media_type and not self.name

    def includes(self, listed: Listed) -> bool:
        """Tell whether a file is wanted, beyond what the catalogue was asked for."""
        scanned, archived = listed
        if self.kind not in (None, scanned.kind):
            return False
        if self.media_type:
            found = archived.media_type if archived else ""
            if found != self.media_type and not (
                self.media_type.endswith("/") and found.startswith(self.media_type)
            ):
                return False
        return not self.name or fnmatch.fnmatchcase(scanned.path.rpartition(b"/")[2], self.name)


def browse(
    catalog: SqlCatalog, wanted: Wanted, after: Key | None, limit: int
) -> tuple[list[Listed], Key | None]:
    """Return the next files of a list, and the key to go on after; None behind the last one.

    Raises:
        NotFoundError: There is no such commit.
    """
    found: list[Listed] = []
    last = after
    window = limit + 1 if wanted.is_everything else _WINDOW
    for looked_at, listed in enumerate(_all(catalog, wanted, after, window)):
        if looked_at >= LOOKED_AT_MAX:
            return found, last
        if wanted.includes(listed):
            if len(found) == limit:
                return found, found[-1].key
            found.append(listed)
        last = listed.key
    return found, None


def _all(catalog: SqlCatalog, wanted: Wanted, after: Key | None, window: int) -> Iterator[Listed]:
    sources = []
    if wanted.state is not FileState.PENDING:
        sources.append(_archived(catalog, wanted, after, window))
    if wanted.state is not FileState.ARCHIVED and wanted.commit_id is None:
        sources.append(_waiting(catalog, wanted, after, window))
    return heapq.merge(*sources, key=lambda listed: listed.key)


def _archived(
    catalog: SqlCatalog, wanted: Wanted, after: Key | None, window: int
) -> Iterator[Listed]:
    last = (
        after[0] if after else None
    )  # whichever of the two versions of a path was shown last, this one was
    while page := catalog.archived_page(wanted.prefix, last, window, wanted.commit_id):
        for file in page:
            yield Listed(file.scanned, file)
        last = page[-1].scanned.path


def _waiting(
    catalog: SqlCatalog, wanted: Wanted, after: Key | None, window: int
) -> Iterator[Listed]:
    last = after[0] if after else None
    if (
        after and after[1] == 0
    ):  # the archived version was shown; the other one of the same path is not
        for file in catalog.waiting_page(after[0], None, 1):
            if file.path == after[0]:
                yield Listed(file, None)
    while page := catalog.waiting_page(wanted.prefix, last, window):
        for file in page:
            yield Listed(file, None)
        last = page[-1].path
