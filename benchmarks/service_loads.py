"""The loads of `BENCH=service`: reads and new pins, as many as there can be and at a rate; files up and down."""

import base64
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import loads, service_client
from benchmarks.measure import MB, CommandFailedError
from benchmarks.servers import Observer, Server
from benchmarks.service_client import Target
from benchmarks.service_fill import sample
from benchmarks.service_hosts import FILES, Host, holder

LIST, ONE, CREATE = "list pins", "one pin", "create a pin"
LIST_FILES, COMMIT, STATUS = "list files", "one commit", "status"
PUT_LARGE, GET_LARGE = "large file up", "large file down"
PUT_SMALL, GET_SMALL = "small files up", "small files down"
CLIENTS = 16
RATE = 1_000
"""Requests a second that the aim is about."""

SMALL_BYTES = 10_000
LARGE_TIMES = 2
ARCHIVE_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Figure:
    """What a load got from a service, and what that cost the service, its database included.

    Attributes:
        requests_s: Requests answered per second.
        p50_ms: Median time.
        p95_ms: 95 of 100 requests take at most this time.
        p99_ms: 99 of 100.
        cpu_ms: Processor time for each request.
        peak_mb: Most memory that all its processes held together (PSS).
        mb_s: Of bodies, in units of 1,000,000 bytes a second; 0 where they are not what counts.
        shed: Share of the requests that were refused because there were too many; the times are those of the others.
    """

    requests_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    peak_mb: float
    mb_s: float = 0
    shed: float = 0


@dataclass(frozen=True, slots=True)
class Client:
    """Puts one server under load.

    Attributes:
        server: The server.
        header: The header field with its API key; empty for none.
        duration_s: How long a load lasts.
    """

    server: Server
    header: str
    duration_s: float

    def read_most(self, paths: Sequence[str]) -> Figure:
        """As many requests as are answered."""
        target = self._target("GET", 200)
        return self._most(target, itertools.cycle([target.request(path) for path in paths]))

    def read_at_rate(self, paths: Sequence[str]) -> Figure:
        """Requests that come at `RATE`, whether the last are answered or not."""
        target = self._target("GET", 200)
        return self._at_rate(target, itertools.cycle([target.request(path) for path in paths]))

    def create_most(self, path: str, status: int = 202) -> Figure:
        """As many new pins as are answered."""
        target = self._target("POST", status)
        return self._most(target, _new_pins(target, path))

    def create_at_rate(self, path: str) -> Figure:
        """New pins that come at `RATE`."""
        target = self._target("POST", 202)
        return self._at_rate(target, _new_pins(target, path))

    def put_many(self, paths: Sequence[str], body: bytes) -> Figure:
        """Upload a small file to each path."""
        target = self._target("PUT", 201)
        return self._all(target, [target.request(path, body) for path in paths], len(body))

    def get_many(self, paths: Sequence[str], size_bytes: int) -> Figure:
        """Download each path."""
        target = self._target("GET", 200, size_bytes)
        return self._all(target, [target.request(path) for path in paths], size_bytes)

    def _most(self, target: Target, requests: Iterator[bytes]) -> Figure:
        return self._observe(
            lambda: service_client.at_once(target, requests, CLIENTS, self.duration_s)
        )

    def _at_rate(self, target: Target, requests: Iterator[bytes]) -> Figure:
        return self._observe(
            lambda: service_client.at_rate(target, requests, RATE, self.duration_s)
        )

    def _all(self, target: Target, requests: Sequence[bytes], size_bytes: int) -> Figure:
        """Every one of the requests; none may be refused."""
        figure = self._observe(
            lambda: service_client.at_once(target, iter(requests), CLIENTS), size_bytes
        )
        if figure.shed:
            raise CommandFailedError(f"refused: {figure.shed:.0%} of {len(requests)} files")
        return figure

    def _observe(self, load: Callable[[], tuple[list[float], int]], size_bytes: int = 0) -> Figure:
        with Observer(self.server) as observer:
            begun_s = time.perf_counter()
            times_ms, shed = load()
            wall_s = time.perf_counter() - begun_s
        answered = len(times_ms)
        if answered < 2:
            raise CommandFailedError(f"{self.server.name} refused {shed} of {answered + shed}")
        cut, rate = statistics.quantiles(times_ms, n=100), answered / wall_s
        return Figure(
            rate,
            cut[49],
            cut[94],
            cut[98],
            observer.cpu_s * 1e3 / answered,
            observer.peak_mb,
            rate * size_bytes / MB,
            shed / (answered + shed),
        )

    def _target(self, method: str, status: int, size_bytes: int | None = None) -> Target:
        headers = (self.header,) if self.header else ()
        return Target(self.server.url, method, status, headers, size_bytes)


def _of_large(served: loads.Served) -> Figure:
    slowest = served.p99_ms
    return Figure(
        served.requests_s,
        served.p50_ms,
        slowest,
        slowest,
        served.cpu_ms,
        served.peak_mb,
        served.mb_s,
    )


def _new_pins(target: Target, path: str) -> Iterator[bytes]:
    """Pins of contents that nobody else has, and that lie in their own CID, so that nothing has to be fetched."""
    for number in service_client.unique_numbers():
        body = {"cid": identity_cid(number.to_bytes(8)), "name": f"new {number}"}
        yield target.request(path, json.dumps(body).encode())


