"""What holds for every route: request ids, problems, ETags, keys for sending again, pages, rates, HEAD and OPTIONS, and no word to strangers."""

import json
import logging
import os
import re

import pytest
from litestar.testing import TestClient

from muniment.accounts.api_keys import _checksum, new_token
from muniment.accounts.permissions import Role
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app
from muniment.entrypoints.http.authentication import permission_of
from muniment.entrypoints.http.front import SECURITY
from muniment.entrypoints.http.problems import KINDS

NEW_KEY = {"name": "a robot", "role": "reader"}


class Caller:
    """A service with one organisation, and who calls it."""

    def __init__(self, home, settings=""):
        home.mkdir(exist_ok=True)
        (home / "service.toml").write_text(settings)
        self.service = Service(home)
        self.token, _keys = self.service.operator.create_organization(
            "example", "An Example", recovery=False
        )
        self.app = create_app(self.service)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def __call__(self, method, path, token=None, **more):
        headers = {"authorization": f"Bearer {self.token if token is None else token}"}
        more["headers"] = (headers if token != "" else {}) | more.get("headers", {})
        answer = self.client.request(method, path, **more)
        if answer.status_code >= 400:
            check_problem(answer)
        return answer


def check_problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    if answer.request.method == "HEAD":
        return
    body = answer.json()
    kind = KINDS[body["code"]]
    assert (body["status"], body["title"]) == (answer.status_code, kind.title)
    assert kind.status == answer.status_code
    if "idempotency-replayed" not in answer.headers:
        assert body["request_id"] == answer.headers["x-request-id"]
    assert body["type"] == f"/problems/{kind.code}"
    assert "Traceback" not in answer.text


@pytest.fixture
def call(tmp_path):
    caller = Caller(tmp_path / "home")
    with caller.client:
        yield caller
    caller.service.close()


def caller_with(tmp_path, settings):
    return Caller(tmp_path / "home", settings)


def test_a_request_keeps_its_id_if_it_is_a_good_one(call):
    assert call("GET", "/v1/keys", headers={"x-request-id": "my-id-1234"}).headers[
        "x-request-id"
    ] == ("my-id-1234")
    for bad in ("short", "with space in it", "x" * 65, "<script>"):
        given = call("GET", "/v1/keys", headers={"x-request-id": bad}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", given)


@pytest.mark.parametrize(
    ("method", "path", "more", "code"),
    [
        ("GET", "/v1/nothing", {}, "not-found"),
        ("GET", "/", {}, "not-found"),
        ("GET", "/v1/keys/nobody", {}, "not-found"),
        ("PUT", "/v1/keys", {}, "method-not-allowed"),
        ("POST", "/livez", {}, "method-not-allowed"),
        ("POST", "/v1/keys", {"json": {"name": ""}}, "invalid-fields"),
        ("POST", "/v1/keys", {"json": NEW_KEY | {"more": 1}}, "invalid-fields"),
        ("POST", "/v1/keys", {"json": NEW_KEY | {"scopes": ["all"]}}, "bad-request"),
        ("POST", "/v1/keys", {"content": b"{"}, "bad-request"),
        ("POST", "/v1/keys", {"content": b"\xff" * 9}, "bad-request"),
        (
            "POST",
            "/v1/keys",
            {"content": b"a=b", "headers": {"content-type": "text/plain"}},
            "unsupported-media-type",
        ),
        ("POST", "/v1/keys", {"content": b" " * (4 << 20) + b"{}"}, "too-large"),
        ("GET", "/v1/audit?limit=0", {}, "invalid-fields"),
        ("GET", "/v1/audit?limit=x", {}, "invalid-fields"),
        ("GET", "/v1/audit?cursor=x", {}, "bad-request"),
        ("GET", "/v1/" + "a" * 8200, {}, "uri-too-long"),
        ("GET", "/v1/audit?" + "a=1&" * 300, {}, "uri-too-long"),
        ("GET", "/v1/audit", {"headers": {"x": "y" * 33_000}}, "headers-too-large"),
        ("GET", "/v1/audit", {"headers": {f"x-{n}": "y" for n in range(101)}}, "headers-too-large"),
        ("GET", "/v1/keys", {"token": ""}, "unauthenticated"),
        ("GET", "/v1/keys", {"token": "mnk_no_key"}, "unauthenticated"),
    ],
)
def test_everything_that_goes_wrong_is_a_problem(call, method, path, more, code):
    answer = call(method, path, **more)
    assert answer.json()["code"] == code


def test_what_nobody_foresaw_is_told_in_general_words(call, monkeypatch):
    def fail(*_):
        raise RuntimeError("secret-of-the-house")

    monkeypatch.setattr(call.service.accounts, "keys", fail)
    answer = call("GET", "/v1/keys")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret-of-the-house" not in answer.text


def test_a_full_disk_is_a_507_and_nothing_else_is(call, monkeypatch):
    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call.service.accounts, "keys", fill)
    assert call("GET", "/v1/keys").json()["code"] == "storage-full"
    assert call("GET", "/v1/organization").status_code == 200


