"""`muniment content fetch`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.entrypoints.cli.content_targets import open_store, parse_target, store_option
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import ExternalServiceError, UsageError
from muniment.text import count, plain, size

if TYPE_CHECKING:
    from muniment.adapters.retrieval import (
        FetchProgress,
        FetchReport,
        HttpSource,
        SourceReport,
    )
    from muniment.content.cid import CID
    from muniment.content.dag_scope import Scope


@click.command(cls=Command, name="fetch", short_help="Fetch content from gateways, trusting none.")
@click.argument("path", metavar="PATH")
@click.option(
    "--from",
    "gateways",
    multiple=True,
    metavar="URL",
    help="Gateway to fetch from; several if wanted, which are all used at once.",
)
@click.option(
    "--routing",
    "routers",
    multiple=True,
    metavar="URL",
    help="Server to ask for gateways that have the content (delegated routing).",
)
@click.option(
    "--allow-private",
    is_flag=True,
    help="Also use gateways on this machine and its network that --routing names.",
)
@click.option(
    "--scope",
    type=click.Choice(["all", "entity", "block"]),
    default="all",
    show_default=True,
    help="Everything below PATH, the file or directory alone, or one block.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 16),
    default=4,
    show_default=True,
    help="Requests at once to each gateway.",
)
@click.option("--no-pin", is_flag=True, help="Do not pin; `store gc` will remove it.")
@click.option("--name", default="", metavar="TEXT", help="Name of the pin.")
@store_option
@pass_session
def fetch(
    session: Session,
    path: str,
    gateways: tuple[str, ...],
    routers: tuple[str, ...],
    allow_private: bool,
    scope: "Scope",
    connections: int,
    no_pin: bool,
    name: str,
    folder: Path | None,
) -> None:
    """Fetch what PATH leads to from IPFS gateways into the store, and pin it.

    PATH is a CID, with names behind it if wanted. Every block is verified when it comes, so a gateway can fail or lie, and that is all
    it can do: it is named, asked no more, and the others go on. What the store has is not fetched again, so an interrupted
    fetch goes on where it was.
    """
    from muniment.adapters.retrieval import FetchLimits, fetch_dag  # noqa: PLC0415  # costs start-up time

    root, segments = parse_target(path)
    sources = _sources(session, root, gateways, routers, allow_private=allow_private)
    pins = scope == "all" and not no_pin
    with open_store(session, folder) as store, progress_of(session) as progress:
        progress.stage("", "fetch", 0)
        done_bytes = 0

        def advance(now: "FetchProgress") -> None:
            nonlocal done_bytes
            progress.advance(now.bytes - done_bytes)
            done_bytes = now.bytes

        report = fetch_dag(
            store,
            root,
            sources,
            path=segments,
            scope=scope,
            pin_name=name if pins else None,
            progress=advance,
            limits=FetchLimits(connections=connections),
        )
    _tell(session, report, is_pinned=pins)


def _sources(
    session: Session,
    root: "CID",
    gateways: tuple[str, ...],
    routers: tuple[str, ...],
    *,
    allow_private: bool,
) -> "list[HttpSource]":
    """Return the gateways that were named, and those that routing names."""
    from muniment.adapters.retrieval import HttpSource, find_sources  # noqa: PLC0415  # costs start-up time

    if not gateways and not routers:
        raise UsageError("whom to ask? name a gateway with --from, or a router with --routing")
    sources = [HttpSource(url, is_trusted_address=True) for url in dict.fromkeys(gateways)]
    if not routers:
        return sources
    found = find_sources(root, routers, allow_private=allow_private)
    for problem in found.problems:
        session.warn(f"routing: {problem}")
    for address in found.private:
        session.warn(f"routing: {address} is on a private network: --allow-private uses it")
    names = {source.name for source in sources}
    sources += [source for source in found.sources if source.name not in names]
    if not sources:
        why = f": {'; '.join(found.problems)}" if found.problems else ""
        raise ExternalServiceError(f"no gateway is known to have {root}{why}")
    return sources


def _tell(session: Session, report: "FetchReport", *, is_pinned: bool) -> None:
    pinned = ", pinned" if is_pinned else ""
    there = f", {count(report.present_blocks, 'block')} were there" if report.present_blocks else ""
    session.say(
        f"{report.cid}  {count(report.blocks, 'block')} fetched ({size(report.bytes)}){there}{pinned}"
    )
    for source in report.sources:
        session.say(f"  {source.name}  {count(source.blocks, 'block')}, {size(source.bytes)}")
        if source.is_dropped:
            session.warn(f"  {source.name} was not asked any more: {source.problem}")
    session.answer(
        {
            "root": str(report.root),
            "cid": str(report.cid),
            "pinned": is_pinned,
            "blocks": report.blocks,
            "bytes": report.bytes,
            "present_blocks": report.present_blocks,
            "duration_s": round(report.duration_s, 3),
            "sources": [_source_view(source) for source in report.sources],
        }
    )


def _source_view(source: "SourceReport") -> dict[str, Any]:
    return {
        "name": plain(source.name),
        "blocks": source.blocks,
        "bytes": source.bytes,
        "requests": source.requests,
        "misses": source.misses,
        "failures": source.failures,
        "lies": source.lies,
        "dropped": source.is_dropped,
        "problem": plain(source.problem),
    }
