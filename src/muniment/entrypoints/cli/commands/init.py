"""`muniment init`."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from muniment.adapters.key_files import Recipient
from muniment.archive.manifest import Organization
from muniment.archive.signing import VerifyKey
from muniment.bootstrap.new_archive import create_archive, create_writer_archive, new_organization
from muniment.entrypoints.cli.recovery_kits import Destination, hand_out
from muniment.entrypoints.cli.session import (
    PASSPHRASE_VARIABLE,
    Command,
    Session,
    pass_session,
)
from muniment.errors import KeyUnavailableError, UsageError
from muniment.text import plain

_NEXT = "Next: muniment archive FOLDER"
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
@click.option(
    "--write-only",
    is_flag=True,
    help="Make a home that can archive, but open nothing: only the recipients can.",
)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="AGE1...",
    help="With --write-only: who can open what is archived. May be given several times.",
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
    write_only: bool,
    recipients: tuple[str, ...],
    yes: bool,
) -> None:
    """Make a new archive with its keys, and the recovery kit that opens it when all else is lost.

    The kit is shown once and kept nowhere: print it, or write it down. Without a terminal, say where it goes: --recovery-kit
    FILE, or --no-recovery-kit.

    A home that only writes has no identity and no kit: make it with the recipients of the head office and of its recovery kit,
    which `muniment keys recipients` lists there.
    """
    if write_only:
        if encryption_key or recovery_kit:
            raise UsageError("--write-only excludes --encryption-key and --recovery-kit")
        owner = new_organization(organization_id, name or organization_id)
        secret = _passphrase() if passphrase else None
        _make_writer(session, owner, recipients, secret, signing_key)
        return
    if recipients:
        raise UsageError("--recipient is for --write-only; else see `muniment keys add-recipient`")
    if no_recovery_kit and recovery_kit:
        raise UsageError("--recovery-kit and --no-recovery-kit exclude each other")
    destination = None if no_recovery_kit else Destination.parse(session, recovery_kit)
    owner = new_organization(organization_id, name or organization_id)
    keys = create_archive(
        session.home_folder,
        owner,
        passphrase=_passphrase() if passphrase else None,
        existing_signing=signing_key,
        existing_identity=encryption_key,
        recovery=not no_recovery_kit,
    )
    answer = _begin(session, owner, keys.verify_key) | {"recipient": keys.recipient}
    if destination is not None:
        recovery = keys.recovery
        answer["recovery_recipient"] = recovery.recipient
        answer["recovery_kit"] = hand_out(session, owner.name, recovery, destination, ask=not yes)
    else:
        session.say(
            "There is no recovery kit: who loses keys/identity.txt cannot open the archive any more."
        )
    session.answer(answer)
    session.say(_NEXT)


def _make_writer(
    session: Session,
    owner: Organization,
    recipients: tuple[str, ...],
    passphrase: str | None,
    signing_key: Path | None,
) -> None:
    known = [Recipient(key, f"recipient {key[-6:]}") for key in recipients]
    key = create_writer_archive(
        session.home_folder,
        owner,
        known,
        passphrase=passphrase,
        existing_signing=signing_key,
    )
    answer = _begin(session, owner, key)
    session.say("This home only writes. What it archives is opened by")
    session.say(*(f"  {recipient.key}" for recipient in known))
    if len(known) == 1:
        session.say("If the secret of this one recipient is lost, so is everything.")
    session.answer(answer)
    session.say(_NEXT)


def _begin(session: Session, owner: Organization, key: VerifyKey) -> dict[str, Any]:
    """Say what was made; returns the answer in JSON as far as every home has it."""
    home = session.home_folder.absolute()
    session.say(f"The archive of {owner.name} is in {home}.", f"Signing key {key.key_id}")
    return {
        "home": plain(str(home)),
        "organization": {"id": owner.id, "name": owner.name},
        "signing_key_id": key.key_id,
        "recipient": None,
        "recovery_recipient": None,
        "recovery_kit": None,
    }


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
