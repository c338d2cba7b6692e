"""The application: routes, and what holds for all of them."""

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from muniment import __version__
from muniment.bootstrap_service import Service
from muniment.entrypoints.http import pinning_service
from muniment.entrypoints.http.authentication import PUBLIC, check_routes, guard, principal_of
from muniment.entrypoints.http.problems import respond
from muniment.entrypoints.http.requests import AsgiApp, with_request_ids
from muniment.entrypoints.http.routes import (
    archive,
    commits,
    files,
    health,
    operations,
    organization,
    status,
    uploads,
)

VERSION = "/v1"

ROUTERS = [
    organization.router,
    uploads.router,
    archive.router,
    commits.router,
    files.router,
    operations.router,
    status.router,
]
"""What lies below `VERSION`."""


def create_app(service: Service) -> AsgiApp:
    """Return the ASGI application of a service."""
    return with_request_ids(create_routes(service))


def create_routes(service: Service) -> Litestar:
    """Return the routes of the API, without what stands in front of them."""
    app = Litestar(
        route_handlers=[
            health.router,
            pinning_service.router,
            Router(VERSION, route_handlers=ROUTERS),
        ],
        guards=[guard],
        exception_handlers={Exception: pinning_service.failing_below_path(respond)},
        dependencies={
            "service": Provide(lambda: service, sync_to_thread=False),
            "principal": Provide(principal_of, sync_to_thread=False),
        },
        state=State({"service": service}),
        request_max_body_size=service.settings.body_bytes,
        openapi_config=_openapi(),
        signature_types=[Service],
    )
    check_routes(app)
    return app


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Muniment",
        version=__version__,
        description="A shared archive that can prove itself.",
        openapi_router=Router(f"{VERSION}/openapi", route_handlers=[], opt=PUBLIC),
        render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
        components=Components(
            security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"key": []}],
    )
