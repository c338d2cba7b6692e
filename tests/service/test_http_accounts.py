"""Members and keys over HTTP: changes that only one of several processes makes, and keys that pass on no more than they have."""

import io
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from litestar.testing import TestClient

from muniment.accounts.audit import read_entries, verify_chain, write_entries
from muniment.accounts.permissions import Permission, Role
from muniment.accounts.quotas import Quota
from muniment.adapters.sql import audit_log
from muniment.bootstrap.operator import own_act
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


class Process:
    """One of several processes that serve the same home."""

    def __init__(self, home):
        self.service = Service(home)
        self.client = TestClient(create_app(self.service, processes=2))

    def __call__(self, method, path, token, **more):
        headers = {"authorization": f"Bearer {token}"} | more.pop("headers", {})
        return self.client.request(method, path, headers=headers, **more)


class House:
    """Two processes, one organisation."""

    def __init__(self, home, database_url):
        home.mkdir()
        database = str(database_url)
        if "://" in database:
            (home / "service.toml").write_text(f'database = "{database}"\n')
        self.processes = [Process(home), Process(home)]
        self.operator = self.processes[0].service.operator
        self.owner, _ = self.operator.create_organization("example", "An Example", recovery=False)

    def __call__(self, method, path, token=None, process=0, **more):
        return self.processes[process](method, path, token or self.owner, **more)

    def key(self, role=Role.ADMIN, *limits, **more):
        return self.operator.create_key("example", "a key", role, *limits, **more)

    def at_once(self, change, method, path, **more):
        """Send the same request to both processes; both have looked at `If-Match` before either changes anything."""
        both = threading.Barrier(2)
        for process in self.processes:
            service = process.service
            store = service.accounts if hasattr(service.accounts, change) else service.pins
            original = getattr(store, change)

            def late(*arguments, original=original, **named):
                both.wait(10)
                return original(*arguments, **named)

            setattr(store, change, late)
        with ThreadPoolExecutor(2) as threads:
            sent = [threads.submit(self, method, path, process=n, **more) for n in (0, 1)]
            return sorted(one.result().status_code for one in sent)


@pytest.fixture
def house(tmp_path, database_url):
    house = House(tmp_path / "home", database_url)
    with house.processes[0].client, house.processes[1].client:
        yield house
    for process in house.processes:
        process.service.close()


def key_id_of(token):
    return token.split("_")[1]


# What the client has seen


def test_of_two_processes_one_changes_what_its_client_has_seen(house):
    member = house("POST", "/v1/members", json={"name": "Ada", "role": "reader"}).json()
    path = f"/v1/members/{member['member_id']}"
    seen = house("GET", path)
    assert seen.json() == member
    fields = {"headers": {"if-match": seen.headers["etag"]}}
    change = fields | {"json": {"role": "auditor"}}
    assert house.at_once("set_role", "PATCH", path, **change) == [200, 412]
    assert house("PATCH", path, process=1, **change).json()["code"] == "precondition-failed"
    fields = {"headers": {"if-match": house("GET", path, process=1).headers["etag"]}}
    assert house.at_once("remove_member", "DELETE", path, **fields) in ([204, 404], [204, 412])


def test_of_two_processes_one_revokes_what_its_client_has_seen(house):
    path = f"/v1/keys/{key_id_of(house.key())}"
    fields = {"headers": {"if-match": house("GET", path).headers["etag"]}}
    assert house.at_once("revoke_key", "DELETE", path, **fields) == [204, 412]


def test_of_two_processes_one_changes_a_pin_that_its_client_has_seen(house):
    path = f"/v1/pins/{house('POST', '/v1/pins', json={'cid': CID}).json()['request_id']}"

    def seen():
        return {"headers": {"if-match": house("GET", path, process=1).headers["etag"]}}

    renamed = {"json": {"name": "renamed"}}
    assert house.at_once("change", "PATCH", path, **seen(), **renamed) == [200, 412]
    assert house("DELETE", path, headers={"if-match": '"another"'}).status_code == 412
    put = {"json": {"cid": CID, "name": "new"}}
    assert house.at_once("replace", "PUT", path, **seen(), **put) in ([202, 404], [202, 412])


# What a key may pass on

