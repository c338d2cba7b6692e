"""A disk that is really full, under the files of a service, under its database, or under both: whoever asks for more is told so, whoever
reads goes on reading, nothing that was acknowledged is lost, and with room again everything goes on by itself.

The disks are file systems in memory, which only root can mount. `MUNIMENT_FULL_S` is how long they stay full, in seconds.
"""

import base64
import hashlib
import io
import os
import random
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from tests.service.adversary.fleet import Fleet
from tests.service.adversary.house import House

from muniment.accounts.audit import verify_chain
from muniment.content.unixfs import import_file
from muniment.errors import ExternalServiceError
from muniment.jobs.model import JobState
from muniment.testing.lying_gateway import LyingGateway
from muniment.testing.postgresql import LocalPostgres

MIB = 1 << 20
DISK_MIB, LARGE, SMALL = 96, 8 * MIB, 60_000
FULL_S = int(os.environ.get("MUNIMENT_FULL_S", "3"))
PATIENCE_S = 120
ORGANIZATION = "example"
_TUS = {"tus-resumable": "1.0.0"}


class Disk:
    """A small file system of its own, and a file that takes all of its room."""

    def __init__(self, folder):
        self.folder, self._ballast = folder, folder / "ballast"

    def fill(self, left_bytes=0):
        """Leave only so much room."""
        seen = os.statvfs(self.folder)
        wanted = seen.f_bavail * seen.f_frsize - left_bytes
        with suppress(OSError), open(self._ballast, "ab", buffering=0) as file:
            while wanted > 0:
                wanted -= file.write(bytes(min(wanted, 1 << 16)))

    def free(self):
        self._ballast.unlink()


@contextmanager
def small_disk(folder, mib):
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(
    params=[
        "files and database",
        pytest.param("files", marks=pytest.mark.engine),
        pytest.param("database", marks=pytest.mark.engine),
    ]
)
def place(request, tmp_path):
    """A service of which something lies on a small disk."""
    with ExitStack() as opened:
        url, home = "", tmp_path / "home"
        if request.param != "files and database":
            try:
                server = opened.enter_context(LocalPostgres())
            except ExternalServiceError as error:
                pytest.skip(str(error))
            url = server.create_database()
        if request.param == "database":
            disk = opened.enter_context(small_disk(server.folder / "small", 24))
            server.use_tablespace(url, disk.folder)
        else:
            disk = opened.enter_context(small_disk(home, DISK_MIB))
        content, root = file_of(24_000_000)
        gateway = opened.enter_context(LyingGateway(content.__getitem__))
        house = House(home, url, gateways=[gateway.url], private_origins=True)
        opened.callback(house.close)
        house.disk, house.cid, house.what = disk, str(root), request.param
        house.key = house.add(ORGANIZATION)
        yield house


def file_of(size_bytes):
    """Return the blocks of a file by CID, no two alike, and its root."""
    blocks = {}
    data = io.BytesIO(random.Random(6).randbytes(size_bytes))
    return blocks, import_file(data, lambda cid, block: blocks.update({cid: bytes(block)})).root


