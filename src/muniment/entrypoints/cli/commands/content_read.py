"""`muniment content cat`, `get`, `ls` and `stat`."""

import base64
import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.entrypoints.cli.content_targets import (
    missing_words,
    open_reader,
    parse_target,
    resolve_target,
    store_option,
    survey_view,
    target_argument,
)
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import FormatError, IntegrityError, NotFoundError, UsageError
from muniment.text import count, moment, plain, size

if TYPE_CHECKING:
    from muniment.adapters.block_store import EmbeddedBlockStore
    from muniment.adapters.content.getting import GetReport
    from muniment.content.cid import CID
    from muniment.content.dag_scope import Get
    from muniment.content.unixfs import DirectoryEntry, Info

_STDOUT = "-"
_JSON_BYTES_MAX = 16 * 1024 * 1024


@click.command(cls=Command, name="cat", short_help="Print a file's bytes.")
@target_argument
@click.option(
    "--offset", type=click.IntRange(min=0), default=0, metavar="BYTES", help="Where to begin."
)
@click.option(
    "--length", type=click.IntRange(min=0), default=None, metavar="BYTES", help="How many at most."
)
@store_option
@pass_session
def cat(session: Session, path: str, offset: int, length: int | None, folder: Path | None) -> None:
    """Print the bytes of a file, or a part of them, each block verified."""
    from muniment.content.unixfs import read_file  # noqa: PLC0415  # costs start-up time

    with open_reader(session, folder) as store:
        found = resolve_target(path, store)
        pieces = read_file(found.cid, store.get, offset, length)
        if session.json:
            _answer_bytes(session, found.cid, pieces, offset)
            return
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _answer_bytes(session: Session, cid: "CID", pieces: Iterator[bytes], offset: int) -> None:
    parts, total = [], 0
    for piece in pieces:
        parts.append(piece)
        total += len(piece)
        if total > _JSON_BYTES_MAX:
            raise UsageError(
                f"expected at most {size(_JSON_BYTES_MAX)} for --json: use --length, or `content get`"
            )
    content = base64.b64encode(b"".join(parts)).decode("ascii")
    session.answer({"cid": str(cid), "offset": offset, "bytes": total, "content_base64": content})


@click.command(cls=Command, name="get", short_help="Write a file or folder to disk.")
@target_argument
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="Where to [default: its name, or CID, in this folder]; - with --archive is standard output.",
)
@click.option(
    "--force", is_flag=True, help="Replace a file, or add to a folder, that is there already."
)
@click.option("--archive", "as_tar", is_flag=True, help="Write one TAR file.")
@store_option
@pass_session
def get(
    session: Session,
    path: str,
    output: str | None,
    force: bool,
    as_tar: bool,
    folder: Path | None,
) -> None:
    """Write a file, folder or link to disk, each block verified.

    Nothing that is there is overwritten without `--force`, nothing appears half, and nothing is ever written outside of the
    output, whatever the content calls its files and wherever its links point.
    """
    from muniment.adapters.content.getting import get_to  # noqa: PLC0415  # costs start-up time

    if output == _STDOUT and not as_tar:
        raise UsageError(
            "standard output takes one TAR (--archive); for a file's bytes: `content cat`"
        )
    with open_reader(session, folder) as store, progress_of(session) as progress:
        found = resolve_target(path, store)
        name = _default_name(path)
        progress.stage("", f"get {name}", 0)
        if as_tar:
            target = Path(output or f"{name}.tar")
            report = _write_tar(session, found.cid, name, target, store.get, force=force)
        else:
            target = Path(output or name)
            report = get_to(found.cid, target, store.get, force=force, advance=progress.advance)
    if output == _STDOUT:
        return
    session.say(f"{target}: {count(report.paths, 'path')}, {size(report.size_bytes)}")
    session.answer(
        {
            "cid": str(found.cid),
            "target": plain(str(target.absolute())),
            "paths": report.paths,
            "bytes": report.size_bytes,
        }
    )


def _default_name(path: str) -> str:
    """Return what a path leads to is called: its last name, or its CID as it was given."""
    from muniment.content.unixfs.directory import check_name  # noqa: PLC0415  # costs start-up time

    cid, segments = parse_target(path)
    if not segments:
        return str(cid)
    check_name(segments[-1])  # it can be `..` where a directory says so
    return os.fsdecode(segments[-1])


def _write_tar(
    session: Session, cid: "CID", name: str, target: Path, get: "Get", *, force: bool
) -> "GetReport":
    from muniment.adapters.content.getting import GetReport  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.content.new_file import new_file  # noqa: PLC0415
    from muniment.content.tar_stream import tar_stream  # noqa: PLC0415

    pieces = tar_stream(cid, name, get)
    if str(target) == _STDOUT:
        if session.json:
            raise UsageError("the TAR itself goes to standard output: give a file with --output")
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return GetReport()
    with new_file(target, replace=force) as file:
        return GetReport(1, sum(file.write(piece) for piece in pieces))


