"""Files that come in several parts at once, as the extension *concatenation* of tus 1.0.0 has it."""

import base64
import hashlib

import pytest
from tests.service.adversary.house import House

TUS = {"tus_resumable": "1.0.0"}
NAME = f"filename {base64.b64encode(b'whole.bin').decode()}"


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path / "home")
    try:
        yield house
    finally:
        house.close()


@pytest.fixture
def key(house):
    return house.add("own")


def begin(house, key, data, sent=None):
    """Begin a part, and bring some of it; returns its address."""
    answer = house.call(
        "POST", "/v1/tus", key, upload_length=str(len(data)), upload_concat="partial", **TUS
    )
    assert answer.status == 201, answer
    address = answer.header("location")
    if data:
        body = data if sent is None else sent
        answer = house.call(
            "PATCH", address, key, body, upload_offset="0",
            content_type="application/offset+octet-stream", **TUS,
        )  # fmt: skip
        assert answer.status == 204, answer
    return address


def join(house, key, *addresses):
    concat = f"final;{' '.join(addresses)}"
    return house.call("POST", "/v1/tus", key, upload_concat=concat, upload_metadata=NAME, **TUS)


def uploads(house, key):
    return {
        (item["path"], item["state"])
        for item in house.call("GET", "/v1/uploads", key).json()["items"]
        if item["state"] != "cancelled"
    }


def test_parts_become_one_file(house, key):
    pieces = [b"one ", b"", b"two"]
    parts = [begin(house, key, piece) for piece in pieces]
    head = house.call("HEAD", parts[0], key, **TUS)
    assert (head.header("upload-concat"), head.header("upload-offset")) == ("partial", "4")
    answer = join(house, key, *parts)
    assert answer.status == 201, answer
    whole = house.call("HEAD", answer.header("location"), key, **TUS)
    assert whole.header("upload-length") == whole.header("upload-offset") == "7"
    assert whole.header("upload-concat") == f"final;{' '.join(parts)}"
    assert uploads(house, key) == {("whole.bin", "received")}
    upload_id = answer.header("location").rpartition("/")[2]
    shown = house.call("GET", f"/v1/uploads/{upload_id}", key).json()
    assert shown["sha256"] == hashlib.sha256(b"one two").hexdigest()
    organization = house.call("GET", "/v1/organization", key).json()
    assert organization["used"] == {"size_bytes": 7, "files": 1}
    assert organization["reserved"] == {"size_bytes": 0, "files": 0}
    assert house.call("HEAD", parts[0], key, **TUS).status == 410


def test_a_joined_file_takes_no_more(house, key):
    where = join(house, key, begin(house, key, b"a")).header("location")
    answer = house.call(
        "PATCH", where, key, b"b", upload_offset="1",
        content_type="application/offset+octet-stream", **TUS,
    )  # fmt: skip
    assert (answer.status, answer.json()["code"]) == (403, "forbidden")


def test_what_cannot_be_joined_is_refused_and_stays_as_it_is(house, key):
    whole, half = begin(house, key, b"whole"), begin(house, key, b"whole", b"ha")
    answer = house.call("POST", "/v1/tus", key, upload_length="1", **TUS)
    no_part = answer.header("location")
    before = uploads(house, key)
    for addresses, status in (
        ([whole, half], 409),
        ([whole, no_part], 409),
        ([whole, whole], 400),
        ([whole, "/v1/tus/none"], 404),
        ([], 400),
        ([f"/v1/tus/{number}" for number in range(101)], 400),
    ):
        assert join(house, key, *addresses).status == status, addresses
    assert house.call("POST", "/v1/tus", key, upload_concat="parts", **TUS).status == 400
    assert uploads(house, key) == before
    assert join(house, house.add("stranger"), whole).status == 404


def test_a_part_is_not_finished_by_whoever_comes_next(house, key):
    part = begin(house, key, b"part")
    house.service.recover_uploads()
    assert house.call("HEAD", part, key, **TUS).header("upload-concat") == "partial"
    assert join(house, key, part).status == 201


def test_a_part_is_given_up_like_any_upload(house, key):
    part = begin(house, key, b"part")
    assert house.call("DELETE", part, key, **TUS).status == 204
    assert join(house, key, part).status == 410


def test_it_is_advertised(house):
    extensions = house.call("OPTIONS", "/v1/tus").header("tus-extension").split(",")
    assert "concatenation" in extensions
    assert "creation-defer-length" not in extensions
