"""`muniment content cat`, `ls` and `stat`."""

import base64
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.entrypoints.cli.content_targets import (
    open_reader,
    resolve_target,
    store_option,
    target_argument,
)
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.entrypoints.cli.text import count, moment, plain, size
from muniment.errors import FormatError, NotFoundError, UsageError

if TYPE_CHECKING:
    from muniment.content.cid import CID
    from muniment.content.dag_scope import Get
    from muniment.content.unixfs import DirectoryEntry, Info

_JSON_BYTES_MAX = 16 * 1024 * 1024
_BLOCKS_MAX = 4_000_000


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
