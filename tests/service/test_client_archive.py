"""The Python client at an archive: files go in over HTTP, and come back the same, whatever happens on the way."""

import asyncio
import io
import os
import tarfile
import zipfile

import msgspec
import pytest
from blake3 import blake3

from muniment.client import AsyncClient, Client, ConnectionFailedError
from muniment.client.downloading import partial_path
from muniment.client.retrying import Patience
from muniment.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from muniment.testing.loopback import LoopbackServer
from muniment.testing.service import LocalService

DATA = {"a.txt": b"Dear Ana,\n" * 200, "folder/b.bin": os.urandom(3_000_000), "empty": b""}


class Archived:
    """A service with an archive that holds `DATA`."""

    def __init__(self, service, key, operation):
        self.url, self.key, self.operation = service.url, key, operation


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    service = LocalService(tmp_path_factory.mktemp("archived") / "home")
    key = service.create_organization()
    with service, Client(service.url, key) as client:
        for name, data in DATA.items():
            client.upload(io.BytesIO(data), name)
        seen = []
        operation = client.wait(client.archive(), timeout_s=60, progress=seen.append)
        assert seen[-1] == operation
        yield Archived(service, key, operation)


@pytest.fixture
def client(archived):
    with Client(archived.url, archived.key) as client:
        yield client


def found(client, name):
    (file,) = client.list_files(name=name.rpartition("/")[2], kind="file")
    return file


def test_the_archive_tells_what_it_did(client, archived):
    assert archived.operation.result["commit_count"] == 1
    (commit,) = client.list_commits()
    assert client.show_commit(commit.commit_id) == commit
    assert (commit.state, commit.sequence) == ("stored", 1)
    status = client.show_status()
    assert (status.commits, status.pending_files) == (1, 0)
    assert status.last_commit.commit_id == commit.commit_id
    assert archived.operation in client.list_operations(kind=archived.operation.kind)
    assert archived.operation in client.list_operations(state="succeeded")
    assert list(client.list_files(state="pending")) == []
    assert client.show_document(commit.commit_id).startswith(b"{")
    assert client.show_timestamp(commit.commit_id).state == "queued"
    with pytest.raises(ConflictError):
        client.resume_commit(commit.commit_id)


def test_commits_are_verified_and_timestamps_upgraded(client):
    (commit,) = client.list_commits()
    done = client.wait(client.verify_commit(commit.commit_id), timeout_s=60)
    assert done.result["ok"]
    assert client.wait(client.upgrade_timestamps(), timeout_s=60).result["waiting"] == 1
    assert client.wait(client.catalog().operation_id, timeout_s=60).state == "succeeded"


@pytest.mark.parametrize("name", DATA)
def test_a_file_comes_back(client, tmp_path, name):
    file, told = found(client, name), []
    assert client.download(file, tmp_path / "x", progress=told.append) == tmp_path / "x"
    assert (tmp_path / "x").read_bytes() == DATA[name] == b"".join(client.read_file(file))
    assert sum(told) == len(DATA[name])
    assert os.listdir(tmp_path) == ["x"]
    with pytest.raises(ConflictError):
        client.download(file, tmp_path / "x")
    client.download(file, tmp_path / "x", overwrite=True)
    assert client.show_proof(file.commit_id, file.leaf)["content_hash"] == file.digest


def test_a_download_goes_on_where_it_stopped(client, tmp_path):
    file, told = found(client, "b.bin"), []

    def stop(size_bytes):
        told.append(size_bytes)
        if sum(told) > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.download(file, tmp_path / "x", progress=stop)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_size == sum(told)
    with open(left, "ab") as partial:
        partial.truncate(500_000)
    client.download(file, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA["folder/b.bin"]
    assert os.listdir(tmp_path) == ["x"]


def test_what_an_earlier_download_left_is_not_believed(client, tmp_path):
    file = found(client, "b.bin")
    part = partial_path(tmp_path / "x", file.digest)
    part.write_bytes(b"something else")
    with pytest.raises(IntegrityError):
        client.download(file, tmp_path / "x")
    assert os.listdir(tmp_path) == []
    part.write_bytes(bytes(file.size_bytes + 1))
    client.download(file, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA["folder/b.bin"]


def test_what_is_no_archived_file_has_no_content(client, tmp_path):
    waiting = msgspec.structs.replace(found(client, "a.txt"), commit_id=None, leaf=None)
    with pytest.raises(UsageError):
        client.download(waiting, tmp_path / "x")
    with pytest.raises(UsageError):
        list(client.read_file(waiting))
    with pytest.raises(NotFoundError):
        client.show_file("no-such-commit", 0)


def test_many_files_come_in_one_piece(client):
    bundle = b"".join(client.bundle(format="tar"))
    with tarfile.open(fileobj=io.BytesIO(bundle)) as tar:
        contents = [tar.extractfile(member).read() for member in tar if member.isfile()]
    assert sorted(contents) == sorted(DATA.values())
    with zipfile.ZipFile(io.BytesIO(b"".join(client.bundle(["*a.txt"])))) as bundle:
        assert [bundle.read(name) for name in bundle.namelist()] == [DATA["a.txt"]]


def test_the_same_in_an_event_loop(archived, tmp_path):
    async def work():
        async with AsyncClient(archived.url, archived.key) as client:
            files = [file async for file in client.list_files(kind="file")]
            paths = [tmp_path / str(number) for number in range(len(files))]
            await asyncio.gather(*map(client.download, files, paths))
            twins = [tmp_path / "one", tmp_path / "two"]  # the same content at the same time
            await asyncio.gather(*(client.download(files[0], twin) for twin in twins))
            assert twins[0].read_bytes() == twins[1].read_bytes()
            assert sorted(path.read_bytes() for path in paths) == sorted(DATA.values())
            pieces = [piece async for piece in client.read_file(files[0])]
            assert blake3(b"".join(pieces)).hexdigest() == files[0].digest[7:]
            assert (await client.wait(await client.catalog(), timeout_s=60)).result

    asyncio.run(work())


def misbehaving(content, *, breaks):
    """A server that hands out content and breaks off so many times."""
    asked = []

    def respond(_method, _path, _body):
        asked.append(1)
        headers = {"content-length": str(len(content))}
        if len(asked) <= breaks:
            return 200, headers, [content[: len(content) // 2]]
        return 200, headers, [content]

    return LoopbackServer(respond)


def test_wrong_bytes_are_never_taken(client, tmp_path):
    file = found(client, "a.txt")
    for wrong in (b"x" * file.size_bytes, b"x" * (file.size_bytes + 1)):
        with misbehaving(wrong, breaks=0) as server, Client(server.url) as other:
            with pytest.raises(IntegrityError):
                other.download(file, tmp_path / "x")
            with pytest.raises(IntegrityError):
                list(other.read_file(file))
    assert os.listdir(tmp_path) == []


def test_a_server_that_breaks_off_for_ever_is_given_up(client, tmp_path):
    file = found(client, "a.txt")
    with misbehaving(DATA["a.txt"], breaks=99) as server, Client(server.url, attempts=2) as other:
        other._patience = Patience(2, first_wait_s=0.001)
        with pytest.raises((ConnectionFailedError, IntegrityError)):
            other.download(file, tmp_path / "x")
    assert not (tmp_path / "x").exists()
