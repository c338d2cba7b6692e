"""The servers of the gateway benchmark, each a process (or several) on a free loopback port, ended when the block ends."""

import os
import pwd
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.measure import MB, CommandFailedError, descendants, proportional_bytes, read_proc
from muniment.testing.kubo import LocalKubo

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 15
MEMORY_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it answers, and the processes that it consists of (their descendants belong to it)."""

    name: str
    url: str
    roots: tuple[int, ...]

    def pids(self) -> list[int]:
        """All of its living processes."""
        return [pid for root in self.roots for pid in (root, *descendants(root))]

    def cpu_s(self) -> float:
        """User and system time so far of all of its processes, and of those that they have waited for."""
        return sum(map(_cpu_ticks, self.pids())) / TICKS_PER_S

    def memory_mb(self) -> float:
        """Proportional set size of all of its processes, in units of 1,000,000 bytes: shared pages count once."""
        return sum(map(proportional_bytes, self.pids())) / MB

    def peak_resident_mb(self) -> float:
        """The most memory that each of its living processes ever had resident, added up; shared pages count repeatedly."""
        return sum(map(_peak_resident_kib, self.pids())) * 1024 / MB


def _cpu_ticks(pid: int) -> int:
    fields = read_proc(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: fields 14 to 17 of proc(5)


def _peak_resident_kib(pid: int) -> int:
    found = re.search(r"^VmHWM:\s*(\d+) kB", read_proc(f"/proc/{pid}/status"), re.MULTILINE)
    return int(found[1]) if found else 0


class Observer:
    """What a server spends while the context lasts: processor time, and memory sampled twice a second."""

    def __init__(self, server: Server) -> None:
        self.cpu_s = 0.0
        self.peak_mb = 0.0
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._started_cpu_s = self._server.cpu_s()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = self._server.cpu_s() - self._started_cpu_s
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(MEMORY_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        self.peak_mb = max(self.peak_mb, self._server.memory_mb())


@contextmanager
def muniment(program: Path, store: Path, *options: str) -> Iterator[Server]:
    """`muniment gateway` over a block store.

    Raises:
        CommandFailedError: It does not start.
    """
    command = [str(program), "gateway", "--store", str(store), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.search(r"https?://[^/\s]+", line)
        if found is None:
            raise CommandFailedError(f"{' '.join(command)} does not start: {line.strip()}")
        yield Server("muniment", found[0], (process.pid,))
    finally:
        stop(process)


def kubo(node: LocalKubo) -> Server:
    """The gateway of a Kubo whose daemon runs."""
    return Server("kubo", node.gateway_url, (node.process_id,))


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for loopback that nobody but the benchmark's own clients believes."""

    certificate: Path
    key: Path

    @property
    def options(self) -> tuple[str, ...]:
        """As `muniment gateway` takes it."""
        return ("--certificate", str(self.certificate), "--key", str(self.key))


def make_certificate(folder: Path) -> Certificate:
    """A new one, in `folder`."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *name, *files], check=True, capture_output=True
    )
    return made


NGINX_CONFIGURATION = """
daemon off;
worker_processes auto;
user {user};
pid nginx.pid;
error_log error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    root {files};
    server {{
        listen 127.0.0.1:{ports[0]};
        listen 127.0.0.1:{ports[1]} ssl http2;
    }}
    server {{
        listen 127.0.0.1:{ports[2]} ssl http2;
        location / {{ proxy_pass {kubo}; proxy_http_version 1.1; proxy_set_header Host $host; proxy_max_temp_file_size 0; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """One nginx: serving files, the same over TLS, and in front of Kubo, which has no TLS of its own."""

    plain: Server
    tls: Server
    kubo_tls: Server | None


@contextmanager
def nginx(
    program: Path, folder: Path, files: Path, certificate: Certificate, kubo: Server | None
) -> Iterator[Nginx]:
    """nginx with `sendfile`, serving the folder `files`; everything of its own is in `folder`.

    Raises:
        CommandFailedError: It does not start.
    """
    ports = _free_ports(3)
    text = NGINX_CONFIGURATION.format(
        user=pwd.getpwuid(os.geteuid()).pw_name,
        certificate=certificate.certificate,
        key=certificate.key,
        files=files,
        ports=ports,
        kubo=kubo.url if kubo else "http://127.0.0.1:9",
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(text, "utf-8")
    command = [str(program), "-p", f"{folder}/", "-c", str(configuration), "-e", "error.log"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _await_port(ports[-1], process)
        yield Nginx(
            Server("nginx", f"http://127.0.0.1:{ports[0]}", (process.pid,)),
            Server("nginx", f"https://127.0.0.1:{ports[1]}", (process.pid,)),
            Server("kubo", f"https://127.0.0.1:{ports[2]}", (process.pid, *kubo.roots))
            if kubo
            else None,
        )
    finally:
        stop(process)


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _await_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    process.kill()
    said = process.communicate()[0].decode("utf-8", "replace").strip()
    raise CommandFailedError(f"{process.args!r} does not start: {said}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server that we started: politely, then not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
