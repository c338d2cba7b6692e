"""Ids, names and cursors that nobody was given: each is a problem of the client's, on either database."""

import base64
import json

import pytest
from litestar.testing import TestClient

from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app

LISTS = ["/v1/audit", "/v1/operations", "/v1/uploads", "/v1/pins", "/v1/pins/tags", "/v1/commits"]
CURSORS = [[10**30], [-(10**30)], [2**63], ["\0"], ["a\0"], [2**63, "a"], [1, "\0"], [1.5], {}, []]
CURSORS += [["x" * 5_000], [None], [[1]], "x", 1, [True], [-1]]


@pytest.fixture
def call(tmp_path, database_url):
    if database_url.startswith("postgresql"):
        (tmp_path / "service.toml").write_text(f'database = "{database_url}"\n')
    service = Service(tmp_path)
    key, _ = service.operator.create_organization("example", "An Example", recovery=False)
    headers = {"authorization": f"Bearer {key}"}
    client = TestClient(create_app(service), raise_server_exceptions=False)
    client.headers.update(headers)
    with client:
        yield client.request
    service.close()


def test_a_cursor_that_was_not_given_out_is_refused(call):
    found = {}
    for path in LISTS:
        for value in CURSORS:
            cursor = base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
            answer = call("GET", path, params={"cursor": cursor})
            if answer.status_code not in (200, 400, 414):
                found[path, str(value)[:40]] = answer.text
        for cursor in ("é", "%", "=", "a", "\0", "🙂", "AAAA"):
            if call("GET", path, params={"cursor": cursor}).status_code != 400:
                found[path, cursor] = "accepted"
    assert not found


def test_an_id_that_cannot_be_one_is_not_there(call):
    for path in ("keys", "members", "operations", "uploads", "pins", "commits"):
        for name in ("%00", "a%00b", "%ff", "%F0%9F%99%82", "x" * 3_000, "..%2f..", "%ED%A0%80"):
            answer = call("GET", f"/v1/{path}/{name}")
            assert answer.status_code in (400, 404), (path, name, answer.text)
    for query in ("kind=%00", "kind=%ff", f"kind={'x' * 64}"):
        assert call("GET", f"/v1/operations?{query}").status_code in (200, 400), query
    for field in ("name", "member_id"):
        body = {"name": "a", "role": "reader"} | {field: "a\0b"}
        answer = call("POST", "/v1/keys", json=body)
        assert answer.status_code in (201, 400, 404), answer.text
    for key in ("/v1/keys/%00", "/v1/members/%00"):
        assert call("DELETE", key).status_code in (400, 404)
    assert call("POST", "/v1/members", json={"name": "\0", "role": "reader"}).status_code in (
        201,
        400,
    )
