"""Whatever the description of the API allows, and what it does not: every answer is as described, on each database.

The requests are made by Schemathesis from the description alone; ids of things that exist are put into half of them, which it could not
guess. `MUNIMENT_SCHEMATHESIS` is how many random requests each operation gets, and how many walks there are; where it is set, each limit that the description
names is tried as well, which takes minutes.
"""

import io
import os
from collections import Counter
from zlib import crc32

import pytest
import requests
import schemathesis
import urllib3
from hypothesis import HealthCheck, Phase, seed, settings
from requests.adapters import HTTPAdapter
from schemathesis import checks as general
from schemathesis.generation.hypothesis.builder import (
    HypothesisTestConfig,
    HypothesisTestMode,
    create_test,
)
from schemathesis.specs.openapi import checks as openapi
from tests.service.adversary.estate import Estate

IS_LONG = "MUNIMENT_SCHEMATHESIS" in os.environ
EXAMPLES = int(os.environ.get("MUNIMENT_SCHEMATHESIS", "3"))
MODES = [mode for mode in HypothesisTestMode if IS_LONG or mode is not HypothesisTestMode.COVERAGE]
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
REFUSED = (410, 411, 412, 413, 414, 415, 416, 422, 428, 429, 431, 460)
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
    refused = {"expected-statuses": [400, 401, 403, 404, 405, 406, 409, *REFUSED, "5xx"]}
    checks = {"negative_data_rejection": refused, "missing_required_header": refused}
    config = schemathesis.config.SchemathesisConfig.from_dict({"checks": checks})
    # Every request comes with a key here; what happens without is a matter of other tests.
    description = {name: part for name, part in house.description.items() if name != "security"}
    return schemathesis.openapi.from_dict(description, config=config)


@pytest.fixture(scope="module")
def session(house):
    with requests.Session() as session:
        session.trust_env = False
        session.mount(BASE, InProcess(house))
        yield session


def test_every_answer_is_as_described(house, estate, schema, session):
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= len([key for key, (_p, shown) in house.routes.items() if shown])
    wrong, counts = {}, Counter()
    for operation in operations:
        problem = explore(operation, estate, session, counts)
        if problem:
            wrong[operation.label] = problem
    print(f"{sum(counts.values())} requests: {dict(counts)}")
    assert not wrong, "\n\n".join(f"{label}: {problem}" for label, problem in wrong.items())
    assert set(counts) >= {mode.value for mode in MODES}


def explore(operation, estate, session, counts):
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
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    def run(case):
        counts[case.meta.phase.name.value] += 1
        if case.meta.generation.mode.is_positive and crc32(repr(case).encode()) % 2:
            prefer_real(case, estate, asked)
        wait_for_nothing(case)
        headers = {"authorization": f"Bearer {estate.owner}"}
        response = case.call(base_url=BASE, session=session, headers=headers, timeout=60)
        validate(case, response, headers)

    config = HypothesisTestConfig(project=operation.schema.config, modes=MODES, seed=SEED)
    try:
        create_test(operation=operation, test_func=run, config=config)()
    except (Exception, BaseExceptionGroup) as error:
        told = [*getattr(error, "exceptions", [error]), *getattr(error, "__notes__", [])]
        return "\n".join(map(str, told))[:3000]
    return ""


def test_what_an_answer_leads_to_is_as_described(house, estate, schema, session):
    """Walks along the links: what one answer gives is asked for by the next request, while workers do what was begun."""
    headers, counts = {"authorization": f"Bearer {estate.owner}"}, Counter()

    class Walk(schema.as_state_machine()):
        def before_call(self, case):
            wait_for_nothing(case)

        def get_call_kwargs(self, _case):
            return {"base_url": BASE, "session": session, "headers": headers, "timeout": 60}

        def validate_response(self, response, case, **_more):
            counts[response.status_code // 100] += 1
            validate(case, response, headers)

    with house.service.worker():
        Walk.run(
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=12,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
        )
    print(f"{sum(counts.values())} requests: {dict(counts)}")
    assert counts[2]


def validate(case, response, headers):
    # An address that is too long is refused before anything else is looked at.
    checks = CHECKS if response.status_code != 414 else CHECKS[:5]
    try:
        case.validate_response(response, checks=checks, headers=headers)
    except (Exception, BaseExceptionGroup) as error:
        error.add_note(f"{case.as_curl_command()}\n{response.status_code} {response.content[:300]}")
        raise


def wait_for_nothing(case):
    for name in WAITS:
        if isinstance((case.query or {}).get(name), int | float):
            case.query[name] = 0


def prefer_real(case, estate, operation):
    """Ask for what is there."""
    case.path_parameters = dict(case.path_parameters or {}) | estate.values(operation)


@schemathesis.serializer("application/offset+octet-stream", "application/jsonl")
def as_it_is(_context, value):
    """Send a part of an upload, or a list, as the bytes that it is."""
    return value if isinstance(value, bytes) else str(value).encode()
