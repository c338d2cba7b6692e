"""The organisation itself, and its members."""

import os
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from litestar import Router, delete, get, patch, post

from muniment.accounts.api_keys import ApiKey
from muniment.accounts.delegation import check_rank
from muniment.accounts.organizations import Member, Organization
from muniment.accounts.permissions import Permission, Role
from muniment.accounts.principals import Principal
from muniment.accounts.quotas import Amount
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.preconditions import unchanged
from muniment.entrypoints.http.requests import HttpRequest, act_of

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class AmountView(msgspec.Struct):
    """So many bytes in so many files."""

    size_bytes: int
    files: int


class OrganizationView(msgspec.Struct):
    """An organisation: who it is, and how much of its quota it uses."""

    organization_id: str
    name: str
    created_at: int
    quota_bytes: int | None
    quota_files: int | None
    used: AmountView
    reserved: AmountView
    pinned_bytes: int


class MemberView(msgspec.Struct):
    """A member of the organisation."""

    member_id: str
    name: str
    role: Role
    created_at: int


class NewMember(msgspec.Struct, forbid_unknown_fields=True):
    """A member to be added."""

    name: Name
    role: Role


class NewRole(msgspec.Struct, forbid_unknown_fields=True):
    """What a member is to be."""

    role: Role


@get("/organization", opt=needs(Permission.ORGANIZATION_READ), sync_to_thread=True)
def show_organization(service: Service, principal: Principal) -> OrganizationView:
    """Show the organisation of the key."""
    return _organization_view(service.accounts.organization(principal.organization_id))


@get("/members", opt=needs(Permission.MEMBERS_READ), sync_to_thread=True)
def list_members(service: Service, principal: Principal) -> list[MemberView]:
    """List the members."""
    return [_member_view(member) for member in service.accounts.members(principal.organization_id)]


@get("/members/{member_id:str}", opt=needs(Permission.MEMBERS_READ), sync_to_thread=True)
def show_member(service: Service, principal: Principal, member_id: str) -> MemberView:
    """Show a member."""
    return _member_view(service.accounts.member(principal.organization_id, member_id))


@post(
    "/members",
    opt=needs(Permission.MEMBERS_WRITE),
    sync_to_thread=True,
)
def add_member(
    request: HttpRequest, service: Service, principal: Principal, data: NewMember
) -> MemberView:
    """Add a member."""
    check_rank(actor_of(service, principal), data.role)
    member = Member(
        os.urandom(8).hex(), principal.organization_id, data.name, data.role, int(time.time())
    )
    service.accounts.add_member(act_of(request, principal), member)
    return _member_view(member)


@patch(
    "/members/{member_id:str}",
    opt=needs(Permission.MEMBERS_WRITE),
    sync_to_thread=True,
)
def change_member(
    request: HttpRequest, service: Service, principal: Principal, member_id: str, data: NewRole
) -> MemberView:
    """Change what a member, and every key of theirs, may do."""
    actor, act = actor_of(service, principal), act_of(request, principal)
    check_rank(actor, data.role)
    member = service.accounts.set_role(act, member_id, data.role, _member_check(request, actor))
    return _member_view(member)


@delete("/members/{member_id:str}", opt=needs(Permission.MEMBERS_WRITE), sync_to_thread=True)
def remove_member(
    request: HttpRequest, service: Service, principal: Principal, member_id: str
) -> None:
    """Remove a member and revoke every key of theirs."""
    check = _member_check(request, actor_of(service, principal))
    service.accounts.remove_member(act_of(request, principal), member_id, check)


router = Router(
    "/",
    route_handlers=[
        show_organization,
        list_members,
        show_member,
        add_member,
        change_member,
        remove_member,
    ],
    tags=["organisation"],
)


def actor_of(service: Service, principal: Principal) -> ApiKey:
    """Return the key that a request comes with."""
    return service.accounts.key(principal.organization_id, principal.key_id)


def _member_check(request: HttpRequest, actor: ApiKey) -> Callable[[Member], None]:
    """Return what checks that a key may change a member, who is still what the client has seen."""
    is_unchanged = unchanged(request)

    def check(member: Member) -> None:
        check_rank(actor, member.role)
        is_unchanged(_member_view(member))

    return check


def _organization_view(organization: Organization) -> OrganizationView:
    return OrganizationView(
        organization.organization_id,
        organization.name,
        organization.created_at,
        organization.quota.size_bytes,
        organization.quota.files,
        amount_view(organization.used),
        amount_view(organization.reserved),
        organization.pinned_bytes,
    )


def amount_view(amount: Amount) -> AmountView:
    """Describe so many bytes in so many files."""
    return AmountView(amount.size_bytes, amount.files)


def _member_view(member: Member) -> MemberView:
    return MemberView(member.member_id, member.name, member.role, member.created_at)
