"""The API's description of itself."""

from litestar import Response, Router, get

from muniment.entrypoints.http.authentication import PUBLIC
from muniment.entrypoints.http.requests import HttpRequest


@get("/openapi.json", opt=PUBLIC, sync_to_thread=True, include_in_schema=False)
def show_description(request: HttpRequest) -> Response[bytes]:
    """Describe the API."""
    return Response(request.app.state.describe(), media_type="application/vnd.oai.openapi+json")


router = Router("/", route_handlers=[show_description])
