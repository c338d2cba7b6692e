"""The gateway as it is run, against content and clients that mean harm: each is refused or cut, and the next request is answered.

Bounds: `MAX_MEMORY_BYTES` for the process through all of this, and no answer that takes longer than the limits of time say.
"""

import io
import os
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from contextlib import ExitStack, contextmanager

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content import codecs
from muniment.content.car import CarReader
from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.dag_pb import PBLink
from muniment.content.unixfs import symlink_node
from muniment.content.unixfs.hamt import murmur3_64
from muniment.content.unixfs.node import encode_directory
from muniment.entrypoints.serving.tunnel import MAX_CLIENT_CONNECTIONS
from muniment.errors import MunimentError
from muniment.testing import hostile

MIB = 1 << 20
MAX_MEMORY_BYTES = 256 * MIB
STREAM_LIMIT_BYTES = 8 * MIB
STALL_S = 1.0

# The command line with other numbers: those of production would take an hour, a minute, and a quarter of a terabyte.
PROGRAM = f"""
import contextlib, sys
from pathlib import Path
from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.entrypoints.gateway.asgi import GatewayApp, Limits
from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions
from muniment.entrypoints.serving.server import Listen, serve

@contextlib.contextmanager
def open_app(active):
    with EmbeddedBlockStore.open_reader(Path(sys.argv[1])) as blocks:
        options = GatewayOptions(
            hosts={{"example.com": True}}, time_limit_s=4, stream_limit_bytes={STREAM_LIMIT_BYTES}
        )
        with contextlib.closing(
            GatewayApp(Gateway(blocks, options), Limits(stall_s={STALL_S}), active=active)
        ) as app:
            yield app

serve(open_app, Listen(port=0), lambda url: print("Serving at", url, flush=True))
"""