LIMITS = {"expires_at": 2_000_000_000, "max_uses": 40, "quota_bytes": 1_000, "quota_files": 5}


@pytest.fixture
def limited(house):
    return house.key(Role.ADMIN, None, LIMITS["expires_at"], 40, Quota(1_000, 5))


def make(house, token, **fields):
    return house("POST", "/v1/keys", token, json={"name": "made", "role": "contributor"} | fields)


def test_a_key_that_is_made_has_the_limits_of_its_maker(house, limited):
    made = make(house, limited).json()
    assert made["max_uses"] < LIMITS["max_uses"]
    assert {name: made[name] for name in LIMITS} | {"max_uses": 40} == LIMITS
    less = {"expires_at": 1_999_999_999, "max_uses": 1, "quota_bytes": 0, "quota_files": 1}
    made = make(house, limited, **less).json()
    assert {name: made[name] for name in less} == less
    unlimited = make(house, house.owner).json()
    assert {unlimited[name] for name in LIMITS} == {None}


@pytest.mark.parametrize("name", LIMITS)
def test_no_limit_is_passed_on_larger_than_it_is(house, limited, name):
    answer = make(house, limited, **{name: LIMITS[name] + 1})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert name in answer.json()["detail"]


def test_keys_of_a_limited_key_bring_no_more_than_it_may_itself(house, limited):
    robots = [make(house, limited).json()["key"] for _ in range(3)]
    statuses = [
        house("PUT", f"/v1/files/{n}", token, content=b"x" * 400).status_code
        for n, token in enumerate(robots)
    ]
    assert statuses == [201, 201, 413]
    assert house("PUT", "/v1/files/mine", limited, content=b"x" * 400).status_code == 413


def test_scopes_are_passed_on_as_far_as_the_key_has_them(house):
    scopes = frozenset({Permission.KEYS_WRITE, Permission.FILES_WRITE})
    robot = house.key(Role.ADMIN, scopes)
    assert make(house, robot, scopes=["files:write"]).status_code == 201
    for wanted in ({}, {"scopes": ["files:write", "organization:read"]}):
        answer = make(house, robot, **wanted)
        assert answer.status_code == 403
        assert "organization:read" in answer.json()["detail"]
    assert make(house, robot, role="owner", scopes=["files:write"]).status_code == 403


def test_a_key_with_limits_does_not_rotate_itself_out_of_them(house, limited):
    strong, weak = (key_id_of(house.key(role)) for role in (Role.ADMIN, Role.READER))
    for key_id in (strong, weak):
        assert house("POST", f"/v1/keys/{key_id}/rotate", limited, json={}).status_code == 403
    answer = house("POST", f"/v1/keys/{key_id_of(limited)}/rotate", limited, json={})
    assert answer.status_code == 201
    new = answer.json()
    assert {name: new[name] for name in LIMITS} | {"max_uses": 40} == LIMITS
    scoped = house.key(Role.ADMIN, frozenset({Permission.KEYS_WRITE}))
    assert house("POST", f"/v1/keys/{weak}/rotate", scoped, json={}).status_code == 403
    assert house("POST", f"/v1/keys/{weak}/rotate", house.key(), json={}).status_code == 201


def test_admins_look_after_all_keys_but_those_of_owners(house):
    admin = house.key(Role.ADMIN)
    others = [house.key(role) for role in (Role.ADMIN, Role.ARCHIVIST)]
    owners = [key_id_of(house.owner), key_id_of(house.key(Role.OWNER))]
    for key_id in owners:
        assert house("DELETE", f"/v1/keys/{key_id}", admin).status_code == 403
        assert house("POST", f"/v1/keys/{key_id}/rotate", admin, json={}).status_code == 403
        assert house("GET", f"/v1/keys/{key_id}", admin).json()["revoked_at"] is None
    for token in others:
        assert house("DELETE", f"/v1/keys/{key_id_of(token)}", admin).status_code == 204
    assert house("DELETE", f"/v1/keys/{owners[1]}").status_code == 204
    assert make(house, admin, role="owner").status_code == 403
    member = house("POST", "/v1/members", json={"name": "Ada", "role": "owner"}).json()
    path = f"/v1/members/{member['member_id']}"
    assert house("PATCH", path, admin, json={"role": "reader"}).status_code == 403
    assert house("DELETE", path, admin).status_code == 403


