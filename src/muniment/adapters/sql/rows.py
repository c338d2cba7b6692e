"""Between rows of `files` and the values of the domain."""

from muniment.adapters.sql.transaction import Row, Value
from muniment.archive.catalog import ArchivedFile, ClaimedFile, ContentPlace, Kind, ScannedFile

KINDS = {kind.value: kind for kind in Kind}
TEXTS = {
    kind: kind.value for kind in Kind
}  # the driver takes a plain str at once, and an enum only after a search

SCANNED = "path, kind, size, mode, mtime_ns, ctime_ns, inode, target"
"""Columns in the order of `ScannedFile`, so that a row equals the value it was made from."""

CLAIMED = f"leaf, file_id, {SCANNED}"

ARCHIVED = (
    "f.file_id, c.commit_id, f.leaf, f.path, f.kind, f.size, f.mode, f.mtime_ns, f.ctime_ns, f.inode, f.target,"
    " f.digest, f.media_type, f.content_commit_id, f.content_leaf, f.content_offset, f.sealed_size, f.packed_size,"
    " f.compression"
)
"""Columns of `files f JOIN commits c` that `archived_file` reads."""

ARCHIVED_VALUES = (
    "kind, size, mode, mtime_ns, ctime_ns, inode, target, leaf, sequence, digest, media_type, content_commit_id,"
    " content_leaf, content_offset, sealed_size, packed_size, compression"
)
"""Columns that `archived_values` fills."""


def scanned_values(file: ScannedFile) -> tuple[Value, ...]:
    """Return the values of the columns `SCANNED`."""
    path, kind, size, mode, mtime_ns, ctime_ns, inode, target = file
    return path, TEXTS[kind], size, mode, mtime_ns, ctime_ns, inode, target


def claimed_file(row: Row) -> ClaimedFile:
    """Read a row of the columns `CLAIMED`."""
    _leaf, file_id, path, kind, *rest = row
    return ClaimedFile(file_id, ScannedFile(path, KINDS[kind], *rest))


def archived_file(row: Row) -> ArchivedFile:
    """Read a row of the columns `ARCHIVED`."""
    file_id, commit_id, leaf, path, kind, *rest = row
    scanned = ScannedFile(path, KINDS[kind], *rest[:6])
    digest, media_type, content_commit_id, content_leaf, offset, sealed, packed, compression = rest[
        6:
    ]
    if offset is None:
        place = None
    elif content_commit_id is None:
        place = ContentPlace(commit_id, leaf, offset, sealed, packed, compression)
    else:
        place = ContentPlace(content_commit_id, content_leaf, offset, sealed, packed, compression)
    return ArchivedFile(file_id, commit_id, leaf, scanned, digest, media_type, place)


def archived_values(file: ArchivedFile, commit_id: str, sequence: int) -> tuple[Value, ...]:
    """Return the values of the columns `ARCHIVED_VALUES`.

    A content that lies in its own leaf's member names no commit: those rows are the ones that contents are found by.
    """
    _path, *stat = scanned_values(file.scanned)
    described = (*stat, file.leaf, sequence, file.digest, file.media_type)
    place = file.place
    if place is None:
        return (*described, None, None, None, None, None, None)
    lies = (place.offset, place.sealed_size, place.packed_size, place.compression)
    if (place.commit_id, place.leaf) == (commit_id, file.leaf):
        return (*described, None, None, *lies)
    return (*described, place.commit_id, place.leaf, *lies)
