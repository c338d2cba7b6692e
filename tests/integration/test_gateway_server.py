"""The gateway as it is run: a process of its own, real sockets, real clients."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import h2.connection
import h2.events
import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID, RAW
from muniment.content.unixfs import directory_dag, import_file
from muniment.entrypoints.gateway.gateway import Gateway
from muniment.entrypoints.gateway.messages import Request

MIB = 1 << 20
LARGE_BYTES = 64 * MIB


class _Noise:
    """A long file in which nothing repeats."""

    def __init__(self, size):
        self.left = size

    def read(self, size):
        size = min(size, self.left)
        self.left -= size
        return os.urandom(size)


class Content:
    """A store with a small file, a large one, one with a block missing, and a directory of them."""

    def __init__(self, folder):
        self.folder = folder
        with EmbeddedBlockStore(folder) as store:
            self.hello = CID.of(RAW, b"hello\n")
            store.put(self.hello, b"hello\n")
            blocks = []
            self.large = import_file(_Noise(LARGE_BYTES), lambda *block: blocks.append(block)).root
            store.put_many(blocks)
            lost = []
            self.broken = import_file(_Noise(8 * MIB), lambda *block: lost.append(block)).root
            leaves = [block for block in lost if block[0].codec == RAW]
            store.put_many(block for block in lost if block[0] != leaves[5][0])
            dag = directory_dag([(b"hello", self.hello, 6)])
            store.put_many(dag.inner)
            self.folder_cid = dag.root


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return Content(tmp_path_factory.mktemp("gateway") / "store")


def running(content, *options):
    return serving("gateway", "--store", str(content.folder), "--port", "0", *options)


def serving(*words):
    return started([sys.executable, "-m", "muniment", *words])


@contextmanager
def started(command):
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            line = process.stdout.readline().decode()
            assert "Serving" in line, line + process.stdout.read().decode()
            yield Server(line.split("://")[1].split("/")[0], process)
        finally:
            process.send_signal(signal.SIGTERM)
            printed = process.communicate(timeout=30)[0].decode()
            assert process.returncode == 0, printed
            assert "Traceback" not in printed


class Server:
    def __init__(self, address, process):
        host, _, port = address.rpartition(":")
        self.address, self.process = (host, int(port)), process

    def connect(self):
        return socket.create_connection(self.address, timeout=20)

    def get(self, target, *lines, method="GET"):
        """Send one request on a connection of its own; return status, headers and body."""
        with self.connect() as connection:
            head = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *lines]
            connection.sendall("\r\n".join([*head, "", ""]).encode())
            return read_answer(connection)

    def workers(self):
        """The processes that serve."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
            return [int(pid) for pid in children.read().split()] or [self.process.pid]

    def memory_bytes(self):
        return sum(map(memory_bytes, self.workers()))


def memory_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    raise AssertionError


def read_answer(connection):
    pieces = []
    while piece := connection.recv(MIB):
        pieces.append(piece)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


@pytest.fixture(scope="module", params=["1", "3"])
def server(content, request):
    words = ["--subdomains", "example.com", "--http-proxy", "--workers", request.param]
    with running(content, *words) as server:
        yield server


def test_files_of_any_size(server, content):
    assert server.get(f"/ipfs/{content.hello}")[2] == b"hello\n"
    status, headers, body = server.get(f"/ipfs/{content.large}")
    assert (status, headers["content-length"]) == (200, str(LARGE_BYTES))
    assert import_file(_Bytes(body), lambda *_: None).root == content.large


class _Bytes:
    def __init__(self, data):
        self._data, self._offset = data, 0

    def read(self, size):
        self._offset += size
        return self._data[self._offset - size : self._offset]


def test_a_body_that_cannot_be_finished_does_not_end_well(server, content):
    status, headers, body = server.get(f"/ipfs/{content.broken}")
    assert status == 200
    assert len(body) < int(headers["content-length"])
    status, headers, body = server.get(f"/ipfs/{content.broken}?format=car")
    assert headers["transfer-encoding"] == "chunked"
    assert not body.endswith(b"0\r\n\r\n")


