"""`BENCH=gateway`: the embedded node beside Kubo, on the same files: adding, getting, exporting, importing, and serving over HTTP.

The servers take turns within every step, all of them running all the time, so that a busy moment of the machine meets all alike.
The machine's processors are shared by servers and clients: what a server spends for a request says more than how many it answers.
A quick look at one part while working on it::

    python -m benchmarks gateway --only requests --quick
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import corpus as corpora
from benchmarks import servers as running
from benchmarks.holdings import Holdings, find_holdings, large_blocks, small_cid
from benchmarks.loads import Ask, Served, request_many
from benchmarks.measure import CommandFailedError
from benchmarks.peers import UnavailableError, find_program
from benchmarks.report import machine, table, write_json
from benchmarks.servers import Server
from benchmarks.stores import make_muniment_store

REQUESTS, BLOCKS = "requests", "blocks"
PARTS = (REQUESTS, BLOCKS)
TOOLS = ("muniment", "kubo", "nginx")

QUICK_FILES, QUICK_BYTES = 2_000, 100_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One load that every server in `tools` is put under."""

    part: str
    name: str
    tools: tuple[str, ...]
    run: Callable[[Server], Served]


def steps(holdings: Holdings, store: Path, duration_s: float, scratch: Path) -> Iterator[Step]:
    """All loads, in order."""

    def many(part: str, name: str, ask: Ask) -> Step:
        return Step(
            part,
            f"{name}, {ask.clients} clients",
            ("muniment", "kubo"),
            lambda server: request_many(server, ask, duration_s, scratch),
        )

    size = holdings.size_bytes(holdings.small)
    one = [f"/ipfs/{small_cid(store, holdings)}"]
    for clients in (16, 64):
        yield many(REQUESTS, "23 KB file", Ask(one, size, clients))
    paths = [holdings.path(file) for file in holdings.many]
    yield many(REQUESTS, "files by path", Ask(paths, holdings.size_bytes(*holdings.many), 16))
    blocks = [f"/ipfs/{cid}?format=raw" for cid in large_blocks(store, holdings)]
    yield many(BLOCKS, "raw 1 MiB blocks", Ask(blocks, corpora.MIB, 16))


@dataclass(slots=True)
class Rounds:
    """What was measured, by step and server."""

    served: dict[str, dict[str, list[Served]]] = field(default_factory=dict)

    def run(self, steps: list[Step], servers: list[Server], number: int) -> None:
        """One round; each begins with another server."""
        start = number % len(servers)
        for step in steps:
            for server in servers[start:] + servers[:start]:
                if server.name in step.tools:
                    _say(f"{step.name}: {server.name}")
                    row = self.served.setdefault(step.name, {})
                    row.setdefault(server.name, []).append(step.run(server))

    def medians(self) -> dict[str, dict[str, Served]]:
        """The median of every figure by itself."""
        return {
            step: {name: _median(found) for name, found in row.items()}
            for step, row in self.served.items()
        }


def _median(found: list[Served]) -> Served:
    return Served(
        *map(statistics.median, zip(*(asdict(each).values() for each in found), strict=True))
    )


def _rows(served: Mapping[str, Mapping[str, Served]]) -> Iterator[list[str]]:
    for step, row in served.items():
        for name, one in row.items():
            yield [
                step,
                name,
                f"{one.requests_s:.0f}",
                f"{one.mb_s:.0f}",
                f"{one.p50_ms:.2f}",
                f"{one.p99_ms:.2f}",
                f"{one.cpu_ms:.3f}",
                f"{one.peak_mb:.0f}",
                f"{one.requests_s / row['kubo'].requests_s:.2f}" if "kubo" in row else "-",
            ]


def _say(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--only", default=",".join(PARTS), help="parts to run (default: %(default)s)"
    )
    parser.add_argument(
        "--tools", default=",".join(TOOLS), help="which to run (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds; medians are reported (default: 3)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="of each load (default: 4)")
    parser.add_argument(
        "--quick", action="store_true", help="a small corpus, one round, two seconds"
    )


def run(arguments: argparse.Namespace, scratch: Path, engines: Path) -> int:
    """Run the benchmark; 1 if anything failed."""
    quick = arguments.quick
    rounds = arguments.rounds or (1 if quick else 3)
    duration_s = arguments.seconds or (2 if quick else 4)
    size = (QUICK_FILES, QUICK_BYTES) if quick else (corpora.TEXT_FILES, corpora.GIB)
    corpus, large = corpora.make_corpus(scratch, *size), corpora.make_large_files(scratch)
    before = machine()
    try:
        program = find_program("muniment", engines)
        store = scratch / f"gateway-muniment-{size[0]}"
        holdings = find_holdings(corpus, large, *make_muniment_store(store, corpus, large))
        with (
            tempfile.TemporaryDirectory(dir=scratch, prefix="gateway-") as work,
            ExitStack() as stack,
        ):
            chosen = [
                step
                for step in steps(holdings, store, duration_s, Path(work))
                if step.part in arguments.only.split(",")
            ]
            servers = [stack.enter_context(running.muniment(program.path, store))]
            result = Rounds()
            for number in range(rounds):
                result.run(chosen, servers, number)
    except (CommandFailedError, UnavailableError) as error:
        _say(str(error))
        return 1
    head = ("step", "server", "req/s", "MB/s", "p50 ms", "p99 ms", "CPU ms", "peak MB", "x kubo")
    print(table(head, list(_rows(result.medians()))))
    written = {"machine": before, "rounds": rounds, "served": result.served}
    print(f"\nwritten: {write_json(scratch, 'gateway', written)}")
    return 0
