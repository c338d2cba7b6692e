"""Whether the service lives, and whether it can work."""

import msgspec
from litestar import Router, get

from muniment.bootstrap_service import Service
from muniment.entrypoints.http.authentication import PUBLIC


class Health(msgspec.Struct):
    """The answer of both checks."""

    status: str


@get("/livez", opt=PUBLIC, sync_to_thread=False)
def live() -> Health:
    """Tell that the process answers."""
    return Health("alive")


@get("/readyz", opt=PUBLIC, sync_to_thread=True)
def ready(service: Service) -> Health:
    """Tell that the database can be read: a failure is a problem with status 500 or 503."""
    service.accounts.organizations()
    return Health("ready")


router = Router("/", route_handlers=[live, ready], tags=["health"])
