"""From the `Authorization` field to a `Principal`, and from a route to the permission that it needs.

Deny by default: a route that names neither a permission nor that it is public stops the application from starting.
"""

import time
from typing import Any

from litestar import Litestar, Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from muniment.accounts.api_keys import check_key, parse_token
from muniment.accounts.permissions import Permission
from muniment.accounts.ports import AccountStore
from muniment.accounts.principals import AuthenticationError, Principal

_OPTION = "permission"
PUBLIC = {_OPTION: "public"}
"""Option of a route that needs no key."""

_BEARER = "bearer "
_TOKEN_LENGTH_MAX = 256


def needs(permission: Permission) -> dict[str, Any]:
    """Return the option of a route that needs a permission."""
    return {_OPTION: permission}


def authenticate(accounts: AccountStore, authorization: str, now: float) -> Principal:
    """Return who acts with these credentials; the use is counted.

    Raises:
        AuthenticationError: They are missing or not valid.
    """
    if not authorization.lower().startswith(_BEARER) or len(authorization) > _TOKEN_LENGTH_MAX:
        raise AuthenticationError("an API key is needed: send `Authorization: Bearer <key>`")
    key_id, digest = parse_token(authorization[len(_BEARER) :].strip())
    key = check_key(accounts.find_key(key_id), digest, now)
    if not accounts.use_key(key, int(now)):
        raise AuthenticationError("the API key is not valid")
    return key.principal()


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass whose principal has the route's permission: the application's one guard.

    Raises:
        AuthenticationError: It has none.
        PermissionDeniedError: It may not.
    """
    permission = handler.opt.get(_OPTION)
    if permission == PUBLIC[_OPTION] or connection.scope.get("method") == "OPTIONS":
        return
    accounts: AccountStore = connection.app.state.service.accounts
    principal = authenticate(accounts, connection.headers.get("authorization", ""), time.time())
    connection.scope["user"] = principal
    principal.require(Permission(str(permission)))


def principal_of(request: Request[Any, Any, Any]) -> Principal:
    """Return who makes a request: the handlers' `principal`."""
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
