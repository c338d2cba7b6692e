"""The engines that other tests rely on: found, of the pinned versions, started and stopped."""

import json
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from muniment.errors import ExternalServiceError
from muniment.testing.engines import ENGINES, engine_folder, find_engine, pinned_version
from muniment.testing.ipfs_cluster import LocalCluster
from muniment.testing.kubo import LocalKubo

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "engines.sh"

# Published test vectors of IPIP-499: the file `hello world` in both profiles.
HELLO = {
    "unixfs-v0-2015": "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD",
    "unixfs-v1-2025": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
}


def test_the_script_and_the_tests_mean_the_same_folders():
    told = subprocess.check_output([SCRIPT, "where"], text=True).split()
    assert told == [str(engine_folder(module)) for module in ("kubo", "cluster")]


@pytest.mark.parametrize("program", ENGINES)
@pytest.mark.engine(*ENGINES)
def test_the_pinned_version_is_what_runs(program):
    told = subprocess.check_output([find_engine(program), "--version"], text=True)
    assert f"version {pinned_version(program)}" in told


def test_another_version_on_path_is_not_taken(tmp_path, monkeypatch):
    other = tmp_path / "ipfs"
    other.write_text("#!/bin/sh\necho ipfs version 0.1.2\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ExternalServiceError, match="neither on PATH nor built"):
        find_engine.__wrapped__("ipfs")
    other.write_text(f"#!/bin/sh\necho ipfs version {pinned_version('ipfs')}\n")
    assert find_engine.__wrapped__("ipfs") == other


@pytest.mark.engine("ipfs")
class TestKubo:
    @pytest.mark.parametrize("profile", HELLO)
    def test_adds_in_its_profile_without_a_daemon(self, profile, tmp_path):
        (tmp_path / "hello").write_bytes(b"hello world")
        with LocalKubo(profile) as kubo:
            assert kubo.add(tmp_path / "hello") == HELLO[profile]
            assert kubo.run("cat", HELLO[profile]) == b"hello world"
        assert not kubo.folder.exists()

    def test_serves_alone_on_loopback(self, tmp_path):
        (tmp_path / "hello").write_bytes(b"hello world")
        with LocalKubo(settings={"Gateway.DeprecatedXIpfsPath": True}) as kubo:
            cid = kubo.add(tmp_path / "hello")
            kubo.start()
            with urllib.request.urlopen(f"{kubo.gateway_url}/ipfs/{cid}") as answer:
                assert answer.read() == b"hello world"
                assert answer.headers["x-ipfs-path"] == f"/ipfs/{cid}"
                assert kubo.run("swarm", "peers") == b""
                assert kubo.run("add", "-Q", stdin=b"hello world").decode().strip() == cid
            kubo.stop()
            with pytest.raises(ExternalServiceError, match="does not run"):
                kubo.gateway_url  # noqa: B018

    def test_reads_a_car(self, tmp_path):
        (tmp_path / "big").write_bytes(bytes(3 << 20))
        with LocalKubo() as one, LocalKubo() as two:
            cid = one.add(tmp_path / "big")
            (tmp_path / "big.car").write_bytes(one.run("dag", "export", "--progress=false", cid))
            two.import_car(tmp_path / "big.car")
            assert two.run("cat", "--offline", cid) == bytes(3 << 20)

    def test_what_fails_says_why(self):
        with LocalKubo() as kubo:
            with pytest.raises(ExternalServiceError, match="invalid"):
                kubo.run("cat", "/ipfs/nothing")
            kubo.config("Addresses.API", "/ip4/192.0.2.1/tcp/1")
            with pytest.raises(ExternalServiceError, match="cannot assign"):
                kubo.start()


@pytest.mark.engine(*ENGINES)
class TestCluster:
    def test_a_pin_becomes_pinned(self, tmp_path):
        (tmp_path / "hello").write_bytes(b"hello world")
        with LocalKubo() as kubo:
            cid = kubo.add(tmp_path / "hello", "--pin=false")
            with LocalCluster(kubo.start()) as cluster:
                pins = f"{cluster.pinning_service_url}/pins"
                asked = _ask(pins, {"cid": cid, "name": "a pin"})
                assert asked["pin"]["cid"] == cid
                assert _settled(f"{pins}/{asked['requestid']}")["status"] == "pinned"
                assert cid in kubo.run("pin", "ls", "--type=recursive", "--quiet").decode()
                assert json.loads(cluster.ctl("status", cid))["cid"] == cid
        assert not cluster.folder.exists()


def _ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
        return json.load(answer)


def _settled(url):
    """Return the status of a pin once it is one that stays."""
    for _ in range(300):
        status = _ask(url)
        if status["status"] in ("pinned", "failed"):
            break
        time.sleep(0.1)
    return status