class Content:
    """A store full of what means harm."""

    def __init__(self, folder):
        self.folder = folder
        self.blocks = {}
        put = self.blocks.__setitem__
        self.hello = hostile.put_node(put, b"hello\n", RAW)
        self.leaf = hostile.put_node(put, bytes(MIB), RAW)
        self.bomb_file = hostile.bomb_file(put, 4, 1000, bytes(MIB))
        self.tiny_bomb = hostile.bomb_file(put)
        self.bomb_directory = hostile.bomb_directory(put)
        self.bomb_data = hostile.bomb_data(put)
        self.shard_bomb = hostile.shard_bomb(put)
        self.wide = hostile.chain(put, 12, self._wide)
        self.too_wide = hostile.put_node(put, hostile.million_links(2 * MIB // 8 - 10))
        self.deep = hostile.chain(put, 1100, hostile.data_link, codecs.DAG_CBOR)
        self.deep_directory = hostile.chain(put, 200, hostile.directory_link)
        self.liar = hostile.put_node(put, hostile.file_node([1 << 60], [self.leaf], 1 << 60))
        self.contradiction = hostile.put_node(put, hostile.file_node([5], [self.hello], 7))
        self.long_names = self._long_names(put)
        self.names = self._names(put)
        self.site = self._site(put)
        with EmbeddedBlockStore(folder) as store:
            store.put_many(self.blocks.items())

    @staticmethod
    def _wide(cid, level):
        return hostile.wide_file_link(cid, level, width=50_000)

    def _names(self, put):
        """Return a directory of names that are none, and of links that lead to one another."""
        loop, block = symlink_node(b"loop")
        put(loop, block)
        names = [b"..", b".", b"/etc/passwd", b"../../x", b"a\0b", b"<script>alert(1)</script>"]
        links = [PBLink(self.hello, name, 6) for name in names]
        return hostile.put_node(put, encode_directory([*links, PBLink(loop, b"loop", 1)]))

    def _long_names(self, put):
        """Return a sharded directory of few names with a megabyte each."""
        slots = {}
        number = 0
        while len(slots) < 24:
            name = b"%d" % number + b"&" * MIB
            slots.setdefault(murmur3_64(name) >> 56, name)
            number += 1
        shards = []
        for slot, name in sorted(slots.items()):
            below = murmur3_64(name) >> 48 & 0xFF
            node = hostile.shard_node([(b"%02X" % below + name, self.hello)], 1 << below)
            shards.append((b"%02X" % slot, hostile.put_node(put, node)))
        bitfield = sum(1 << slot for slot in slots)
        return hostile.put_node(put, hostile.shard_node(shards, bitfield))

    def _site(self, put):
        rules = (
            b"/loop /loop 200\n/up/* /../../../etc/passwd 200\n/up2 /%2e%2e/%2e%2e/x 200\n"
            b"/many/* /" + b":splat" * 5000 + b" 301\n/host //evil.example 301\n"
        )
        good = b"\n".join(line for line in rules.split(b"\n") if not line.startswith(b"/host"))
        links = [PBLink(hostile.put_node(put, good, RAW), b"_redirects", 1)]
        bad = [PBLink(hostile.put_node(put, rules, RAW), b"_redirects", 1)]
        self.bad_site = hostile.put_node(put, encode_directory(bad))
        return hostile.put_node(put, encode_directory(links))


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return Content(tmp_path_factory.mktemp("hostile") / "store")


@contextmanager
def serving(*command):
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            line = process.stdout.readline().decode()
            assert "Serving" in line, line + process.stdout.read().decode()
            host, _, port = line.split("://")[1].split("/")[0].strip().rpartition(":")
            server = Server(host, int(port), process)
            yield server
            assert server.peak_bytes() < MAX_MEMORY_BYTES
        finally:
            process.send_signal(signal.SIGTERM)
            printed = process.communicate(timeout=60)[0].decode()
        assert process.returncode == 0, printed
        assert "Traceback" not in printed
        assert "defect" not in printed


def command_line(content, *options):
    words = ("gateway", "--store", str(content.folder), "--port", "0", "--workers", "1")
    return serving("-m", "muniment", *words, *options)


@pytest.fixture(scope="module")
def server(content):
    with serving("-c", PROGRAM, str(content.folder)) as server:
        yield server


@pytest.fixture(autouse=True)
def next_request(request):
    """Whatever a test did, the next client is served."""
    yield
    if "server" in request.fixturenames:
        content, server = request.getfixturevalue("content"), request.getfixturevalue("server")
        assert server.get(f"/ipfs/{content.hello}").body == b"hello\n"


class Answer:
    def __init__(self, received):
        head, _, self.body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines[1:])

    @property
    def is_whole(self):
        """Whether the body ended as it should."""
        if "content-length" in self.headers:
            return len(self.body) == int(self.headers["content-length"])
        return self.body.endswith(b"0\r\n\r\n")

    @property
    def content(self):
        """The body without the frames of its chunks."""
        if "transfer-encoding" not in self.headers:
            return self.body
        parts, rest = [], self.body
        while rest and (size := int(rest.partition(b"\r\n")[0], 16)):
            rest = rest.partition(b"\r\n")[2]
            parts.append(rest[:size])
            rest = rest[size + 2 :]
        return b"".join(parts)


class Server:
    def __init__(self, host, port, process):
        self.address, self.process = (host, port), process

    def connect(self):
        return socket.create_connection(self.address, timeout=30)

    def get(self, target, *lines, host="localhost", most=1 << 40, method="GET", body=()):
        """Send one request; read its answer to the end, or until there are `most` bytes."""
        with self.connect() as link:
            head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
            link.sendall("\r\n".join([*head, "", ""]).encode())
            try:
                for piece in body:
                    link.sendall(piece)
            except OSError:
                pass  # refused before all was sent
            return Answer(receive(link, most))

    def peak_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            (line,) = (line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


def receive(link, most=1 << 40):
    received = bytearray()
    try:
        while len(received) < most and (piece := link.recv(MIB)):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)


class TestBombs:
    def test_a_file_of_a_petabyte_comes_as_far_as_the_time_goes(self, server, content):
        path = f"/ipfs/{content.bomb_file}"
        head = server.get(path, method="HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(MIB * 1000**4))
        assert server.get(path, "Range: bytes=-5").body == bytes(5)
        assert server.get(path, f"Range: bytes={10**17}-{10**17 + 9}").body == bytes(10)
        part = server.get(path, most=20 * MIB)
        assert part.status == 200
        assert not part.is_whole

    def test_a_file_of_tiny_parts_ends_with_its_time(self, server, content):
        """All of its blocks are at hand all the time: that must not make it endless."""
        started_s = time.monotonic()
        answer = server.get(f"/ipfs/{content.tiny_bomb}")
        assert answer.status in (200, 504)
        assert not (answer.status == 200 and answer.is_whole)
        assert time.monotonic() - started_s < 30

    @pytest.mark.parametrize("name", ["bomb_file", "bomb_directory", "bomb_data"])
    def test_a_car_without_duplicates_is_small(self, server, content, name):
        path = f"/ipfs/{getattr(content, name)}"
        for query in ("format=car", "format=car&dag-scope=entity", "format=car&entity-bytes=5:*"):
            answer = server.get(f"{path}?{query}")
            assert answer.status == 200
            assert answer.is_whole
            assert 1 <= len(list(CarReader(io.BytesIO(answer.content)))) <= 11

    @pytest.mark.parametrize("name", ["bomb_file", "bomb_directory", "bomb_data"])
    @pytest.mark.parametrize("query", ["format=car&car-dups=y", "format=tar"])
    def test_what_could_go_on_for_ever_is_cut(self, server, content, name, query):
        answer = server.get(f"/ipfs/{getattr(content, name)}?{query}")
        if name == "bomb_data" and query == "format=tar":
            assert answer.status == 406
            return
        assert answer.status == 200
        assert not answer.is_whole
        assert len(answer.content) <= STREAM_LIMIT_BYTES

    def test_a_listing_shows_one_level(self, server, content):
        answer = server.get(f"/ipfs/{content.bomb_directory}/")
        assert answer.status == 200
        assert answer.body.count(b"<tr>") >= 1000
        assert server.get(f"/ipfs/{content.bomb_directory}" + "/5" * 10).body == b"x"
        assert server.get(f"/ipfs/{content.bomb_directory}" + "/5" * 11).status == 404

    def test_a_listing_is_bounded_by_its_text(self, server, content):
        answer = server.get(f"/ipfs/{content.long_names}/")
        assert answer.status == 200
        assert len(answer.body) < MIB

    @pytest.mark.parametrize("name", ["shard_bomb", "wide", "too_wide", "contradiction", "liar"])
    @pytest.mark.parametrize("query", ["", "?format=tar", "?format=car&dag-scope=entity", "?format=car&car-dups=y&dag-scope=entity"])  # fmt: skip
    def test_what_contradicts_itself_is_refused_or_cut(self, server, content, name, query):
        answer = server.get(f"/ipfs/{getattr(content, name)}/{query}")
        assert answer.status == 400 or not answer.is_whole
        assert answer.status in (200, 400)

    @pytest.mark.parametrize("name", ["deep", "deep_directory"])
    def test_what_is_too_deep_is_refused_or_cut(self, server, content, name):
        query = "format=car" if name == "deep" else "format=tar"
        answer = server.get(f"/ipfs/{getattr(content, name)}?{query}")
        assert answer.status == 400 or not answer.is_whole

    def test_sizes_that_are_lies_give_no_byte(self, server, content):
        for span in ("0-9", f"{1 << 59}-{(1 << 59) + 10}", "-7"):
            answer = server.get(f"/ipfs/{content.liar}", f"Range: bytes={span}")
            assert answer.status == 400 or not answer.is_whole
            assert answer.status != 200

    def test_a_block_larger_than_blocks_are_is_not_stored(self, content, tmp_path):
        block = hostile.million_links()
        with (
            EmbeddedBlockStore(tmp_path / "store") as store,
            pytest.raises(MunimentError),
        ):
            store.put(CID.of(DAG_PB, block), block)


class TestNames:
    def test_names_are_shown_as_text(self, server, content):
        body = server.get(f"/ipfs/{content.names}/").body
        assert b"<script" not in body
        assert b"&lt;script&gt;" in body

    def test_a_tar_of_them_is_refused(self, server, content):
        answer = server.get(f"/ipfs/{content.names}?format=tar")
        assert answer.status == 400 or not answer.is_whole
        if answer.status == 200:
            with (
                pytest.raises(tarfile.ReadError),
                tarfile.open(fileobj=io.BytesIO(answer.content)) as archive,
            ):
                archive.getmembers()

    def test_links_are_not_followed(self, server, content):
        assert server.get(f"/ipfs/{content.names}/loop/x").status == 404
        assert server.get(f"/ipfs/{content.names}/loop").body == b"loop"

    def test_redirects_stay_on_their_site(self, server, content):
        host = f"{content.site.to_v1()}.ipfs.example.com"
        for path in ("/loop", "/up/x", "/up2"):
            assert server.get(path, host=host).status == 404
        answer = server.get("/many/" + "x" * 4000, host=host)
        assert answer.status == 400
        assert len(answer.body) < 1000
        host = f"{content.bad_site}.ipfs.example.com"
        answer = server.get("/x", host=host)
        assert answer.status == 500
        assert answer.body.startswith(b"could not parse _redirects")


class TestRequests:
    @pytest.mark.parametrize(
        "framing", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"]
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
    def test_bodies_that_have_no_meaning_are_not_received(self, server, content, framing, method):
        sent = []

        def body():
            piece = bytes(MIB)
            if "chunked" in framing:
                piece = b"100000\r\n" + piece + b"\r\n"
            for _ in range(64):
                sent.append(len(piece))
                yield piece

        answer = server.get(f"/ipfs/{content.hello}", framing, method=method, body=body())
        assert answer.status == (405 if method == "POST" else 413)
        assert sum(sent) < 32 * MIB

    def test_a_body_behind_a_long_answer_is_not_received(self, server, content):
        """Pipelined requests are read when their turn comes, and not before."""
        with server.connect() as link:
            link.sendall(f"GET /ipfs/{content.bomb_file} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            link.settimeout(2)
            with pytest.raises(OSError):  # noqa: PT011  # time is up, or the connection was closed
                link.sendall(bytes(200 * MIB))

    @pytest.mark.parametrize(
        ("head", "statuses"),
        [
            (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", (414, 431)),
            (b"GET /ipfs/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", (400, 414)),
            (b"GET /ipfs/x?" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", (414,)),
            (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", (400, 431)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 1000 + b"\r\n", (400, 431)),
            (b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=" + b"0-1," * 1000 + b"\r\n\r\n", (404,)),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", (400,)),
            (b"\x16\x03\x01\x02\x00\x01" + b"a" * 500 + b"\r\n\r\n", (400,)),
        ],
    )
    def test_heads_that_are_too_large_are_refused(self, server, head, statuses):
        with server.connect() as link:
            try:
                link.sendall(head)
                link.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            received = receive(link)
        assert not received or Answer(received).status in statuses

    def test_a_client_that_does_not_take_its_answer_is_cut_off(self, server, content):
        with server.connect() as link:
            link.sendall(f"GET /ipfs/{content.bomb_file} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            time.sleep(STALL_S + 1.5)
            received = receive(link, most=200 * MIB)
        assert len(received) < 100 * MIB

    def test_clients_that_leave_free_what_they_had(self, server, content):
        for _ in range(40):
            with server.connect() as link:
                link.sendall(f"GET /ipfs/{content.bomb_file} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert link.recv(10) == b"HTTP/1.1 2"

    @pytest.mark.slow
    def test_heads_that_never_end_are_cut_off(self, server):
        """A byte now and then keeps nobody's place: the time is for the whole head."""
        with ExitStack() as stack:
            links = [stack.enter_context(server.connect()) for _ in range(50)]
            for link in links:
                link.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
            deadline = time.monotonic() + 40
            while links and time.monotonic() < deadline:
                time.sleep(1)
                links = [link for link in links if is_open(link)]
            assert not links


def is_open(link):
    """Send one more byte; tell whether the other side still takes it."""
    try:
        link.sendall(b"x")
        link.settimeout(0.01)
        return bool(link.recv(1000)) and False
    except TimeoutError:
        return True
    except OSError:
        return False


class TestClients:
    def test_requests_at_once(self, content):
        options = ("--max-client-requests", "2", "--trusted-proxy", "127.0.0.1")
        with command_line(content, *options) as server, ExitStack() as stack:
            for _ in range(2):
                link = stack.enter_context(server.connect())
                link.sendall(f"GET /ipfs/{content.bomb_file} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert link.recv(12) == b"HTTP/1.1 200"
            answer = server.get(f"/ipfs/{content.hello}")
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) >= 1
            elsewhere = server.get(f"/ipfs/{content.hello}", "X-Forwarded-For: 192.0.2.1")
            assert elsewhere.body == b"hello\n"
            stack.close()
            wait_for(lambda: server.get(f"/ipfs/{content.hello}").status == 200)

    def test_requests_in_a_second(self, content):
        with command_line(content, "--max-client-rate", "0.01") as server:
            answers = [server.get(f"/ipfs/{content.hello}") for _ in range(110)]
            statuses = [answer.status for answer in answers]
            assert statuses.count(200) in (100, 101, 102)
            assert set(statuses) == {200, 429}
            assert 1 <= int(answers[-1].headers["retry-after"]) <= 100
            pretending = server.get(f"/ipfs/{content.hello}", "X-Forwarded-For: 192.0.2.1")
            assert pretending.status == 429

    def test_through_tls(self, content, tmp_path):
        """There the server sees a socket of ours; who is behind it must not be lost."""
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        )
        names = ["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]
        subprocess.run([*command.split(), *names], cwd=tmp_path, check=True, capture_output=True)
        files = ("--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
        context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        context.check_hostname = False
        with command_line(content, *files, "--max-client-rate", "0.01") as server:
            statuses = []
            with server.connect() as link, context.wrap_socket(link) as secure:
                for _ in range(105):
                    secure.sendall(
                        f"GET /ipfs/{content.hello} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
                    )
                    statuses.append(int(secure.recv(65536).split()[1]))
            assert statuses[:100] == [200] * 100
            assert statuses[-1] == 429

    def test_connections_at_once(self, content):
        """One that says nothing keeps no other client out."""
        with command_line(content, "--http-proxy") as server, ExitStack() as stack:
            links = [stack.enter_context(server.connect()) for _ in range(MAX_CLIENT_CONNECTIONS)]
            wait_for(lambda: server.get(f"/ipfs/{content.hello}").status == 503)
            answer = server.get(f"/ipfs/{content.hello}")
            assert int(answer.headers["retry-after"]) >= 1
            with socket.create_connection(server.address, 20, ("127.0.0.2", 0)) as link:
                request = (
                    f"GET /ipfs/{content.hello} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                )
                link.sendall(request.encode())
                assert Answer(receive(link)).body == b"hello\n"
            for link in links:
                link.close()
            wait_for(lambda: server.get(f"/ipfs/{content.hello}").status == 200)

    def test_an_address_that_is_none_is_one_line(self, content):
        command = ["-m", "muniment", "gateway", "--store", str(content.folder)]
        ended = subprocess.run(
            [sys.executable, *command, "--trusted-proxy", "nobody"],
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == os.EX_OK + 2
        assert ended.stderr.count(b"\n") == 1


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
