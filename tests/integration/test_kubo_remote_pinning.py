"""Real Kubo uses us as its remote pinning service, and what only Kubo has is pinned by us from its gateway."""

import json
import os
import time
import urllib.error
import urllib.request

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID
from muniment.content.unixfs import read_file
from muniment.errors import ExternalServiceError
from muniment.testing.kubo import LocalKubo
from muniment.testing.service import LocalService

pytestmark = [pytest.mark.engine("ipfs"), pytest.mark.slow]

FILE_BYTES = 20 << 20
PATIENCE_S = 60


class Remote:
    """A service of ours that knows Kubo's gateway, and Kubo that knows the service."""

    def __init__(self, folder, kubo):
        self.kubo, self.folder = kubo, folder
        settings = {
            "MUNIMENT_SERVICE_GATEWAYS": kubo.gateway_url,
            "MUNIMENT_SERVICE_PRIVATE_ORIGINS": "true",
        }
        self.service = LocalService(folder, settings=settings)
        self.key = self.service.create_organization()

    def __enter__(self):
        self.service.start()
        self.kubo.run("pin", "remote", "service", "add", "us", f"{self.service.url}/psa", self.key)
        return self

    def __exit__(self, *_exc):
        self.kubo.run("pin", "remote", "service", "rm", "us")
        self.service.stop()

    def pin(self, *words):
        """Run `ipfs pin remote ...` for our service; returns the objects that it prints."""
        output = self.kubo.run("pin", "remote", *words, "--service=us", "--enc=json")
        return [json.loads(line) for line in output.splitlines()]

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            self.service.url + path,
            None if body is None else json.dumps(body).encode(),
            {"authorization": f"Bearer {self.key}", "content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"null")

    def wait(self, requestid, *statuses):
        """Wait until a pin is in one of some states."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            pin = self.call("GET", f"/psa/pins/{requestid}")
            if pin["status"] in statuses:
                return pin
            time.sleep(0.05)
        raise AssertionError(pin)

    def store(self):
        return EmbeddedBlockStore.open_reader(self.folder / "organizations/example/store")


@pytest.fixture(scope="module")
def kubo():
    with LocalKubo(settings={"Gateway.NoFetch": True}) as kubo:
        yield kubo.start()


@pytest.fixture(scope="module")
def remote(kubo, tmp_path_factory):
    with Remote(tmp_path_factory.mktemp("remote") / "service", kubo) as remote:
        yield remote


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(FILE_BYTES))
    return path


def test_kubo_pins_with_us_what_only_it_has(kubo, remote, file):
    root = kubo.add(file)
    (added,) = remote.pin("add", root, "--name=a file")
    assert (added["Cid"], added["Name"], added["Status"]) == (root, "a file", "pinned")
    with remote.store() as store:
        data = b"".join(read_file(CID.parse(root), store.get))
        assert data == file.read_bytes()
        assert CID.parse(root) in [pin.cid for pin in store.pins()]
    (listed,) = remote.pin("ls", "--name=a file")
    assert listed == added
    (found,) = remote.pin("ls", f"--cid={root}")
    assert found == added
    assert remote.pin("ls", "--status=queued,pinning,failed", "--name=a file") == []
    assert remote.pin("rm", "--name=a file") == []
    assert remote.pin("ls", f"--cid={root}") == []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with remote.store() as store:
            if CID.parse(root) not in [pin.cid for pin in store.pins()]:
                return
        time.sleep(0.1)
    raise AssertionError("the content is still pinned in the store")


def test_kubo_pins_in_the_background_what_nobody_has(kubo, remote, tmp_path):
    (tmp_path / "nothing").write_bytes(os.urandom(100))
    root = kubo.add(tmp_path / "nothing", "--only-hash")
    (added,) = remote.pin("add", root, "--name=nobody", "--background")
    assert added["Status"] in ("queued", "pinning")
    waiting = "--status=queued,pinning"
    (listed,) = remote.pin("ls", waiting, "--name=nobody")
    assert listed["Cid"] == root
    pins = remote.call("GET", f"/psa/pins?status=queued,pinning&cid={root}")
    (pin,) = pins["results"]
    assert pin["delegates"][0].rpartition("/p2p/")[2].startswith("12D3Koo")
    deadline = time.monotonic() + PATIENCE_S
    while "status_details" not in pin.get("info", {}) and time.monotonic() < deadline:
        pin = remote.call("GET", f"/psa/pins/{pin['requestid']}")
    assert "no source" in pin["info"]["status_details"]
    remote.pin("rm", waiting, f"--cid={root}")
    assert remote.pin("ls", waiting) == []


def test_kubo_pages_through_many_pins(kubo, remote):
    names = [f"many {number}" for number in range(25)]
    for name in names:
        remote.call("POST", "/psa/pins", {"cid": str(CID.of(0x55, name.encode())), "name": name})
    listed = remote.pin("ls", "--status=queued,pinning")
    assert [pin["Name"] for pin in listed] == names[::-1]
    remote.pin("rm", "--force", "--status=queued,pinning")
    assert remote.pin("ls", "--status=queued,pinning,pinned,failed") == []


def test_kubo_names_itself_as_an_origin(remote, file):
    with LocalKubo() as other:
        root = other.add(file)
        other.start()
        gateway = other.gateway_url.rpartition(":")[2]
        origin = f"/ip4/127.0.0.1/tcp/{gateway}/http"
        swarm = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWM49953T4DCMkTNa7oEJwq7xjhWEyuX2hVbFCBDfx8EDV"
        body = {"cid": root, "origins": [swarm, origin]}
        pin = remote.call("POST", "/psa/pins", body)
        done = remote.wait(pin["requestid"], "pinned", "failed")
        assert done["status"] == "pinned", done
        assert done["pin"]["origins"] == [swarm, origin]
        assert int(done["info"]["dag_size"]) > FILE_BYTES


def test_a_wrong_key_is_refused(kubo, remote):
    kubo.run("pin", "remote", "service", "add", "wrong", f"{remote.service.url}/psa", "no-key")
    with pytest.raises(ExternalServiceError, match="UNAUTHORIZED"):
        kubo.run("pin", "remote", "ls", "--service=wrong")
    kubo.run("pin", "remote", "service", "rm", "wrong")
