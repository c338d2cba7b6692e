"""Pins over HTTP: the IPFS Pinning Service API to the letter, and our own routes beyond it, with real workers and real fetching."""

import csv
import io
import json
import time
from urllib.parse import quote, urlencode

import pytest

from muniment.accounts.permissions import Permission, Role
from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.bootstrap.service import Service
from muniment.content.cid import CID, RAW
from muniment.content.unixfs import directory_dag, import_file
from muniment.entrypoints.http.app import create_app
from muniment.testing.asgi import AsgiCaller
from muniment.testing.lying_gateway import LyingGateway
from muniment.testing.tenants import Tenants

PATIENCE_S = 60
EVERY = "status=queued,pinning,pinned,failed"


def cid(word):
    return str(CID.of(RAW, word.encode()))


class Api:
    """A service with two organisations, called in this process."""

    def __init__(self, home):
        self.service = Service(home)
        self.tenants = Tenants(self.service.operator, self.service.accounts)
        self.key = self.tenants.add("example")
        self.stranger = self.tenants.add("another")
        self.caller = AsgiCaller(create_app(self.service))

    def __enter__(self):
        self.caller.__enter__()
        return self

    def __exit__(self, *_exc):
        self.caller.__exit__()
        self.service.close()

    def call(self, method, target, body=None, *, key=None, headers=()):
        fields = dict(headers) | {"authorization": f"Bearer {key or self.key}"}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields["content-type"] = "application/json"
        return self.caller.call(method, target, fields, body or b"")

    def ok(self, method, target, body=None, status=200, **more):
        answer = self.call(method, target, body, **more)
        assert answer.status == status, answer.body
        return answer.json() if answer.body else None

    def psa(self, **body):
        return self.ok("POST", "/psa/pins", body, 202)

    def pin(self, **body):
        return self.ok("POST", "/v1/pins", body, 202)

    def failure(self, method, target, body=None, **more):
        """Make a request that has to fail as the pinning API says; returns status and reason."""
        answer = self.call(method, target, body, **more)
        assert answer.media_type == "application/json"
        failure = answer.json()
        assert failure.keys() == {"error"}
        assert failure["error"].keys() == {"reason", "details"}
        return answer.status, failure["error"]["reason"]

    def all(self, target):
        """Return the items of all pages."""
        found, cursor = [], None
        while True:
            more = f"{'&' if '?' in target else '?'}cursor={cursor}" if cursor else ""
            page = self.ok("GET", target + more)
            found += page["items"]
            cursor = page["next"]
            if not cursor:
                return found

    def operation(self, job_id):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            job = self.service.jobs.job("example", job_id)
            if job.state.is_end:
                return job
            time.sleep(0.01)
        raise AssertionError(job)

    def wait(self, request_id, *statuses, key=None):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            pin = self.ok("GET", f"/v1/pins/{request_id}", key=key)
            if pin["status"] in statuses:
                return pin
            time.sleep(0.01)
        raise AssertionError(pin)

    def store(self, organization_id="example"):
        return EmbeddedBlockStore(self.service.organization_home(organization_id) / "store")


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with Api(tmp_path_factory.mktemp("pins") / "service") as api:
        yield api


@pytest.fixture
def own_api(tmp_path, monkeypatch):
    monkeypatch.setenv("MUNIMENT_SERVICE_PRIVATE_ORIGINS", "true")
    with Api(tmp_path / "service") as api:
        yield api


class Content:
    """A folder with two files in the blocks of a gateway."""

    def __init__(self):
        self.blocks = {}
        put = self.blocks.__setitem__
        files = [import_file(io.BytesIO(bytes([n]) * 3_000_000), put) for n in (1, 2)]
        members = [(b"file %d" % n, file.root, file.tsize) for n, file in enumerate(files)]
        dag = directory_dag(members)
        for block in dag.inner:
            put(*block)
        self.root = dag.root

    def get(self, wanted):
        from muniment.errors import NotFoundError  # noqa: PLC0415

        try:
            return bytes(self.blocks[wanted])
        except KeyError:
            raise NotFoundError("no") from None


def origin_of(gateway):
    return f"/ip4/127.0.0.1/tcp/{gateway.url.rpartition(':')[2]}/http"


# The IPFS Pinning Service API


