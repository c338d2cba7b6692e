"""What the `content` commands share: which store they work on, and the content paths that people type."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from muniment.entrypoints.cli.session import Session
from muniment.errors import FormatError, NotFoundError, UsageError
from muniment.text import count

if TYPE_CHECKING:
    from muniment.adapters.block_store import EmbeddedBlockStore
    from muniment.content.cid import CID
    from muniment.content.completeness import Survey
    from muniment.content.path_resolution import Resolution

_F = TypeVar("_F", bound=Callable[..., Any])


def store_option(function: _F) -> _F:
    """Let a command work on another store than that of the home."""
    return click.option(
        "--store",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="Block store to use [default: that of the home].",
    )(function)


def target_argument(function: _F) -> _F:
    """Let a command take one content path."""
    return click.argument("path", metavar="PATH")(function)


@contextlib.contextmanager
def open_store(session: Session, folder: Path | None) -> "Iterator[EmbeddedBlockStore]":
    """Open the store to write; it is made if need be.

    Raises:
        UsageError: No folder is given, and there is no archive in the home.
        ConflictError: Another process keeps changing it.
    """
    from muniment.adapters.block_store import EmbeddedBlockStore  # noqa: PLC0415  # costs start-up time

    with store_folder(session, folder) as path, EmbeddedBlockStore(path) as store:
        yield store


@contextlib.contextmanager
def open_reader(session: Session, folder: Path | None) -> "Iterator[EmbeddedBlockStore]":
    """Open the store to read: beside a writer, without waiting for it.

    Raises:
        NotFoundError: The folder that is given is no store.
        UsageError: No folder is given, and there is no archive in the home.
    """
    from muniment.adapters.block_store import EmbeddedBlockStore  # noqa: PLC0415  # costs start-up time

    with store_folder(session, folder) as path:
        reader = EmbeddedBlockStore.open_reader(path)
        try:
            reader.__enter__()
        except NotFoundError:
            if folder is not None:
                raise
            with EmbeddedBlockStore(path):  # the store of a new home is made
                pass
            reader.__enter__()
        with contextlib.closing(reader):
            yield reader


@contextlib.contextmanager
def store_folder(session: Session, folder: Path | None) -> "Iterator[Path]":
    """Find the folder of the store."""
    if folder is not None:
        yield folder
        return
    with session.archive() as archive:
        yield archive.store.folder


def parse_target(text: str) -> "tuple[CID, tuple[bytes, ...]]":
    """Read a content path: `CID`, `CID/name/...`, `/ipfs/CID/...`, or `ipfs://CID/...` with names escaped as in URLs.

    Raises:
        UsageError: It is none.
    """
    from muniment.content.cid import CID  # noqa: PLC0415  # costs start-up time
    from muniment.content.gateway_path import split_path  # noqa: PLC0415

    url = text.startswith("ipfs://")
    path = text.removeprefix("ipfs://").removeprefix("/ipfs/")
    if path.startswith("/") or text.startswith("ipns://"):
        raise UsageError(f"expected a CID, CID/path or /ipfs/CID/path, got {text[:200]!r}")
    root, _, rest = path.partition("/")
    try:
        cid = CID.parse(root)
        if url:
            return cid, split_path(rest)[0]
    except FormatError as error:
        raise UsageError(f"{text[:200]!r} is no content path: {error}") from None
    return cid, tuple(name for name in os.fsencode(rest).split(b"/") if name)


def parse_cid(text: str) -> "CID":
    """Read a CID, with or without `/ipfs/` before it.

    Raises:
        UsageError: It is none, or has a path behind it.
    """
    cid, segments = parse_target(text)
    if segments:
        raise UsageError(f"expected a CID without a path, got {text[:200]!r}")
    return cid


def resolve_target(text: str, store: "EmbeddedBlockStore") -> "Resolution":
    """Follow a content path to its last block.

    Raises:
        UsageError: It is no content path, or leads to something inside a block.
        NotFoundError: The path leads nowhere, or a block on the way is not in the store.
    """
    from muniment.content.path_resolution import resolve_path  # noqa: PLC0415  # costs start-up time

    cid, segments = parse_target(text)
    found = resolve_path(cid, segments, store.get)
    if found.remainder:
        raise UsageError(
            f"{text[:200]!r} leads to a value inside the block {found.cid}, not to one of its own"
        )
    return found


def survey_view(survey: "Survey") -> dict[str, Any]:
    """Describe what was found of a DAG."""
    first = survey.first_missing
    return {
        "complete": survey.missing_blocks == 0,
        "blocks": survey.blocks,
        "dag_bytes": survey.size_bytes,
        "missing_blocks": survey.missing_blocks,
        "first_missing": str(first.cid) if first else None,
    }


def missing_words(survey: "Survey") -> str:
    """Say what a DAG lacks; nothing when it is complete."""
    first = survey.first_missing
    if first is None:
        return ""
    return f", incomplete: {count(survey.missing_blocks, 'block')} missing, the first is {first.cid} ({first.reason})"
