"""The Python client against a real service: everything typed, every failure an error of the library."""

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys

import pytest

from muniment.client import ApiError, AsyncClient, Client, ConnectionFailedError
from muniment.errors import (
    IntegrityError,
    KeyUnavailableError,
    NotFoundError,
    UsageError,
)
from muniment.testing.service import LocalService


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = LocalService(tmp_path_factory.mktemp("client") / "home")
    service.key = service.create_organization()
    with service:
        yield service


@pytest.fixture
def client(service):
    with Client(service.url, service.key) as client:
        yield client


def test_the_organisation_its_members_and_its_audit_log(client):
    organization = client.show_organization()
    assert organization.organization_id == "example"
    member = client.add_member("Ana", "reader")
    assert client.show_member(member.member_id) == member
    assert client.change_member(member.member_id, "archivist").role == "archivist"
    assert member.member_id in [known.member_id for known in client.list_members()]
    client.remove_member(member.member_id)
    assert member.member_id not in [known.member_id for known in client.list_members()]
    entries = list(client.list_audit())
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    exported = b"".join(client.export_audit()).splitlines()
    assert [json.loads(line)["number"] for line in exported] == [entry.number for entry in entries]


def test_keys_are_made_rotated_and_revoked(service, client):
    made = client.create_key("a program", "contributor", scopes=["files:write"], max_uses=100)
    assert client.show_key(made.key_id).scopes == ["files:write"]
    limited = client.create_key("an import", "contributor", quota_bytes=1000, quota_files=5)
    assert (limited.quota_bytes, limited.quota_files, limited.used.files) == (1000, 5, 0)
    rotated = client.rotate_key(made.key_id, overlap_s=0)
    client.revoke_key(rotated.key_id)
    assert client.show_key(rotated.key_id).revoked_at is not None
    with Client(service.url, rotated.key) as other, pytest.raises(KeyUnavailableError) as caught:
        other.show_organization()
    assert caught.value.code == "unauthenticated"


def test_a_file_is_uploaded_from_its_path_or_open(client, tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "a ü%.bin").write_bytes(data)
    told = []
    upload = client.upload(tmp_path / "a ü%.bin", progress=told.append)
    assert (upload.path, upload.size_bytes, upload.state) == ("a ü%.bin", len(data), "received")
    assert upload.sha256 == hashlib.sha256(data).hexdigest()
    assert sum(told) == len(data)
    again = client.upload(io.BytesIO(data), b"folder/not utf-8: \xff?#.bin")
    assert again.path_bytes == "folder/not%20utf-8%3A%20%FF%3F%23.bin"
    assert client.show_upload(again.upload_id) == again
    assert {upload, again} <= set(client.list_uploads())


@pytest.mark.parametrize("resumable_bytes", [1 << 30, 0])
def test_the_time_of_a_file_goes_with_it(service, client, tmp_path, monkeypatch, resumable_bytes):
    monkeypatch.setattr("muniment.client.uploads.RESUMABLE_BYTES", resumable_bytes)
    path, time_ns = tmp_path / f"dated-{resumable_bytes}", 1_577_836_800_123_456_789
    path.write_bytes(b"dated")
    os.utime(path, ns=(0, time_ns))
    with open(path, "rb") as file:
        client.upload(file, f"{path.name}/1")
    client.upload(path, f"{path.name}/2", modified_at_ns=-1)
    client.upload(io.BytesIO(b"dated"), f"{path.name}/3", modified_at_ns=5)
    undated = client.upload(path, f"{path.name}/4", modified_at_ns=None)
    assert undated.modified_at is None
    assert client.upload(io.BytesIO(b"dated"), f"{path.name}/5").modified_at is None
    assert client.upload(path, f"{path.name}/6").modified_at == time_ns // 10**9
    found = {}
    for folder in (service.folder / "uploads").rglob(path.name):
        if folder.is_dir():
            found = {place.name: place.stat().st_mtime_ns for place in folder.iterdir()}
    assert [found[name] for name in "1236"] == [time_ns, -1, 5, time_ns]
    assert all(found[name] > time_ns for name in "45")


def test_what_was_announced_is_what_has_to_arrive(client):
    with pytest.raises(IntegrityError) as caught:
        client.upload(io.BytesIO(b"abc"), "abc", sha256="0" * 64)
    assert caught.value.code == "checksum-mismatch"
    with pytest.raises(UsageError):
        client.upload(io.BytesIO(b"abc"))
    for path in ("../keys", "a/../b", "a/.", ""):
        with pytest.raises((UsageError, NotFoundError)):
            client.upload(io.BytesIO(b"abc"), path)
    with pytest.raises(UsageError):
        client.show_key("..")


def test_every_item_of_a_long_list_comes_page_by_page(client, monkeypatch):
    monkeypatch.setattr("muniment.client.calls._PAGE_ITEMS", 2)
    for number in range(5):
        client.upload(io.BytesIO(b"x"), f"page {number}")
    found = [upload.path for upload in client.list_uploads()]
    assert {f"page {number}" for number in range(5)} <= set(found)
    assert len(found) == len({upload.upload_id for upload in client.list_uploads()})


def test_a_problem_is_an_error_of_the_library(service, client):
    with pytest.raises(NotFoundError) as caught:
        client.show_key("nothing/here")
    error = caught.value
    assert isinstance(error, ApiError)
    assert (error.code, error.status) == ("not-found", 404)
    assert error.request_id
    with pytest.raises(UsageError) as caught:
        client.create_key("", "king")
    assert caught.value.status == 400
    reader = client.create_key("a reader", "reader")
    with Client(service.url, reader.key) as other, pytest.raises(KeyUnavailableError) as caught:
        other.create_key("another", "reader")
    assert caught.value.code == "forbidden"


def test_the_same_calls_in_an_event_loop(service):
    async def work():
        async with AsyncClient(service.url, service.key) as client:
            shown = await asyncio.gather(*(client.show_organization() for _ in range(20)))
            assert {organization.organization_id for organization in shown} == {"example"}
            data = os.urandom(2_500_000)
            upload = await client.upload(io.BytesIO(data), "from a loop")
            assert upload.sha256 == hashlib.sha256(data).hexdigest()
            assert upload in [found async for found in client.list_uploads()]
            async for found in client.list_uploads():
                assert await client.show_upload(found.upload_id) == found
                break  # the rest of the list is never asked for
            with pytest.raises(NotFoundError):
                await client.show_key("nothing")

    asyncio.run(work())


def test_a_service_that_is_not_there():
    with Client("http://127.0.0.1:1", attempts=1) as client, pytest.raises(ConnectionFailedError):
        client.live()


def test_no_key_is_sent_where_it_can_be_read():
    for url in ("http://archive.example.org", "ftp://localhost", "https://a:b@localhost", "x", ""):
        with pytest.raises(UsageError):
            Client(url, "mnk_secret")
    with pytest.raises(UsageError):
        Client("https://localhost", "mnk_secret\r\nx: y")


def test_no_secret_is_printed(service, client):
    assert service.key not in repr(client) + repr(vars(client)["_target"])
    made = client.create_key("a program", "reader")
    assert made.key not in repr(made)


def test_importing_the_client_is_light():
    code = "import sys, muniment.client; print(*(n for n in sys.modules if n.split('.')[0] in ('httpx', 'ssl', 'sqlalchemy') or n.startswith('muniment.')))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded
    light = ("muniment.client", "muniment.errors", "muniment.decimal_time")
    assert all(name.startswith(light) for name in loaded), loaded