def test_a_pin_is_as_the_specification_has_it(api):
    origins, meta = ["/ip4/203.0.113.7/tcp/4001/p2p/12D3KooX"], {"app": "x"}
    pin = api.psa(cid=cid("one"), name="Übung", origins=origins, meta=meta)
    assert pin.keys() == {"requestid", "status", "created", "pin", "delegates"}
    assert pin["pin"] == {"cid": cid("one"), "name": "Übung", "origins": origins, "meta": meta}
    assert pin["status"] == "queued"
    assert all("/p2p/12D3KooW" in delegate for delegate in pin["delegates"])
    assert 1 <= len(pin["delegates"]) <= 20
    assert api.ok("GET", f"/psa/pins/{pin['requestid']}") == pin
    listed = api.ok("GET", f"/psa/pins?{EVERY}&limit=1")
    assert listed["results"] == [pin]
    for name in (None, ""):
        nameless = api.psa(cid=cid("one"), name=name, origins=None, meta=None)
        assert nameless["pin"].get("name") == name


def test_replacing_and_removing(api):
    first = api.psa(cid=cid("first"))
    second = api.ok("POST", f"/psa/pins/{first['requestid']}", {"cid": cid("second")}, 202)
    assert second["requestid"] != first["requestid"]
    assert api.failure("GET", f"/psa/pins/{first['requestid']}") == (404, "NOT_FOUND")
    address = f"/psa/pins/{second['requestid']}"
    answer = api.call("DELETE", address)
    assert (answer.status, answer.body) == (202, b"")
    for method, body in (("GET", None), ("DELETE", None), ("POST", {"cid": cid("x")})):
        assert api.failure(method, address, body) == (404, "NOT_FOUND")


def test_paging_by_created_loses_nothing(own_api):
    pins = [own_api.psa(cid=cid(f"page {n}"))["requestid"] for n in range(23)]
    found, before = [], ""
    while True:
        query = f"{EVERY}{before}"
        page = own_api.ok("GET", f"/psa/pins?{query}")
        assert page["count"] == 23 - len(found)
        if not page["results"]:
            break
        assert len(page["results"]) <= 10
        found += page["results"]
        before = f"&before={page['results'][-1]['created']}"
    assert [pin["requestid"] for pin in found] == pins[::-1]
    assert len({pin["created"] for pin in found}) == 23
    after = own_api.ok("GET", f"/psa/pins?{EVERY}&after={found[3]['created']}&limit=1000")
    assert after == {"count": 3, "results": found[:3]}
    shifted = found[3]["created"].replace("Z", "+00:00")
    assert own_api.ok("GET", f"/psa/pins?{EVERY}&after={shifted}&limit=1000") == after
    assert own_api.ok("GET", "/psa/pins") == {"count": 0, "results": []}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "status=",
        "status=lost",
        "status=pinned,",
        "match=like",
        "cid=",
        "cid=nothing",
        "cid=" + ",".join([cid("x")] * 11),
        "name=" + "n" * 256,
        "before=yesterday",
        "before=2026-02-30T00:00:00Z",
        "after=2026-01-01",
        "meta=x",
        "meta=[]",
        "meta=" + quote('{"a": 1}'),
        "meta=" + quote('{"a": "\\u0000"}'),
    ],
)
def test_senseless_filters_are_refused(api, query):
    assert api.failure("GET", f"/psa/pins?{query}") == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"cid": 1},
        {"cid": "nothing"},
        {"cid": ""},
        {"cid": cid("x"), "name": "n" * 256},
        {"cid": cid("x"), "name": "\0"},
        {"cid": cid("x"), "origins": ["/ip4/192.0.2.1/tcp/1"] * 2},
        {"cid": cid("x"), "origins": [f"/ip4/192.0.2.1/tcp/{n}" for n in range(1, 22)]},
        {"cid": cid("x"), "origins": ["http://example.org"]},
        {"cid": cid("x"), "origins": ["/" + "a" * 1024]},
        {"cid": cid("x"), "meta": {f"{n}": "" for n in range(1001)}},
        {"cid": cid("x"), "meta": {"a": 1}},
        {"cid": cid("x"), "meta": {"a": "\0"}},
        {"cid": cid("x"), "meta": {"a": "x" * 100_000}},
        b"{",
        b"\xff",
        b'{"cid": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_senseless_pins_are_refused(api, body):
    before = api.ok("GET", f"/psa/pins?{EVERY}")["count"]
    headers = {"content-type": "application/json"}
    assert api.failure("POST", "/psa/pins", body, headers=headers) == (400, "BAD_REQUEST")
    assert api.ok("GET", f"/psa/pins?{EVERY}")["count"] == before


