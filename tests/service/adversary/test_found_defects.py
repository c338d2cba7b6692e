"""What was once found by the tests beside this one, made small: each stays found."""

import base64

import pytest

from muniment.accounts.permissions import Role
from muniment.adapters.sql.engine import DatabaseUnavailableError
from muniment.testing.tenants import key_id_of
from muniment.uploads.upload import UploadState

TUS = {"tus_resumable": "1.0.0"}


class DeathError(BaseException):
    """The end of a process, as far as its code is concerned."""


@pytest.fixture
def owner(house, request):
    return house.add(f"o{abs(hash(request.node.name)) % 10**9}")


def begin_upload(house, owner):
    name = base64.b64encode(b"a.txt").decode()
    answer = house.call(
        "POST", "/v1/tus", owner, upload_length="3", upload_metadata=f"filename {name}", **TUS
    )
    assert answer.status == 201, answer
    return answer.header("location")


def bring_all_and_die(house, monkeypatch, owner):
    """Bring the bytes of an upload, by a request whose process dies when they are on the disk."""
    where = begin_upload(house, owner)

    def die(*_arguments, **_more):
        raise DeathError

    with monkeypatch.context() as patch:
        patch.setattr(type(house.service.receiver), "finish", die)
        patch.setattr(type(house.service.receiver), "give_up", lambda *_arguments: None)
        with pytest.raises(DeathError):
            house.call(
                "PATCH", where, owner, b"abc", upload_offset="0",
                content_type="application/offset+octet-stream", **TUS,
            )  # fmt: skip
    return where


def states(house, owner):
    return [item["state"] for item in house.call("GET", "/v1/uploads", owner).json()["items"]]


def test_an_upload_whose_last_byte_was_told_is_finished(house, owner, monkeypatch):
    where = bring_all_and_die(house, monkeypatch, owner)
    assert house.call("HEAD", where, owner, **TUS).header("upload-offset") == "3"
    assert states(house, owner) == [UploadState.RECEIVED]


def test_an_upload_that_is_all_there_is_finished_by_the_next_run(house, owner, monkeypatch):
    bring_all_and_die(house, monkeypatch, owner)
    assert states(house, owner) == [UploadState.RECEIVING]
    house.service.recover_uploads()
    assert states(house, owner) == [UploadState.RECEIVED]


def test_a_revoked_key_does_not_come_back_as_another(house, owner):
    key_id = key_id_of(
        house.tenants.key(
            house.call("GET", "/v1/organization", owner).json()["organization_id"], Role.READER
        )
    )
    assert house.call("DELETE", f"/v1/keys/{key_id}", owner).status == 204
    answer = house.call("POST", f"/v1/keys/{key_id}/rotate", owner, {})
    assert (answer.status, answer.json()["code"]) == (409, "conflict")


def test_a_key_of_a_member_has_the_member_s_role(house, owner):
    member = house.call("POST", "/v1/members", owner, {"name": "M", "role": "reader"}).json()
    body = {"name": "K", "role": "admin", "member_id": member["member_id"]}
    assert house.call("POST", "/v1/keys", owner, body).status == 409
    assert house.call("POST", "/v1/keys", owner, body | {"member_id": "nobody"}).status == 404
    assert house.call("POST", "/v1/keys", owner, body | {"role": "reader"}).status == 201


def test_an_admin_does_not_demote_an_owner(house, owner):
    for name in ("first", "second"):
        member = house.call("POST", "/v1/members", owner, {"name": name, "role": "owner"}).json()
    admin = house.call("POST", "/v1/keys", owner, {"name": "A", "role": "admin"}).json()["key"]
    address = f"/v1/members/{member['member_id']}"
    assert house.call("PATCH", address, admin, {"role": "reader"}).status == 403
    assert house.call("DELETE", address, admin).status == 403
    assert house.call("DELETE", address, owner).status == 204


def test_a_form_that_is_sent_again_may_have_another_boundary(house, owner):
    def send(boundary):
        part = 'content-disposition: form-data; name="file"; filename="a.txt"\r\n\r\nabc\r\n'
        body = f"--{boundary}\r\n{part}--{boundary}--\r\n".encode()
        form = {"content_type": f"multipart/form-data; boundary={boundary}"}
        return house.call("POST", "/v1/upload", owner, body, idempotency_key='"form"', **form)

    first, again = send("xx"), send("yy")
    assert (first.status, again.status) == (201, 201), again
    assert again.header("idempotency-replayed") == "true"
    assert len(states(house, owner)) == 1


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(house, owner, monkeypatch):
    def fail(*_arguments):
        raise DatabaseUnavailableError("the database went away")

    def send(length="3"):
        more = {"idempotency_key": f'"{length}"', "content_length": length}
        return house.call("PUT", "/v1/files/a.txt", owner, b"abc", **more)

    with monkeypatch.context() as patch:
        for name in ("finish", "give_up"):
            patch.setattr(type(house.service.requests), name, fail)
        assert send("no number").status == 411
        assert send().status == 201
    assert send().status == 409  # it runs, or took effect: nobody knows more
    assert len(states(house, owner)) == 1
