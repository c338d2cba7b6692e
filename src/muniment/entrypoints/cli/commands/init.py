"""`muniment init`."""

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Any

import click

from muniment.adapters.private_files import create_file
from muniment.archive.recovery import RecoveryKit
from muniment.bootstrap import create_archive, new_organization
from muniment.entrypoints.cli.session import (
    PASSPHRASE_VARIABLE,
    Command,
    Session,
    pass_session,
)
from muniment.entrypoints.cli.text import plain
from muniment.errors import KeyUnavailableError, UsageError

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=Command, name="init", short_help="Make a new archive with its keys.")
@click.option(
    "--organization-id",
    "organization_id",
    required=True,
    metavar="ID",
    help="Short name in every manifest: a-z, 0-9 and hyphens, for example hrdag.",
)
@click.option("--name", help="Full name of the organisation.  [default: the short one]")
@click.option(
    "--passphrase",
    is_flag=True,
    help=f"Lock the signing key by a passphrase: asked for, or taken from {PASSPHRASE_VARIABLE}.",
)
@click.option(
    "--signing-key",
    type=_FILE,
    metavar="FILE",
    help="Use this Ed25519 key of ssh-keygen instead of a new one.",
)
@click.option(
    "--encryption-key",
    type=_FILE,
    metavar="FILE",
    help="Use this age identity, or file of 32 random bytes, instead of a new one.",
)
@click.option(
    "--recovery-kit",
    metavar="FILE",
    help="Write the recovery kit to this new file (.txt, or .html with a QR code), or - for the output.",
)
@click.option(
    "--no-recovery-kit",
    is_flag=True,
    help="Make no recovery kit: for tests and throw-away archives.",
)
@click.option("--yes", is_flag=True, help="Do not ask to read the recovery kit back.")
@pass_session
def command(
    session: Session,
    organization_id: str,
    name: str | None,
    passphrase: bool,
    signing_key: Path | None,
    encryption_key: Path | None,
    recovery_kit: str | None,
    no_recovery_kit: bool,
    yes: bool,
) -> None:
    """Make a new archive with its keys, and the recovery kit that opens it when all else is lost.

    The kit is shown once and kept nowhere: print it, or write it down. Without a terminal, say where it goes: --recovery-kit
    FILE, or --no-recovery-kit.
    """
    kit_file = _check_destination(session, recovery_kit, no_recovery_kit)
    owner = new_organization(organization_id, name or organization_id)
    keys = create_archive(
        session.home_folder,
        owner,
        passphrase=_passphrase() if passphrase else None,
        existing_signing=signing_key,
        existing_identity=encryption_key,
        recovery=not no_recovery_kit,
    )
    home = session.home_folder.absolute()
    answer: dict[str, Any] = {
        "home": plain(str(home)),
        "organization": {"id": owner.id, "name": owner.name},
        "signing_key_id": keys.verify_key.key_id,
        "recipient": keys.recipient,
        "recovery_recipient": None if no_recovery_kit else keys.recovery.recipient,
        "recovery_kit": None,
    }
    session.say(
        f"The archive of {owner.name} is in {home}.", f"Signing key {keys.verify_key.key_id}"
    )
    if not no_recovery_kit:
        today = dt.datetime.now(dt.UTC).date()
        kit = RecoveryKit(owner.name, today, keys.recovery)
        if kit_file is not None:
            _write_kit(kit, kit_file)
            session.say(f"The recovery kit is in {kit_file}: print it, then delete the file.")
            answer["recovery_kit"] = plain(str(kit_file))
        elif recovery_kit == "-":
            answer["recovery_kit"] = kit.text()
            session.say(*kit.text().splitlines())
        else:
            _show_kit(kit, ask=not yes)
    else:
        session.say(
            "There is no recovery kit: who loses keys/identity.txt cannot open the archive any more."
        )
    session.answer(answer)
    session.say("Next: muniment archive FOLDER")


def _check_destination(session: Session, recovery_kit: str | None, without: bool) -> Path | None:
    """Say where the kit goes before anything is made, so that no secret is ever made and lost."""
    if without and recovery_kit:
        raise UsageError("--recovery-kit and --no-recovery-kit exclude each other")
    if recovery_kit == "-" and session.quiet:
        raise UsageError("--recovery-kit - and --quiet exclude each other")
    if without or recovery_kit == "-":
        return None
    if recovery_kit is None:
        if session.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError(
                "there is no terminal to show the recovery kit on: add --recovery-kit FILE (or, for a throw-away archive, --no-recovery-kit)"
            )
        return None
    path = Path(recovery_kit).absolute()
    if path.suffix not in (".txt", ".html"):
        raise UsageError(f"expected a recovery kit in a .txt or .html file, got {recovery_kit}")
    if os.path.lexists(path):
        raise UsageError(f"{recovery_kit} exists already: the recovery kit goes to a new file")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"the folder {path.parent} cannot be written to")
    return path


def _passphrase() -> str:
    known = os.environ.get(PASSPHRASE_VARIABLE)
    if known:
        return known
    if not sys.stdin.isatty():
        raise KeyUnavailableError(
            f"there is no terminal to ask for a passphrase: set {PASSPHRASE_VARIABLE}"
        )
    answer = click.prompt(
        "Passphrase of the signing key", hide_input=True, confirmation_prompt=True, err=True
    )
    return str(answer)


def _write_kit(kit: "RecoveryKit", path: Path) -> None:
    text = kit.html() if path.suffix == ".html" else kit.text()
    create_file(path, text.encode("utf-8"))


def _show_kit(kit: "RecoveryKit", *, ask: bool) -> None:
    """Show the kit on the terminal, and ask for its end: a kit that was never read back is a hope."""
    click.echo(f"\n{kit.text()}\n{kit.terminal_qr()}")
    click.echo("Print this page or write it down now: it is not kept, and cannot be shown again.")
    if not ask:
        return
    end = kit.identity.reveal()[-6:]
    while True:
        typed = click.prompt(
            "Type the last two groups from your paper (or just press Enter to skip)",
            default="",
            show_default=False,
        )
        read = "".join(typed.split()).upper()
        if not read:
            click.echo("Skipped. Check the paper soon: muniment keys check-recovery-kit")
            return
        if read == end:
            click.echo("That is right. Put the paper into a safe.")
            return
        click.echo(f"That is not what the kit says: it ends with {len(end)} other characters.")
