"""The description of the API (OpenAPI 3.1): every status of every route, problems too, and examples that are run by a test."""

from typing import Any

import msgspec
from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from muniment import __version__
from muniment.entrypoints.http.authentication import permission_of
from muniment.entrypoints.http.problems import KINDS, MEDIA_TYPE, Problem

_EXAMPLE, _ACCEPTS, _ALSO = "example", "accepts", "also"
_BYTES, _ANY = "application/octet-stream", "*/*"
_REFERENCE = "#/components/schemas/{name}"
_UNSAFE = ("post", "put", "patch", "delete")

OPENAPI = OpenAPIConfig(
    title="Muniment",
    version=__version__,
    description="A shared archive that can prove itself. Errors are problems (RFC 9457); their codes are stable.",
    render_plugins=[JsonRenderPlugin()],
    components=Components(
        security_schemes={
            "key": SecurityScheme(
                type="http", scheme="bearer", description="An API key, as in `mnk_...`."
            )
        }
    ),
    security=[{"key": []}],
)


def example(body: Any = None, **parameters: str) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """Return the option of a route that gives an example of its use.

    Args:
        body: The body, as JSON.
        parameters: Parameters of the path and the query.
    """
    return {_EXAMPLE: {"body": body, "parameters": parameters}}


def _problems() -> dict[str, Any]:
    """Return what every route may answer with beside what it is for, by status."""
    titles: dict[int, list[str]] = {}
    for kind in KINDS.values():
        titles.setdefault(kind.status, []).append(kind.title)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": " Or: ".join(found), "content": content}
        for status, found in sorted(titles.items())
    }


def description_of(app: Litestar) -> bytes:
    """Return the description of an application as JSON."""
    schema = app.openapi_schema.to_schema()
    _refs, components = msgspec.json.schema_components([Problem], ref_template=_REFERENCE)
    schema["components"].setdefault("schemas", {}).update(components)
    options = _options_by_operation(app)
    for path in schema["paths"].values():
        for method, operation in path.items():
            if method in ("get", "head", "options", *_UNSAFE):
                _complete(method, operation, options.get(operation["operationId"], {}))
    return msgspec.json.encode(schema)


def accepts(media_type: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the option of a route that reads its body itself: of what type it is, and its JSON Schema; any bytes if left out."""
    return {_ACCEPTS: (media_type, schema or {})}


def also_answers(media_type: str) -> dict[str, Any]:
    """Return the option of a route that can answer with text of another type as well."""
    return {_ALSO: media_type}


def _complete(method: str, operation: dict[str, Any], options: dict[str, Any]) -> None:
    """Say what holds for all routes of a method."""
    _correct(operation)
    if _ACCEPTS in options:
        media_type, schema = options[_ACCEPTS]
        operation["requestBody"] = {"content": {media_type: {"schema": schema}}}
    if _ALSO in options:
        text = {"schema": {"type": "string"}}
        operation["responses"]["200"]["content"][options[_ALSO]] = text
    known = operation["responses"].keys()
    if not known & {"4XX", "default"}:  # else the route has errors of its own
        problems = {name: found for name, found in _problems().items() if name not in known}
        operation["responses"] |= problems
    if options.get("is_public"):
        operation["security"] = []
        for status in ("401", "403"):
            operation["responses"].pop(status, None)
    elif method in _UNSAFE:
        operation.setdefault("parameters", []).extend(_UNSAFE_FIELDS)
    if method == "get":
        operation["responses"].setdefault("304", {"description": "What the client has is current."})
    shown = options.get(_EXAMPLE)
    if shown and shown["body"] is not None:
        for content in operation.get("requestBody", {}).get("content", {}).values():
            content["examples"] = {"example": {"value": shown["body"]}}


def _correct(operation: dict[str, Any]) -> None:
    """Correct what the framework says by itself, and is not so here."""
    described = operation["responses"]
    if "$ref" not in msgspec.json.encode(described.get("400", {})).decode():
        described.pop("400", None)  # its own body of errors
    for response in described.values():
        _describe_body(response)
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter["schema"].pop("format", None)  # the rest of an address is no URI


def _describe_body(response: dict[str, Any]) -> None:
    """Say of an answer without a body that it has none, and of bytes that they can be of any type."""
    content: dict[str, Any] = response.get("content", {})
    if any(item["schema"] == {"type": "null"} for item in content.values()):
        response.pop("content", None)
    elif _BYTES in content or _ANY in content:
        content.pop(_BYTES, None)
        content[_ANY] = {"schema": {}}


_UNSAFE_FIELDS = [
    {
        "name": "idempotency-key",
        "in": "header",
        "required": False,
        "description": "A string in quotes. Sent again with the same key, a request gets the answer of the first one.",
        "schema": {
            "type": "string",
            "maxLength": 257,
            "pattern": '^("[A-Za-z0-9 ._:~-]{1,255}")?$',
        },
    },
    {
        "name": "if-match",
        "in": "header",
        "required": False,
        "description": "ETag of what the client has seen: if it is another one now, nothing is changed.",
        "schema": {"type": "string", "maxLength": 1000, "pattern": "^[ -~]*$"},
    },
]


def _options_by_operation(app: Litestar) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if "permission" not in getattr(handler, "opt", {}):
                continue
            options = handler.opt | {"is_public": permission_of(handler) is None}
            operations = (app.openapi_schema.paths or {}).get(route.path_format)
            for method in handler.http_methods:
                operation = getattr(operations, str(method).lower(), None)
                if operation is not None:
                    found[operation.operation_id] = options
    return found
