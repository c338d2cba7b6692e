"""`BENCH=service`: the HTTP service on SQLite and on PostgreSQL, with few and many pins, beside IPFS Cluster's pinning service.

Reads and new pins are measured twice: as many as are answered (16 clients), and at 1,000 a second whatever the answers, which is
what the aims are about. A quick look at one part while working on it::

    python -m benchmarks service --only pins --quick
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks import service_hosts as hosts
from benchmarks import service_loads as loads
from benchmarks.measure import CommandFailedError
from benchmarks.report import machine, table, write_json
from benchmarks.service_aims import verdicts
from benchmarks.service_loads import Figure
from muniment.errors import MunimentError

PINS, FILES, CLUSTER = PARTS = ("pins", "files", "cluster")
SIZES, QUICK_SIZES = (10_000, 1_000_000), (1_000, 10_000)
DURATION_S, QUICK_DURATION_S = 3.0, 0.5
LARGE_AND_SMALL, QUICK_FILES = (1 << 30, 1_000), (1 << 26, 200)
"""Bytes of the large file, and how many small ones there are."""
_PIECE = 1 << 22

Figures = dict[str, dict[str, Figure]]
"""What was measured: by server and number of pins, by load."""


def measure(
    parts: Iterable[str],
    databases: Iterable[str],
    sizes: list[int],
    duration_s: float,
    large_bytes: int,
    small_files: int,
    processes: int,
    work: Path,
) -> Figures:
    """Run everything.

    Raises:
        CommandFailedError: A request failed.
        MunimentError: A server does not start.
    """
    figures: Figures = {}
    large = _large_file(work / "large.bin", large_bytes) if FILES in parts else None
    for name in databases:
        with hosts.muniment(name, work / name, sizes if PINS in parts else [], processes) as host:
            held = sizes if PINS in parts else []
            for pins in held:
                found = loads.pin_read_loads(host, pins, duration_s)
                _collect(figures, f"{name}, {pins} pins", found)
            if large:
                _collect(figures, name, loads.file_loads(host, large, small_files, duration_s))
            for pins in held:  # last: the workers go on with them
                found = loads.pin_create_loads(host, pins, duration_s)
                _collect(figures, f"{name}, {pins} pins", found)
    if CLUSTER in parts:
        with hosts.cluster() as server:
            _collect(figures, hosts.CLUSTER, loads.cluster_loads(server, duration_s))
    return figures


def _collect(figures: Figures, name: str, found: Iterator[tuple[str, Figure]]) -> None:
    row = figures.setdefault(name, {})
    for load, figure in found:
        load1 = os.getloadavg()[0]
        print(
            f"benchmarks: {name}: {load}: {figure.requests_s:.0f}/s, p95 {figure.p95_ms:.1f} ms,"
            f" {figure.cpu_ms:.2f} ms CPU (load {load1:.1f})",
            file=sys.stderr,
            flush=True,
        )
        row[load] = figure


def _large_file(path: Path, size_bytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(0, size_bytes, _PIECE):
            file.write(os.urandom(_PIECE))
    return path


def _rows(figures: Mapping[str, Mapping[str, Figure]]) -> Iterator[list[str]]:
    for name, row in figures.items():
        for load, one in row.items():
            times = [f"{one.p50_ms:.1f}", f"{one.p95_ms:.1f}", f"{one.p99_ms:.1f}"]
            mb_s = f"{one.mb_s:.0f}" if one.mb_s else "-"
            shed = f"{one.shed * 100:.0f}%" if one.shed else "-"
            spent = [f"{one.cpu_ms:.2f}", f"{one.peak_mb:.0f}"]
            yield [name, load, f"{one.requests_s:.1f}", mb_s, *times, shed, *spent]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    databases = f"{hosts.SQLITE},{hosts.POSTGRESQL}"
    parser.add_argument(
        "--only", default=",".join(PARTS), help="parts to measure (default: %(default)s)"
    )
    parser.add_argument(
        "--databases", default=databases, help="which to run (default: %(default)s)"
    )
    parser.add_argument(
        "--pins",
        default="",
        help=f"numbers of pins (default: {','.join(map(str, SIZES))}; 10000000 needs 15 GB)",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help=f"of a load ({DURATION_S})")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="of the service (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="little of everything, once")


def run(arguments: argparse.Namespace, scratch: Path, engines: Path) -> int:  # noqa: ARG001  # as all benchmarks
    """Run the benchmark; 1 if anything failed."""
    quick = arguments.quick
    parts = _chosen(arguments.only, PARTS)
    databases = _chosen(arguments.databases, hosts.HOSTS[:2])
    default_sizes = QUICK_SIZES if quick else SIZES
    sizes = sorted(map(int, filter(None, arguments.pins.split(",")))) or list(default_sizes)
    duration_s = arguments.seconds or (QUICK_DURATION_S if quick else DURATION_S)
    large_bytes, small_files = QUICK_FILES if quick else LARGE_AND_SMALL
    before = machine()
    try:
        with tempfile.TemporaryDirectory(dir=scratch, prefix="service-") as work:
            figures = measure(
                parts,
                databases,
                sizes,
                duration_s,
                large_bytes,
                small_files,
                arguments.processes,
                Path(work),
            )
    except (CommandFailedError, MunimentError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    head = (
        "server",
        "load",
        "req/s",
        "MB/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "shed",
        "CPU ms/req",
        "PSS MB",
    )
    print(table(head, [*_rows(figures)]))
    judged = [*verdicts(figures, databases, sizes)]
    if judged:
        print("\n" + table(("aim", "limit", "figure", "verdict"), judged))
    result: dict[str, object] = {
        "machine": before,
        "load_1_min_after": round(os.getloadavg()[0], 2),
        "processes": arguments.processes,
        "figures": figures,
        "verdicts": judged,
    }
    print(f"\nwritten: {write_json(scratch, 'service', result)}")
    return 0


def _chosen(text: str, known: tuple[str, ...]) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise SystemExit(f"benchmarks: expected some of {','.join(known)}, got {','.join(unknown)}")
    return chosen
