"""The organisation itself, its members and its API keys, and the audit log."""

import os
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from litestar import Response, Router, delete, get, patch, post
from litestar.params import Parameter

from muniment.accounts.api_keys import ApiKey, new_token
from muniment.accounts.audit import AuditEntry
from muniment.accounts.delegation import check_rank, limited_by
from muniment.accounts.organizations import Member, Organization
from muniment.accounts.permissions import Permission, Role, parse_scopes
from muniment.accounts.principals import PermissionDeniedError, Principal
from muniment.accounts.quotas import Amount, Quota
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.openapi import example
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    page_response,
)
from muniment.entrypoints.http.preconditions import unchanged
from muniment.entrypoints.http.requests import HttpRequest, act_of

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=10**11)]
Limit = Annotated[int, Parameter(ge=1, le=PAGE_MAX)]
QuotaLimit = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_OVERLAP_DEFAULT_S = 86_400
_OVERLAP_MAX_S = 90 * 86_400


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


class KeyView(msgspec.Struct, kw_only=True):
    """An API key, without what it opens things with."""

    key_id: str
    name: str
    role: Role
    scopes: list[Permission] | None
    member_id: str
    created_at: int
    expires_at: int | None
    max_uses: int | None
    uses: int
    last_used_at: int | None
    revoked_at: int | None
    quota_bytes: int | None
    quota_files: int | None
    used: AmountView
    reserved: AmountView


