"""The examples of the operations, as they were recorded, and the links from one answer to the next request."""

import re
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from muniment.entrypoints.http.contract.document import Document, Operation, operations_of

_PLACE = re.compile(r"{(\w+)}")
_BATCH = "/v1/pins/batch/"


class _Request(msgspec.Struct):
    parameters: dict[str, Any]
    headers: dict[str, str]
    body: Any = None
    text: str | None = None
    media_type: str = "application/json"


class _Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    media_type: str
    body: Any = msgspec.UNSET
    text: str | None = None


class Example(msgspec.Struct):
    """One request with its answer.

    Attributes:
        operation: Which one it is, as `GET /v1/status`.
        request: What was asked.
        answer: What was answered.
        gives: Where in the answer there is what later requests name, by the parameter's name.
    """

    operation: str
    request: _Request
    answer: _Answer
    gives: dict[str, str]


@cache
def recorded() -> list[Example]:
    """Return all examples, in the order in which they were tried."""
    data = resources.files(__package__).joinpath("recorded.json").read_bytes()
    return msgspec.json.decode(data, type=list[Example])


def add_examples(document: Document) -> None:
    """Add the examples, and the links that they prove, to a document."""
    found = {f"{method.upper()} {path}": one for method, path, one in operations_of(document)}
    for number, example in enumerate(recorded(), 1):
        operation = found[example.operation]
        name = f"step-{number}"
        _add_request(operation, name, example.request)
        _add_answer(operation, name, example.answer)
        if example.gives:
            links = _links(document, example)
            operation["responses"][str(example.answer.status)].setdefault("links", {}).update(links)


def _add_request(operation: Operation, name: str, request: _Request) -> None:
    values = request.parameters | request.headers
    for parameter in operation.get("parameters", []):
        if parameter["name"] in values:
            value = values[parameter["name"]]
            parameter.setdefault("examples", {})[name] = {"value": value}
    value = request.body if request.text is None else request.text
    if value is not None:
        media_type = request.media_type.partition(";")[0]
        content = operation["requestBody"]["content"]
        place = content.get(media_type) or next(iter(content.values()))
        place.setdefault("examples", {})[name] = {"value": value}


def _add_answer(operation: Operation, name: str, answer: _Answer) -> None:
    response = operation["responses"][str(answer.status)]
    value: Any
    for field, value in answer.headers.items():
        header = response.setdefault("headers", {}).setdefault(
            field, {"schema": {"type": "string"}}
        )
        header.setdefault("examples", {})[name] = {"value": value}
    value = answer.text if answer.body is msgspec.UNSET else answer.body
    if value is not None:
        content = response["content"]
        place = content.get(answer.media_type) or content["*/*"]
        place.setdefault("examples", {})[name] = {"value": value}


def _links(document: Document, example: Example) -> Document:
    """Return a link to every operation whose path names what an answer gives."""
    source = example.operation.partition(" ")[2]
    links = {}
    for _method, path, operation in operations_of(document):
        given = {
            name: example.gives[name] for name in _PLACE.findall(path) if name in example.gives
        }
        if path.startswith(_BATCH) and not source.startswith("/v1/pins/"):
            continue  # only operations on pins have items
        if given:
            target = operation["operationId"]
            links[target] = {"operationId": target, "parameters": given}
    return links
