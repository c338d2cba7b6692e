"""The API keys of an organisation."""

import os
import time
from typing import Annotated

import msgspec
from litestar import Router, delete, get, post

from muniment.accounts.api_keys import ApiKey, new_token
from muniment.accounts.delegation import check_rank, limited_by
from muniment.accounts.permissions import Permission, Role, parse_scopes
from muniment.accounts.principals import PermissionDeniedError, Principal
from muniment.accounts.quotas import Quota
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.openapi import fails
from muniment.entrypoints.http.preconditions import unchanged
from muniment.entrypoints.http.requests import HttpRequest, act_of
from muniment.entrypoints.http.routes.organization import AmountView, Name, actor_of, amount_view

Seconds = Annotated[int, msgspec.Meta(ge=0, le=10**11)]
QuotaLimit = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_OVERLAP_DEFAULT_S = 86_400
_OVERLAP_MAX_S = 90 * 86_400


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
    opt=needs(Permission.KEYS_WRITE) | fails("not-found"),
    sync_to_thread=True,
)
def create_key(
    request: HttpRequest, service: Service, principal: Principal, data: NewKey
) -> NewKeyView:
    """Make an API key. The answer is the only time that it is shown.

    It may do no more than the key that makes it, for no longer, no more often, and with no more room; what is left out of these is as that has
    it. What it brings counts against both quotas.
    """
    maker = actor_of(service, principal)
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
    opt=needs(Permission.KEYS_WRITE),
    sync_to_thread=True,
)
def rotate_key(
    request: HttpRequest, service: Service, principal: Principal, key_id: str, data: Rotation
) -> NewKeyView:
    """Make a key that takes the place of another, which goes on working for a while. The two share one quota.

    Whoever rotates a key holds the new one: so it may be no more than the key that asks.
    """
    now = int(time.time())
    actor = actor_of(service, principal)
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
    actor, is_unchanged = actor_of(service, principal), unchanged(request)

    def check(key: ApiKey) -> None:
        check_rank(actor, key.role)
        is_unchanged(_key_view(key))

    service.accounts.revoke_key(act_of(request, principal), key_id, check)


router = Router(
    "/",
    route_handlers=[list_keys, show_key, create_key, rotate_key, revoke_key],
    tags=["organisation"],
)


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
        used=amount_view(key.used),
        reserved=amount_view(key.reserved),
    )


def _new_key_view(key: ApiKey, token: str) -> NewKeyView:
    return NewKeyView(key=token, **msgspec.structs.asdict(_key_view(key)))
