"""The description of the API (OpenAPI 3.1): what routes say of themselves, and what holds for all of them."""

import inspect
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from muniment import __version__
from muniment.entrypoints.http.authentication import permission_of
from muniment.entrypoints.http.contract.document import UNSAFE, Document, Operation, operations_of
from muniment.entrypoints.http.contract.examples import add_examples
from muniment.entrypoints.http.contract.problems import (
    add_problems,
    codes_of,
    drop_failures,
    shared_responses,
)
from muniment.entrypoints.http.contract.schemas import ANSWERS, complete_schemas
from muniment.entrypoints.http.problem_kinds import KINDS

_ACCEPTS, _ALSO, _FAILS, _FIELDS = "accepts", "also", "fails", "fields"
_BYTES, _ANY = "application/octet-stream", "*/*"


def _function_of(handler: HTTPRouteHandler) -> Any:  # noqa: ANN401  # one of any signature
    """Return the function behind a route, out of what has it run in a thread."""
    return getattr(handler.fn, "func", handler.fn)


def _operation_id(
    handler: HTTPRouteHandler, _method: Method, path: list[str | PathParameterDefinition]
) -> str:
    """Return a name for an operation that programs can be generated from: the handler's, within its module's."""
    function = _function_of(handler)
    name = f"{function.__module__.rpartition('.')[2]}_{function.__name__}"
    if len(handler.paths) == 1:
        return name
    last = path[-1]
    return f"{name}_at_{last if isinstance(last, str) else last.name}"


OPENAPI = OpenAPIConfig(
    title="Muniment",
    version=__version__,
    description="A shared archive that can prove itself. Errors are problems (RFC 9457); their codes are stable.",
    render_plugins=[JsonRenderPlugin()],
    operation_id_creator=_operation_id,
    components=Components(
        security_schemes={
            "key": SecurityScheme(
                type="http", scheme="bearer", description="An API key, as in `mnk_...`."
            )
        }
    ),
    security=[{"key": []}],
)


def accepts(media_type: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the option of a route that reads its body itself: of what type it is, and its JSON Schema; any bytes if left out."""
    return {_ACCEPTS: (media_type, schema or {})}


def answers(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the option of a route that answers more than its handler's type says: of which type it is."""
    return {ANSWERS: shape}


def also_answers(media_type: str) -> dict[str, Any]:
    """Return the option of a route that can answer with text of another type as well."""
    return {_ALSO: media_type}


def fails(*codes: str) -> dict[str, Any]:
    """Return the option of a route that names the problems which it answers with beside those of most routes."""
    assert all(code in KINDS for code in codes), codes
    return {_FAILS: codes}


def field(name: str, description: str, pattern: str = "", *, is_required: bool = True) -> Document:
    """Return the description of a header field of a request, which a route reads itself."""
    return {
        "name": name,
        "in": "header",
        "required": is_required,
        "description": description,
        "schema": {"type": "string"} | ({"pattern": pattern} if pattern else {}),
    }


def takes(*fields: Document) -> dict[str, Any]:
    """Return the option of a route that reads header fields itself."""
    return {_FIELDS: fields}


def description_of(app: Litestar) -> bytes:
    """Return the description of an application as JSON."""
    document = complete_schemas(app.openapi_schema.to_schema(), app)
    options = _options_by_operation(app)
    for method, _path, operation in operations_of(document):
        _complete(method, operation, options[operation["operationId"]])
    add_examples(document)
    document["components"]["responses"] = shared_responses(document)
    return msgspec.json.encode(document)


def _complete(method: str, operation: Operation, options: dict[str, Any]) -> None:
    """Say what the route says, and what holds for all routes of a method."""
    _correct(operation)
    operation["summary"] = options["text"].partition("\n")[0]
    operation["description"] = options["text"]
    parameters = operation.setdefault("parameters", [])
    parameters.extend(dict(one) for one in options.get(_FIELDS, ()))
    if _ACCEPTS in options:
        media_type, schema = options[_ACCEPTS]
        operation["requestBody"] = {"content": {media_type: {"schema": schema}}}
    if ANSWERS in options:
        schema = {"$ref": f"#/components/schemas/{options[ANSWERS].__name__}"}
        operation["responses"]["200"]["content"] = {"application/json": {"schema": schema}}
    if _ALSO in options:
        text = {"schema": {"type": "string"}}
        operation["responses"]["200"]["content"][options[_ALSO]] = text
    is_public = options["is_public"]
    codes = codes_of(method, operation, options.get(_FAILS, ()), is_public=is_public)
    drop_failures(operation, {KINDS[code].status for code in codes})
    add_problems(operation, codes)
    if is_public:
        operation["security"] = []
    elif method in UNSAFE:
        parameters.extend(dict(one) for one in _UNSAFE_FIELDS)
    if method == "get" and not is_public:
        operation["responses"].setdefault("304", {"description": "What the client has is current."})


def _correct(operation: Operation) -> None:
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


_UNSAFE_FIELDS = (
    field(
        "idempotency-key",
        "A string in quotes, or a plain word. Sent again with the same key, a request gets the answer of the first one.",
        r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[A-Za-z0-9._:~-]{1,255})?$',
        is_required=False,
    ),
    field(
        "if-match",
        "ETag of what the client has seen: if it is another one now, nothing is changed.",
        is_required=False,
    ),
)


def _options_by_operation(app: Litestar) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if "permission" not in getattr(handler, "opt", {}):
                continue
            text = inspect.cleandoc(_function_of(handler).__doc__)
            options = handler.opt | {"is_public": permission_of(handler) is None, "text": text}
            operations = (app.openapi_schema.paths or {}).get(route.path_format)
            for method in handler.http_methods:
                operation = getattr(operations, str(method).lower(), None)
                if operation is not None:
                    found[operation.operation_id] = options
    return found
