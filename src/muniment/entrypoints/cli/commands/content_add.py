"""`muniment content add`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniment.entrypoints.cli.content_targets import open_store, store_option
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.reporting import list_problems
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import EXIT_SKIPPED_INPUTS, NotFoundError, UsageError
from muniment.tasks.views import problem_views
from muniment.text import count, plain

if TYPE_CHECKING:
    from muniment.adapters.block_store import EmbeddedBlockStore
    from muniment.adapters.content.adding import Added, Block, ContentAdder
    from muniment.content.unixfs import Profile

_STDIN = "-"


@click.command(cls=Command, name="add", short_help="Add files and folders; print their CIDs.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option(
    "--profile",
    "profile_name",
    type=click.Choice(["unixfs-v1-2025", "unixfs-v0-2015"]),
    default="unixfs-v1-2025",
    show_default=True,
    help="How DAGs are built (IPIP-499).",
)
@click.option(
    "--hidden", is_flag=True, help="Also add what in folders has a name that begins with a dot."
)
@click.option(
    "-w",
    "--wrap-with-directory",
    "wraps",
    is_flag=True,
    help="Put everything into one folder, which keeps the names.",
)
@click.option("--preserve-mode", is_flag=True, help="Store permissions; this changes CIDs.")
@click.option("--preserve-mtime", is_flag=True, help="Store modification times; this changes CIDs.")
@click.option("-n", "--only-cid", is_flag=True, help="Only compute the CIDs; nothing is stored.")
@click.option("--no-pin", is_flag=True, help="Do not pin; `store gc` will remove it.")
@click.option("--name", metavar="TEXT", help="Name of the pin.")
@store_option
@pass_session
def add(
    session: Session,
    paths: tuple[str, ...],
    profile_name: str,
    hidden: bool,
    wraps: bool,
    preserve_mode: bool,
    preserve_mtime: bool,
    only_cid: bool,
    no_pin: bool,
    name: str | None,
    folder: Path | None,
) -> None:
    """Add files, folders and links, or standard input (PATH `-`), and pin them.

    Their CIDs are those that every IPFS tool gives them under the same profile. What is added is not encrypted, and whoever knows
    its CID can have it through `muniment gateway`. Sockets, pipes and devices are left out, and so is a file that changes while it is
    read; each is named, and the exit code is 10.
    """
    from muniment.adapters.content.adding import ContentAdder  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.content.leaves import AddOptions  # noqa: PLC0415
    from muniment.adapters.processors import default_worker_count  # noqa: PLC0415

    roots = _roots(paths, wraps=wraps)
    problems: list[tuple[bytes, str]] = []
    options = AddOptions(
        _profile(profile_name),
        hidden=hidden,
        preserve_mode=preserve_mode,
        preserve_mtime=preserve_mtime,
        skip=(os.fsencode(folder or session.home_folder),),
    )
    with (
        progress_of(session) as progress,
        ContentAdder(
            options,
            worker_count=default_worker_count(),
            on_problem=lambda path, message: problems.append((path, message)),
            advance=progress.advance,
        ) as adder,
    ):
        progress.stage("", "add", 0)
        blocks = _blocks(adder, roots, wraps=wraps)
        if only_cid:
            new_blocks = 0
            for _ in blocks:
                pass
        else:
            with open_store(session, folder) as store:
                new_blocks = _store(store, blocks, adder, name, pin=not no_pin)
    _report(session, adder.added, new_blocks, problems, stored=not only_cid)


def _roots(paths: tuple[str, ...], *, wraps: bool) -> list[bytes]:
    if paths.count(_STDIN) > 1:
        raise UsageError("standard input can be read once only")
    if wraps and _STDIN in paths:
        raise UsageError("standard input has no name that a folder could keep")
    roots = [os.fsencode(path) for path in paths]
    for root in roots:
        if root != os.fsencode(_STDIN) and not os.path.lexists(root):
            raise NotFoundError(f"there is no file or folder {os.fsdecode(root)}")
    return roots


def _profile(name: str) -> "Profile":
    from muniment.content.unixfs import V0_2015, V1_2025  # noqa: PLC0415  # costs start-up time

    return next(profile for profile in (V1_2025, V0_2015) if profile.name == name)


def _blocks(adder: "ContentAdder", roots: list[bytes], *, wraps: bool) -> "Iterator[Block]":
    for root in roots:
        if root == os.fsencode(_STDIN):
            yield from adder.stream_blocks(sys.stdin.buffer, b"")
        else:
            yield from adder.blocks(root)
    if wraps and adder.added:
        yield from adder.wrap()


def _store(
    store: "EmbeddedBlockStore",
    blocks: "Iterator[Block]",
    adder: "ContentAdder",
    name: str | None,
    *,
    pin: bool,
) -> int:
    from muniment.adapters.content.pinning import Pinner  # noqa: PLC0415  # costs start-up time

    with store.hold():
        new_blocks = store.put_many(blocks, verify=False)
        if pin:
            pinner = Pinner(store)
            for added in adder.added:
                pinner.pin(added.cid, name)
    return new_blocks


def _report(
    session: Session,
    added: "list[Added]",
    new_blocks: int,
    problems: list[tuple[bytes, str]],
    *,
    stored: bool,
) -> None:
    for item in added:
        session.say(f"{item.cid}  {plain(os.fsdecode(item.name))}".rstrip())
    session.answer(
        {
            "added": [
                {
                    "cid": str(item.cid),
                    "name_hex": item.name.hex(),
                    "name_display": plain(os.fsdecode(item.name)),
                    "paths": item.paths,
                    "bytes": item.size,
                    "dag_bytes": item.tsize,
                }
                for item in added
            ],
            "new_blocks": new_blocks,
            "stored": stored,
            "problems": problem_views(problems),
        }
    )
    if problems:
        session.warn(f"{count(len(problems), 'path')} left out:")
        list_problems(session, problems)
        click.get_current_context().exit(EXIT_SKIPPED_INPUTS)
