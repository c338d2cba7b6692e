"""What a user of the Python client relies on: both clients have the same calls, all typed, and every one of them is tried on a real service."""

import inspect
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.archive import manifest as manifests
from muniment.client import AsyncClient, Client
from muniment.client.calls import Caller, call, stream
from muniment.errors import ConflictError, IntegrityError, NotFoundError
from muniment.testing.service import LocalService

ROOT = Path(__file__).resolve().parents[2]
TESTS = [*ROOT.glob("tests/service/test_client*.py"), *ROOT.glob("tests/e2e/test_cli_remote*.py")]
USE = """
import asyncio
from muniment.client import ApiError, AsyncClient, Client
from muniment.client.archive import Commit

def wait(client: Client) -> list[Commit]:
    client.upload("letter.txt", progress=print)
    reveal_type(client.show_commit("x"))
    return list(client.list_commits())

async def watch(client: AsyncClient) -> None:
    reveal_type(await client.show_commit("x"))
    async for event in client.follow_events(kinds=["pin"]):
        reveal_type(event.number)

def wrong(client: Client, other: AsyncClient) -> None:
    client.show_commit(7)
    client.add_pin("cid", colour="red")
    for commit in other.list_commits():
        pass
"""


def calls(client):
    return {
        name
        for name, member in inspect.getmembers_static(client)
        if isinstance(member, call | stream)
    }


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    service = LocalService(tmp_path_factory.mktemp("surface") / "home")
    key = service.create_organization()
    with service, Client(service.url, key) as client:
        yield client


def test_both_clients_have_the_same_calls():
    assert calls(Client) == calls(AsyncClient)
    assert len(calls(Client)) > 50
    with Client("http://localhost") as client:
        for name in calls(Client):
            method = getattr(client, name)
            assert method.__doc__, name
            assert "self" not in inspect.signature(method).parameters


def test_every_call_is_tried_on_a_real_service():
    tried = "\n".join(path.read_text("utf-8") for path in TESTS)
    assert [name for name in sorted(calls(Client)) if f".{name}(" not in tried] == []


def test_no_other_public_name_is_a_call_by_accident():
    own = {name for name, _member in inspect.getmembers_static(Client) if not name.startswith("_")}
    shared = {name for name in vars(Caller) if not name.startswith("_")} | {"checked_content"}
    assert own - calls(Client) - shared == {"run", "iterate", "close"}


def test_health_and_keys(client):
    assert client.live().status == "alive"
    assert client.ready().database == "ok"
    made = client.create_key("a program", "reader")
    assert made.key_id in [key.key_id for key in client.list_keys()]


def test_an_upload_is_taken_back(client):
    upload = client.upload(io.BytesIO(b"by mistake"), "mistake")
    client.remove_upload(upload.upload_id)
    assert "mistake" not in [found.path for found in client.list_uploads(state="received")]
    with pytest.raises(NotFoundError):
        client.remove_upload("none")


def test_operations_are_shown_cancelled_and_resumed(client):
    done = client.wait(client.catalog(), timeout_s=60)
    assert client.show_operation(done.operation_id) == done
    assert client.show_operation(done.operation_id, wait_s=5) == done
    assert done.outcome() == done.result
    assert (
        client.cancel_operation(done.operation_id).state == "succeeded"
    )  # there is nothing left to end
    with pytest.raises(ConflictError):
        client.resume_operation(done.operation_id)


def test_a_commit_is_read_and_its_files_are_proven(client):
    client.upload(io.BytesIO(b"Dear Ana"), "letters/ana.txt")
    client.upload(io.BytesIO(b"Dear Eva"), "letters/eva.txt")
    client.wait(client.archive(), timeout_s=60)
    (commit, *_others) = client.list_commits()
    manifest = manifests.decode(client.show_document(commit.commit_id))
    for file in manifest.sealed:
        pieces = client.read_document(
            commit.commit_id, file.name, digest=file.blake3, size_bytes=file.size
        )
        assert sum(map(len, pieces)) == file.size
    wrong = manifest.sealed[0]
    with pytest.raises(IntegrityError):
        list(
            client.read_document(
                commit.commit_id, wrong.name, digest="blake3:" + "0" * 64, size_bytes=wrong.size
            )
        )
    found = list(client.list_proofs(["*/letters/*"], commit_id=commit.commit_id))
    assert [view["path_bytes"].rpartition("/")[2] for view in found] == ["ana.txt", "eva.txt"]
    assert {view["root"] for view in found} == {commit.merkle_root}
    with pytest.raises(NotFoundError):
        list(client.list_proofs(["nothing"]))


def test_only_wished_events_are_told(client):
    begin = client.list_events().next
    client.add_member("Ana", "reader")
    client.upload(io.BytesIO(b"x"), "event")
    kinds = {event.kind.partition(".")[0] for event in client.list_events(after=begin).items}
    assert {"member", "upload"} <= kinds
    wished = client.list_events(after=begin, kinds=["member"]).items
    assert {event.kind.partition(".")[0] for event in wished} == {"member"}
    for event in client.follow_events(after=begin, kinds=["upload.received"]):
        assert event.kind == "upload.received"
        break


@pytest.mark.slow
def test_users_get_types(tmp_path):
    """The examples of the guide are right for a strict type checker, and mistakes are found."""
    guide = (ROOT / "docs" / "guides" / "client.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (tmp_path / "guide.py").write_text("\n".join(blocks))
    (tmp_path / "use.py").write_text(USE)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            tmp_path / "cache",
            "guide.py",
            "use.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout.splitlines()
    assert not [line for line in told if line.startswith("guide.py")], done.stdout
    commit = 'Revealed type is "muniment.client.archive.Commit"'
    revealed = [line.partition("note: ")[2] for line in told if "Revealed" in line]
    assert revealed == [commit, commit, 'Revealed type is "int"']
    errors = [line for line in told if "error:" in line]
    assert len(errors) == 3, done.stdout
