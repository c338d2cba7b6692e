"""`muniment content import` and `export`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from muniment.entrypoints.cli.content_targets import (
    open_reader,
    open_store,
    resolve_target,
    store_option,
    target_argument,
)
from muniment.entrypoints.cli.progress import Progress, progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import IntegrityError, MissingDataError, UsageError
from muniment.text import count, size

if TYPE_CHECKING:
    from muniment.adapters.block_store import EmbeddedBlockStore
    from muniment.adapters.content.importing import ImportReport
    from muniment.adapters.content.pinning import ImportedRoot
    from muniment.content.dag_scope import EntityBytes, Scope

_STDIN = _STDOUT = "-"
_BUFFER_BYTES = 1 << 20


@click.command(cls=Command, name="import", short_help="Store the blocks of CAR files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option("--no-pin", is_flag=True, help="Do not pin the roots.")
@click.option("--name", metavar="TEXT", help="Name of the pins.")
@click.option(
    "--allow-incomplete",
    is_flag=True,
    help="Pin roots whose DAGs lack blocks, too; the exit code is 0.",
)
@store_option
@pass_session
def import_(
    session: Session,
    files: tuple[str, ...],
    no_pin: bool,
    name: str | None,
    allow_incomplete: bool,
    folder: Path | None,
) -> None:
    """Store the blocks of CAR files (version 1 or 2; `-` reads standard input), and pin their roots.

    Every block is verified before it is stored. A root whose DAG still lacks blocks when all files are read is named and not
    pinned, and the exit code is 4; its blocks stay until `store gc`, so that a later import can complete them.
    """
    from muniment.adapters.content.pinning import pin_roots  # noqa: PLC0415  # costs start-up time

    if files.count(_STDIN) > 1:
        raise UsageError("standard input can be read once only")
    with open_store(session, folder) as store, store.hold():
        with progress_of(session) as progress:
            reports = [(file, _import(file, store, progress)) for file in files]
        # Only now: the DAG of one file's root may be completed by the next file.
        roots = [root for _file, report in reports for root in report.roots]
        pinned = pin_roots(roots, store, name, pin=not no_pin, incomplete=allow_incomplete)
    _report_import(session, reports, pinned, allow_incomplete=allow_incomplete)


def _import(file: str, store: "EmbeddedBlockStore", progress: Progress) -> "ImportReport":
    from muniment.adapters.content.importing import import_car  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.processors import default_worker_count  # noqa: PLC0415

    progress.stage("", f"import {file}", _file_bytes(file))
    try:
        with _opened(file) as stream:
            return import_car(
                stream, store, worker_count=default_worker_count(), advance=progress.advance
            )
    except IntegrityError as error:
        raise type(error)(
            f"{file}: {error}; nothing was pinned, and the whole blocks before it stay until `store gc`"
        ) from error


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == _STDIN:
        yield sys.stdin.buffer
        return
    with open(file, "rb", buffering=_BUFFER_BYTES) as stream:
        yield stream


def _file_bytes(file: str) -> int:
    return 0 if file == _STDIN else Path(file).stat().st_size


def _report_import(
    session: Session,
    reports: "list[tuple[str, ImportReport]]",
    roots: "list[ImportedRoot]",
    *,
    allow_incomplete: bool,
) -> None:
    for file, report in reports:
        session.say(
            f"{file}: {count(report.blocks, 'block')} ({size(report.size_bytes)}), {report.new_blocks:,} new"
        )
    session.say(*map(_root_line, roots))
    session.answer(
        {
            "cars": [
                {
                    "file": file,
                    "version": report.version,
                    "roots": [str(root) for root in report.roots],
                    "blocks": report.blocks,
                    "bytes": report.size_bytes,
                    "new_blocks": report.new_blocks,
                }
                for file, report in reports
            ],
            "roots": [
                {
                    "cid": str(root.cid),
                    "complete": root.missing is None,
                    "missing": str(root.missing.cid) if root.missing else None,
                    "pinned": root.pinned,
                }
                for root in roots
            ],
        }
    )
    incomplete = sum(root.missing is not None for root in roots)
    if incomplete and not allow_incomplete:
        session.warn(
            f"{count(incomplete, 'root')} incomplete: import the rest too, or say --allow-incomplete"
        )
        click.get_current_context().exit(MissingDataError.exit_code)


def _root_line(root: "ImportedRoot") -> str:
    line = f"{root.cid}  {'pinned' if root.pinned else 'not pinned'}"
    if root.missing:
        line += f", incomplete: {root.missing.reason} ({root.missing.cid})"
    return line


@click.command(cls=Command, name="export", short_help="Write a DAG as a CAR file.")
@target_argument
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default=_STDOUT,
    help="File to write [default: standard output].",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option(
    "--dag-scope",
    "scope",
    type=click.Choice(["all", "entity", "block"]),
    help="What of the DAG: everything, the one file or folder list, or one block [default: all].",
)
@click.option(
    "--entity-bytes",
    metavar="FROM:TO",
    help="Only the blocks for these bytes of a file; negative numbers count from its end, TO can be *.",
)
@click.option(
    "--order",
    type=click.Choice(["dfs", "unk"]),
    default="dfs",
    show_default=True,
    help="Depth first, or any.",
)
@click.option(
    "--dups",
    type=click.Choice(["y", "n"]),
    default="n",
    show_default=True,
    help="Whether a block that is linked twice comes twice.",
)
@store_option
@pass_session
def export(
    session: Session,
    path: str,
    output: str,
    force: bool,
    scope: str | None,
    entity_bytes: str | None,
    order: str,
    dups: str,
    folder: Path | None,
) -> None:
    """Write a DAG as a CAR (version 1), as a trustless gateway would answer.

    Of a PATH with names in it, the CAR's root is the CID at its beginning, and the blocks on the way are in it: who trusts nobody can
    follow them.
    """
    from muniment.adapters.content.exporting import write_car  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.content.new_file import new_file  # noqa: PLC0415
    from muniment.content.dag_scope import select_blocks  # noqa: PLC0415

    del order  # depth first is one of all the orders
    if output == _STDOUT and session.json:
        raise UsageError("the CAR itself goes to standard output: give a file with --output")
    span = _span(entity_bytes)
    wanted: Scope = cast("Scope", scope) if scope else ("entity" if span else "all")
    if span and wanted != "entity":
        raise UsageError("--entity-bytes belongs to --dag-scope entity")
    with open_reader(session, folder) as store, progress_of(session) as progress:
        found = resolve_target(path, store)
        progress.stage("", "export", 0)
        blocks = select_blocks(
            found.passed, found.cid, store.get, wanted, span, duplicates=dups == "y"
        )
        if output == _STDOUT:
            write_car(sys.stdout.buffer, found.roots[0], blocks, progress.advance)
            sys.stdout.buffer.flush()
            return
        with new_file(Path(output), replace=force) as file:
            number, size_bytes = write_car(file, found.roots[0], blocks, progress.advance)
    session.say(f"{output}: {count(number, 'block')}, {size(size_bytes)}")
    session.answer(
        {"root": str(found.roots[0]), "file": output, "blocks": number, "bytes": size_bytes}
    )


def _span(text: str | None) -> "EntityBytes | None":
    from muniment.content.dag_scope import parse_entity_bytes  # noqa: PLC0415  # costs start-up time
    from muniment.errors import FormatError  # noqa: PLC0415

    try:
        return parse_entity_bytes(text) if text is not None else None
    except FormatError as error:
        raise UsageError(f"--entity-bytes: {error}") from None
