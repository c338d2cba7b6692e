"""`muniment audit`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from muniment.entrypoints.cli.services import open_service
from muniment.entrypoints.cli.session import Group, Session, pass_session
from muniment.errors import FormatError, IntegrityError, UsageError
from muniment.text import count

if TYPE_CHECKING:
    from muniment.accounts.audit import AuditEntry

_LINE_BYTES_MAX = 1 << 20


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
    import msgspec  # noqa: PLC0415  # costs start-up time

    from muniment.accounts.audit import FIRST  # noqa: PLC0415
    from muniment.adapters.durable import write_durably  # noqa: PLC0415

    if output.exists():
        raise UsageError(f"{output} exists already: the export goes to a new file")
    written, last, lines = 0, FIRST, []
    with open_service(session) as service:
        service.accounts.organization(organization_id)
        for entry in service.accounts.export_audit(organization_id):
            lines.append(msgspec.json.encode(entry) + b"\n")
            written, last = written + 1, entry.hash
    write_durably(output.absolute(), b"".join(lines), 0o600)
    session.say(f"{count(written, 'entry', 'entries')} written to {output}. Last hash", f"  {last}")
    session.answer({"file": str(output), "entries": written, "last_hash": last})


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
    from muniment.accounts.audit import verify_chain  # noqa: PLC0415  # costs start-up time
    from muniment.adapters.sql.checking import check_audit  # noqa: PLC0415

    if (organization_id is None) == (exported is None):
        raise UsageError("name an organisation, or an export by --file")
    is_met = last_hash is None

    def watched(entries: "Iterator[AuditEntry]") -> "Iterator[AuditEntry]":
        nonlocal is_met
        for entry in entries:
            is_met |= entry.hash == last_hash
            yield entry

    with contextlib.ExitStack() as stack:
        if exported is not None:
            entries = _read(stack.enter_context(exported.open("rb")))
        else:
            service = stack.enter_context(open_service(session))
            assert organization_id is not None
            check_audit(service.database, organization_id)
            entries = service.accounts.export_audit(organization_id)
        number, last = verify_chain(watched(entries))
    if not is_met:
        raise IntegrityError(
            "audit log: the entry with that hash is missing: the log was cut or made anew"
        )
    session.say(f"{count(number, 'entry', 'entries')}, none changed. Last hash", f"  {last}")
    session.answer({"entries": number, "last_hash": last})
    sys.stdout.flush()


def _read(file: BinaryIO) -> "Iterator[AuditEntry]":
    """Read an export line by line.

    Raises:
        FormatError: A line is no entry.
    """
    import msgspec  # noqa: PLC0415  # costs start-up time

    from muniment.accounts.audit import AuditEntry  # noqa: PLC0415

    number = 0
    while line := file.readline(_LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > _LINE_BYTES_MAX:
            raise FormatError(f"audit log: line {number} has more than {_LINE_BYTES_MAX} bytes")
        try:
            yield msgspec.json.decode(line, type=AuditEntry)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"audit log: line {number} is no entry: {error}") from None