def test_who_may_not_is_told_so_as_the_specification_has_it(api):
    reader = api.tenants.key("example", Role.READER)
    nothing = api.tenants.key("example", Role.OWNER, Permission.FILES_LIST)
    assert api.failure("GET", "/psa/pins", key="x") == (401, "UNAUTHORIZED")
    assert api.failure("POST", "/psa/pins", {"cid": cid("x")}, key=reader) == (403, "FORBIDDEN")
    assert api.failure("GET", "/psa/pins", key=nothing) == (403, "FORBIDDEN")
    assert api.call("GET", "/psa/pins", key=reader).status == 200
    assert api.failure("PUT", "/psa/pins", {}) == (405, "METHOD_NOT_ALLOWED")
    assert api.failure("GET", "/psa/nothing") == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "target", "more", "failure"),
    [
        ("GET", "/psa/pins?" + "a=1&" * 300, {}, (414, "URI_TOO_LONG")),
        ("GET", "/psa/" + "a" * 9_000, {}, (414, "URI_TOO_LONG")),
        ("GET", "/psa/pins", {"headers": {"x": "y" * 33_000}}, (431, "HEADERS_TOO_LARGE")),
        ("POST", "/psa/pins", {"body": b" " * (5 << 20)}, (413, "TOO_LARGE")),
    ],
)
def test_what_is_refused_before_anything_looks_at_it_fails_alike(
    api, method, target, more, failure
):
    assert api.failure(method, target, **more) == failure


def test_a_stranger_finds_nothing(api):
    pin = api.psa(cid=cid("mine"), name="mine")
    for prefix in ("/psa", "/v1"):
        address = f"{prefix}/pins/{pin['requestid']}"
        assert api.call("GET", address, key=api.stranger).status == 404
        assert api.call("DELETE", address, key=api.stranger).status == 404
    listed = api.ok("GET", f"/psa/pins?{EVERY}", key=api.stranger)
    assert listed == {"count": 0, "results": []}
    assert api.ok("GET", "/v1/pins", key=api.stranger)["items"] == []


# Fetching


def test_content_is_fetched_kept_and_let_go_of(own_api):
    content = Content()
    with LyingGateway(content.get) as gateway, own_api.service.worker(2):
        pin = own_api.psa(cid=str(content.root), origins=["/dns/no-http/tcp/1", origin_of(gateway)])
        done = own_api.wait(pin["requestid"], "pinned", "failed")
        assert done["status"] == "pinned", done
        assert done["blocks"] == len(content.blocks)
        assert done["size_bytes"] == sum(map(len, content.blocks.values()))
        info = own_api.ok("GET", f"/psa/pins/{pin['requestid']}")["info"]
        assert info == {"dag_size": str(done["size_bytes"])}
        with own_api.store() as store:
            assert [kept.cid for kept in store.pins()] == [content.root]
        asked = len(gateway.asked)
        again = own_api.psa(cid=str(content.root))
        own_api.wait(again["requestid"], "pinned")
        assert len(gateway.asked) == asked
        # Another organisation cannot learn that it is here: it has to be fetched anew, from nobody.
        foreign = own_api.ok(
            "POST", "/psa/pins", {"cid": str(content.root)}, 202, key=own_api.stranger
        )
        deadline = time.monotonic() + PATIENCE_S
        detail = ""
        while not detail and time.monotonic() < deadline:
            detail = own_api.ok("GET", f"/v1/pins/{foreign['requestid']}", key=own_api.stranger)[
                "detail"
            ]
        assert "nobody is known to have it" in detail
        own_api.call("DELETE", f"/psa/pins/{pin['requestid']}")
        own_api.call("DELETE", f"/psa/pins/{again['requestid']}")
        while time.monotonic() < deadline:
            with own_api.store() as store:
                if not list(store.pins()):
                    break
            time.sleep(0.02)
        with own_api.store() as store:
            assert list(store.pins()) == []


