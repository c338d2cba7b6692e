"""Between rows of `files` and the values of the domain."""

from muniment.adapters.sql.statements import Row, Value
from muniment.archive.catalog import ArchivedFile, ClaimedFile, ContentPlace, Kind, ScannedFile

KINDS = {kind.value: kind for kind in Kind}
TEXTS = {
    kind: kind.value for kind in Kind
}  # the driver takes a plain str at once, and an enum only after a search

_scanned = ScannedFile._make  # a third of the time that calling the class takes

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
    "kind, size, mode, mtime_ns, ctime_ns, inode, target, sequence, digest, media_type, content_commit_id,"
    " content_leaf, content_offset, sealed_size, packed_size, compression"
)
"""Columns that `archived_values` fills."""


def scanned_values(file: ScannedFile) -> tuple[Value, ...]:
    """Return the values of the columns `SCANNED`."""
    path, kind, size, mode, mtime_ns, ctime_ns, inode, target = file
    return path, TEXTS[kind], size, mode, mtime_ns, ctime_ns, inode, target


def claimed_file(row: Row) -> ClaimedFile:
    """Read a row of the columns `CLAIMED`."""
    return ClaimedFile(row[1], _scanned((row[2], KINDS[row[3]], *row[4:])))


def archived_file(row: Row) -> ArchivedFile:
    """Read a row of the columns `ARCHIVED`."""
    file_id, commit_id, leaf, path, kind, *_ = row
    scanned = _scanned((path, KINDS[kind], *row[5:11]))
    digest, media_type, content_commit_id, content_leaf, offset, *packaging = row[11:]
    if offset is None:
        place = None
    elif content_commit_id is None:
        place = ContentPlace(commit_id, leaf, offset, *packaging)
    else:
        place = ContentPlace(content_commit_id, content_leaf, offset, *packaging)
    return ArchivedFile(file_id, commit_id, leaf, scanned, digest, media_type, place)


def archived_values(file: ArchivedFile, commit_id: str, sequence: int) -> tuple[Value, ...]:
    """Return the values of the columns `ARCHIVED_VALUES`.

    A content that lies in its own leaf's member names no commit: those rows are the ones that contents are found by.
    """
    _path, kind, size, mode, mtime_ns, ctime_ns, inode, target = file.scanned
    head = (TEXTS[kind], size, mode, mtime_ns, ctime_ns, inode, target, sequence, file.digest)
    place = file.place
    if place is None:
        return (*head, file.media_type, None, None, None, None, None, None)
    lies = (place.offset, place.sealed_size, place.packed_size, place.compression)
    if place.leaf == file.leaf and place.commit_id == commit_id:
        return (*head, file.media_type, None, None, *lies)
    return (*head, file.media_type, place.commit_id, place.leaf, *lies)
