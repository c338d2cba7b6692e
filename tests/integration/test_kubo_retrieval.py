"""Blocks between real Kubo and us over plain HTTP, in both directions, with a liar among the sources and a kill in the middle."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.adapters.retrieval import HttpSource, fetch_dag, find_sources
from muniment.content.cid import CID, RAW
from muniment.content.unixfs import import_file, read_file
from muniment.errors import NotFoundError
from muniment.testing.kubo import LocalKubo
from muniment.testing.lying_gateway import LyingGateway, answer

pytestmark = [pytest.mark.engine("ipfs"), pytest.mark.slow]

MIB = 1 << 20
FILE_BYTES = 200 * MIB


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file in which nothing repeats."""
    path = tmp_path_factory.mktemp("file") / "file"
    with open(path, "wb") as file:
        file.writelines(os.urandom(MIB) for _ in range(FILE_BYTES // MIB))
    return path


@pytest.fixture(scope="module")
def ours(file, tmp_path_factory):
    """A store of ours with the file, and its root."""
    folder = tmp_path_factory.mktemp("ours") / "store"
    with EmbeddedBlockStore(folder) as store, open(file, "rb") as data:
        blocks = []
        root = import_file(data, lambda *block: blocks.append(block)).root
        store.put_many(blocks)
    return folder, root


@pytest.fixture(scope="module")
def kubo(file):
    """A running Kubo that has the file and asks nobody for anything else."""
    with LocalKubo(settings={"Gateway.NoFetch": True}) as kubo:
        root = CID.parse(kubo.add(file))
        yield kubo.start(), root


@contextmanager
def node(folder, *options):
    """Run our gateway over a store; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "muniment", "gateway", "--store", str(folder)]
    command += ["--port", url.rpartition(":")[2], "--announce", url]
    command += ["--node-key", f"{folder}-node-key.pem", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            line = process.stdout.readline().decode()
            assert "Serving" in line, line + process.stdout.read().decode()
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def from_kubo(kubo):
    """Return what reads single blocks from Kubo's gateway."""

    def get(cid):
        try:
            with urllib.request.urlopen(f"{kubo.gateway_url}/ipfs/{cid}?format=raw") as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise NotFoundError(str(error)) from None

    return get


def is_whole(store, root, file):
    with open(file, "rb") as data:
        return all(data.read(len(piece)) == piece for piece in read_file(root, store.get))


@pytest.mark.parametrize("path", ["", "/routing/v1/providers"])
def test_kubo_finds_and_fetches_our_blocks(file, ours, path):
    folder, root = ours
    with node(folder) as url:
        settings = {"Routing.Type": "delegated", "Routing.DelegatedRouters": [url + path]}
        with LocalKubo(settings=settings) as kubo:
            kubo.start()
            assert kubo.run("cat", str(root)) == file.read_bytes()
            # Kubo lists what it keeps by hash, as if all were bytes.
            assert str(CID.sha256(RAW, root.digest)) in kubo.run("refs", "local").decode()
            kubo.stop()
            assert kubo.add(file, "--only-hash") == str(root)


def test_we_fetch_from_kubo_while_another_source_lies(file, kubo, tmp_path):
    server, root = kubo
    requests = 0

    def corrupt_a_block(honest):
        nonlocal requests
        requests += 1
        if requests < 5:
            return honest.send()
        return answer(200, honest.body[:-1] + bytes([honest.body[-1] ^ 1]))

    with (
        LyingGateway(from_kubo(server), corrupt_a_block) as liar,
        EmbeddedBlockStore(tmp_path / "store") as store,
    ):
        sources = [
            HttpSource(url, is_trusted_address=True) for url in (liar.url, server.gateway_url)
        ]
        report = fetch_dag(store, root, sources, pin_name="from Kubo")
        lying, honest = report.sources
        assert (lying.name, lying.is_dropped) == (liar.url, True)
        assert lying.lies >= 1
        assert "not the block" in lying.problem
        assert (honest.lies, honest.failures, honest.is_dropped) == (0, 0, False)
        assert lying.blocks + honest.blocks == report.blocks == 201
        assert is_whole(store, root, file)
        assert store.verify().blocks == 201


def test_a_killed_fetch_goes_on_where_it_was(file, kubo, tmp_path):
    server, root = kubo
    folder = tmp_path / "store"

    def slowly(honest):
        time.sleep(0.05)
        return honest.send()

    with LyingGateway(from_kubo(server), slowly) as source:
        command = [sys.executable, "-m", "muniment", "content", "fetch", str(root), "--json"]
        command += ["--from", source.url, "--store", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while len(source.asked) < 80 and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
        assert process.returncode == -signal.SIGKILL
    with EmbeddedBlockStore(folder) as store:
        kept = {str(cid) for cid in store.cids()}
        assert 10 < len(kept) < 201
        assert list(store.pins()) == []
    with LyingGateway(from_kubo(server)) as source:
        command[command.index("--from") + 1] = source.url
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        asked = {target.split("/")[2].partition("?")[0] for target in source.asked}
        assert not asked & kept
        assert len(asked) == 201 - len(kept)
    answered = json.loads(done.stdout)
    assert (answered["blocks"], answered["pinned"]) == (201 - len(kept), True)
    with EmbeddedBlockStore(folder) as store:
        assert is_whole(store, root, file)
        assert [pin.cid for pin in store.pins()] == [root]


def test_we_find_our_own_node_and_fetch_from_it(file, ours, tmp_path):
    folder, root = ours
    with node(folder) as url, EmbeddedBlockStore(tmp_path / "store") as store:
        found = find_sources(root, [url], allow_private=True)
        assert [source.name for source in found.sources] == [url]
        assert find_sources(CID.of(RAW, b"absent"), [url], allow_private=True).sources == ()
        report = fetch_dag(store, root, found.sources)
        assert report.blocks == 201
        assert is_whole(store, root, file)
