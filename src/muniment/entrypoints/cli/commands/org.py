"""`muniment org`."""

from typing import TYPE_CHECKING, Any

import click

from muniment.entrypoints.cli.services import open_service
from muniment.entrypoints.cli.session import Group, Session, pass_session
from muniment.errors import UsageError
from muniment.text import size

if TYPE_CHECKING:
    from muniment.accounts.organizations import Organization

_quota_options = (
    click.option(
        "--quota-bytes",
        type=click.IntRange(min=0),
        metavar="BYTES",
        help="The most that it may hold.  [default: no limit]",
    ),
    click.option(
        "--quota-files",
        type=click.IntRange(min=0),
        metavar="NUMBER",
        help="The most files that it may hold.  [default: no limit]",
    ),
)


@click.group(cls=Group, name="org", short_help="Look after the organisations of a service.")
def command() -> None:
    """Look after the organisations of a service, on the machine that it runs on."""


@command.command("create", short_help="Make an organisation and its first API key.")
@click.argument("organization_id", metavar="ID")
@click.argument("name")
@_quota_options[0]
@_quota_options[1]
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
def create(
    session: Session,
    organization_id: str,
    name: str,
    quota_bytes: int | None,
    quota_files: int | None,
    recovery_kit: str | None,
    no_recovery_kit: bool,
    yes: bool,
) -> None:
    """Make an organisation: its archive with new keys, the recovery kit, and its first API key, an owner's.

    ID is its short name in every manifest: a-z, 0-9 and hyphens. Key and kit are shown once and kept nowhere.
    """
    from muniment.accounts.quotas import Quota  # noqa: PLC0415  # costs start-up time
    from muniment.bootstrap.new_archive import new_organization  # noqa: PLC0415
    from muniment.entrypoints.cli.recovery_kits import Destination, hand_out  # noqa: PLC0415

    if no_recovery_kit and recovery_kit:
        raise UsageError("--recovery-kit and --no-recovery-kit exclude each other")
    destination = None if no_recovery_kit else Destination.parse(session, recovery_kit)
    new_organization(organization_id, name)  # checks both
    with open_service(session) as service:
        key, keys = service.operator.create_organization(
            organization_id,
            name,
            Quota(quota_bytes, quota_files),
            recovery=destination is not None,
        )
    answer = {
        "organization": {"id": organization_id, "name": name},
        "api_key": key,
        "signing_key_id": keys.verify_key.key_id,
        "recipient": keys.recipient,
        "recovery_recipient": None,
        "recovery_kit": None,
    }
    session.say(
        f"The organisation {name} is made. Signing key {keys.verify_key.key_id}",
        "Its first API key, an owner's, which is shown only now:",
        f"  {key}",
    )
    if destination is not None:
        answer["recovery_recipient"] = keys.recovery.recipient
        answer["recovery_kit"] = hand_out(session, name, keys.recovery, destination, ask=not yes)
    else:
        session.say("There is no recovery kit: who loses the service's home loses the archive.")
    session.answer(answer)


@command.command("adopt", short_help="Make an organisation of an archive that is there already.")
@click.argument("organization_id", metavar="ID")
@_quota_options[0]
@_quota_options[1]
@pass_session
def adopt(
    session: Session, organization_id: str, quota_bytes: int | None, quota_files: int | None
) -> None:
    """Make an organisation of an archive that is there already, and its first API key, an owner's.

    The archive lies in `organizations/ID` of the service's home: because the service's database was lost, or because somebody put
    the home of a single archive there. Its keys and commits stay as they are.
    """
    from muniment.accounts.quotas import Quota  # noqa: PLC0415  # costs start-up time

    with open_service(session) as service:
        key, organization = service.operator.adopt_organization(
            organization_id, Quota(quota_bytes, quota_files)
        )
    session.say(
        f"The service has the archive of {organization.name} now. An owner's API key, which is shown only now:",
        f"  {key}",
    )
    session.answer(
        {"organization": {"id": organization_id, "name": organization.name}, "api_key": key}
    )


@command.command("list", short_help="List the organisations.")
@pass_session
def list_organizations(session: Session) -> None:
    """List the organisations, and what each holds."""
    with open_service(session) as service:
        found = service.accounts.organizations()
    for organization in found:
        session.say(_line(organization))
    if not found:
        session.say("There is none yet: muniment org create ID NAME")
    session.answer({"organizations": [_view(organization) for organization in found]})


@command.command("show", short_help="Show one organisation.")
@click.argument("organization_id", metavar="ID")
@pass_session
def show(session: Session, organization_id: str) -> None:
    """Show one organisation: what it holds, and what it may hold."""
    with open_service(session) as service:
        organization = service.accounts.organization(organization_id)
    session.say(_line(organization))
    session.answer(_view(organization))


@command.command("quota", short_help="Change what an organisation may hold.")
@click.argument("organization_id", metavar="ID")
@_quota_options[0]
@_quota_options[1]
@pass_session
def quota(
    session: Session, organization_id: str, quota_bytes: int | None, quota_files: int | None
) -> None:
    """Change what an organisation may hold; what is not named has no limit afterwards."""
    from muniment.accounts.quotas import Quota  # noqa: PLC0415  # costs start-up time

    with open_service(session) as service:
        organization = service.operator.set_quota(organization_id, Quota(quota_bytes, quota_files))
    session.say(_line(organization))
    session.answer(_view(organization))


def _view(organization: "Organization") -> dict[str, Any]:
    return {
        "organization": {"id": organization.organization_id, "name": organization.name},
        "created_at": organization.created_at,
        "quota_bytes": organization.quota.size_bytes,
        "quota_files": organization.quota.files,
        "used_bytes": organization.used.size_bytes,
        "used_files": organization.used.files,
        "reserved_bytes": organization.reserved.size_bytes,
        "reserved_files": organization.reserved.files,
        "pinned_bytes": organization.pinned_bytes,
    }


def _line(organization: "Organization") -> str:
    quota, used = organization.quota, organization.used
    limits = [
        f"of {size(quota.size_bytes)}" if quota.size_bytes is not None else "",
        f"of {quota.files:,}" if quota.files is not None else "",
    ]
    held = f"{size(used.size_bytes)} {limits[0]}".strip()
    files = f"{used.files:,} {limits[1]}".strip()
    return f"{organization.organization_id}  {organization.name}  {held} in {files} files"