def test_an_organisation_keeps_an_owner(house):
    path = "/v1/members/{member_id}".format_map(
        house("POST", "/v1/members", json={"name": "Ada", "role": "owner"}).json()
    )
    assert house("PATCH", path, json={"role": "admin"}).json()["code"] == "conflict"
    assert house("DELETE", path).json()["code"] == "conflict"
    house("POST", "/v1/members", json={"name": "Bob", "role": "owner"})
    assert house("DELETE", path).status_code == 204


# The audit log


def test_the_audit_log_comes_whole_and_is_checked_without_a_service(house):
    for number in range(450):  # several pages
        house.processes[0].service.accounts.set_quota(own_act("example"), Quota(number, None))
    answer = house("GET", "/v1/audit/export")
    assert answer.headers["content-type"] == "application/jsonl"
    entries = list(read_entries(io.BytesIO(answer.content)))
    number, last = verify_chain(entries)
    assert (number, f'"{last}"') == (452, answer.headers["etag"])
    assert [entry.hash for entry in entries[:100]] == [
        entry["hash"] for entry in house("GET", "/v1/audit").json()["items"]
    ]
    assert house("GET", "/v1/audit/export", house.key(Role.READER)).status_code == 403
    auditor = house("GET", "/v1/audit/export", house.key(Role.AUDITOR))
    verify_chain(read_entries(io.BytesIO(auditor.content)), known=last)


def test_a_long_audit_log_is_exported_in_bounded_memory(house):
    accounts = house.processes[0].service.accounts

    def peak():
        tracemalloc.start()
        try:
            count = sum(1 for _ in write_entries(accounts.export_audit("example")))
            return count, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def lengthen(count):
        with accounts._writing() as statements:
            for _ in range(count):
                after = {"text": "x" * 2_000}
                audit_log.append(statements, own_act("example"), "key.tried", "key:x", after=after)

    lengthen(400)
    short, short_bytes = peak()
    lengthen(1_600)
    long, long_bytes = peak()
    assert (short, long) == (402, 2_002)
    assert long_bytes < short_bytes + 500_000  # the entries themselves take 4 MB more


CHANGED = ("changed", "replaced", "revoked", "rotated", "cancel-requested", "resumed")


def test_every_entry_of_a_change_tells_what_was_before_and_after(house):
    member = house("POST", "/v1/members", json={"name": "Ada", "role": "reader"}).json()
    path = f"/v1/members/{member['member_id']}"
    fields = {"name": "K", "role": "reader", "member_id": member["member_id"]}
    key = house("POST", "/v1/keys", json=fields).json()
    house("POST", f"/v1/keys/{key['key_id']}/rotate", json={})
    house("PATCH", path, json={"role": "auditor"})
    house("DELETE", path)
    house.operator.set_quota("example", Quota(10_000, None))
    house("PUT", "/v1/files/a", content=b"a")
    pin = house("POST", "/v1/pins", json={"cid": CID}).json()["request_id"]
    house("PATCH", f"/v1/pins/{pin}", json={"name": "other"})
    pin = house("PUT", f"/v1/pins/{pin}", json={"cid": CID, "name": "new"}).json()["request_id"]
    house("DELETE", f"/v1/pins/{pin}")
    operation = house("POST", "/v1/catalog").json()["operation_id"]
    house("POST", f"/v1/operations/{operation}/cancel")
    house("POST", f"/v1/operations/{operation}/resume")
    for upload in house("GET", "/v1/uploads").json()["items"]:
        house("DELETE", f"/v1/uploads/{upload['upload_id']}")
    seen = set()
    for entry in house.processes[0].service.accounts.export_audit("example"):
        seen.add(entry.action)
        noun, _dot, verb = entry.action.partition(".")
        assert entry.target.startswith(f"{noun}:")
        if verb.endswith(CHANGED):
            assert entry.before is not None, entry
            assert entry.before != entry.after
            assert entry.before.keys() >= entry.after.keys(), entry
        elif verb in ("removed", "deleted", "cancelled"):
            assert entry.before, entry
            assert entry.after is None
        else:
            assert entry.after, entry
            assert entry.before is None
    assert len(seen) >= 17, seen
