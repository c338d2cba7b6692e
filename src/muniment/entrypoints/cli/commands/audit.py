"""`muniment audit`."""

from pathlib import Path

import click

from muniment.entrypoints.cli.services import open_service
from muniment.entrypoints.cli.session import Group, Session, pass_session
from muniment.errors import UsageError
from muniment.text import count


@click.group(cls=Group, name="audit", short_help="Export and check the audit log.")
def command() -> None:
    """Export and check an organisation's audit log: who did what, in a chain of hashes that only grows."""


@command.command("export", short_help="Write an organisation's audit log to a file.")
@click.argument("organization_id", metavar="ID")
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="New file: one entry a line, as JSON.",
)
@pass_session
def export(session: Session, organization_id: str, output: Path) -> None:
    """Write an organisation's audit log to a new file, one entry a line, and print the last hash.

    Keep the hash where nobody who can change the log can change it: with it, `muniment audit verify` notices whatever was changed or
    cut off since.
    """
    from muniment.accounts.audit import write_entries  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.durable import writing_durably  # noqa: PLC0415

    if output.exists():
        raise UsageError(f"{output} exists already: the export goes to a new file")
    with open_service(session) as service:
        number, last = service.accounts.audit_head(organization_id)
        with writing_durably(output.absolute(), 0o600) as file:
            file.writelines(write_entries(service.accounts.export_audit(organization_id, number)))
    session.say(f"{count(number, 'entry', 'entries')} written to {output}. Last hash", f"  {last}")
    session.answer({"file": str(output), "entries": number, "last_hash": last})


@command.command("verify", short_help="Check an audit log, of the service or exported.")
@click.argument("organization_id", metavar="[ID]", required=False)
@click.option(
    "--file",
    "exported",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Check this export instead; no service is needed.",
)
@click.option("--last-hash", metavar="HASH", help="The log must contain the entry with this hash.")
@pass_session
def verify(
    session: Session, organization_id: str | None, exported: Path | None, last_hash: str | None
) -> None:
    """Check that an audit log was neither changed nor cut: that of an organisation in the service, or an exported file.

    Each entry holds the hash of the one before. A log that was cut off at its end fits as well, unless its last hash is known: give the one
    that an earlier export printed.
    """
    from muniment.accounts.audit import read_entries, verify_chain  # noqa: PLC0415  # costs start-up time

    if exported is not None and organization_id is None:
        with exported.open("rb") as file:
            number, last = verify_chain(read_entries(file), known=last_hash)
    elif organization_id is not None and exported is None:
        number, last = _verify_stored(session, organization_id, last_hash)
    else:
        raise UsageError("name an organisation, or an export by --file")
    session.say(f"{count(number, 'entry', 'entries')}, none changed. Last hash", f"  {last}")
    session.answer({"entries": number, "last_hash": last})


def _verify_stored(
    session: Session, organization_id: str, last_hash: str | None
) -> tuple[int, str]:
    from muniment.accounts.audit import verify_chain  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.sql.checking import check_audit  # noqa: PLC0415

    with open_service(session) as service:
        number, last = check_audit(service.database, organization_id)
        if last_hash not in (None, last):
            verify_chain(service.accounts.export_audit(organization_id, number), known=last_hash)
    return number, last
