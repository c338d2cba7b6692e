"""Where uploads lie: each in a place that no other one ever had, and none where another one needs a folder."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from muniment.adapters.sql.statements import Statements
from muniment.errors import ConflictError
from muniment.uploads.upload import Upload, check_path, folders_of, numbered


def free_place(statements: Statements, upload: Upload, day: bytes, first: int = 1) -> bytes:
    """Return a place below a folder that no upload ever had. Of many of one name, not every number is looked at.

    Args:
        statements: A transaction that keeps others from giving places of the same organisation.
        upload: The upload.
        day: The folder.
        first: The lowest number that the name may get.

    Raises:
        ConflictError: Its path needs a folder where a file is, or the other way round.
    """
    organization_id, wanted = upload.organization_id, day + b"/" + check_path(upload.path)
    _check_folders(statements, organization_id, wanted)
    taken, free = first - 1, first
    while _is_taken(statements, organization_id, numbered(wanted, free)):
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        if _is_taken(statements, organization_id, numbered(wanted, middle)):
            taken = middle
        else:
            free = middle
    return numbered(wanted, free)


def _is_taken(statements: Statements, organization_id: str, place: bytes) -> bool:
    return bool(
        statements.rows(
            "SELECT 1 FROM uploads WHERE organization_id = ? AND (place = ? OR (place >= ? AND place < ?)) LIMIT 1",
            organization_id,
            place,
            place + b"/",
            place + b"0",  # the byte behind the slash
        )
    )


def _check_folders(statements: Statements, organization_id: str, wanted: bytes) -> None:
    """Check that no file is where a folder has to be, and no folder where the file has to be."""
    folders = folders_of(wanted)
    marks = ", ".join("?" * len(folders))
    found = statements.rows(
        f"SELECT place FROM uploads WHERE organization_id = ? AND place IN ({marks}) LIMIT 1",
        organization_id,
        *folders,
    )
    if found:
        raise ConflictError(f"{_shown(found[0][0])} is a file already, so it cannot be a folder")
    found = statements.rows(
        "SELECT 1 FROM uploads WHERE organization_id = ? AND place >= ? AND place < ? LIMIT 1",
        organization_id,
        wanted + b"/",
        wanted + b"0",
    )
    if found:
        raise ConflictError(f"{_shown(wanted)} is a folder already, so it cannot be a file")


def _shown(place: bytes) -> str:
    return repr(bytes(place).partition(b"/")[2].decode("utf-8", "replace"))
