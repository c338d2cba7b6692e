"""The application: routes, and what holds for all of them."""

from functools import cache

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig

from muniment.bootstrap.service import Service
from muniment.entrypoints.http import pinning_service
from muniment.entrypoints.http.authentication import check_routes, guard, principal_of
from muniment.entrypoints.http.events import Streams
from muniment.entrypoints.http.front import Front
from muniment.entrypoints.http.gate import Gate
from muniment.entrypoints.http.openapi import OPENAPI, description_of
from muniment.entrypoints.http.problems import respond
from muniment.entrypoints.http.requests import StrictRequest
from muniment.entrypoints.http.routes import (
    api_keys,
    archive,
    audit,
    bundles,
    commits,
    description,
    events,
    files,
    health,
    multipart,
    operations,
    organization,
    pins,
    status,
    tus,
    uploads,
)

VERSION = "/v1"

ROUTERS = [
    organization.router,
    api_keys.router,
    audit.router,
    uploads.router,
    multipart.router,
    tus.router,
    archive.router,
    commits.router,
    files.router,
    bundles.router,
    operations.router,
    status.router,
    pins.router,
    events.router,
    description.router,
]
"""What lies below `VERSION`."""


def create_app(service: Service, processes: int = 1) -> Front:
    """Return the ASGI application of a service.

    Args:
        service: The service.
        processes: How many processes answer requests.
    """
    streams = Streams(service.events)
    app = create_routes(service, streams, processes)
    return Front(app, service.settings, streams)


def create_routes(
    service: Service, streams: Streams, processes: int = 1, openapi: OpenAPIConfig | None = None
) -> Litestar:
    """Return the routes of the API, without what stands in front of them.

    Args:
        service: The service.
        streams: The streams of events.
        processes: How many processes answer requests.
        openapi: Describe the routes so; such an application serves pages of the framework's own, so it is never served itself.
    """

    @cache
    def describe() -> bytes:
        return description_of(create_routes(service, streams, openapi=OPENAPI))

    app = Litestar(
        route_handlers=[
            health.router,
            description.show_problem,
            pinning_service.router,
            Router(VERSION, route_handlers=ROUTERS),
        ],
        guards=[guard],
        request_class=StrictRequest,
        middleware=[Gate(service, processes)],
        exception_handlers={Exception: pinning_service.failing_below_path(respond)},
        dependencies={
            "service": Provide(lambda: service, sync_to_thread=False),
            "streams": Provide(lambda: streams, sync_to_thread=False),
            "principal": Provide(principal_of, sync_to_thread=False),
        },
        state=State({"service": service, "describe": describe}),
        request_max_body_size=service.settings.body_bytes,
        logging_config=None,
        openapi_config=openapi,
        signature_types=[Service, Streams],
    )
    if openapi is None:
        check_routes(app)
    return app
