"""Whether the service lives, and whether it can work."""

import shutil
import time
from functools import lru_cache
from typing import Literal

import msgspec
from litestar import Router, get

from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import PUBLIC

REMEMBERED_S = 1.0
"""How long an answer holds: whoever asks often costs nothing."""


class Alive(msgspec.Struct):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(msgspec.Struct):
    """What the service can do.

    Attributes:
        status: Ready, or degraded: requests are answered, and something is wrong.
        database: It can be read.
        disk: Whether more is taken in.
        workers: Whether anybody does background work.
    """

    status: Literal["ready", "degraded"]
    database: Literal["ok"]
    disk: Literal["ok", "low"]
    workers: Literal["ok", "none"]


@get("/livez", opt=PUBLIC, sync_to_thread=False)
def live() -> Alive:
    """Tell that the process answers."""
    return Alive()


@get("/readyz", opt=PUBLIC, sync_to_thread=True)
def ready(service: Service) -> Readiness:
    """Tell what the service can do; a problem, with status 500 or 503, if its database cannot be read."""
    return _look(service, int(time.monotonic() / REMEMBERED_S))


router = Router("/", route_handlers=[live, ready], tags=["health"])


@lru_cache(maxsize=4)
def _look(service: Service, _moment: int) -> Readiness:
    """Look at everything, once in a moment."""
    workers = service.workers.alive()
    free_bytes = shutil.disk_usage(service.home).free
    has_room = free_bytes >= service.settings.disk_reserve_bytes
    return Readiness(
        "ready" if has_room and workers else "degraded",
        "ok",
        "ok" if has_room else "low",
        "ok" if workers else "none",
    )
