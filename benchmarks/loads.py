"""What is asked of a server, by clients of others: h2load for many requests at once, curl for one large answer.

h2load was chosen by measurement. For a 23 KB file from nginx, on one of two cores, it spends 13.6 us of processor time a request at
71,000 a second, with 16 clients and with 64; wrk, the leanest there is, spends 12.8 us: nearly all of both is the kernel's copying.
h2load is kept up with its library nghttp2 and packaged by every distribution, speaks HTTP/1.1 and HTTP/2, and writes down time and
status of every request: quantiles are exact, and no error is lost in an average. With its one thread it leaves the server a core.
"""

import re
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import MB, CommandFailedError
from benchmarks.servers import Observer, Server

WARM_UP_S = 0.5
HTTP2 = ("--http2", "--insecure")
"""Options of curl for HTTP/2 over TLS, without belief in certificates."""
TIMEOUT_S = 300
OUTPUT_TAIL_CHARACTERS = 1_500


@dataclass(frozen=True, slots=True)
class Served:
    """What one load got from a server, and what that cost the server."""

    requests_s: float
    """Requests answered per second."""
    mb_s: float
    """Of bodies, in units of 1,000,000 bytes per second."""
    p50_ms: float
    """Median time from a request to the end of its answer."""
    p99_ms: float
    """99 of 100 requests take at most this time."""
    cpu_ms: float
    """Processor time that the server spent for each request."""
    peak_mb: float
    """Most memory that all processes of the server held together (PSS)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Paths that are asked for over and over, by `clients` at once that each wait for their answer.

    Attributes:
        paths: The paths.
        size_bytes: Size of a body; of several paths, the mean.
        clients: Connections.
    """

    paths: Sequence[str]
    size_bytes: float
    clients: int


def request_many(server: Server, ask: Ask, duration_s: float, scratch: Path) -> Served:
    """Put a load on a server.

    Raises:
        CommandFailedError: A request failed, or none was answered.
    """
    _h2load(server, ask, WARM_UP_S, scratch)
    with Observer(server) as observer:
        times_ms = _h2load(server, ask, duration_s, scratch)
    cut = statistics.quantiles(times_ms, n=100)
    rate = len(times_ms) / duration_s
    cpu_ms = observer.cpu_s * 1e3 / len(times_ms)
    return Served(rate, rate * ask.size_bytes / MB, cut[49], cut[98], cpu_ms, observer.peak_mb)


def _h2load(server: Server, ask: Ask, duration_s: float, scratch: Path) -> list[float]:
    """Milliseconds of every request."""
    log, uris = scratch / "h2load.log", scratch / "h2load.uris"
    log.unlink(missing_ok=True)
    uris.write_text("".join(f"{server.url}{path}\n" for path in ask.paths), "utf-8")
    options = [
        "--h1",
        "--threads=1",
        f"--clients={ask.clients}",
        f"--duration={round(duration_s * 1000)}ms",
    ]
    check_summary(_run(["h2load", *options, f"--log-file={log}", f"--input-file={uris}"]))
    times_ms = read_log(log)
    if len(times_ms) < 2:
        raise CommandFailedError(f"{server.name} answers no requests")
    return times_ms


def check_summary(text: str) -> None:
    """Check what h2load says at its end.

    Raises:
        CommandFailedError: A request failed, had an error or took too long.
    """
    found = re.search(
        r"^requests: .* (\d+) failed, (\d+) errored, (\d+) timeout$", text, re.MULTILINE
    )
    if found is None or any(map(int, found.groups())):
        raise CommandFailedError(f"requests failed: {text[-OUTPUT_TAIL_CHARACTERS:]}")


def read_log(log: Path) -> list[float]:
    """The milliseconds of every request in a log of h2load.

    Raises:
        CommandFailedError: One has another status than 200.
    """
    times_ms = []
    for line in log.read_text("ascii").splitlines():
        _, status, time_us = line.split("\t")
        if status != "200":
            raise CommandFailedError(f"expected status 200, got {status}")
        times_ms.append(int(time_us) / 1e3)
    return times_ms


def download(
    server: Server, path: str, times: int, *options: str, size_bytes: int | None = None
) -> Served:
    """Get one large answer several times over one connection, by one curl.

    Raises:
        CommandFailedError: An answer failed, or has another size.
    """
    url = f"{server.url}{path}"
    transfers = [word for _ in range(times) for word in ("--output", "/dev/null", url)]
    form = r"%{http_code} %{http_version} %{size_download} %{time_total}\n"
    version = "2" if HTTP2[0] in options else "1.1"
    with Observer(server) as observer:
        said = _run(
            [
                "curl",
                "--silent",
                "--show-error",
                "--fail",
                *options,
                "--write-out",
                form,
                *transfers,
            ]
        )
    rows = [line.split() for line in said.splitlines()]
    if len(rows) != times:
        raise CommandFailedError(f"expected {times} answers of {url}, got {said}")
    for row in rows:
        if row[:2] != ["200", version] or size_bytes not in (None, int(row[2])):
            raise CommandFailedError(
                f"expected 200, HTTP/{version} and {size_bytes} bytes of {url}, got {row}"
            )
    seconds = sorted(float(row[3]) for row in rows)
    middle_s = statistics.median(seconds)
    mb = int(rows[0][2]) / MB
    cpu_ms = observer.cpu_s * 1e3 / times
    return Served(
        1 / middle_s, mb / middle_s, middle_s * 1e3, seconds[-1] * 1e3, cpu_ms, observer.peak_mb
    )


def upload(server: Server, path: str, file: Path, times: int, *options: str) -> Served:
    """PUT one large file several times, by one curl each.

    Raises:
        CommandFailedError: It is not answered by 201, or not all of it was sent.
    """
    command = ["curl", "--silent", "--show-error", "--fail", *options, "--output", "/dev/null"]
    form = r"%{http_code} %{size_upload} %{time_total}"
    target, size_bytes = f"{server.url}{path}", file.stat().st_size
    seconds = []
    with Observer(server) as observer:
        for _ in range(times):
            said = _run([*command, "--write-out", form, "--upload-file", str(file), target])
            status, sent, time_s = said.split()
            if (status, int(sent)) != ("201", size_bytes):
                raise CommandFailedError(f"expected 201 and {size_bytes} bytes sent, got {said}")
            seconds.append(float(time_s))
    middle_s = statistics.median(seconds)
    cpu_ms = observer.cpu_s * 1e3 / times
    rate = size_bytes / MB / middle_s
    return Served(1 / middle_s, rate, middle_s * 1e3, max(seconds) * 1e3, cpu_ms, observer.peak_mb)


def fetch(server: Server, path: str, *options: str) -> bytes:
    """The body of one answer.

    Raises:
        CommandFailedError: There is none.
    """
    command = ["curl", "--silent", "--show-error", "--fail", "--insecure", *options]
    return _output([*command, server.url + path])


def _run(command: Sequence[str]) -> str:
    return _output(command).decode("utf-8", "replace")


def _output(command: Sequence[str]) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        tail = (error.stderr or error.stdout).decode("utf-8", "replace")[-OUTPUT_TAIL_CHARACTERS:]
        raise CommandFailedError(f"{' '.join(command[:6])} ...: {tail}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailedError(f"{command[0]}: {error}") from error
    return done.stdout
