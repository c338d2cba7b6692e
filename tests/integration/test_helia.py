"""A JavaScript client reads from the gateway: Helia over HTTP alone, which verifies every block by its CID.

It finds the gateway as its one configured gateway; a second one, between the two, can lie.
"""

import dataclasses
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.unixfs import V0_2015, V1_2025, directory_dag, import_file
from muniment.testing.loopback import LoopbackServer
from muniment.testing.node import install_packages, run_script

pytestmark = pytest.mark.engine

PROJECT = Path(__file__).parents[1] / "javascript"
FILE_BYTES = 5_000_000
MEMBERS = 500
SHARDING = dataclasses.replace(V1_2025, hamt_threshold_bytes=4096)  # so few members make a HAMT
TIMEOUT_S = 60


class Content:
    """A store with a file in both profiles, and a sharded folder that holds it."""

    def __init__(self, folder):
        self.folder = folder
        self.data = os.urandom(FILE_BYTES)
        self.blocks = {}
        self.file = import_file(io.BytesIO(self.data), self.put)
        self.old_file = import_file(io.BytesIO(self.data), self.put, V0_2015)
        members = [(b"member-%06d" % number, *self.member(number)) for number in range(MEMBERS)]
        members.append((b"file", self.file.root, self.file.tsize))
        dag = directory_dag(members, SHARDING)
        assert len(dag.inner) > 1
        for block in dag.inner:
            self.put(*block)
        self.directory = dag.root
        with EmbeddedBlockStore(folder) as store:
            store.put_many(self.blocks.items())

    def put(self, cid, data):
        self.blocks[cid] = bytes(data)

    def member(self, number):
        data = b"content of member %d\n" % number
        self.put(CID.of(RAW, data), data)
        return CID.of(RAW, data), len(data)

    def sha256(self, start=0, size=FILE_BYTES):
        return hashlib.sha256(self.data[start : start + size]).hexdigest()


@contextmanager
def serving(folder, *more, port=0):
    """Run the gateway over a store; yields its URL."""
    options = ["--store", str(folder), "--port", str(port), "--trustless", *more]
    command = [sys.executable, "-m", "muniment", "gateway", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            line = process.stdout.readline().decode()
            assert "Serving" in line, line + process.stdout.read().decode()
            yield "http://" + line.split("://")[1].split("/")[0].strip()
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


class Liar:
    """A gateway before the real one, that changes what `change` says; counts what it asked and changed."""

    def __init__(self, gateway, change):
        self.gateway, self.change = gateway, change
        self.requests, self.lies = 0, 0

    def __call__(self, method, target, _body):
        self.requests += 1
        request = urllib.request.Request(
            self.gateway + target, headers={"Accept": "application/vnd.ipld.raw"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                data, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            data, status = error.read(), error.code
        told = self.change(CID.parse(target.split("/")[2].split("?")[0]), data)
        self.lies += told != data
        return status, {"Content-Length": str(len(told))}, [told]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return Content(tmp_path_factory.mktemp("helia") / "store")


@pytest.fixture(scope="module")
def gateway(content):
    with serving(content.folder) as url:
        yield url


@pytest.fixture(scope="module")
def helia():
    """Return a function that reads as a new Helia node."""
    packages = install_packages(PROJECT)

    def read(*reads, gateways=(), routers=()):
        job = {"gateways": gateways, "routers": routers, "reads": reads}
        printed = run_script(PROJECT / "read.mjs", packages, json.dumps(job), timeout_s=TIMEOUT_S)
        return [json.loads(line) for line in printed.splitlines()]

    return read


def test_files_folders_and_ranges(content, gateway, helia):
    start, size = 999_999, 2_000_003
    whole = {"size_bytes": FILE_BYTES, "sha256": content.sha256()}
    part = {"size_bytes": size, "sha256": content.sha256(start, size)}
    file, old, folder = (
        str(cid) for cid in (content.file.root, content.old_file.root, content.directory)
    )
    note = b"content of member 471\n"
    results = helia(
        {"cid": file},
        {"cid": old},
        {"cid": file, "offset": start, "length": size},
        {"cid": old, "offset": start, "length": size},
        {"cid": folder, "path": "file", "offset": start, "length": size},
        {"cid": folder, "path": "member-000471"},
        {"cid": folder, "list": True},
        {"cid": folder, "path": "nothing"},
        gateways=[gateway],
    )
    assert results[:5] == [whole, whole, part, part, part]
    assert results[5] == {"size_bytes": len(note), "sha256": hashlib.sha256(note).hexdigest()}
    names = [f"member-{number:06d}" for number in range(MEMBERS)]
    assert sorted(results[6]["names"]) == ["file", *names]
    assert "NotFound" in results[7]["error"]


def test_a_range_asks_for_no_more_blocks_than_hold_it(content, gateway, helia):
    honest = Liar(gateway, lambda _cid, data: data)
    with LoopbackServer(honest) as server:
        wanted = {"cid": str(content.file.root), "offset": 2_100_000, "length": 900_000}
        (result,) = helia(wanted, gateways=[server.url])
    assert result == {"size_bytes": 900_000, "sha256": content.sha256(2_100_000, 900_000)}
    assert (honest.requests, honest.lies) == (2, 0)


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def shorten(data):
    return data[: len(data) // 2]


def swap(_data):
    return b"a block of another CID"


@pytest.mark.parametrize(
    ("codec", "lie"), [(RAW, flip), (DAG_PB, flip), (RAW, shorten), (RAW, swap)]
)
def test_a_gateway_that_lies_is_not_believed(content, gateway, helia, codec, lie):
    liar = Liar(gateway, lambda cid, data: lie(data) if cid.codec == codec else data)
    file = str(content.file.root)
    with LoopbackServer(liar) as server:
        alone, ranged = helia(
            {"cid": file}, {"cid": file, "offset": 1, "length": 9}, gateways=[server.url]
        )
        assert "error" in alone
        assert "error" in ranged
        assert liar.lies > 0
        liar.lies = 0
        (other,) = helia({"cid": file}, gateways=[server.url, gateway])
    assert other == {"size_bytes": FILE_BYTES, "sha256": content.sha256()}
    assert liar.lies > 0


def test_helia_finds_the_gateway_by_its_routing(content, helia, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["--announce", url, "--node-key", str(tmp_path / "node.key")]
    stranger = CID.of(RAW, b"not in the store")
    with serving(content.folder, *options, port=port) as router:
        found, lost = helia(
            {"cid": str(content.directory), "path": "file"},
            {"cid": str(stranger)},
            routers=[router],
        )
    assert found == {"size_bytes": FILE_BYTES, "sha256": content.sha256()}
    assert "error" in lost