def identity_cid(content: bytes) -> str:
    """A CID of raw bytes that holds them."""
    raw = b"\x01\x55\x00" + bytes([len(content)]) + content
    return "b" + base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def pin_read_loads(host: Host, pins: int, duration_s: float) -> Iterator[tuple[str, Figure]]:
    """What is read of the pins of the organisation that has so many."""
    client = Client(host.server, host.keys[holder(pins)], duration_s)
    reads = {LIST: ["/psa/pins"], ONE: [f"/psa/pins/{name}" for name in sample(pins)]}
    for path in (reads[LIST][0], reads[ONE][-1]):
        check_pins(host.server, path, client.header, pins)
    for name, paths in reads.items():
        yield f"{name}, most", client.read_most(paths)
        yield f"{name}, at rate", client.read_at_rate(paths)


def pin_create_loads(host: Host, pins: int, duration_s: float) -> Iterator[tuple[str, Figure]]:
    """New pins of that organisation, which leave the workers something to do for a while."""
    client = Client(host.server, host.keys[holder(pins)], duration_s)
    yield f"{CREATE}, most", client.create_most("/psa/pins")
    yield f"{CREATE}, at rate", client.create_at_rate("/psa/pins")


def check_pins(server: Server, path: str, header: str, pins: int) -> None:
    """Check that the service knows what was filled into its tables.

    Raises:
        CommandFailedError: It does not.
    """
    found = _json(server, path, header)
    if found.get("count", pins) < pins or ("results" in found and len(found["results"]) != 10):
        raise CommandFailedError(f"expected {pins} pins, got {found}")


def cluster_loads(server: Server, duration_s: float) -> Iterator[tuple[str, Figure]]:
    """The same of IPFS Cluster, whose pins are those that it was just given."""
    client = Client(server, "", duration_s)
    yield f"{CREATE}, most", client.create_most("/pins", 200)
    found = _json(server, "/pins?status=queued,pinning,pinned,failed&limit=100", "")
    names = [result["requestid"] for result in found["results"]]
    if not names:
        raise CommandFailedError("IPFS Cluster lists no pins")
    yield f"{LIST}, most", client.read_most(["/pins"])
    yield f"{ONE}, most", client.read_most([f"/pins/{name}" for name in names])


def file_loads(
    host: Host, large: Path, small_files: int, duration_s: float
) -> Iterator[tuple[str, Figure]]:
    """Files up, archived, and down; then what is read about them."""
    server, header = host.server, host.keys[FILES]
    client, options = Client(server, header, duration_s), ("--header", header)
    body = os.urandom(SMALL_BYTES)
    paths = [f"/v1/files/small/{number:05}.bin" for number in range(small_files)]
    yield PUT_SMALL, client.put_many(paths, body)
    yield (
        PUT_LARGE,
        _of_large(loads.upload(server, "/v1/files/large.bin", large, LARGE_TIMES, *options)),
    )
    uploads = _json(server, "/v1/uploads?prefix=large", header)["items"]
    for upload in uploads[1:]:  # one is enough to be archived
        loads.fetch(server, f"/v1/uploads/{upload['upload_id']}", *options, "--request", "DELETE")
    files = _archived(server, header)
    small = [file["address"] + "/content" for file in files if file["size_bytes"] == SMALL_BYTES]
    (big, *_) = (file for file in files if file["size_bytes"] == large.stat().st_size)
    if loads.fetch(server, small[0], *options) != body:
        raise CommandFailedError("a small file is not what was uploaded")
    yield GET_SMALL, client.get_many(small, SMALL_BYTES)
    yield (
        GET_LARGE,
        _of_large(
            loads.download(
                server,
                big["address"] + "/content",
                LARGE_TIMES,
                *options,
                size_bytes=large.stat().st_size,
            )
        ),
    )
    reads = {
        LIST_FILES: "/v1/files?limit=100",
        COMMIT: f"/v1/commits/{big['commit_id']}",
        STATUS: "/v1/status",
    }
    for name, path in reads.items():
        yield f"{name}, most", client.read_most([path])
        yield f"{name}, at rate", client.read_at_rate([path])


def _archived(server: Server, header: str) -> list[dict[str, Any]]:
    """Archive what was uploaded, and return what there is then."""
    started = _json(server, "/v1/archive", header, "--request", "POST")
    deadline_s = time.monotonic() + ARCHIVE_TIMEOUT_S
    while True:
        operation = _json(server, f"/v1/operations/{started['operation_id']}", header)
        if operation["state"] == "succeeded":
            break
        if operation["state"] in ("failed", "cancelled") or time.monotonic() > deadline_s:
            raise CommandFailedError(f"archiving failed: {operation}")
        time.sleep(0.5)
    files: list[dict[str, Any]] = []
    query = "kind=file&state=archived&limit=100"
    while True:
        page = _json(server, f"/v1/files?{query}", header)
        files += page["items"]
        if page["next"] is None:
            return files
        query = f"kind=file&state=archived&limit=100&cursor={page['next']}"


def _json(server: Server, path: str, header: str, *options: str) -> dict[str, Any]:
    fields = ("--header", header) if header else ()
    answer: dict[str, Any] = json.loads(loads.fetch(server, path, *fields, *options))
    return answer