def test_methods_are_told_whatever_router_has_them(call):
    assert call("PUT", "/v1/keys").headers["allow"] == "GET, HEAD, POST, OPTIONS"
    answer = call("OPTIONS", "/v1/keys", token="")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")


def test_the_framework_leaves_the_logs_alone(tmp_path):
    before = list(logging.getLogger().handlers)
    service = Service(tmp_path)
    create_app(service)
    service.close()
    assert logging.getLogger().handlers == before
    assert not logging.getLogger("litestar").handlers


def test_head_is_get_without_a_body(call):
    whole, head = call("GET", "/v1/keys"), call("HEAD", "/v1/keys")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    assert head.headers["content-length"] == str(len(whole.content))
    assert call("HEAD", "/v1/keys/nobody").status_code == 404


def test_every_answer_says_what_browsers_must_not_do(call):
    for path in ("/v1/keys", "/v1/nothing", "/livez", "/v1/openapi.json"):
        headers = call("GET", path, headers={"origin": "https://evil.example"}).headers
        assert SECURITY.items() <= dict(headers).items()
        assert not [name for name in headers if name.startswith("access-control")]


# ETags


def test_what_a_client_has_is_not_sent_again(call):
    first = call("GET", "/v1/keys")
    etag = first.headers["etag"]
    for field in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = call("GET", "/v1/keys", headers={"if-none-match": field})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    assert call("GET", "/v1/keys", headers={"if-none-match": '"other"'}).status_code == 200
    call("POST", "/v1/keys", json=NEW_KEY)
    assert call("GET", "/v1/keys", headers={"if-none-match": etag}).status_code == 200


def test_a_change_of_what_has_changed_is_refused(call):
    member = call("POST", "/v1/members", json={"name": "Ada", "role": "reader"}).json()
    path = f"/v1/keys/{call('POST', '/v1/keys', json=NEW_KEY).json()['key_id']}"
    etag = call("GET", path).headers["etag"]
    for wrong in ('"other"', f"W/{etag}"):
        answer = call("DELETE", path, headers={"if-match": wrong})
        assert answer.json()["code"] == "precondition-failed"
    assert call("DELETE", path, headers={"if-match": etag}).status_code == 204
    assert call("DELETE", path, headers={"if-match": etag}).status_code == 412
    gone = call("DELETE", "/v1/keys/nobody", headers={"if-match": "*"})
    assert gone.status_code == 412
    assert member["role"] == "reader"


# Idempotency-Key


def again(call, path="/v1/keys", key='"one"', body=NEW_KEY, token=None, method="POST"):
    return call(method, path, token=token, json=body, headers={"idempotency-key": key})


def test_a_request_that_is_sent_again_gets_the_answer_of_the_first(call):
    first, second = again(call), again(call)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert len(call("GET", "/v1/keys").json()) == 2  # the first one of all, and one


def test_errors_are_kept_as_well(call):
    wrong = NEW_KEY | {"scopes": ["nothing"]}
    first, second = again(call, body=wrong), again(call, body=wrong)
    assert first.status_code == second.status_code == 400
    assert second.headers["idempotency-replayed"] == "true"


