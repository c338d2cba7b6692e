"""`muniment keys`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from muniment.adapters import key_files
from muniment.adapters.durable import write_durably
from muniment.adapters.key_files import Recipient
from muniment.archive.age_keys import DATA_CHARS, Identity
from muniment.archive.manifest import KEYRING_NAME
from muniment.archive.recovery import parse_typed_identity
from muniment.bootstrap.archive import Archive
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.recovery_kits import Destination, hand_out
from muniment.entrypoints.cli.session import Group, Session, pass_session
from muniment.errors import KeyUnavailableError, NotFoundError, UsageError
from muniment.text import count


@click.group(cls=Group, name="keys", short_help="Look after keys and recipients.")
def command() -> None:
    """Look after keys and recipients: who signs, who can open what is archived, and the recovery kit."""


_lock_me_out_option = click.option(
    "--yes-lock-me-out",
    "lock_me_out",
    is_flag=True,
    help="Go on although this home itself will not open it any more.",
)


def _refuse_lockout(archive: Archive, recipients: Sequence[Recipient]) -> None:
    """Refuse a list of recipients that this home's own identities are not in; a home that only writes has none.

    Raises:
        UsageError: None of them is.
    """
    if not archive.has_identity:
        return
    own = [identity.recipient for identity in archive.identities]
    if not any(recipient.key in own for recipient in recipients):
        raise UsageError(
            f"no identity of this home would be among the recipients, so it could not open its own archive any more: first "
            f"`muniment keys add-recipient {own[0]} --name NAME`, or, if only others are to open it, add --yes-lock-me-out; nothing was changed"
        )


def _view(recipient: Recipient) -> dict[str, str]:
    return {"recipient": recipient.key, "name": recipient.name}


@command.command("list", short_help="Show the keys of this home.")
@pass_session
def list_keys(session: Session) -> None:
    """Show the keys of this home; nothing secret."""
    with session.archive() as archive:
        signers = archive.trusted_signers
        recipients = key_files.load_recipients(archive.keys)
        try:
            identities = archive.identities
        except KeyUnavailableError:
            identities = []
    names = {recipient.key: recipient.name for recipient in recipients}
    session.say("Commits are signed by", f"  {signers[0].key_id}")
    session.say(*(f"  {signer.key_id}  (before)" for signer in signers[1:]))
    session.say("This home opens what is sealed to")
    session.say(
        *(f"  {i.recipient}  {names.get(i.recipient, 'no recipient any more')}" for i in identities)
    )
    if not identities:
        session.say("  nobody: it only writes")
    session.say("What is archived from now on is sealed to")
    session.say(*(f"  {recipient.key}  {recipient.name}" for recipient in recipients))
    session.answer(
        {
            "signing_key_id": signers[0].key_id,
            "former_signing_key_ids": [signer.key_id for signer in signers[1:]],
            "identities": [identity.recipient for identity in identities],
            "recipients": [_view(recipient) for recipient in recipients],
        }
    )


@command.command(short_help="List who can open what is archived from now on.")
@pass_session
def recipients(session: Session) -> None:
    """List who can open what is archived from now on."""
    with session.archive() as archive:
        known = key_files.load_recipients(archive.keys)
    session.say(*(f"{recipient.key}  {recipient.name}" for recipient in known))
    session.answer({"recipients": [_view(recipient) for recipient in known]})


@command.command("add-recipient", short_help="Let somebody open what is archived.")
@click.argument("recipient")
@click.option("--name", required=True, help="Who it is.")
@pass_session
def add_recipient(session: Session, recipient: str, name: str) -> None:
    """Let somebody open what is archived from now on: everything, so choose well. RECIPIENT is age1..."""
    with session.archive() as archive, archive.lock():
        key_files.add_recipient(archive.keys, recipient, name)
    session.say(
        f"{name} can open what is archived from now on. For what is archived already: muniment keys rewrap"
    )
    session.answer({"recipient": recipient, "name": name})


@command.command("remove-recipient", short_help="Seal nothing more to somebody.")
@click.argument("recipient")
@_lock_me_out_option
@pass_session
def remove_recipient(session: Session, recipient: str, lock_me_out: bool) -> None:
    """Seal nothing more to somebody. What they have copied before stays open to them. RECIPIENT is age1... or its name.

    The last recipient that this home itself can open is not removed, unless you insist.
    """
    with session.archive() as archive, archive.lock():
        known = key_files.load_recipients(archive.keys)
        found = [item for item in known if recipient in (item.key, item.name)]
        if len(found) != 1:
            raise NotFoundError(
                f"{'no' if not found else len(found)} recipients are called {recipient}: `muniment keys recipients` lists them"
            )
        if not lock_me_out and len(known) > 1:  # the last one of all is never removed
            _refuse_lockout(archive, [item for item in known if item != found[0]])
        key_files.remove_recipient(archive.keys, found[0].key)
    session.say(
        f"Nothing more is sealed to {found[0].name or found[0].key}. For what is archived already: muniment keys rewrap"
    )
    session.answer(_view(found[0]))


@command.command(short_help="Seal the keys of commits to the recipients of now.")
@click.argument("commits", nargs=-1, metavar="[COMMIT...]")
@click.option("--all", "everything", is_flag=True, help="Also those that seem to be done already.")
@click.option("--dry-run", is_flag=True, help="Only list the commits.")
@_lock_me_out_option
@pass_session
def rewrap(
    session: Session, commits: tuple[str, ...], everything: bool, dry_run: bool, lock_me_out: bool
) -> None:
    """Seal the keys of commits to the recipients of now, after that list was changed.

    Only the small file keys.age of each commit is replaced. Those that are newer than the list are left out, so a run that
    was interrupted goes on where it stopped. Nothing is done if this home could not open its archive afterwards, unless you insist.
    """
    with session.archive() as archive, archive.lock():
        if not lock_me_out:
            _refuse_lockout(archive, key_files.load_recipients(archive.keys))
        ids = archive.commit_ids()
        if commits:
            ids = [archive.commit_id(name) for name in commits]
        todo = ids if everything or commits else [i for i in ids if _is_older(archive, i)]
        if not dry_run:
            archive.identities  # noqa: B018  # says at once if this home cannot open anything
            with progress_of(session) as progress:
                for commit_id in todo:
                    progress.stage(commit_id, "rewrap", 0)
                    _rewrap(archive, commit_id)
    if dry_run:
        session.say(*todo)
    verb = "would be sealed" if dry_run else "sealed"
    session.say(
        f"The keys of {count(len(todo), 'commit')} {verb} anew; done before: {len(ids) - len(todo):,}."
    )
    if todo and not dry_run and archive.settings.backup:
        session.say("Next: muniment backup")
    session.answer({"commits": todo, "skipped": len(ids) - len(todo), "dry_run": dry_run})


def _is_older(archive: Archive, commit_id: str) -> bool:
    """Whether a keyring was sealed before the list of recipients was last changed; age files do not say to whom."""
    keyring = archive.store.path(commit_id) / KEYRING_NAME
    changed_ns = (archive.keys / key_files.RECIPIENTS).stat().st_mtime_ns
    return not keyring.exists() or keyring.stat().st_mtime_ns <= changed_ns


def _rewrap(archive: Archive, commit_id: str) -> None:
    sealed = archive.seal_keyring(archive.open_keyring(commit_id))
    write_durably(archive.store.path(commit_id) / KEYRING_NAME, sealed)


@command.command("new-recovery-kit", short_help="Make another recovery kit.")
@click.option(
    "--recovery-kit",
    metavar="FILE",
    help="Write it to this new file (.txt, or .html with a QR code), or - for the output.",
)
@pass_session
def new_recovery_kit(session: Session, recovery_kit: str | None) -> None:
    """Make another recovery kit, because the old one is lost or was seen by somebody.

    The old kit keeps opening what was archived until now, unless its recipient is removed and the keys are sealed anew.
    """
    destination = Destination.parse(session, recovery_kit)
    with session.archive() as archive, archive.lock():
        identity = key_files.new_identity()
        name = f"recovery kit {identity.recipient[-6:]}"
        handed = hand_out(session, archive.organization.name, identity, destination, ask=True)
        key_files.add_recipient(archive.keys, identity.recipient, name)
    session.say(
        "The new kit opens what is archived from now on.",
        "If the old kit is lost or was seen:  muniment keys remove-recipient OLD",
        "For what is archived already:        muniment keys rewrap",
    )
    session.answer({"recipient": identity.recipient, "name": name, "recovery_kit": handed})


@command.command("check-recovery-kit", short_help="Check that a recovery kit on paper is right.")
@pass_session
def check_recovery_kit(session: Session) -> None:
    """Check that a recovery kit on paper is right: type its secret, or pipe it in. Nothing of it is kept."""
    with session.archive() as archive:
        identity = _read_kit()
        names = {item.key: item.name for item in key_files.load_recipients(archive.keys)}
    if identity.recipient not in names:
        raise NotFoundError(
            f"this is a valid recovery kit, but nothing is sealed to it ({identity.recipient}) from now on: it may open older commits only"
        )
    session.say(
        f"The kit is right: it opens everything that is archived from now on ({names[identity.recipient]})."
    )
    session.answer({"recipient": identity.recipient, "name": names[identity.recipient]})


@command.command(short_help="Make this home open the archive again, from the recovery kit.")
@pass_session
def recover(session: Session) -> None:
    """Make this home open the archive again, from the recovery kit: type its secret, or pipe it in.

    The secret is written to keys/identity.txt. Make new keys and a new kit soon: docs/guides/keys.md.
    """
    with session.archive() as archive, archive.lock():
        identity = _read_kit()
        known = _known_identities(archive.keys)
        opened, ids = _count_opened(archive, identity)
        names = {item.key for item in key_files.load_recipients(archive.keys)}
        if not opened and identity.recipient not in names:
            raise KeyUnavailableError(
                f"this recovery kit ({identity.recipient}) opens none of the {count(len(ids), 'commit')} here: nothing was changed"
            )
        if identity not in known:
            key_files.save_identities(archive.keys, [*known, identity])
    session.say(
        f"This home opens {opened:,} of {count(len(ids), 'commit')} with the kit.",
        "Next: muniment rebuild (if the database is lost), then new keys and a new kit: docs/guides/keys.md",
    )
    session.answer({"recipient": identity.recipient, "opened": opened, "commits": len(ids)})


def _known_identities(keys: Path) -> list[Identity]:
    if not (keys / key_files.IDENTITY).exists():
        return []
    return key_files.load_identities(keys)


def _count_opened(archive: Archive, identity: Identity) -> tuple[int, list[str]]:
    """Count the commits whose keys this identity opens."""
    ids = archive.commit_ids()
    opened = 0
    for commit_id in ids:
        try:
            archive.open_keyring(commit_id, [identity])
        except KeyUnavailableError:
            continue
        opened += 1
    return opened, ids


def _read_kit() -> Identity:
    """Read a kit's secret from the terminal, line by line as it is printed, or whole from a pipe."""
    if not sys.stdin.isatty():
        return parse_typed_identity(sys.stdin.read(1 << 16))
    click.echo("Type the secret from the kit, line by line; an empty line ends it.", err=True)
    typed: list[str] = []
    while sum(len("".join(line.split())) for line in typed) < DATA_CHARS:
        line: Any = click.prompt(f"line {len(typed) + 1}", default="", show_default=False, err=True)
        if not line:
            break
        typed.append(str(line))
    return parse_typed_identity("".join(typed))