def test_a_client_that_does_not_read_takes_no_memory(content):
    with running(content) as server:
        server.get(f"/ipfs/{content.large}")
        before = server.memory_bytes()
        clients = [server.connect() for _ in range(8)]
        for client in clients:
            client.sendall(f"GET /ipfs/{content.large} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        time.sleep(0.3)
        assert server.get(f"/ipfs/{content.hello}")[2] == b"hello\n"
        assert server.memory_bytes() - before < 8 * 24 * MIB
        for client in clients:
            client.close()


IMPATIENT = """
import contextlib, sys
from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.entrypoints.gateway.asgi import GatewayApp, Limits
from muniment.entrypoints.gateway.gateway import Gateway
from muniment.entrypoints.serving.server import Listen, serve

@contextlib.contextmanager
def open_app(active):
    with EmbeddedBlockStore.open_reader(sys.argv[1]) as store:
        yield GatewayApp(Gateway(store), Limits(requests=1, stall_s=0.3), active=active)

serve(open_app, Listen(port=0), lambda url: print("Serving", url + "/", flush=True))
"""


def test_a_client_that_stops_reading_is_cut_off(content):
    command = [sys.executable, "-c", IMPATIENT, str(content.folder)]
    with started(command) as server, server.connect() as reader:
        reader.sendall(f"GET /ipfs/{content.large} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert reader.recv(100).startswith(b"HTTP/1.1 200")
        assert server.get(f"/ipfs/{content.hello}")[0] == 429
        wait_until(lambda: server.get(f"/ipfs/{content.hello}")[0] == 200)
        size = 0
        while piece := reader.recv(MIB):
            size += len(piece)
        assert size < LARGE_BYTES


def test_too_many_requests_at_once(content):
    with running(content, "--max-requests", "3", "--workers", "3") as server:
        readers = [server.connect() for _ in range(3)]
        for reader in readers:
            reader.sendall(f"GET /ipfs/{content.large} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert reader.recv(100).startswith(b"HTTP/1.1 200")
        for _ in range(6):  # whichever worker is asked
            status, headers, _ = server.get(f"/ipfs/{content.hello}")
            assert status == 429
            assert int(headers["retry-after"]) > 0
        for reader in readers:
            reader.close()
        wait_until(lambda: server.get(f"/ipfs/{content.hello}")[0] == 200)


def wait_until(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_another_worker_takes_the_place_of_one_that_dies(content):
    with running(content, "--max-requests", "2", "--workers", "2") as server:
        before = server.workers()
        with server.connect() as reader:
            reader.sendall(f"GET /ipfs/{content.large} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            reader.recv(100)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 2 and not set(server.workers()) & set(before))
        wait_until(lambda: can_serve(server, content))
        for _ in range(6):  # the requests that were lost are not counted for ever
            assert server.get(f"/ipfs/{content.hello}")[2] == b"hello\n"


def can_serve(server, content):
    try:
        return all(server.get(f"/ipfs/{content.hello}")[0] == 200 for _ in range(8))
    except OSError:
        return False


def test_workers_do_not_outlive_their_parent(content):
    command = [sys.executable, "-m", "muniment", "gateway", "--store", str(content.folder)]
    words = ["--port", "0", "--workers", "2"]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        workers = Server("localhost:0", process).workers()
        assert len(workers) == 2
        process.kill()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))


def test_an_interrupt_ends_all(content):
    with running(content, "--workers", "2") as server:
        workers = server.workers()
        server.process.send_signal(signal.SIGINT)
        server.process.wait(timeout=20)
        assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def test_many_clients_at_once(server, content):
    answers = []

    def ask():
        answers.extend(server.get(f"/ipfs/{content.folder_cid}/hello")[2] for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"hello\n"] * 80


def test_a_proxy_to_itself(server, content):
    host = f"{content.hello}.ipfs.example.com"
    with server.connect() as connection:
        connection.sendall(f"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert read_answer(connection)[2] == b"hello\n"
    target = f"http://{host}/"
    assert server.get(target, f"X-Forwarded-Host: {host}")[2] == b"hello\n"


def test_nonsense_is_no_harm(server, content):
    for data in (
        b"\0" * 100,
        b"CONNECT " + b"a" * 20_000,
        b"CON",
        b"GET / HTTP/9\r\n\r\n",
        b"GET " + b"/" * 100_000,
    ):
        with server.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(MIB):
                pass
    for target in ("/ipfs/%00", "/ipfs/" + "a" * 5000, "/%", "/ipfs/x?" + "a" * 5000, "//", "*"):
        assert 400 <= server.get(target)[0] < 500
    assert server.get(f"/ipfs/{content.hello}")[2] == b"hello\n"


def test_http_2(server, content):
    with server.connect() as link:
        assert get_http_2(link, f"/ipfs/{content.hello}") == b"hello\n"


def get_http_2(link, path):
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    stream = connection.get_next_available_stream_id()
    head = {":method": "GET", ":path": path, ":scheme": "http", ":authority": "a"}
    connection.send_headers(stream, list(head.items()), end_stream=True)
    body, is_ended = b"", False
    link.sendall(connection.data_to_send())
    while not is_ended:
        for event in connection.receive_data(link.recv(65536)):
            if isinstance(event, h2.events.DataReceived):
                body += event.data
            is_ended |= isinstance(event, h2.events.StreamEnded)
    return body


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_tls(content, certificate, protocol):
    words = ["--certificate", str(certificate[0]), "--key", str(certificate[1])]
    context = ssl.create_default_context(cafile=certificate[0])
    context.check_hostname = False
    context.set_alpn_protocols([protocol])
    with (
        running(content, *words, "--subdomains", "example.com") as server,
        server.connect() as link,
        context.wrap_socket(link) as connection,
    ):
        assert connection.selected_alpn_protocol() == protocol
        if protocol == "h2":
            assert get_http_2(connection, f"/ipfs/{content.hello}") == b"hello\n"
            return
        head = (
            "GET",
            f"/ipfs/{content.hello}",
            "HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        )
        connection.sendall(" ".join(head).encode())
        status, headers, _ = read_answer(connection)
        location = f"https://{content.hello}.ipfs.example.com/"
        assert (status, headers["location"]) == (301, location)


def test_a_certificate_that_is_none_is_one_line(content, certificate):
    words = ["gateway", "--store", str(content.folder), "--certificate", str(certificate[1])]
    command = [sys.executable, "-m", "muniment", *words, "--key", str(certificate[1])]
    ended = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert ended.stderr.decode().count("\n") == 1


def test_an_address_in_use_is_one_line(server, content):
    command = [sys.executable, "-m", "muniment", "gateway", "--store", str(content.folder)]
    ended = subprocess.run(
        [*command, "--port", str(server.address[1])], capture_output=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.decode().count("\n") == 1
    assert "cannot listen on" in ended.stderr.decode()


def test_a_commit_is_served_in_place(small_home):
    """What a partner or auditor gets over HTTP is the commit, byte for byte, without any key."""
    path = small_home.path()
    folder = small_home.archive.store.folder
    with EmbeddedBlockStore.open_reader(folder) as store:
        gateway = Gateway(store)
        (root,) = [pin.cid for pin in store.pins() if pin.name == path.name]
        sealed = [file for file in path.iterdir() if file.suffix not in (".age", ".ots", ".tsr")]
        assert len(sealed) > 3
        for file in sealed:
            answer = gateway.respond(Request("GET", f"/ipfs/{root}/{file.name}"))
            body = answer.first + b"".join(answer.rest or ())
            assert (answer.status, body) == (200, file.read_bytes())
        for hidden in ("keys.age", "manifest.json.ots", "..", "../keys.age"):
            assert gateway.respond(Request("GET", f"/ipfs/{root}/{hidden}")).status == 404


def test_what_is_added_is_served_at_once(content):
    data = b"added later\n"
    cid = CID.of(RAW, data)
    with running(content) as server:
        assert server.get(f"/ipfs/{cid}")[0] == 404
        with EmbeddedBlockStore(content.folder) as store:
            store.put(cid, data)
        assert server.get(f"/ipfs/{cid}")[2] == data


def test_the_store_of_a_new_home_is_served(home):
    home.archive.close()
    with serving("--home", str(home.folder / "home"), "gateway", "--port", "0") as server:
        assert server.get("/ipfs/bafkqaaa?format=raw")[0] == 200


def test_a_folder_without_an_archive_is_one_line(tmp_path):
    command = [sys.executable, "-m", "muniment", "--home", str(tmp_path), "gateway", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert ended.stderr.decode().count("\n") == 1
