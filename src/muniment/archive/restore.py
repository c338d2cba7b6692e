"""Choosing what to restore."""

import fnmatch
from collections.abc import Iterator, Sequence

from muniment.archive.catalog import ArchivedFile, Catalog


def clean_path(path: bytes) -> bytes:
    """Return a path as the catalogue knows it: relative to `/`, without trailing slash."""
    return path.strip(b"/")


def select(
    catalog: Catalog,
    patterns: Sequence[bytes],
    *,
    at: int | None = None,
    commit_id: str | None = None,
) -> Iterator[ArchivedFile]:
    """Iterate over the newest version of every path that is wanted, in order of path.

    Args:
        catalog: The catalogue.
        patterns: Paths, each with all that is below it, or globs (`*`, `?`, `[...]`) over whole paths; none means everything.
        at: Only what was archived by this time, seconds since 1970.
        commit_id: Only what this commit holds.
    """
    if not patterns:
        yield from catalog.newest(at=at, commit_id=commit_id)
        return
    seen: set[bytes] = set()
    for pattern in map(clean_path, patterns):
        for file in _matching(catalog, pattern, at, commit_id):
            if len(patterns) == 1 or file.scanned.path not in seen:
                seen.add(file.scanned.path)
                yield file


def _matching(
    catalog: Catalog, pattern: bytes, at: int | None, commit_id: str | None
) -> Iterator[ArchivedFile]:
    exact = catalog.newest(prefix=pattern, at=at, commit_id=commit_id)
    if not any(sign in pattern for sign in b"*?["):
        yield from exact
        return
    literal = list(exact)  # a name may hold these signs: what is called exactly so is meant
    if literal:
        yield from literal
        return
    folder = _fixed_folder(pattern)
    for file in catalog.newest(prefix=folder, at=at, commit_id=commit_id):
        if fnmatch.fnmatchcase(file.scanned.path, pattern):
            yield file


def _fixed_folder(pattern: bytes) -> bytes:
    """Return the folders in front of the first glob sign: nothing outside of them can match."""
    first = min(pattern.find(sign) for sign in (b"*", b"?", b"[") if sign in pattern)
    return pattern[:first].rpartition(b"/")[0]
