"""The parts of an OpenAPI document, as they are found in one."""

from collections.abc import Iterator
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete", "head", "options")
UNSAFE = ("post", "put", "patch", "delete")

Document = dict[str, Any]
Operation = dict[str, Any]


def operations_of(document: Document) -> Iterator[tuple[str, str, Operation]]:
    """Yield every operation with its method, in lower case, and its path."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def references_in(value: object) -> Iterator[str]:
    """Yield the names of the schemas that a part of a document refers to."""
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for item in value.values():
            yield from references_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from references_in(item)


def closure_of(document: Document, parts: object) -> set[str]:
    """Return the names of all schemas that a part refers to, and that these refer to."""
    schemas, found, waiting = document["components"]["schemas"], set(), [*references_in(parts)]
    while waiting:
        name = waiting.pop()
        if name not in found and name in schemas:
            found.add(name)
            waiting += references_in(schemas[name])
    return found
