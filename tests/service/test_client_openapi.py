"""The client and the description of the API say the same: every operation, and every field of every answer."""

import inspect
import io
import json
import re
import urllib.request

import msgspec
import pytest

from muniment.client import Client, calls
from muniment.client.calls import call, stream
from muniment.client.errors import _KINDS
from muniment.client.files import File
from muniment.client.flows import Answer, Do, Emit, Send
from muniment.entrypoints.http.problems import KINDS
from muniment.errors import MunimentError
from muniment.testing.service import LocalService

LEFT_OUT = {
    "GET /psa/pins": "the pinning service's API is for other programs: `list_pins` says more",
    "POST /psa/pins": "likewise: `add_pin`",
    "GET /psa/pins/{requestid}": "likewise: `show_pin`",
    "POST /psa/pins/{requestid}": "likewise: `replace_pin`",
    "DELETE /psa/pins/{requestid}": "likewise: `remove_pin`",
    "POST /v1/uploads": "forms are for browsers: `upload` sends files one by one",
    "POST /v1/upload": "the same by its old name",
    "POST /v1/tus/{upload_id}": "for clients that cannot send PATCH",
    "DELETE /v1/tus/{upload_id}": "the same as `remove_upload`",
    "OPTIONS /v1/tus": "for clients that know nothing of the service",
    "OPTIONS /v1/tus/{upload_id}": "likewise",
    "GET /v1/archive/commit/{commit_id}": "`show_commit` by its old name",
    "HEAD /v1/commits/{commit_id}/files/{leaf}/content": "a `File` says it all",
}
"""Operations without a method, and why."""

FILE = File("x", "x", "file", "archived", 1, 0, "0644", "c", 1, "blake3:00", "", "/v1")
ARGUMENTS = {
    "upload": [(io.BytesIO(b"x"), "x"), (io.BytesIO(bytes(64)), "large")],
    "batch_pins": [([],)],
    "import_pins": [(io.BytesIO(b"x"),)],
    "resume_upload": [("upload-id", __file__)],
    "download": [],  # sends what `read_file` sends
    "read_document": [],  # sends what `show_document` sends
    "read_file": [(FILE,)],
    "wait": [],  # sends what `show_operation` sends
}


@pytest.fixture(scope="module")
def description(tmp_path_factory):
    with (
        LocalService(tmp_path_factory.mktemp("openapi") / "home") as service,
        urllib.request.urlopen(f"{service.url}/v1/openapi.json") as answer,
    ):
        return json.load(answer)


def methods():
    return {
        name: member
        for name, member in inspect.getmembers_static(Client)
        if isinstance(member, call | stream)
    }


def asked(flow, told, types):
    """Collect what a flow asks for, and how it reads the answers, until it cannot go on."""
    result = None
    try:
        while True:
            effect = flow.send(result)
            result = None
            if isinstance(effect, Send):
                path = effect.request.path.partition("?")[0].removesuffix("/")
                told.append(f"{effect.request.method} {path}")
                types.append(None)
                headers = {"location": "/v1/tus/x", "upload-offset": "0"}
                result = Answer(200, headers, b"")
            elif isinstance(effect, Do):
                result = effect.function()
            elif not isinstance(effect, Emit):
                result = b""
    except (StopIteration, MunimentError):
        flow.close()


@pytest.fixture(scope="module")
def requests():
    """Every request that the client makes, and the type that it reads the answer as."""
    found, client = {}, Client("http://localhost")
    read, patch = calls.decode, pytest.MonkeyPatch()
    told, types = [], []

    def decode(body, type_):
        types[-1] = type_
        return read(body, type_)

    patch.setattr(calls, "decode", decode)
    patch.setattr("muniment.client.uploads.decode", decode)
    patch.setattr("muniment.client.pins.decode", decode)
    patch.setattr("muniment.client.uploads.RESUMABLE_BYTES", 32)
    try:
        for name, member in methods().items():
            needed = [
                parameter
                for parameter in list(inspect.signature(member.flow).parameters.values())[1:]
                if parameter.default is inspect.Parameter.empty
                and parameter.kind is not inspect.Parameter.VAR_KEYWORD
            ]
            values = tuple(1 if one.annotation is int else "x" for one in needed)
            for arguments in ARGUMENTS.get(name, [values]):
                asked(member.flow(client, *arguments), told, types)
    finally:
        patch.undo()
        client.close()
    for request, type_ in zip(told, types, strict=True):
        found[request] = type_ or found.get(request)
    return found


def operations(description):
    for path, item in description["paths"].items():
        for method, operation in item.items():
            if method in ("get", "put", "post", "patch", "delete", "head", "options"):
                yield f"{method.upper()} {path}", operation


def matching(pattern, requests, known):
    """The requests that an operation is for; those with an operation of their own are not."""
    expression = re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(pattern)))
    return [
        request
        for request in requests
        if request == pattern or (expression.fullmatch(request) and request not in known)
    ]


def test_every_operation_has_a_method_or_a_reason(description, requests):
    known = dict(operations(description))
    missing = [name for name in known if not matching(name, requests, known)]
    assert sorted(missing) == sorted(LEFT_OUT)
    for request in requests:
        assert any(matching(name, [request], known) for name in known), request


def shape(schema, root):
    """The names of fields, and of the fields in them; None for what has none."""
    while "$ref" in schema:
        schema = root["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("oneOf", schema.get("anyOf", [])):
        if found := shape(choice, root):
            return found
    if "items" in schema:
        return shape(schema["items"], root)
    if not schema.get("properties"):
        return None
    return {name: shape(field, root) for name, field in schema["properties"].items()}


def own_shape(type_):
    (schema,), components = msgspec.json.schema_components(
        [type_], ref_template="#/components/schemas/{name}"
    )
    return shape(schema, {"components": {"schemas": components}})


def agree(own, wanted, where):
    """Compare the names of fields, as deep as both say what is in them."""
    if own is not None and wanted is not None:
        assert set(own) == set(wanted), where
        for name in own:
            agree(own[name], wanted[name], f"{where}: {name}")


def test_every_field_of_every_answer_is_known(description, requests):
    compared, known = set(), dict(operations(description))
    for name, operation in known.items():
        for request in matching(name, requests, known):
            success = min(code for code in operation["responses"] if code.startswith("2"))
            content = operation["responses"][success].get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            wanted = shape(schema, description)
            if wanted is not None and requests[request] is not None:
                agree(own_shape(requests[request]), wanted, name)
                compared.add(name)
    assert len(compared) > 30


def test_every_code_of_a_problem_has_its_error():
    assert set(_KINDS) == set(KINDS)
