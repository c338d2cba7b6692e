"""Whatever the description of the API allows, and what it does not: every answer is as described, on each database.

The requests are made by Schemathesis from the description alone; ids of things that exist are put into half of them, which it could not
guess. `MUNIMENT_SCHEMATHESIS` is how many requests each operation gets, times about four.
"""

import io
import os

import pytest
import requests
import schemathesis
import urllib3
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from schemathesis import checks as general
from schemathesis.specs.openapi import checks as openapi
from tests.service.adversary.estate import Estate

EXAMPLES = int(os.environ.get("MUNIMENT_SCHEMATHESIS", "12"))
SEED = int(os.environ.get("MUNIMENT_SCHEMATHESIS_SEED", "1"))
BASE = "http://localhost"
CHECKS = [
    general.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
    openapi.response_headers_conformance,
    openapi.negative_data_rejection,
    openapi.missing_required_header,
    openapi.unsupported_method,
    openapi.allow_header_conformance,
]
WAITS = ("wait_s",)


class InProcess(HTTPAdapter):
    """Sends requests to a house instead of a server."""

    def __init__(self, house):
        super().__init__()
        self.house = house

    def send(self, request, **_options):
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = b"".join(body)
        fields = [
            (name, value if isinstance(value, str) else value.decode("latin-1"))
            for name, value in request.headers.items()
        ]
        answer = self.house.caller.call(request.method, request.path_url, fields, body)
        raw = urllib3.HTTPResponse(
            io.BytesIO(answer.body if request.method != "HEAD" else b""),
            headers=urllib3.HTTPHeaderDict(answer.headers),
            status=answer.status,
            preload_content=False,
            request_method=request.method,
        )
        return self.build_response(request, raw)


@pytest.fixture(scope="module")
def estate(house):
    house.add("own")
    estate = Estate(house, "own")
    estate.furnish()
    return estate


@pytest.fixture(scope="module")
def schema(house):
    return schemathesis.openapi.from_dict(house.description)


@pytest.fixture(scope="module")
def session(house):
    with requests.Session() as session:
        session.trust_env = False
        session.mount(BASE, InProcess(house))
        yield session


def test_every_answer_is_as_described(house, estate, schema, session):
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= len([key for key, (_p, shown) in house.routes.items() if shown])
    wrong = {}
    for operation in operations:
        problem = explore(operation, estate, session)
        if problem:
            wrong[operation.label] = problem
    assert not wrong, "\n\n".join(f"{label}: {problem}" for label, problem in wrong.items())


def explore(operation, estate, session):
    """Make many requests of one operation; returns what is wrong with the answers, or nothing."""
    (asked,) = (
        known
        for known in estate.house.operations
        if (known.method.lower(), known.path) == (operation.method, operation.path)
    )

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), is_real=st.booleans())
    def run(case, is_real):
        if is_real:
            prefer_real(case, estate, asked)
        for name in WAITS:
            if isinstance((case.query or {}).get(name), int | float):
                case.query[name] = 0
        headers = {"authorization": f"Bearer {estate.owner}"}
        response = case.call(base_url=BASE, session=session, headers=headers, timeout=60)
        case.validate_response(response, checks=CHECKS, headers=headers)

    try:
        run()
    except (Exception, BaseExceptionGroup) as error:
        return "\n".join(map(str, getattr(error, "exceptions", [error])))[:3000]
    return ""


def prefer_real(case, estate, operation):
    """Ask for what is there."""
    case.path_parameters = dict(case.path_parameters or {}) | estate.values(operation)


@schemathesis.serializer("application/offset+octet-stream")
def as_it_is(_context, value):
    """Send a part of an upload as the bytes that it is."""
    return value if isinstance(value, bytes) else str(value).encode()
