"""`muniment api-key`."""

import time
from typing import TYPE_CHECKING, Any

import click

from muniment.entrypoints.cli.services import open_service
from muniment.entrypoints.cli.session import Group, Session, pass_session

if TYPE_CHECKING:
    from muniment.accounts.api_keys import ApiKey

_DAY_S = 86_400
_ROLES = ("owner", "admin", "archivist", "contributor", "reader", "auditor")


@click.group(cls=Group, name="api-key", short_help="Look after the API keys of an organisation.")
def command() -> None:
    """Look after the API keys of an organisation, on the machine that the service runs on."""


@command.command("create", short_help="Make an API key.")
@click.argument("organization_id", metavar="ID")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(_ROLES), default="archivist", show_default=True, help="What it is."
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="Allow this part of the role only, for example files:read. May be given several times.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    metavar="DAYS",
    help="Days after which it ends.  [default: never]",
)
@click.option(
    "--max-uses",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="How often it can be used.  [default: any number]",
)
@click.option(
    "--quota-bytes",
    type=click.IntRange(min=0),
    metavar="BYTES",
    help="The most that may be held of what it brings.  [default: no limit]",
)
@click.option(
    "--quota-files",
    type=click.IntRange(min=0),
    metavar="NUMBER",
    help="The most files that may be held of what it brings.  [default: no limit]",
)
@pass_session
def create(
    session: Session,
    organization_id: str,
    name: str,
    role: str,
    scopes: tuple[str, ...],
    days: int | None,
    max_uses: int | None,
    quota_bytes: int | None,
    quota_files: int | None,
) -> None:
    """Make an API key for the organisation ID. It is shown once, and kept only as a digest."""
    from muniment.accounts.permissions import Role, parse_scopes  # noqa: PLC0415  # costs start-up time
    from muniment.accounts.quotas import Quota  # noqa: PLC0415

    with open_service(session) as service:
        token = service.operator.create_key(
            organization_id,
            name,
            Role(role),
            parse_scopes(scopes) if scopes else None,
            None if days is None else int(time.time()) + days * _DAY_S,
            max_uses,
            Quota(quota_bytes, quota_files),
        )
    _show(session, organization_id, token)


@command.command("list", short_help="List the API keys.")
@click.argument("organization_id", metavar="ID")
@pass_session
def list_keys(session: Session, organization_id: str) -> None:
    """List the API keys of the organisation ID, newest first; those that are no good any more as well."""
    with open_service(session) as service:
        service.accounts.organization(organization_id)
        keys = service.accounts.keys(organization_id)
    for key in keys:
        session.say(_line(key))
    session.answer({"keys": [_view(key) for key in keys]})


@command.command("rotate", short_help="Replace an API key by a new one.")
@click.argument("organization_id", metavar="ID")
@click.argument("key_id", metavar="KEY")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0, 90 * 24),
    default=24,
    show_default=True,
    help="Hours that the old one goes on working.",
)
@pass_session
def rotate(session: Session, organization_id: str, key_id: str, overlap_hours: int) -> None:
    """Make a key that may do what KEY may, which goes on working for a while."""
    with open_service(session) as service:
        token = service.operator.rotate_key(organization_id, key_id, overlap_hours * 3600)
    _show(session, organization_id, token)


@command.command("revoke", short_help="Revoke an API key at once.")
@click.argument("organization_id", metavar="ID")
@click.argument("key_id", metavar="KEY")
@pass_session
def revoke(session: Session, organization_id: str, key_id: str) -> None:
    """Revoke an API key; servers that run notice within a second."""
    with open_service(session) as service:
        service.operator.revoke_key(organization_id, key_id)
        key = service.accounts.key(organization_id, key_id)
    session.say(f"The key {key_id} is revoked.")
    session.answer(_view(key))


def _show(session: Session, organization_id: str, token: str) -> None:
    key_id = token.split("_")[1]
    session.say("The new API key, which is shown only now:", f"  {token}")
    session.answer({"organization_id": organization_id, "key_id": key_id, "api_key": token})


def _view(key: "ApiKey") -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "role": str(key.role),
        "scopes": None if key.scopes is None else sorted(map(str, key.scopes)),
        "member_id": key.member_id or None,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "max_uses": key.max_uses,
        "uses": key.uses,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "quota_bytes": key.quota.size_bytes,
        "quota_files": key.quota.files,
        "used_bytes": key.used.size_bytes,
        "used_files": key.used.files,
        "reserved_bytes": key.reserved.size_bytes,
        "reserved_files": key.reserved.files,
    }


def _line(key: "ApiKey") -> str:
    state = "good" if key.is_usable_at(time.time()) else "no good any more"
    return f"{key.key_id}  {key.name}  {key.role}  {state}"
