"""The Python client and pins: added, found, changed, in batches and as lists."""

import io

import pytest

from muniment.client import Client
from muniment.content.cid import CID, RAW
from muniment.errors import NotFoundError, PendingError, UsageError
from muniment.testing.service import LocalService


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    service = LocalService(tmp_path_factory.mktemp("pins") / "home")
    key = service.create_organization()
    with service, Client(service.url, key) as client:
        yield client


def nobody_has(number):
    return str(CID.of(RAW, b"nobody has %d" % number))


def test_a_pin_is_added_found_changed_replaced_and_removed(client):
    pin = client.add_pin(nobody_has(1), name="One", tags=["a", "b"], metadata={"box": "7 ü"})
    assert (pin.cid, pin.name, pin.tags, pin.priority) == (
        nobody_has(1),
        "One",
        ["a", "b"],
        "normal",
    )
    assert [found.request_id for found in client.list_pins(tag=["a", "b"])] == [pin.request_id]
    assert [found.cid for found in client.list_pins(metadata={"box": "7 ü"})] == [pin.cid]
    assert [found.cid for found in client.list_pins(name="on", match="ipartial")] == [pin.cid]
    assert list(client.list_pins(cid=[nobody_has(2), nobody_has(3)])) == []
    assert client.change_pin(pin.request_id, group="letters", tags=[]).group == "letters"
    assert [(group.name, group.pins) for group in client.list_pin_groups()] == [("letters", 1)]
    assert list(client.list_pin_tags()) == []
    other = client.replace_pin(pin.request_id, nobody_has(2), priority="high")
    assert other.priority == "high"
    with pytest.raises(PendingError):
        client.wait_for_pin(other, timeout_s=0)
    client.remove_pin(other.request_id)
    with pytest.raises(NotFoundError):
        client.show_pin(other.request_id)
    with pytest.raises(UsageError):
        client.add_pin("nonsense")


def test_many_at_once(client):
    items = [{"action": "pin", "cid": nobody_has(number), "group": "many"} for number in range(10)]
    done = client.wait(client.batch_pins(items, atomic=True), timeout_s=60)
    results = list(client.list_batch_items(done.operation_id))
    assert [(result.number, result.state) for result in results] == [
        (number, "done") for number in range(1, 11)
    ]
    assert len(list(client.list_pins(group="many"))) == 10
    totals = client.count_pins()
    assert totals.queued + totals.pinning + totals.failed == 10
    for name, count in (("jsonl", 10), ("csv", 20)):  # what is in a list twice is pinned twice
        written = b"".join(client.export_pins(format=name, group="many"))
        read = client.wait(client.import_pins(io.BytesIO(written), format=name), timeout_s=60)
        assert len(list(client.list_batch_items(read.operation_id))) == count