def test_private_origins_are_not_asked_unless_allowed(api):
    content = Content()
    with LyingGateway(content.get) as gateway, api.service.worker(1):
        pin = api.pin(cid=str(content.root), origins=[origin_of(gateway)], priority="high")
        deadline = time.monotonic() + PATIENCE_S
        while not pin["detail"] and time.monotonic() < deadline:
            pin = api.ok("GET", f"/v1/pins/{pin['request_id']}")
            time.sleep(0.02)
        assert pin["status"] == "queued"
        assert "no public address" in pin["detail"]
        assert gateway.asked == []


def test_content_that_nobody_has_fails_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("MUNIMENT_SERVICE_PIN_PATIENCE_S", "1")
    with Api(tmp_path / "service") as api:
        pin = api.pin(cid=cid("nowhere"))
        time.sleep(1.1)
        with api.service.worker(1):
            failed = api.wait(pin["request_id"], "failed")
    assert "given up after 1 s: nobody is known to have it" in failed["detail"]
    assert failed["operation_id"]


# Our own routes


def test_tags_groups_metadata_and_priorities(own_api):
    one = own_api.pin(
        cid=cid("1"), name="One", tags=["red", "blue"], group="g", metadata={"a": "1"}
    )
    two = own_api.pin(cid=cid("2"), name="Two", tags=["red"], priority="high", metadata={"a": "1"})
    assert one | {"tags": ["red", "blue"], "group": "g", "priority": "normal"} == one

    def found(**query):
        return [pin["request_id"] for pin in own_api.all(f"/v1/pins?{urlencode(query)}")]

    assert found(tag="red") == [two["request_id"], one["request_id"]]
    assert own_api.ok("GET", "/v1/pins?tag=red&tag=blue")["items"] == [one]
    assert found(group="g") == [one["request_id"]]
    assert found(metadata='{"a":"1"}', name="tw", match="ipartial") == [two["request_id"]]
    assert found(cid=cid("1")) == [one["request_id"]]
    assert found(status="pinned") == []
    assert own_api.all("/v1/pins/tags") == [{"name": "blue", "pins": 1}, {"name": "red", "pins": 2}]
    assert own_api.all("/v1/pins/groups?limit=1") == [{"name": "g", "pins": 1}]
    changed = own_api.ok("PATCH", f"/v1/pins/{one['request_id']}", {"tags": [], "group": "h"})
    assert (changed["tags"], changed["group"], changed["name"]) == ([], "h", "One")
    assert found(tag="blue") == []
    assert own_api.ok("GET", "/v1/pins/totals") == {
        "queued": 2,
        "pinning": 0,
        "pinned": 0,
        "failed": 0,
    }
    replaced = own_api.ok("PUT", f"/v1/pins/{one['request_id']}", {"cid": cid("3")}, 202)
    assert own_api.call("GET", f"/v1/pins/{one['request_id']}").status == 404
    own_api.call("DELETE", f"/v1/pins/{replaced['request_id']}")
    assert found() == [two["request_id"]]
    assert own_api.call("POST", "/v1/pins", {"cid": cid("1"), "unknown": 1}).status == 400
    assert own_api.call("POST", "/v1/pins", {"cid": cid("1"), "tags": ["x", "x"]}).status == 400


def test_pages_hold_every_pin_once(own_api):
    pins = [own_api.pin(cid=cid(f"{n}"), name=f"n{n % 2}")["request_id"] for n in range(11)]
    assert [pin["request_id"] for pin in own_api.all("/v1/pins?limit=3")] == pins[::-1]
    named = own_api.all("/v1/pins?limit=2&name=N1&match=iexact")
    assert [pin["request_id"] for pin in named] == pins[::-1][1::2]


def batch(api, items, *, atomic=False):
    operation = api.ok("POST", "/v1/pins/batch", {"items": items, "atomic": atomic}, 202)
    job = api.operation(operation["operation_id"])
    return job, api.all(f"/v1/pins/batch/{job.job_id}/items?limit=2")