class Client:
    """A client that notes what it was told.

    Attributes:
        kept: Digest of each acknowledged upload, by path.
        started: Operations that were acknowledged.
        told: How often each thing was answered with which status.
    """

    def __init__(self, url, key):
        headers = {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)
        self._chance = random.Random(1)
        self.kept, self.started, self.pins, self.told = {}, set(), set(), Counter()

    def put(self, size):
        path, data = self._file(size)
        self._note("put", self._http.put(f"/v1/files/{path}", content=data), path, data)

    def form(self, size):
        path, data = self._file(size)
        self._note("form", self._http.post("/v1/upload", files={"file": (path, data)}), path, data)

    def tus(self, size):
        path, data = self._file(size)
        name = base64.b64encode(path.encode()).decode()
        headers = {"upload-length": str(size), "upload-metadata": f"filename {name}"} | _TUS
        answer = self._http.post("/v1/tus", headers=headers)
        self._note("tus begun", answer)
        if answer.status_code == 201:
            part = {"upload-offset": "0", "content-type": "application/offset+octet-stream"} | _TUS
            where = answer.headers["location"]
            self._note("tus", self._http.patch(where, headers=part, content=data), path, data)

    def start(self, path):
        answer = self._http.post(path)
        self._note(path, answer)
        if answer.status_code == 202:
            self.started.add(answer.json()["operation_id"])

    def pin(self, cid):
        answer = self._http.post("/psa/pins", json={"cid": cid, "name": f"{time.time_ns()}"})
        self._note("pin", answer)
        if answer.status_code == 202:
            self.pins.add(answer.json()["requestid"])

    def read(self):
        for path in ("/v1/organization", "/v1/files", "/v1/operations", "/psa/pins"):
            answer = self._http.get(path)
            self._note("read", answer)
            assert answer.status_code == 200, (path, answer.text)

    def _file(self, size):
        return f"{self._chance.randrange(10**9)}.bin", self._chance.randbytes(size)

    def _note(self, what, answer, path="", data=b""):
        self.told[what, answer.status_code] += 1
        assert answer.status_code in (200, 201, 202, 204, 507), (what, answer.text)
        if path and answer.status_code in (201, 204):
            self.kept[path] = hashlib.sha256(data).hexdigest()

    def close(self):
        self._http.close()


@pytest.mark.slow
def test_a_full_disk_loses_nothing_and_all_goes_on_when_there_is_room(place):
    with Fleet(place.service.home, 1, lease_s=2) as fleet, ExitStack() as closing:
        client = Client(fleet.url, place.key)
        closing.callback(client.close)
        for send in (client.put, client.form, client.tus):
            send(SMALL)
        client.start("/v1/archive")
        wait_until_idle(place.service)
        client.put(LARGE)
        place.disk.fill(left_bytes=MIB)
        client.start("/v1/archive")  # there is room for the operation, and not for what it does
        client.pin(place.cid)
        time.sleep(2)
        place.disk.fill()
        press(client, place.cid)
        refused = {what for what, status in client.told if status == 507}
        place.disk.free()
        before = client.told.copy()
        press(client, place.cid, times=1)
        assert not [key for key in client.told - before if key[1] == 507], "there is room"
        wait_until_idle(place.service)
        client.start("/v1/archive")
        wait_until_idle(place.service)
        assert fleet.stop() == [0, 0]
    assert not fleet.defects()
    check(place, client)
    statuses = Counter(status for _what, status in client.told.elements())
    print(f"\nsummary: full {place.what}: 507 for {sorted(refused)}; all answers: {dict(statuses)}")
    print("summary:   0 lost; all went on by itself")
    assert "put" in refused


def press(client, cid, times=0):
    """Ask for everything, so often or for a while."""
    until = time.monotonic() + (0 if times else FULL_S)
    while times > 0 or time.monotonic() < until:
        times -= 1
        for size in (SMALL, MIB):
            for send in (client.put, client.form, client.tus):
                send(size)
        client.start("/v1/archive")
        client.start("/v1/catalog")
        client.pin(cid)
        client.read()


def wait_until_idle(service):
    states = [state for state in JobState if not state.is_end]
    deadline = time.monotonic() + PATIENCE_S
    while left := service.jobs.jobs(ORGANIZATION, states=states):
        assert time.monotonic() < deadline, f"stuck: {left}"
        time.sleep(0.1)


def check(place, client):
    """All that was acknowledged is there, and done."""
    service = place.service
    jobs = {job.job_id: job for job in service.jobs.jobs(ORGANIZATION, limit=10_000)}
    assert client.started <= jobs.keys()
    assert {job.state for job in jobs.values()} == {JobState.SUCCEEDED}, jobs
    assert all(service.pins.get(ORGANIZATION, pin).status == "pinned" for pin in client.pins)
    items = place.call("GET", "/v1/files?limit=1000&kind=file", place.key).json()["items"]
    stored = Counter()
    for item in items:
        answer = place.call("GET", f"{item['address']}/content", place.key)
        assert answer.status == 200, answer
        stored[hashlib.sha256(answer.body).hexdigest()] += 1
    assert not Counter(client.kept.values()) - stored, "an upload was lost"
    verify_chain(list(service.accounts.export_audit(ORGANIZATION)))
