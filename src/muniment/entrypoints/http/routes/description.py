"""The API's description of itself, and of its problems."""

from litestar import MediaType, Response, Router, get

from muniment.entrypoints.http.authentication import PUBLIC
from muniment.entrypoints.http.problem_kinds import KINDS, TYPE_PATH
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.requests import HttpRequest


@get("/openapi.json", opt=PUBLIC, sync_to_thread=True, include_in_schema=False)
def show_description(request: HttpRequest) -> Response[bytes]:
    """Describe the API."""
    return Response(request.app.state.describe(), media_type="application/vnd.oai.openapi+json")


@get(TYPE_PATH + "{code:str}", opt=PUBLIC, sync_to_thread=False, include_in_schema=False)
def show_problem(code: str) -> Response[str]:
    """Say what a kind of problem is, and what to do about it: what `type` of a problem leads to."""
    kind = KINDS.get(code)
    if kind is None:
        raise ProblemError("not-found", "there is no problem of that kind")
    text = f"{kind.code} (status {kind.status})\n\n{kind.title}\n{kind.advice}\n"
    return Response(text, media_type=MediaType.TEXT)


router = Router("/", route_handlers=[show_description])
"""What lies below the version."""
