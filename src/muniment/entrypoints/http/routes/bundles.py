"""Many archived files at once: as one zip or tar, or the proofs of them all."""

import asyncio
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import msgspec
from litestar import Router, post
from litestar.response import Stream

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.archive.catalog import ArchivedFile
from muniment.archive.restore import select
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.openapi import fails
from muniment.entrypoints.http.paths import Paths, decoded
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.entrypoints.http.routes.commits import find_commit
from muniment.entrypoints.http.streaming import SAFE, attachment, stream
from muniment.errors import NotFoundError
from muniment.tasks.downloads import BUNDLERS, ZIP_FILES_MAX, Entry
from muniment.tasks.proofs import prove_many

_ANY = "*/*"
_PIECE_BYTES = 64 << 10


class BundleFormat(StrEnum):
    """In which format many files are handed out."""

    ZIP = "zip"
    TAR = "tar"


Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]


class Selection(msgspec.Struct, forbid_unknown_fields=True):
    """Which files are meant.

    Attributes:
        paths: Files, folders with all below them, or patterns (`*`, `?`, `[...]`) of whole paths; everything if empty.
        path_bytes: More of them, percent-encoded.
        commit_id: Only what this commit holds.
        at: As it was archived by then; seconds since 1970.
    """

    paths: Annotated[list[Path], msgspec.Meta(max_length=1_000)] = []
    path_bytes: Annotated[list[Path], msgspec.Meta(max_length=1_000)] = []
    commit_id: str | None = None
    at: Annotated[int, msgspec.Meta(ge=0, le=10**11)] | None = None


class Restoration(Selection, forbid_unknown_fields=True):
    """What is to be handed out.

    Attributes:
        format: A zip's names are text; a tar keeps them byte for byte, and has no bound.
    """

    format: BundleFormat = BundleFormat.ZIP


@post(
    "/restore",
    opt=needs(Permission.FILES_READ) | fails("not-found"),
    status_code=200,
    media_type=_ANY,
)
async def restore(
    request: HttpRequest, service: Service, principal: Principal, data: Restoration
) -> Stream:
    """Get many files as one zip or tar, made while it is sent.

    What cannot be opened, because its key was erased for instance, is left out and told of in the last entry, `muniment-problems.txt`.
    """
    entries = await asyncio.to_thread(_entries, request, service, principal, data)
    archive = service.archives.get(principal.organization_id)
    pieces = BUNDLERS[data.format](archive, service.keyrings, entries)
    name = f"{principal.organization_id}.{data.format}".encode()
    headers = SAFE | {"content-disposition": attachment(name)}
    media_type = "application/zip" if data.format is BundleFormat.ZIP else "application/x-tar"
    return await stream(pieces, headers, media_type=media_type)


@post(
    "/proofs",
    opt=needs(Permission.ARCHIVE_READ) | fails("not-found"),
    status_code=200,
    media_type=_ANY,
)
async def prove_files(service: Service, principal: Principal, data: Selection) -> Stream:
    """Prove that the commits hold many files: one JSON object a line (JSON lines), commit after commit, each file as its own `/proof` shows it.

    Each has `path_bytes` as well. A file that cannot be proven, because its key was erased for instance, has `commit_id`, `leaf_index`, `problem` and `erased`.
    """
    choose = await asyncio.to_thread(chosen, service, principal, data)
    await asyncio.to_thread(_require, choose, 1)
    archive, paths = service.archives.get(principal.organization_id), Paths(service, principal)

    def open_keyring(commit_id: str) -> Any:  # noqa: ANN401
        return service.keyrings.get(archive, commit_id)

    views = prove_many(archive, open_keyring, choose())
    return await stream(_lines(views, paths), SAFE, media_type="application/jsonl")


router = Router("/", route_handlers=[restore, prove_files], tags=["files"])

Choose = Callable[[], Iterator[ArchivedFile]]


def chosen(service: Service, principal: Principal, data: Selection) -> Choose:
    """Return a function that iterates over the files that are meant.

    Raises:
        NotFoundError: There is no such commit.
    """
    paths = Paths(service, principal)
    commit_id = (
        find_commit(service, principal, data.commit_id).commit_id if data.commit_id else None
    )
    shown = [*(path.encode() for path in data.paths), *map(decoded, data.path_bytes)]
    patterns = [paths.catalogued(path) for path in shown]
    catalog = service.archives.get(principal.organization_id).catalog
    return lambda: select(catalog, patterns, at=data.at, commit_id=commit_id)


def _require(choose: Choose, looked_at: int) -> int:
    """Count the files that are meant, so many at most.

    Raises:
        NotFoundError: There are none.
    """
    count = sum(1 for _file in islice(choose(), looked_at))
    if not count:
        raise NotFoundError("nothing of that is archived")
    return count


def _entries(
    request: HttpRequest, service: Service, principal: Principal, data: Restoration
) -> Iterator[Entry]:
    """Return what is to be handed out, after a look whether there is anything, and not too much.

    Raises:
        NotFoundError: There is nothing of that.
        ProblemError: There are more files than a zip can be made of.
    """
    choose, paths = chosen(service, principal, data), Paths(service, principal)
    looked_at = ZIP_FILES_MAX + 1 if data.format is BundleFormat.ZIP else 1
    if _require(choose, looked_at) > ZIP_FILES_MAX:
        raise ProblemError(
            "too-large",
            f"a zip holds at most {ZIP_FILES_MAX} files here: ask for a tar, or for less",
        )
    after = msgspec.to_builtins(data)
    service.operations.record(act_of(request, principal), "file.restored", "file:many", after)
    return ((file, paths.shown(file.scanned.path).lstrip(b"/")) for file in choose())


def _lines(views: Iterator[dict[str, Any]], paths: Paths) -> Iterator[bytes]:
    """Yield descriptions of files as JSON lines, many at once."""
    held = bytearray()
    for view in views:
        if "path_hex" in view:
            catalogued = bytes.fromhex(view["path_hex"]).lstrip(b"/")
            view["path_bytes"] = paths.names(catalogued)[1]
        held += msgspec.json.encode(view) + b"\n"
        if len(held) >= _PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)