def test_a_key_belongs_to_one_request(call):
    again(call)
    assert again(call, body=NEW_KEY | {"name": "b"}).json()["code"] == "idempotency-mismatch"
    assert again(call, path="/v1/members").status_code == 422
    assert again(call, key="one").status_code == 201  # the same key without quotes


def test_a_key_belongs_to_one_api_key_and_one_organisation(call):
    first = again(call).json()
    other = call.service.operator.create_key("example", "another", Role.OWNER)
    stranger, _ = call.service.operator.create_organization(
        "stranger", "A Stranger", recovery=False
    )
    answers = [again(call, token=token).json() for token in (other, stranger)]
    assert len({answer["key_id"] for answer in [first, *answers]}) == 3


@pytest.mark.parametrize("key", ['"', '""', '"a', 'a"', "a b", '"' + "x" * 256 + '"', '"\\x"', "é"])
def test_a_key_that_is_none_is_refused(call, key):
    answer = call("POST", "/v1/keys", json=NEW_KEY, headers={"idempotency-key": key.encode()})
    assert answer.json()["code"] == "bad-request"


def test_what_failed_on_our_side_is_done_when_it_is_sent_again(call, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(call.service.accounts, "add_key", lambda *_: 1 / 0)
        assert again(call).status_code == 500
    assert again(call).status_code == 201
    assert len(call("GET", "/v1/keys").json()) == 2


def test_what_took_effect_is_not_done_again_though_its_answer_was_lost(call, monkeypatch):
    add_key = call.service.accounts.add_key

    def add_and_fail(*arguments, **named):
        add_key(*arguments, **named)
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(call.service.accounts, "add_key", add_and_fail)
        assert again(call).status_code == 500
    answer = again(call)
    assert answer.status_code == 409
    assert "took effect" in answer.json()["detail"]
    assert len(call("GET", "/v1/keys").json()) == 2


def test_no_secret_is_kept_in_the_clear(call):
    secret = again(call).json()["key"]
    with call.service.requests._reading() as statements:
        (answer,) = statements.row("SELECT answer FROM idempotency_keys")
    assert secret.encode() not in bytes(answer)
    assert b"robot" not in bytes(answer)
    assert b"http.request" not in bytes(answer)


def test_reading_needs_no_key(call):
    assert call("GET", "/v1/keys", headers={"idempotency-key": '"'}).status_code == 200


# Rates


def test_an_api_key_is_told_what_it_has_left_and_when_to_come_again(tmp_path):
    call = caller_with(tmp_path, "rate_per_minute = 3")
    with call.client:
        answers = [call("GET", "/v1/organization") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        for answer in answers:
            assert answer.headers["ratelimit-policy"] == '"key";q=3;w=60'
            assert re.fullmatch(r'"key";r=\d;t=\d+', answer.headers["ratelimit"])
        assert (
            answers[3].headers["retry-after"]
            == re.search(r"t=(\d+)", answers[3].headers["ratelimit"])[1]
        )
        other = call.service.operator.create_key("example", "another", Role.OWNER)
        assert call("GET", "/v1/organization", token=other).status_code == 200
    call.service.close()


def test_a_flood_without_a_key_is_refused_and_a_good_key_still_works(tmp_path):
    call = caller_with(tmp_path, "failures_per_minute = 5")
    with call.client:
        assert call("GET", "/v1/organization").status_code == 200
        found = [call("GET", "/v1/organization", token="").status_code for _ in range(8)]
        assert found == [401] * 5 + [429] * 3
        wrong = call.token[:20] + "0" * 10 + call.token[30:]
        assert call("GET", "/v1/organization", token=wrong).status_code == 429
        assert call("GET", "/v1/organization").status_code == 200
        assert call("GET", "/livez", token="").status_code == 200
    call.service.close()


# Keys


def test_a_revoked_key_is_no_good_from_that_moment_on(call):
    token = call("POST", "/v1/keys", json=NEW_KEY).json()
    assert call("GET", "/v1/organization", token=token["key"]).status_code == 200
    assert call("DELETE", f"/v1/keys/{token['key_id']}").status_code == 204
    assert call("GET", "/v1/organization", token=token["key"]).status_code == 401


def test_an_unknown_key_and_a_wrong_secret_read_alike(call):
    unknown, _id, _digest = new_token(os.urandom)
    key_id, secret = call.token.split("_")[1], unknown.split("_")[2][:43]
    wrong = f"mnk_{key_id}_{secret}{_checksum(key_id, secret)}"
    bodies = []
    for token in (unknown, wrong):
        answer = call("GET", "/v1/organization", token=token)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="muniment"'
        bodies.append({k: v for k, v in answer.json().items() if k != "request_id"})
    assert bodies[0] == bodies[1]


def test_a_key_for_three_uses_is_used_three_times(call):
    token = call("POST", "/v1/keys", json=NEW_KEY | {"max_uses": 3}).json()["key"]
    found = [call("GET", "/v1/organization", token=token).status_code for _ in range(5)]
    assert found == [200, 200, 200, 401, 401]


def test_who_may_not_is_told_so_before_anything_is_looked_up(call):
    token = call("POST", "/v1/keys", json=NEW_KEY).json()["key"]
    for path in ("/v1/keys/nobody", "/v1/members"):
        assert call("DELETE" if "nobody" in path else "GET", path, token=token).status_code == 403


# The description


def test_the_description_knows_every_route_and_every_way_to_fail(call):
    answer = call("GET", "/v1/openapi.json", token="")
    assert answer.headers["content-type"].startswith("application/vnd.oai.openapi+json")
    description = answer.json()
    assert description["openapi"].startswith("3.1")
    described = {
        (path, method)
        for path, operations in description["paths"].items()
        for method in operations
        if method in ("get", "post", "put", "patch", "delete", "head")
    }
    served = {
        (route.path_format, method.lower())
        for route in call.app._app.routes
        for handler in route.route_handlers
        if getattr(handler, "include_in_schema", True)
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    assert described == served
    for path, operations in description["paths"].items():
        for method in ("get", "post", "put", "patch", "delete"):
            operation = operations.get(method)
            if operation and path.startswith("/v1"):
                assert {"400", "401", "403", "429", "500", "503"} <= set(operation["responses"])
    assert json.dumps(description).count("http://") == 0
    assert "Problem" in description["components"]["schemas"]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "HEAD", "TRACE"])
def test_what_is_refused_at_the_door_is_refused_with_any_method(call, method):
    assert call(method, "/v1/pins?name=" + "x" * 9_000).status_code == 414


def test_the_type_of_every_problem_leads_to_what_it_means(call):
    for kind in KINDS.values():
        page = call("GET", f"/problems/{kind.code}", token="")
        assert page.status_code == 200
        assert kind.title in page.text
        assert kind.advice in page.text
    assert call("GET", "/problems/none", token="").json()["type"] == "/problems/not-found"


def test_a_route_that_does_not_say_who_may_use_it_stops_the_service(call):
    for route in call.app._app.routes:
        for handler in route.route_handlers:
            if handler.http_methods != {"OPTIONS"}:
                permission_of(handler)


def operations(call):
    """Yield every operation of the description."""
    for path, methods in call("GET", "/v1/openapi.json", token="").json()["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                yield method.upper(), path, operation


def examples_of(operation):
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for shown in content.get("examples", {}).values():
            yield shown["value"]


def test_every_example_runs(call):
    """The body of each example is accepted, by the resource that it is about, and answered as described."""
    member = call("POST", "/v1/members", json={"name": "Ada", "role": "reader"}).json()
    key = call("POST", "/v1/keys", json=NEW_KEY).json()
    world = {"member_id": member["member_id"], "key_id": key["key_id"]}
    ran = 0
    for method, path, operation in operations(call):
        names = set(re.findall(r"\{(\w+)\}", path))
        for body in examples_of(operation):
            if names <= world.keys() and operation["tags"] == ["organisation"]:
                answer = call(method, path.format(**world), json=body)
                assert answer.status_code < 300, (path, answer.text)
                assert str(answer.status_code) in operation["responses"]
                ran += 1
    assert ran == 4


def test_every_body_of_these_routes_has_an_example(call):
    for _method, path, operation in operations(call):
        if operation.get("tags") == ["organisation"] and "requestBody" in operation:
            assert list(examples_of(operation)), path