def test_a_batch_does_what_can_be_done(own_api):
    pin, other = own_api.pin(cid=cid("a")), own_api.pin(cid=cid("b"))
    items = [
        {"action": "pin", "cid": cid("c"), "tags": ["t"]},
        {"action": "pin", "cid": "nothing"},
        {"action": "change", "request_id": pin["request_id"], "name": "new"},
        {"action": "unpin", "request_id": other["request_id"]},
        {"action": "unpin", "request_id": other["request_id"]},
        {"action": "replace", "request_id": pin["request_id"], "cid": cid("d")},
    ]
    with own_api.service.worker(2):
        job, results = batch(own_api, items)
    assert job.result == {"done": 4, "failed": 2}
    assert [result["state"] for result in results] == [
        "done",
        "failed",
        "done",
        "done",
        "failed",
        "done",
    ]
    assert "expected a CID" in results[1]["detail"]
    pins = own_api.all("/v1/pins")
    assert {pin["request_id"] for pin in pins} == {
        results[0]["request_id"],
        results[5]["request_id"],
    }
    assert (
        own_api.call("GET", f"/v1/pins/batch/{job.job_id}/items", key=own_api.stranger).status
        == 404
    )


def test_an_atomic_batch_does_all_or_nothing(own_api):
    pin = own_api.pin(cid=cid("a"))
    removal = {"action": "unpin", "request_id": pin["request_id"]}
    with own_api.service.worker(2):
        job, results = batch(
            own_api, [{"action": "pin", "cid": cid("b")}, removal, removal], atomic=True
        )
        assert job.state == "failed"
        assert "item 3" in job.problem["detail"]
        assert {result["state"] for result in results} == {"failed"}
        assert [kept["cid"] for kept in own_api.all("/v1/pins")] == [cid("a")]
        job, results = batch(own_api, [{"action": "pin", "cid": cid("b")}, removal], atomic=True)
    assert job.result == {"done": 2, "failed": 0}
    assert [kept["cid"] for kept in own_api.all("/v1/pins")] == [cid("b")]


@pytest.mark.parametrize("body", [{}, {"items": []}, {"items": [{"action": "x"}]}, {"items": [{}]}])
def test_senseless_batches_are_refused(api, body):
    assert api.call("POST", "/v1/pins/batch", body).status == 400


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_was_exported_can_be_imported(own_api, form):
    fields = {"metadata": {"k": 'v,"w"\n'}, "tags": ["a b", "ü"], "group": "g,1", "priority": "low"}
    for n in range(5):
        own_api.pin(
            cid=cid(f"{n}"), name=f'name "{n}"\n=1+1', origins=["/ip4/192.0.2.1/tcp/1"], **fields
        )
    answer = own_api.call("GET", f"/v1/pins/export?format={form}&tag={quote('ü')}")
    assert answer.status == 200
    assert answer.media_type == {"jsonl": "application/jsonl", "csv": "text/csv"}[form]
    if form == "csv":
        assert len(list(csv.DictReader(io.StringIO(answer.body.decode())))) == 5
    target = f"/v1/pins/import?format={form}"
    operation = own_api.ok("POST", target, answer.body, 202, key=own_api.key)
    with own_api.service.worker(2):
        job = own_api.operation(operation["operation_id"])
    assert job.result == {"done": 5, "failed": 0}
    pins = own_api.all("/v1/pins")
    assert len(pins) == 10

    def shown(pin):
        return {name: pin[name] for name in ("cid", "name", "origins", *fields)}

    # The list has the newest first, and so it is imported.
    assert list(map(shown, pins[:5])) == list(map(shown, pins[5:][::-1]))


def test_bad_lines_of_an_import_are_told(own_api):
    lines = [
        f'{{"cid": "{cid("a")}"}}',
        "{",
        "",
        '{"cid": 1}',
        f'{{"cid": "{cid("b")}", "more": 1}}',
    ]
    operation = own_api.ok("POST", "/v1/pins/import", "\n".join(lines).encode(), 202)
    with own_api.service.worker(2):
        job = own_api.operation(operation["operation_id"])
    assert job.result == {"done": 2, "failed": 2}
    results = own_api.all(f"/v1/pins/batch/{job.job_id}/items")
    assert [result["state"] for result in results] == ["done", "failed", "failed", "done"]
    assert "expected a JSON object" in results[1]["detail"]


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("jsonl", b""),
        ("jsonl", b"\n\n"),
        ("jsonl", b"x" * 300_000),
        ("csv", b"name\nx\n"),
        ("csv", b"cid\n\xff\n"),
        ("csv", b'cid\n"unfinished'),
        ("xml", b"<pins/>"),
    ],
)
def test_what_is_no_list_is_refused(api, form, body):
    answer = api.call("POST", f"/v1/pins/import?format={form}", body)
    assert answer.status in (400, 411), answer.body
    assert answer.media_type == "application/problem+json"
