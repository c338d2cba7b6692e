"""`muniment store`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from muniment.adapters.block_store import EmbeddedBlockStore, GcReport
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.session import Group, Session, pass_session
from muniment.errors import IntegrityError
from muniment.text import count, size

if TYPE_CHECKING:
    from muniment.adapters.block_store import Problem

_SHOWN = 10


@click.group(cls=Group, name="store", short_help="Look after the block store.")
def command() -> None:
    """Look after the block store, which serves commits as IPFS blocks."""


@command.command(short_help="Count what the store holds.")
@pass_session
def stats(session: Session) -> None:
    """Count what the store holds."""
    with session.archive() as archive, EmbeddedBlockStore(archive.store.folder) as blocks:
        held = blocks.stats()
    session.say(
        f"in place   {count(held.referenced_blocks, 'block')}, {size(held.referenced_bytes)}: the files of commits",
        f"in packs   {count(held.pack_blocks, 'block')}, {size(held.pack_bytes)} in {count(held.pack_count, 'pack')}",
        f"pinned     {count(held.pins, 'root')}",
    )
    session.answer(asdict(held))


@command.command(short_help="Hash every block again.")
@pass_session
def verify(session: Session) -> None:
    """Hash every block again, and check that everything pinned is complete."""
    problems: list[Problem] = []
    done = 0

    def advance(done_bytes: int, _total_bytes: int) -> None:
        nonlocal done
        progress.advance(done_bytes - done)
        done = done_bytes

    with session.archive() as archive, EmbeddedBlockStore(archive.store.folder) as blocks:
        held = blocks.stats()
        with progress_of(session) as progress:
            progress.stage("", "verify", held.pack_bytes + held.referenced_bytes)
            try:
                report = blocks.verify(advance, problems.append)
            except IntegrityError:
                if not problems:
                    raise
    session.answer(
        {
            "ok": not problems,
            "blocks": held.pack_blocks + held.referenced_blocks,
            "problems": [
                {"cid": str(problem.cid), "place": problem.place, "message": problem.reason}
                for problem in problems
            ],
        }
    )
    if problems:
        session.warn(
            f"{count(len(problems), 'block')} damaged or missing: `muniment verify` names the commits, `muniment repair` mends them"
        )
        session.warn(
            *(f"  {item.cid} in {item.place}: {item.reason}" for item in problems[:_SHOWN])
        )
        click.get_current_context().exit(IntegrityError.exit_code)
    session.say(
        f"{count(report.blocks, 'block')} ({size(report.size_bytes)}) are whole, {count(report.roots, 'root')} complete."
    )


@command.command(short_help="Remove blocks that nothing needs.")
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def gc(session: Session, dry_run: bool, yes: bool) -> None:
    """Remove blocks that no pin reaches from the packs. Commits are never removed."""
    with session.archive() as archive, EmbeddedBlockStore(archive.store.folder) as blocks:
        report = blocks.gc(dry_run=True)
        if not dry_run and report.removed_blocks:
            session.confirm(
                f"Remove {count(report.removed_blocks, 'block')} ({size(report.removed_bytes)})?",
                yes=yes,
            )
            report = blocks.gc()
    _say_removed(session, report, dry_run=dry_run)


def _say_removed(session: Session, report: GcReport, *, dry_run: bool) -> None:
    if not report.removed_blocks:
        session.say(
            f"Nothing to remove: {count(report.kept_blocks, 'block')} in packs, all needed."
        )
    else:
        what = f"{count(report.removed_blocks, 'block')} ({size(report.removed_bytes)})"
        session.say(f"{what} {'would be ' if dry_run else ''}removed, {report.kept_blocks:,} kept.")
    session.answer(asdict(report) | {"dry_run": dry_run})
