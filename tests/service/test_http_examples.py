"""Every operation is shown with an example that runs, in a document that says no less than what is true."""

import re

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.service import scenario
from tests.service.adversary.house import House

from muniment.entrypoints.http.contract.document import operations_of
from muniment.entrypoints.http.contract.examples import recorded

FREE = {
    "AuditEntry.before": "as different as what can be changed",
    "AuditEntry.after": "likewise",
    "Event.data": "likewise",
}
"""Fields in which there can be anything, and why."""

GATE = {"400", "401", "403", "408", "413", "414", "415", "429", "431", "500", "503"}
CHANGING = {"409", "412", "422", "507"}


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("document") / "home")
    try:
        yield house.description
    finally:
        house.close()


@pytest.fixture(scope="module")
def operations(document):
    return {f"{method.upper()} {path}": one for method, path, one in operations_of(document)}


def resolve(document, part):
    while "$ref" in part:
        _hash, *names = part["$ref"].split("/")
        part = document
        for name in names:
            part = part[name]
    return part


def check(document, schema, value):
    """Validate a value against a schema of the document."""
    whole = schema | {"components": document["components"]}
    OAS31Validator(whole).validate(value)


def test_the_document_is_one(document):
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")


def test_every_operation_has_an_example(operations):
    assert {example.operation for example in recorded()} == set(operations)
    for name, operation in operations.items():
        body = operation.get("requestBody", {}).get("content", {})
        optional = name == "POST /v1/tus"  # the first bytes can come along
        assert optional or all(content.get("examples") for content in body.values()), name
        answers = [answer for status, answer in operation["responses"].items() if status[0] == "2"]
        assert any(
            "content" not in answer
            or any("examples" in content for content in answer["content"].values())
            or "content-disposition" in answer["headers"]  # of bytes, as much as can be shown
            for answer in answers
        ), name


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.engine)])
def test_every_example_runs(kind, tmp_path, request):
    if kind == "sqlite":
        told = scenario.run(tmp_path / "home")
    else:
        server = request.getfixturevalue("postgres")
        url = server.create_database()
        try:
            told = scenario.run(tmp_path / "home", url)
        finally:
            server.drop_database(url)
    expected = scenario.read_recorded()
    for ours, theirs in zip(told, expected, strict=True):
        assert scenario.like(ours) == scenario.like(theirs), ours["operation"]


def test_every_example_is_as_described(document, operations):
    checked = 0
    for name, operation in operations.items():
        parts = [operation.get("requestBody", {}), *operation["responses"].values()]
        for part in (resolve(document, part) for part in parts):
            for media_type, content in part.get("content", {}).items():
                for example in content.get("examples", {}).values():
                    if media_type.endswith("json"):
                        check(document, content["schema"], example["value"])
                        checked += 1
        for parameter in operation.get("parameters", []):
            for example in parameter.get("examples", {}).values():
                check(document, parameter["schema"], example["value"])
        assert operation["summary"], name
    assert checked > 100


def test_every_operation_tells_what_the_gate_can_answer(operations):
    for name, operation in operations.items():
        described = set(operation["responses"])
        is_public = operation.get("security") == []
        assert is_public or described >= GATE, name
        if name.split(" ")[0] in ("POST", "PUT", "PATCH", "DELETE"):
            assert described >= CHANGING, name
        if re.search(r"{(?!path|name)\w+}", name) and not is_public:
            assert "404" in described, name


def objects(schema, name=""):
    """Yield every object in a schema with the name of the field that has it."""
    if schema.get("type") == "object":
        yield name, schema
    for key in ("oneOf", "anyOf", "allOf"):
        for choice in schema.get(key, []):
            yield from objects(choice, name)
    for field, inner in schema.get("properties", {}).items():
        yield from objects(inner, f"{name}.{field}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from objects(schema[key], name)


def test_no_object_is_without_a_shape(document):
    loose = {
        name
        for title, schema in document["components"]["schemas"].items()
        for name, found in objects(schema, title)
        if not any(found.get(key) for key in ("properties", "additionalProperties", "anyOf"))
        and found.get("additionalProperties") is not False
    }
    assert loose == set(FREE)


def test_every_answer_has_a_schema_and_its_fields_are_required(document, operations):
    for name, operation in operations.items():
        for status, answer in operation["responses"].items():
            for media_type, content in resolve(document, answer).get("content", {}).items():
                if media_type.endswith("json"):
                    schema = resolve(document, content["schema"])
                    if schema.get("type") == "object":
                        assert schema["required"], (name, status)


def test_links_lead_from_an_upload_to_its_proof(operations):
    def next_of(name):
        return {
            link["operationId"]: link["parameters"]
            for answer in operations[name]["responses"].values()
            for link in answer.get("links", {}).values()
        }

    by_id = {operation["operationId"]: name for name, operation in operations.items()}
    chains = (
        ("PUT /v1/files/{path}", "GET /v1/uploads/{upload_id}"),
        ("POST /v1/archive", "GET /v1/operations/{operation_id}"),
        ("GET /v1/commits", "GET /v1/commits/{commit_id}"),
        ("GET /v1/files", "GET /v1/commits/{commit_id}/files/{leaf}/content"),
        ("GET /v1/files", "GET /v1/commits/{commit_id}/files/{leaf}/proof"),
        ("POST /v1/pins", "GET /v1/pins/{request_id}"),
        ("POST /v1/pins", "DELETE /v1/pins/{request_id}"),
        ("POST /v1/pins/batch", "GET /v1/pins/batch/{operation_id}/items"),
        ("POST /v1/keys", "POST /v1/keys/{key_id}/rotate"),
        ("POST /v1/keys/{key_id}/rotate", "DELETE /v1/keys/{key_id}"),
    )
    for source, target in chains:
        links = {by_id[one]: given for one, given in next_of(source).items()}
        assert links[target].keys() == set(re.findall(r"{(\w+)}", target)), (source, target)
