"""Uploads to a real server process: clients as they are, slow and broken ones, a full disk, kill -9, many at once."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import io
import json
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from tusclient import client as tus

from muniment.accounts.audit import verify_chain
from muniment.accounts.quotas import Amount
from muniment.bootstrap.service import Service
from muniment.uploads.upload import UploadState

MIB = 1 << 20
NOISE = random.Random(7).randbytes(MIB)
SERVE = """
import resource, sys
from pathlib import Path
from muniment.entrypoints.http.server import Listen, ServiceProcesses
home, processes, limit_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
ServiceProcesses(home, processes, workers=0).serve(Listen(port=0), lambda url: print(url, flush=True))
"""


class Server:
    """A service in a process of its own, which can be killed and started again."""

    def __init__(self, home, database="", **settings):
        home.mkdir()
        settings = {"database": database, "disk_reserve_bytes": 0, "stall_timeout_s": 5} | settings
        settings["rate_per_minute"] = 10**6
        lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
        (home / "service.toml").write_text("".join(lines))
        self.home = home
        with self.service() as service:
            self.key, _ = service.operator.create_organization(
                "example", "An Example", recovery=False
            )
        self.headers = {"Authorization": f"Bearer {self.key}"}
        self.limit_bytes = resource.RLIM_INFINITY

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self, processes=1):
        arguments = [str(self.home), str(processes), str(self.limit_bytes)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], stdout=subprocess.PIPE
        )
        line = self.process.stdout.readline().decode().strip()
        if not line:
            self.kill()
        self.port = int(line.rpartition(":")[2])
        self.url = line

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    @contextlib.contextmanager
    def service(self):
        service = Service(self.home)
        try:
            yield service
        finally:
            service.close()

    def put(self, path, pieces, size, timeout=120):
        """Put a file; returns the status and the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.putrequest("PUT", f"/v1/files/{path}")
            for name, value in (self.headers | {"Content-Length": str(size)}).items():
                connection.putheader(name, value)
            connection.endheaders()
            for piece in pieces:
                connection.send(piece)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def open(self, *lines):
        """Send the head of a request and return the socket."""
        peer = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        head = [*lines, "Host: localhost", f"Authorization: Bearer {self.key}", "", ""]
        peer.sendall("\r\n".join(head).encode())
        return peer

    def check(self, acknowledged, unfinished=0):
        """What was acknowledged is there, and nothing else; the counters are exact."""
        with self.service() as service:
            service.recover_uploads()
            rows = service.receiver.store.page("example", None, 100_000)
            held = {row.upload_id: row for row in rows if row.state is UploadState.RECEIVED}
            waiting = [row for row in rows if row.state is UploadState.RECEIVING]
            organization = service.accounts.organization("example")
            verify_chain(service.accounts.export_audit("example"))
        assert organization.used == Amount(sum(r.size_bytes for r in held.values()), len(held))
        assert organization.reserved == Amount(sum(r.size_bytes for r in waiting), len(waiting))
        assert len(waiting) == unfinished
        for upload_id, sha256 in acknowledged.items():
            assert held[upload_id].sha256 == sha256
        root = self.home / "uploads/example"
        files = {os.fsencode(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
        assert files == {row.place for row in held.values()}
        for row in held.values():
            with open(root / os.fsdecode(row.place), "rb") as file:
                assert hashlib.file_digest(file, "sha256").hexdigest() == row.sha256
        arriving = [p.name for p in (self.home / "incoming").rglob("*") if p.is_file()]
        assert sorted(arriving) == sorted(row.upload_id for row in waiting)


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "service") as server:
        yield server


def test_the_tus_client_goes_on_after_a_kill(server):
    source = io.BytesIO(NOISE * 6)
    client = tus.TusClient(f"{server.url}/v1/tus", headers=server.headers)
    metadata = {"filename": "folder/ä.bin"}
    uploader = client.uploader(
        file_stream=source, chunk_size=MIB, metadata=metadata, upload_checksum=True
    )
    for _ in range(3):
        uploader.upload_chunk()
    assert uploader.offset == 3 * MIB
    server.kill()
    server.start()
    location = uploader.url.rpartition("/")[2]
    client = tus.TusClient(f"{server.url}/v1/tus", headers=server.headers)
    again = client.uploader(
        file_stream=source, url=f"{server.url}/v1/tus/{location}", chunk_size=2 * MIB
    )
    assert again.offset == 3 * MIB
    again.upload()
    server.check({location: hashlib.sha256(NOISE * 6).hexdigest()})


def begin(server, head, data):
    """Send a part of a request."""
    peer = server.open(*head)
    peer.sendall(data)
    return peer


def test_two_clients_cannot_bring_one_upload_at_once(server):
    client = tus.TusClient(f"{server.url}/v1/tus", headers=server.headers)
    url = client.uploader(file_stream=io.BytesIO(NOISE)).create_url()
    patch = (f"PATCH {url.partition(server.url)[2]} HTTP/1.1", "Tus-Resumable: 1.0.0", "Upload-Offset: 0",
             "Content-Type: application/offset+octet-stream", f"Content-Length: {MIB}")  # fmt: skip
    half = MIB // 2
    first, answer = begin(server, patch, NOISE[:half]), b""
    while not answer.startswith(b"HTTP/1.1 423 "):
        with server.open(*patch[:-1], "Content-Length: 0") as second:
            answer = second.recv(100)
            assert answer.startswith((b"HTTP/1.1 423 ", b"HTTP/1.1 204 ")), answer
        if select.select([first], [], [], 0)[0]:  # the second was the first
            assert first.recv(100).startswith(b"HTTP/1.1 423 ")
            first.close()
            first = begin(server, patch, NOISE[:half])
    first.sendall(NOISE[half:])
    assert first.recv(100).startswith(b"HTTP/1.1 204 ")
    first.close()
    server.check({url.rpartition("/")[2]: hashlib.sha256(NOISE).hexdigest()})


def test_nothing_of_the_body_is_asked_for_before_there_is_room(server):
    put = ("PUT /v1/files/a HTTP/1.1", "Expect: 100-continue")
    with server.open(*put, f"Content-Length: {1 << 50}") as peer:
        assert peer.recv(100).startswith(b"HTTP/1.1 413 ")
    with server.open(*put, "Content-Length: 5") as peer:
        assert peer.recv(100).startswith(b"HTTP/1.1 100 ")
        peer.sendall(b"12345")
        assert peer.recv(100).startswith(b"HTTP/1.1 201 ")


def test_slow_and_broken_senders_leave_nothing_and_harm_nobody(server):
    slow = server.open("PUT /v1/files/slow HTTP/1.1", f"Content-Length: {MIB}")
    stop = threading.Event()

    def drip():
        with contextlib.suppress(OSError):
            while not stop.wait(0.5):
                slow.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    broken = server.open("PUT /v1/files/broken HTTP/1.1", f"Content-Length: {MIB}")
    broken.sendall(NOISE[:1000])
    broken.close()
    status, kept = server.put("kept", [NOISE], MIB)
    assert status == 201
    answer = slow.recv(100)  # after `stall_timeout_s`
    stop.set()
    thread.join()
    slow.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    server.check({kept["upload_id"]: kept["sha256"]})


def send_again(server, path, data, headers):
    """Send an upload until the one that was sent before counts as given up; returns the last answer."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("PUT", f"/v1/files/{path}", data, server.headers | headers)
            answer = connection.getresponse()
            view = json.loads(answer.read())
        if answer.status != 409:
            return answer, view
        assert "still runs" in view["detail"]
        assert answer.headers["Retry-After"] == "1"
        time.sleep(0.1)


@pytest.mark.parametrize("database", ["", pytest.param("postgresql", marks=pytest.mark.engine)])
def test_what_a_kill_cut_off_is_sent_again_with_its_idempotency_key(tmp_path, request, database):
    if database:
        database = request.getfixturevalue("postgres").create_database()
    key, data = {"Idempotency-Key": '"one"'}, NOISE * 2
    with Server(tmp_path / "service", database, lease_s=2) as server:
        head = (
            "PUT /v1/files/a HTTP/1.1",
            f"Content-Length: {len(data)}",
            'Idempotency-Key: "one"',
        )
        with server.open(*head) as peer:
            peer.sendall(data[:MIB])
            with server.service() as service:
                while not (waiting := list(service.receiver.store.unfinished())):
                    time.sleep(0.01)
                assert service.accounts.organization("example").reserved == Amount(len(data), 1)
            server.kill()
        server.start()
        answer, view = send_again(server, "a", data, key)
        assert answer.status == 201
        assert view["upload_id"] != waiting[0].upload_id
        again, same = send_again(server, "a", data, key)
        assert (again.headers["Idempotency-Replayed"], same) == ("true", view)
    server.check({view["upload_id"]: hashlib.sha256(data).hexdigest()})
    if database:
        request.getfixturevalue("postgres").drop_database(database)


def test_a_long_upload_keeps_its_idempotency_key(tmp_path):
    with Server(tmp_path / "service", lease_s=1) as server:
        head = ("PUT /v1/files/a HTTP/1.1", "Content-Length: 5", 'Idempotency-Key: "one"')
        with server.open(*head) as peer:
            for number in range(5):
                peer.sendall(b"%d" % number)
                time.sleep(0.5)  # longer than a lease, all together
                if number == 3:
                    with server.open(*head) as other:
                        other.sendall(b"01234")
                        assert other.recv(100).startswith(b"HTTP/1.1 409 ")
            assert peer.recv(100).startswith(b"HTTP/1.1 201 ")


def test_a_full_disk_answers_507_and_loses_nothing(tmp_path):
    server = Server(tmp_path / "service")
    server.limit_bytes = (
        8 * MIB
    )  # no file of this process may be longer: the system refuses to write, as on a full disk
    with server:
        status, kept = server.put("kept", [NOISE] * 4, 4 * MIB)
        assert status == 201
        # A form does not say how long its files are, so only writing shows that there is no room.
        body = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + NOISE * 12
        body += b"\r\n--x--\r\n"
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        content_type = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request("POST", "/v1/upload", body, server.headers | content_type)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (507, "storage-full")
        connection.close()
        with contextlib.suppress(ConnectionError):  # it need not read what it refuses
            status, answer = server.put("b", [NOISE] * 12, 12 * MIB)
            assert (status, answer["code"]) == (507, "storage-full")
        status, again = server.put("again", [NOISE] * 4, 4 * MIB)
        assert status == 201
    server.check({one["upload_id"]: one["sha256"] for one in (kept, again)})


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 24 MiB; only root may have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_system_that_fills_up_with_everything_on_it(small_disk):
    server = Server(small_disk / "service", disk_reserve_bytes=4 * MIB)
    acknowledged, refused = {}, 0
    with server:
        for number in range(80):
            size = (1_000, MIB)[number % 2]
            with contextlib.suppress(ConnectionError):  # it need not read what it refuses
                status, answer = server.put(f"{number}", [NOISE[:size]], size)
                assert status == 201 or (status, answer["code"]) == (507, "storage-full")
                refused += status == 507
                if status == 201:
                    acknowledged[answer["upload_id"]] = answer["sha256"]
    assert len(acknowledged) > 10
    assert refused > 10
    server.check(acknowledged)


class Storm:
    """Clients that upload all kinds of things in all ways, until they are told to stop."""

    def __init__(self, server, seed):
        self.server, self.random = server, random.Random(seed)
        self.acknowledged, self.tried = {}, 0
        self._lock = threading.Lock()

    def run(self, until):
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            for worker in [threads.submit(self._work, n, until) for n in range(8)]:
                worker.result()

    def _work(self, number, until):
        rng = random.Random(self.random.random() + number)
        while not until.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                with self._lock:
                    self.tried += 1
                rng.choice((self._put, self._put, self._form, self._resumable))(rng)

    def _note(self, view, data):
        assert view["sha256"] == hashlib.sha256(data).hexdigest()
        with self._lock:
            self.acknowledged[view["upload_id"]] = view["sha256"]

    def _data(self, rng):
        start = rng.randrange(MIB // 2)
        return NOISE[start : start + rng.choice((0, 1, 1000, 100_000, MIB // 2))]

    def _put(self, rng):
        data = self._data(rng)
        status, view = self.server.put(f"put/{rng.randrange(50)}", [data], len(data), timeout=20)
        if status == 201:
            self._note(view, data)

    def _form(self, rng):
        files = [self._data(rng) for _ in range(rng.randrange(1, 4))]
        with self._lock:
            self.tried += len(files) - 1
        body = b"".join(
            b'--xYx\r\nContent-Disposition: form-data; name="f"; filename="form/%d"\r\n\r\n%s\r\n'
            % (rng.randrange(50), data)
            for data in files
        )
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        headers = self.server.headers | {"Content-Type": "multipart/form-data; boundary=xYx"}
        with contextlib.closing(connection):
            connection.request("POST", "/v1/upload", body + b"--xYx--\r\n", headers)
            answer = connection.getresponse()
            if answer.status in (201, 207):
                items = json.loads(answer.read())["items"]
                for item, data in zip(items, files, strict=True):
                    self._note(item["upload"], data)

    def _resumable(self, rng):
        data = self._data(rng) + b"end"
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        base = self.server.headers | {"Tus-Resumable": "1.0.0"}
        with contextlib.closing(connection):
            connection.request("POST", "/v1/tus", headers=base | {"Upload-Length": str(len(data))})
            answer = connection.getresponse()
            answer.read()
            location, offset = answer.headers["Location"], 0
            while offset < len(data):
                chunk = data[offset : offset + max(1, len(data) // 3)]
                headers = base | {
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/offset+octet-stream",
                }
                connection.request("PATCH", location, chunk, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 204:
                    return
                offset = int(answer.headers["Upload-Offset"])
        view = {
            "upload_id": location.rpartition("/")[2],
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        self._note(view, data)


def storm(server, kills, seconds):
    """Upload and kill; then everything that was acknowledged has to be there."""
    everything = {}
    tried = 0
    for number in range(kills):
        server.start()
        stop, rain = threading.Event(), Storm(server, number)
        thread = threading.Thread(target=rain.run, args=(stop,))
        thread.start()
        time.sleep(random.Random(number).uniform(0.2, 1) * seconds)
        server.kill()
        stop.set()
        thread.join()
        everything |= rain.acknowledged
        tried += rain.tried
    with server.service() as service:
        service.recover_uploads()
        waiting = service.receiver.store.unfinished()
        unfinished = len(list(waiting))
    server.check(everything, unfinished)
    return len(everything), tried


def test_kill_9_at_any_moment_loses_nothing_acknowledged(tmp_path):
    done, tried = storm(Server(tmp_path / "service"), kills=3, seconds=2)
    assert done
    assert tried > done


@pytest.mark.engine
def test_kill_9_on_postgresql(tmp_path, postgres):
    url = postgres.create_database()
    done, _tried = storm(Server(tmp_path / "service", database=url), kills=2, seconds=2)
    postgres.drop_database(url)
    assert done


@pytest.mark.slow
def test_hundreds_of_uploads_and_a_score_of_kills(tmp_path):
    done, tried = storm(Server(tmp_path / "service"), kills=20, seconds=4)
    print(f"{done} acknowledged of {tried} requests")
    assert done >= 300


def memory_bytes(process_id):
    """The proportional set size of a process."""
    with open(f"/proc/{process_id}/smaps_rollup", encoding="ascii") as file:
        (line,) = (line for line in file if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024


def many_at_once(server, sizes):
    """Upload files of these sizes at once; returns the most memory that the server took."""
    most = [0]
    stop = threading.Event()

    def watch():
        while not stop.wait(0.1):
            most[0] = max(most[0], memory_bytes(server.process.pid))

    def put(number, size):
        pieces = (NOISE[: min(MIB, size - start)] for start in range(0, size, MIB))
        return server.put(f"many/{number}", pieces, size, timeout=600)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with concurrent.futures.ThreadPoolExecutor(len(sizes)) as threads:
        answers = list(threads.map(put, range(len(sizes)), sizes))
    stop.set()
    watcher.join()
    assert [status for status, _view in answers] == [201] * len(sizes)
    return most[0], {view["upload_id"]: view["sha256"] for _status, view in answers}


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux")
@pytest.mark.parametrize(
    "largest_bytes", [16 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.slow)]
)
def test_a_hundred_uploads_at_once_stay_within_400_mb(tmp_path, largest_bytes):
    sizes = [1024 << (number % 21) for number in range(100)]  # 1 KiB, 2 KiB ... 1 GiB
    sizes = [size for size in sizes if size <= largest_bytes]
    sizes += [sizes[number % len(sizes)] for number in range(100 - len(sizes))]
    with Server(tmp_path / "service", stall_timeout_s=120) as server:
        most_bytes, acknowledged = many_at_once(server, sizes)
        print(f"{len(sizes)} uploads, {sum(sizes) / MIB:.0f} MiB: {most_bytes / MIB:.0f} MiB")
    assert most_bytes < 400_000_000
    server.check(acknowledged)