class NewKeyView(KeyView, kw_only=True):
    """A new API key: the only time that `key` is shown."""

    key: str


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """An API key to be made: never more than the key may do that makes it."""

    name: Name
    role: Role
    scopes: list[str] | None = None
    expires_at: Seconds | None = None
    max_uses: Annotated[int, msgspec.Meta(ge=1)] | None = None
    member_id: str = ""
    quota_bytes: QuotaLimit | None = None
    quota_files: QuotaLimit | None = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old key goes on working."""

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=_OVERLAP_MAX_S)] = _OVERLAP_DEFAULT_S


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
    opt=needs(Permission.MEMBERS_WRITE) | example({"name": "Ada Lovelace", "role": "archivist"}),
    sync_to_thread=True,
)
def add_member(
    request: HttpRequest, service: Service, principal: Principal, data: NewMember
) -> MemberView:
    """Add a member."""
    check_rank(_actor(service, principal), data.role)
    member = Member(
        os.urandom(8).hex(), principal.organization_id, data.name, data.role, int(time.time())
    )
    service.accounts.add_member(act_of(request, principal), member)
    return _member_view(member)


@patch(
    "/members/{member_id:str}",
    opt=needs(Permission.MEMBERS_WRITE) | example({"role": "reader"}),
    sync_to_thread=True,
)
def change_member(
    request: HttpRequest, service: Service, principal: Principal, member_id: str, data: NewRole
) -> MemberView:
    """Change what a member, and every key of theirs, may do."""
    actor, act = _actor(service, principal), act_of(request, principal)
    check_rank(actor, data.role)
    member = service.accounts.set_role(act, member_id, data.role, _member_check(request, actor))
    return _member_view(member)


@delete("/members/{member_id:str}", opt=needs(Permission.MEMBERS_WRITE), sync_to_thread=True)
def remove_member(
    request: HttpRequest, service: Service, principal: Principal, member_id: str
) -> None:
    """Remove a member and revoke every key of theirs."""
    check = _member_check(request, _actor(service, principal))
    service.accounts.remove_member(act_of(request, principal), member_id, check)


@get("/keys", opt=needs(Permission.KEYS_READ), sync_to_thread=True)
def list_keys(service: Service, principal: Principal) -> list[KeyView]:
    """List the API keys, newest first; those that are no good any more as well."""
    return [_key_view(key) for key in service.accounts.keys(principal.organization_id)]


@get("/keys/{key_id:str}", opt=needs(Permission.KEYS_READ), sync_to_thread=True)
def show_key(service: Service, principal: Principal, key_id: str) -> KeyView:
    """Show an API key."""
    return _key_view(service.accounts.key(principal.organization_id, key_id))


@post(
    "/keys",
    opt=needs(Permission.KEYS_WRITE)
    | example(
        {
            "name": "nightly import",
            "role": "contributor",
            "scopes": ["files:write"],
            "max_uses": 1000,
            "quota_bytes": 10_000_000_000,
        }
    ),
    sync_to_thread=True,
)
def create_key(
    request: HttpRequest, service: Service, principal: Principal, data: NewKey
) -> NewKeyView:
    """Make an API key. The answer is the only time that it is shown.

    It may do no more than the key that makes it, for no longer, no more often, and with no more room; what is left out of these is as that has
    it. What it brings counts against both quotas.
    """
    maker = _actor(service, principal)
    token, key_id, digest = new_token(os.urandom)
    key = ApiKey(
        key_id,
        principal.organization_id,
        data.name,
        data.role,
        None if data.scopes is None else parse_scopes(data.scopes),
        digest,
        int(time.time()),
        data.expires_at,
        data.max_uses,
        member_id=data.member_id,
        quota=Quota(data.quota_bytes, data.quota_files),
    )
    key = limited_by(maker, key)
    service.accounts.add_key(act_of(request, principal), key, maker_id=maker.key_id)
    return _new_key_view(key, token)


@post(
    "/keys/{key_id:str}/rotate",
    opt=needs(Permission.KEYS_WRITE) | example({"overlap_s": 3600}),
    sync_to_thread=True,
)
def rotate_key(
    request: HttpRequest, service: Service, principal: Principal, key_id: str, data: Rotation
) -> NewKeyView:
    """Make a key that takes the place of another, which goes on working for a while. The two share one quota.

    Whoever rotates a key holds the new one: so it may be no more than the key that asks.
    """
    now = int(time.time())
    actor = _actor(service, principal)
    token, new_id, digest = new_token(os.urandom)

    def successor(old: ApiKey) -> ApiKey:
        new = old.successor(new_id, digest, now)
        if limited_by(actor, new) != new:
            raise PermissionDeniedError("this key has limits that the other one does not have")
        return new

    act, ends_at = act_of(request, principal), now + data.overlap_s
    new = service.accounts.rotate_key(act, key_id, successor, ends_at=ends_at)
    return _new_key_view(new, token)


@delete("/keys/{key_id:str}", opt=needs(Permission.KEYS_WRITE), sync_to_thread=True)
def revoke_key(request: HttpRequest, service: Service, principal: Principal, key_id: str) -> None:
    """Revoke an API key at once. Admins revoke all but those of owners."""
    actor, is_unchanged = _actor(service, principal), unchanged(request)

    def check(key: ApiKey) -> None:
        check_rank(actor, key.role)
        is_unchanged(_key_view(key))

    service.accounts.revoke_key(act_of(request, principal), key_id, check)


@get("/audit", opt=needs(Permission.AUDIT_READ), sync_to_thread=True)
def list_audit(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    limit: Limit = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[AuditEntry]]:
    """List the audit log, oldest first."""
    (after,) = decode_cursor(cursor, tuple[int]) if cursor else (0,)
    entries = service.accounts.audit(principal.organization_id, after, limit + 1)
    return page_response(request, entries, limit, lambda entry: (entry.number,))


router = Router(
    "/",
    route_handlers=[
        show_organization,
        list_members,
        show_member,
        add_member,
        change_member,
        remove_member,
        list_keys,
        show_key,
        create_key,
        rotate_key,
        revoke_key,
        list_audit,
    ],
    tags=["organisation"],
)


def _actor(service: Service, principal: Principal) -> ApiKey:
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
        _amount_view(organization.used),
        _amount_view(organization.reserved),
        organization.pinned_bytes,
    )


def _amount_view(amount: Amount) -> AmountView:
    return AmountView(amount.size_bytes, amount.files)


def _member_view(member: Member) -> MemberView:
    return MemberView(member.member_id, member.name, member.role, member.created_at)


def _key_view(key: ApiKey) -> KeyView:
    return KeyView(
        key_id=key.key_id,
        name=key.name,
        role=key.role,
        scopes=None if key.scopes is None else sorted(key.scopes),
        member_id=key.member_id,
        created_at=key.created_at,
        expires_at=key.expires_at,
        max_uses=key.max_uses,
        uses=key.uses,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
        quota_bytes=key.quota.size_bytes,
        quota_files=key.quota.files,
        used=_amount_view(key.used),
        reserved=_amount_view(key.reserved),
    )


def _new_key_view(key: ApiKey, token: str) -> NewKeyView:
    return NewKeyView(key=token, **msgspec.structs.asdict(_key_view(key)))
