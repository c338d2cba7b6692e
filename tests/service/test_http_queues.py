"""How many operations an organisation may queue, over HTTP."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from litestar.testing import TestClient

from muniment.adapters.sql.statements import Statements
from muniment.bootstrap.operator import own_act
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app
from muniment.jobs.model import JobState

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


@pytest.fixture
def call(tmp_path, database_url):
    database = f'database = "{database_url}"\n' if database_url.startswith("postgresql") else ""
    (tmp_path / "service.toml").write_text(f"queued_operations = 3\n{database}")
    service = Service(tmp_path)
    keys = {}
    for name in ("example", "another"):
        keys[name], _ = service.operator.create_organization(name, name, recovery=False)
    client = TestClient(create_app(service))

    def call(method, path, who="example", **more):
        headers = {"authorization": f"Bearer {keys[who]}"} | more.pop("headers", {})
        return client.request(method, path, headers=headers, **more)

    call.service = service
    with client:
        yield call
    service.close()


def test_more_operations_than_may_wait_are_refused_and_nothing_else_is(call):
    first, *_ = [call("POST", "/v1/catalog").json()["operation_id"] for _ in range(3)]
    for path in ("/v1/catalog", "/v1/archive", "/v1/archive/ots-upgrade"):
        answer = call("POST", path, headers={"idempotency-key": '"one"'})
        assert (answer.status_code, answer.json()["code"]) == (429, "too-many-operations")
        assert int(answer.headers["retry-after"]) > 0
    assert len(call("GET", "/v1/operations").json()["items"]) == 3
    assert call("POST", "/v1/catalog", who="another").status_code == 202
    for _ in range(5):
        assert call("POST", "/v1/pins", json={"cid": CID}).status_code == 202
    batch = {"items": [{"action": "pin", "cid": CID}]}
    statuses = [call("POST", "/v1/pins/batch", json=batch).status_code for _ in range(4)]
    assert statuses == [202, 202, 202, 429]
    with call.service.database.transaction() as connection:
        statements = Statements(connection, call.service.database.dialect)
        assert statements.row("SELECT COUNT(*) FROM pin_batch_items") == (3,)
    assert call("POST", f"/v1/operations/{first}/cancel").status_code == 200
    # The refusal was not kept for the key: it said to try again.
    assert call("POST", "/v1/catalog", headers={"idempotency-key": '"one"'}).status_code == 202
    answer = call("POST", f"/v1/operations/{first}/resume")
    assert (answer.status_code, answer.json()["code"]) == (429, "too-many-operations")
    assert call("GET", f"/v1/operations/{first}").json()["state"] == "cancelled"
    actions = [entry["action"] for entry in call("GET", "/v1/audit").json()["items"]]
    assert actions.count("operation.requested") == 3 + 3 + 1


def test_who_cancels_what_is_cancelled_already_leaves_no_trace(call):
    operation = call("POST", "/v1/catalog").json()["operation_id"]
    all_here = threading.Barrier(4)

    def cancel(_number):
        all_here.wait(10)
        return call.service.operations.cancel(own_act("example"), operation).state

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(cancel, range(4))) == {JobState.CANCELLED}
    told = call.service.accounts.export_audit("example")
    found = [entry for entry in told if entry.action == "operation.cancel-requested"]
    assert len(found) == 1
    assert found[0].before == {"state": "queued", "cancel_requested": False}
    assert found[0].after == {"state": "cancelled", "cancel_requested": True}
