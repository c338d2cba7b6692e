"""`muniment content pin`, `unpin` and `pins`; and `cid`, which needs no store."""

from pathlib import Path

import click

from muniment.entrypoints.cli.content_targets import (
    missing_words,
    open_reader,
    open_store,
    parse_cid,
    resolve_target,
    store_option,
    survey_view,
)
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import MissingDataError, NotFoundError, UsageError
from muniment.text import count, plain


@click.command(cls=Command, name="pin", short_help="Keep DAGs from being collected as garbage.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--name", metavar="TEXT", help="Name of the pins.")
@click.option("--allow-incomplete", is_flag=True, help="Pin DAGs that lack blocks, too.")
@store_option
@pass_session
def pin(
    session: Session,
    paths: tuple[str, ...],
    name: str | None,
    allow_incomplete: bool,
    folder: Path | None,
) -> None:
    """Keep the DAGs that paths lead to: `store gc` does not remove their blocks.

    Nothing is fetched: a DAG that lacks blocks is not pinned, nor are those after it.
    """
    from muniment.adapters.content.pinning import Pinner  # noqa: PLC0415  # costs start-up time
    from muniment.content.completeness import survey_dag  # noqa: PLC0415

    pinned = []
    with open_store(session, folder) as store, store.hold():
        pinner = Pinner(store)
        for path in paths:
            cid = resolve_target(path, store).cid
            survey = survey_dag(cid, store)
            if survey.missing_blocks and not allow_incomplete:
                raise MissingDataError(f"{cid} was not pinned{missing_words(survey)}")
            pinner.pin(cid, name)
            pinned.append({"cid": str(cid)} | survey_view(survey))
            session.say(f"{cid}  {count(survey.blocks, 'block')}{missing_words(survey)}")
    session.answer({"pinned": pinned})


@click.command(cls=Command, name="unpin", short_help="Let go of pinned DAGs.")
@click.argument("cids", nargs=-1, required=True, metavar="CID...")
@store_option
@pass_session
def unpin(session: Session, cids: tuple[str, ...], folder: Path | None) -> None:
    """Let go of pinned DAGs. Their blocks stay until `store gc` removes those that nothing else needs."""
    roots = [parse_cid(text) for text in cids]
    with open_store(session, folder) as store:
        commits = {root: path for path, root in store.directories().items()}
        pinned = {pin.cid for pin in store.pins()}
        for cid in roots:  # all or none
            if cid.to_v1() in commits:
                raise UsageError(
                    f"{cid} is the commit {commits[cid.to_v1()]}, which is always kept"
                )
            if cid.to_v1() not in pinned:
                raise NotFoundError(f"{cid} is not pinned: `muniment content pins` lists what is")
        for cid in dict.fromkeys(cid.to_v1() for cid in roots):
            store.unpin(cid)
    session.say(
        f"{count(len(roots), 'pin')} removed; `muniment store gc` frees what nothing needs."
    )
    session.answer({"unpinned": [str(cid) for cid in roots]})


@click.command(cls=Command, name="pins", short_help="List what is pinned.")
@store_option
@pass_session
def pins(session: Session, folder: Path | None) -> None:
    """List what is pinned, commits among it: their names are their ids."""
    listed = []
    with open_reader(session, folder) as store:
        for cid, name in store.pins():
            session.say(f"{cid}  {name}".rstrip())
            listed.append({"cid": str(cid), "name": plain(name)})
    session.answer({"pins": listed})


@click.command(cls=Command, name="cid", short_help="Describe CIDs, or write them in another form.")
@click.argument("cids", nargs=-1, required=True, metavar="CID...")
@click.option("--version", "version", type=click.Choice(["0", "1"]), help="Write this version.")
@click.option(
    "--base",
    type=click.Choice(["base32", "base36", "base58btc", "base16"]),
    help="Write it in this alphabet.",
)
@click.option(
    "--codec",
    type=click.Choice(["raw", "dag-pb", "dag-cbor", "dag-json", "cbor", "json", "libp2p-key"]),
    help="Write it with this codec, for the same hash.",
)
@pass_session
def cid_command(
    session: Session,
    cids: tuple[str, ...],
    version: str | None,
    base: str | None,
    codec: str | None,
) -> None:
    """Describe CIDs, or write them in another form. Needs no store and no archive."""
    from muniment.entrypoints.cli.cid_forms import cid_view, convert  # noqa: PLC0415  # costs start-up time

    wanted = None if version is None else int(version)
    converts = any((version, base, codec))
    views = []
    for text in cids:
        cid = parse_cid(text)
        converted = convert(cid, version=wanted, codec=codec, base=base)
        views.append(cid_view(cid) | {"converted": converted if converts else None})
        if converts:
            session.say(converted)
        else:
            session.say(
                *(f"{key:<11}{value}" for key, value in cid_view(cid).items() if value is not None)
            )
    session.answer({"cids": views})
