"""`muniment show`."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from muniment.adapters.commit_folder import CommitFolder
from muniment.archive import verify
from muniment.archive.catalog import ArchivedFile, CommitRow
from muniment.archive.commit_source import read_manifest
from muniment.archive.manifest import Manifest
from muniment.archive.restore import clean_path
from muniment.bootstrap.archive import Archive
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import IntegrityError, NotFoundError, UsageError
from muniment.tasks.owner_view import (
    Proofs,
    file_views,
    manifest_view,
    write_view,
)
from muniment.tasks.proofs import prove
from muniment.tasks.timestamp_checks import TimestampCheck, check_timestamp
from muniment.tasks.views import commit_view
from muniment.text import count, display_path, moment, size, table


@click.command(cls=Command, name="show", short_help="Show one commit: facts, files, proofs.")
@click.argument("commit")
@click.option("--files", is_flag=True, help="List its files.")
@click.option("--proof", metavar="PATH", help="Show the proof that this file is in the commit.")
@pass_session
def command(session: Session, commit: str, files: bool, proof: str | None) -> None:
    """Show one commit: facts, files, proofs. COMMIT is its id, or the beginning of it.

    With --json, everything about the commit and each of its files comes with proofs that need neither this archive nor its keys.
    """
    if files and proof:
        raise UsageError("--files and --proof exclude each other")
    with session.archive() as archive:
        row = archive.catalog.commit(commit)
        if proof is not None:
            _show_proof(session, archive, row, proof)
        elif session.json:
            _print_view(session, archive, row)
        else:
            _show_facts(session, archive, row)
            if files:
                _list_files(session, archive.catalog.files_of(row.commit_id))


def _show_facts(session: Session, archive: Archive, row: CommitRow) -> None:
    with archive.store.open(row.commit_id) as folder:
        manifest = read_manifest(folder)
        try:
            timestamp = str(_check(archive, folder))
        except IntegrityError as error:
            timestamp = f"WRONG: {error}"
    session.say(
        *fact_lines(row, manifest, timestamp),
        f"  lies in       {archive.store.path(row.commit_id)}",
        f"  backup        {'verified ' + str(moment(row.backed_up_at)) if row.backed_up_at else 'none'}",
    )


def fact_lines(row: CommitRow, manifest: Manifest, timestamp: str) -> Iterator[str]:
    """Describe a commit."""
    packaging, previous = manifest.packaging, manifest.chain.previous
    before = f", after {previous.commit_id}" if previous else ", the first"
    yield f"Commit {row.commit_id}"
    yield f"  organisation  {manifest.organization.name} ({manifest.organization.id})"
    yield f"  created       {manifest.created_at}, by the clock of its owner"
    yield f"  chain         number {manifest.chain.sequence}{before}"
    yield f"  files         {count(row.leaf_count, 'path')}, {size(row.source_bytes)}"
    yield f"  sealed        {size(row.sealed_bytes)} in {count(packaging.chunk_count, 'chunk')} of {size(packaging.chunk_bytes)}"
    yield f"  parity        {_parity(manifest)}"
    yield f"  root          {manifest.merkle.root}"
    yield f"  CID           {row.commit_cid}"
    yield f"  signed by     {manifest.keys.signer.key_id}"
    yield f"  timestamp     {timestamp}"


def _check(archive: Archive, folder: CommitFolder) -> TimestampCheck:
    return check_timestamp(folder, archive.header_source(), archive.timestamp_roots())


def _parity(manifest: Manifest) -> str:
    par2 = manifest.packaging.par2
    if par2 is None:
        return "none"
    return f"mends up to {size(par2.recovery_blocks * par2.block_bytes)}"


def _list_files(session: Session, files: Iterator[ArchivedFile]) -> None:
    session.say("")
    head = ("leaf ", "kind", "size ", "modified", "path")
    rows = (
        (
            str(file.leaf),
            str(file.scanned.kind),
            size(file.scanned.size),
            moment(file.scanned.mtime_ns // 1_000_000_000) or "",
            display_path(file.scanned.path),
        )
        for file in files
    )
    session.say(*table(head, rows))


def _print_view(session: Session, archive: Archive, row: CommitRow) -> None:
    with archive.store.open(row.commit_id) as folder:
        opened = verify.open_commit(
            folder, expected_signer=archive.trusted_signers, organization_id=archive.organization.id
        )
        keyring = archive.open_keyring_in(folder)
        head = manifest_view(opened.manifest) | {
            "catalogue": commit_view(row),
            "timestamp": _check(archive, folder).view(),
        }
        views = file_views(folder, opened, keyring, Proofs(opened.records))
        failure = write_view(head, views, sys.stdout.write)
    if failure is not None:
        session.warn(str(failure))
        click.get_current_context().exit(failure.exit_code)


def _show_proof(session: Session, archive: Archive, row: CommitRow, path: str) -> None:
    file = _find(archive, row, path)
    with archive.store.open(row.commit_id) as folder:
        view = prove(folder, archive, file)
    tell_proof(session, view, display_path(file.scanned.path))


def tell_proof(session: Session, view: dict[str, Any], path: str) -> None:
    """Tell how a file is proven."""
    proof = view["merkle_proof"]
    session.answer(view)
    session.say(
        f"{path} is in commit {view['commit_id']}:",
        f"  content    {view.get('content_hash', 'none')}",
        f"  leaf       {proof['leaf_index']} of {view['leaf_count']}, {proof['leaf_hash']}",
        *(
            f"  {'left ' if side == 'L' else 'right'}      {sibling}"
            for side, sibling in zip(proof["directions"], proof["siblings"], strict=True)
        ),
        f"  root       {view['root']}",
        f"  signed by  {view['signer_key_id']}",
    )


def _find(archive: Archive, row: CommitRow, path: str) -> ArchivedFile:
    for name in (clean_path(os.fsencode(path)), clean_path(os.path.abspath(os.fsencode(path)))):
        for file in archive.catalog.newest(prefix=name, commit_id=row.commit_id):
            if file.scanned.path == name:
                return file
    raise NotFoundError(
        f"commit {row.commit_id} does not hold {path}: `muniment show {row.commit_id} --files` lists what it holds"
    )
