"""From the `Authorization` field to a `Principal`, and from a route to the permission that it needs.

Deny by default: a route that names neither a permission nor that it is public stops the application from starting.
"""

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from litestar import Litestar, Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from muniment.accounts.api_keys import ApiKey, check_key, parse_token
from muniment.accounts.permissions import Permission
from muniment.accounts.ports import AccountStore
from muniment.accounts.principals import AuthenticationError, Principal
from muniment.bootstrap.service import Service

_OPTION = "permission"
PUBLIC = {_OPTION: "public"}
"""Option of a route that needs no key."""

REMEMBERED_S = 1.0
"""How long a key that was good counts as good without a look: what another process revokes ends that much later."""

_REMEMBERED_MAX = 10_000
_BEARER = "bearer "
_TOKEN_LENGTH_MAX = 256


def needs(permission: Permission) -> dict[str, Any]:
    """Return the option of a route that needs a permission."""
    return {_OPTION: permission}


def permission_of(handler: BaseRouteHandler) -> Permission | None:
    """Return the permission that a route needs; None if it is public."""
    permission = handler.opt[_OPTION]
    return None if permission == PUBLIC[_OPTION] else Permission(str(permission))


def token_of(authorization: str) -> str:
    """Return the API key in an `Authorization` field.

    Raises:
        AuthenticationError: There is none.
    """
    if not authorization.lower().startswith(_BEARER) or len(authorization) > _TOKEN_LENGTH_MAX:
        raise AuthenticationError("an API key is needed: send `Authorization: Bearer <key>`")
    return authorization[len(_BEARER) :].strip()


def authenticate(accounts: AccountStore, authorization: str, now: float) -> ApiKey:
    """Return the key that a request comes with; the use is counted.

    An unknown key and a wrong secret take the same way: one look at the database, and one comparison.

    Raises:
        AuthenticationError: It is missing or not valid.
    """
    key_id, digest = parse_token(token_of(authorization))
    key = check_key(accounts.find_key(key_id), digest, now)
    if not accounts.use_key(key, int(now)):
        raise AuthenticationError("the API key is not valid")
    return key


class Authenticator:
    """Finds out who makes a request, off the event loop; what was good a moment ago is remembered for `REMEMBERED_S`.

    Args:
        accounts: Where the keys are.
        clock: A clock in seconds that is never set.
    """

    def __init__(self, accounts: AccountStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = accounts
        self._clock = clock
        self._good: dict[str, _Remembered] = {}
        self._generation = 0

    def remembered(self, authorization: str) -> Principal | None:
        """Return who acts with credentials that were good a moment ago; None if they have to be looked at.

        Raises:
            AuthenticationError: They are none at all.
        """
        known = self._known(authorization)
        if known is None or known.until_s < self._clock() or known.generation != self._generation:
            return None
        return known.key.principal() if known.key.is_usable_at(time.time()) else None

    def is_known(self, authorization: str) -> bool:
        """Tell whether credentials were good at some time, and so are worth a look even when many others are not."""
        return self._known(authorization) is not None

    async def look(self, authorization: str) -> Principal:
        """Return who acts with these credentials, by a look at the database.

        Raises:
            AuthenticationError: They are not valid.
        """
        generation = self._generation
        key = await asyncio.to_thread(authenticate, self._accounts, authorization, time.time())
        if key.max_uses is None:  # one that can be used up is counted each time
            if len(self._good) >= _REMEMBERED_MAX:
                self._good.clear()
            until_s = self._clock() + REMEMBERED_S
            self._good[key.key_id] = _Remembered(key, until_s, generation)
        return key.principal()

    def forget(self) -> None:
        """Look at every key anew: one was revoked, or what somebody may do has changed. What is being read now counts as old."""
        self._generation += 1

    def _known(self, authorization: str) -> "_Remembered | None":
        key_id, digest = parse_token(token_of(authorization))
        known = self._good.get(key_id)
        return known if known and hmac.compare_digest(known.key.digest, digest) else None


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A key that was good: until when that counts, and before which change it was read."""

    key: ApiKey
    until_s: float
    generation: int


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass that came through the gate: a second look, in case that somebody forgets the first.

    It waits for nothing; the framework would run it in a thread if it were not asynchronous.

    Raises:
        AuthenticationError: It did not.
        PermissionDeniedError: It may not do this.
    """
    permission = permission_of(handler) if connection.scope.get("method") != "OPTIONS" else None
    if permission is not None:
        principal = connection.scope.get("user")
        if not isinstance(principal, Principal):
            raise AuthenticationError("an API key is needed")
        principal.require(permission)


def principal_of(request: Request[Any, Any, Any], service: Service) -> Principal:  # noqa: ARG001  # see below
    """Return who makes a request: the handlers' `principal`.

    It asks for the service, and needs it not: what handlers depend on is then resolved one after the other. For two that depend on nothing, the
    framework would start a group of tasks, which takes as long as half of all else that it does.
    """
    principal: Principal = request.scope["user"]
    return principal


def check_routes(app: Litestar) -> None:
    """Check that every route says who may use it.

    Raises:
        AssertionError: One does not.
    """
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if not isinstance(handler, HTTPRouteHandler) or handler.http_methods == {"OPTIONS"}:
                continue
            if _OPTION not in handler.opt:
                raise AssertionError(f"{route.path} does not say which permission it needs")
