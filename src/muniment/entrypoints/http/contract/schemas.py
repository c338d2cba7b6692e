"""The schemas of what the API takes and answers, strict enough that a breach of them is seen.

The framework writes them without what the types say in words, under names from the inside of the program, and calls no field required
that has a default value, although every answer has it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler

from muniment.entrypoints.http.contract.document import Document, closure_of
from muniment.entrypoints.http.contract.shapes import RESULTS
from muniment.entrypoints.http.problems import Problem

ANSWERS = "answers"
"""The option of a route with the type of its answer, where the handler's own does not say it."""

_REFERENCE = "#/components/schemas/{name}"
_INNER_NAME = re.compile(r"Page_[\w.]*?(\w+)_(?=\"|$)")
_FIELDS = re.compile(r"\s*\bAttributes:\n(.*)\Z", re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+): (.*(?:\n(?!\s*\w+: ).*)*)", re.MULTILINE)


def complete_schemas(document: Document, app: Litestar) -> Document:
    """Return a document with the schemas of an application's own types, each under a short name."""
    text = msgspec.json.encode(document).decode()
    document = msgspec.json.decode(_INNER_NAME.sub(r"Page_\1_", text))
    _schemas, own = msgspec.json.schema_components(types(app), ref_template=_REFERENCE)
    document["components"].setdefault("schemas", {}).update(own)
    for schema in document["components"]["schemas"].values():
        _tell_of_fields(schema)
    _require(document, types(app))
    return document


def types(app: Litestar) -> list[Any]:
    """Return the types of the bodies that an application takes and answers."""
    found: dict[Any, None] = dict.fromkeys((Problem, *RESULTS))
    for handler in _handlers(app):
        signature = handler.parsed_fn_signature
        hints = [signature.return_type.annotation]
        hints += [one.annotation for name, one in signature.parameters.items() if name == "data"]
        hints.append(handler.opt.get(ANSWERS))
        hints += [spec.data_container for spec in (handler.responses or {}).values()]
        for hint in hints:
            for type_ in _structs_in(hint):
                found[type_] = None
    return list(found)


def _handlers(app: Litestar) -> Iterator[HTTPRouteHandler]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if isinstance(handler, HTTPRouteHandler):
                yield handler


def _structs_in(hint: Any) -> Iterator[Any]:  # noqa: ANN401  # any annotation
    origin = get_origin(hint)
    if isinstance(origin or hint, type) and issubclass(origin or hint, msgspec.Struct):
        yield hint
    elif origin in (Response, Annotated, list):
        yield from _structs_in(get_args(hint)[0])


def _tell_of_fields(schema: Document) -> None:
    """Move what a description says of fields to these."""
    description = re.sub(r"\n    ", "\n", schema.get("description", ""))
    if found := _FIELDS.search(description):
        schema["description"] = description[: found.start()]
        for name, text in _FIELD.findall(found[1]):
            field = schema.get("properties", {}).get(name)
            if field is not None:
                field["description"] = " ".join(text.split())


def _require(document: Document, types: Iterable[Any]) -> None:
    """Call required what every answer has: a default value says only what a request may leave out."""
    asked = [
        operation.get("requestBody")
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
    ]
    classes = (get_origin(info.cls) or info.cls for info in _infos(types))
    sparing = {found.__name__ for found in classes if found.__struct_config__.omit_defaults}
    taken = closure_of(document, asked) | sparing
    for name, schema in document["components"]["schemas"].items():
        if name not in taken and schema.get("properties"):
            schema["required"] = list(schema["properties"])


def _infos(types: Iterable[Any]) -> Iterator[Any]:
    """Yield what is known of structures, and of those in them."""
    waiting, seen = list(msgspec.inspect.multi_type_info(types)), set()
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in seen:
                continue
            seen.add(info.cls)
            yield info
            waiting += [field.type for field in info.fields]
        for name in ("types", "item_type", "value_type"):
            inner = getattr(info, name, None)
            waiting += inner if isinstance(inner, tuple) else [inner] if inner else []