@click.command(cls=Command, name="ls", short_help="List a folder.")
@target_argument
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Entries to leave out first.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=None, metavar="N", help="Entries at most."
)
@store_option
@pass_session
def ls(session: Session, path: str, offset: int, limit: int | None, folder: Path | None) -> None:
    """List a folder: CID, size and name of each entry. Large folders (HAMT) come in the order of their hashes."""
    from muniment.content.unixfs import describe, list_directory  # noqa: PLC0415  # costs start-up time
    from muniment.content.unixfs.node import Kind  # noqa: PLC0415

    with open_reader(session, folder) as store:
        found = resolve_target(path, store)
        info = describe(found.cid, store.get)
        if info.kind is not Kind.DIRECTORY:
            raise UsageError(f"expected a folder, got a {info.kind.name.lower()}: {path[:200]!r}")
        entries = itertools.islice(
            list_directory(found.cid, store.get, unsafe_names=True), offset, None
        )
        views = (_entry_view(entry, store) for entry in itertools.islice(entries, limit))
        if not session.json:
            for view in views:
                session.say(_entry_line(view))
            return
        listed = list(views)
        more = next(entries, None) is not None
    session.answer(
        {
            "cid": str(found.cid),
            "entries": listed,
            "next_offset": offset + len(listed) if more else None,
        }
    )


def _entry_view(entry: "DirectoryEntry", store: "EmbeddedBlockStore") -> dict[str, Any]:
    from muniment.content.cid import RAW  # noqa: PLC0415  # costs start-up time
    from muniment.content.unixfs import describe  # noqa: PLC0415

    size_bytes, target = None, None
    try:
        if entry.cid.codec == RAW:
            kind, size_bytes = "file", store.size(entry.cid)
        else:
            info = describe(entry.cid, store.get)
            kind, target = info.kind.name.lower(), info.target
            size_bytes = info.size if kind == "file" else None
    except NotFoundError:
        kind = "missing"
    except IntegrityError:  # it is listed all the same: that much is known
        kind = "unknown"
    return {
        "name_hex": entry.name.hex(),
        "name_display": plain(os.fsdecode(entry.name)),
        "cid": str(entry.cid),
        "kind": kind,
        "bytes": size_bytes,
        "dag_bytes": entry.tsize,
        "target_display": plain(os.fsdecode(target)) if target else None,
    }


def _entry_line(view: dict[str, Any]) -> str:
    amount = "-" if view["bytes"] is None else f"{view['bytes']:,}"
    ending = {"directory": "/", "missing": "  (not in this store)"}.get(view["kind"], "")
    if view["target_display"]:
        ending = f" -> {view['target_display']}"
    return f"{view['cid']}  {amount:>13}  {view['name_display']}{ending}"


@click.command(cls=Command, name="stat", short_help="Describe a file, folder or block.")
@target_argument
@store_option
@pass_session
def stat(session: Session, path: str, folder: Path | None) -> None:
    """Describe what a path leads to, and whether all of it is in the store."""
    from muniment.content.completeness import survey_dag  # noqa: PLC0415  # costs start-up time

    with open_reader(session, folder) as store:
        found = resolve_target(path, store)
        cid = found.cid
        about = _describe(cid, store.get)
        survey = survey_dag(cid, store)
        pin = next((pin for pin in store.pins() if pin.cid == cid.to_v1()), None)
    about |= survey_view(survey)
    about |= {"pinned": pin is not None, "pin_name": plain(pin.name) if pin else None}
    session.say(*_stat_lines(about, missing_words(survey)))
    session.answer(about)


def _describe(cid: "CID", get: "Get") -> dict[str, Any]:
    from muniment.content.cid import DAG_PB, RAW  # noqa: PLC0415  # costs start-up time
    from muniment.content.unixfs import describe  # noqa: PLC0415
    from muniment.entrypoints.cli.cid_forms import cid_view  # noqa: PLC0415

    info: Info | None = None
    if cid.codec in (RAW, DAG_PB):
        with contextlib.suppress(FormatError):
            info = describe(cid, get)
    metadata = info.metadata if info else None
    mtime_ns = metadata.mtime_ns if metadata else None
    return cid_view(cid) | {
        "kind": info.kind.name.lower() if info else "block",
        "bytes": info.size if info and info.kind.name == "FILE" else None,
        "target_display": plain(os.fsdecode(info.target)) if info and info.target else None,
        "mode": f"{metadata.mode:04o}" if metadata and metadata.mode is not None else None,
        "mtime_ns": mtime_ns,
    }


def _stat_lines(about: dict[str, Any], missing: str) -> Iterator[str]:
    shown = {
        "cid": about["cid"],
        "v0": about["v0"] if about["version"] == 1 else None,
        "v1": about["v1"] if about["version"] == 0 else None,
        "kind": about["kind"],
        "size": None if about["bytes"] is None else count(about["bytes"], "byte"),
        "target": about["target_display"],
        "mode": about["mode"],
        "mtime": None if about["mtime_ns"] is None else _time(about["mtime_ns"]),
        "dag": f"{count(about['blocks'], 'block')}, {size(about['dag_bytes'])}{missing or ', complete'}",
        "pinned": (about["pin_name"] or "yes") if about["pinned"] else "no",
    }
    for name, value in shown.items():
        if value is not None:
            yield f"{name:<8}{value}"


def _time(mtime_ns: int) -> str:
    try:
        return str(moment(mtime_ns // 1_000_000_000))
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return f"{mtime_ns} ns"
