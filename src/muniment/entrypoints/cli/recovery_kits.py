"""Handing out a recovery kit: to a new file, to the output, or to the terminal, where it is read back."""

import datetime as dt
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from muniment.adapters.private_files import create_file
from muniment.archive.age_keys import Identity
from muniment.archive.recovery import RecoveryKit
from muniment.entrypoints.cli.session import Session
from muniment.errors import UsageError
from muniment.text import plain

OUTPUT = "-"
_END_CHARS = 6  # the checksum: the last two groups
_QUESTION = "Type the last two groups from your paper (or just press Enter to skip)"


@dataclass(frozen=True)
class Destination:
    """Where a kit goes: checked before any secret is made, so that none is made and lost.

    Attributes:
        file: A new file; None for the output or the terminal.
        output: Whether it goes to standard output.
    """

    file: Path | None
    output: bool

    @classmethod
    def parse(cls, session: Session, wanted: str | None) -> "Destination":
        """Check where the kit is wanted: a file's name, `-`, or None for the terminal.

        Raises:
            UsageError: It cannot go there.
        """
        if wanted == OUTPUT:
            if session.quiet:
                raise UsageError("--recovery-kit - and --quiet exclude each other")
            return cls(None, output=True)
        if wanted is None:
            if session.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
                raise UsageError(
                    "there is no terminal to show the recovery kit on: add --recovery-kit FILE"
                )
            return cls(None, output=False)
        path = Path(wanted).absolute()
        if path.suffix not in (".txt", ".html"):
            raise UsageError(f"expected a recovery kit in a .txt or .html file, got {wanted}")
        if os.path.lexists(path):
            raise UsageError(f"{wanted} exists already: the recovery kit goes to a new file")
        if not os.access(path.parent, os.W_OK):
            raise UsageError(f"the folder {path.parent} cannot be written to")
        return cls(path, output=False)


def hand_out(
    session: Session, organisation: str, identity: Identity, destination: Destination, *, ask: bool
) -> str | None:
    """Hand out the kit of an identity; returns what the answer in JSON says of it.

    Args:
        session: The run.
        organisation: Whose archive the kit opens.
        identity: The secret.
        destination: Where it goes.
        ask: Whether a terminal asks to read it back.
    """
    kit = RecoveryKit(organisation, dt.datetime.now(dt.UTC).date(), identity)
    if destination.output:
        session.say(*kit.text().splitlines())
        return kit.text()
    if destination.file is None:
        _show(kit, ask=ask)
        return None
    is_page = destination.file.suffix == ".html"
    create_file(destination.file, (kit.html() if is_page else kit.text()).encode("utf-8"))
    session.say(f"The recovery kit is in {destination.file}: print it, then delete the file.")
    return plain(str(destination.file))


def _show(kit: RecoveryKit, *, ask: bool) -> None:
    """Show the kit on the terminal, and ask for its end: a kit that was never read back is a hope."""
    click.echo(f"\n{kit.text()}\n{kit.terminal_qr()}")
    click.echo("Print this page or write it down now: it is not kept, and cannot be shown again.")
    while ask:
        typed = click.prompt(_QUESTION, default="", show_default=False)
        read = "".join(typed.split()).upper()
        if not read:
            click.echo("Skipped. Check the paper soon: muniment keys check-recovery-kit")
            return
        if read == kit.identity.reveal()[-_END_CHARS:]:
            click.echo("That is right. Put the paper into a safe.")
            return
        click.echo("That is not what the kit says. Look at the paper again.")
