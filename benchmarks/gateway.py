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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import corpus as corpora
from benchmarks import servers as running
from benchmarks.holdings import Holdings, find_holdings, large_blocks, small_cid
from benchmarks.loads import HTTP2, Ask, Served, download, request_many
from benchmarks.measure import CommandFailedError
from benchmarks.peers import UnavailableError, find_program
from benchmarks.report import machine, table, write_json
from benchmarks.servers import Server
from benchmarks.stores import make_muniment_store
from muniment.testing.kubo import LocalKubo

REQUESTS, LARGE, BLOCKS, CAR, HTTP_2 = PARTS = ("requests", "large", "blocks", "car", "http2")
MUNIMENT, KUBO, NGINX = TOOLS = ("muniment", "kubo", "nginx")

ALL_CLIENTS, FEW_CLIENTS = (16, 64), 16
LARGE_TIMES, CAR_TIMES = 8, 1
"""How often one curl gets a large file, and the CAR of the corpus, in a round."""
QUICK_FILES, QUICK_BYTES = 2_000, 100_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One load, and the servers that are put under it."""

    part: str
    name: str
    servers: Sequence[Server]
    run: Callable[[Server], Served]


@dataclass(frozen=True, slots=True)
class Loads:
    """All loads on all servers.

    Attributes:
        plain: The servers over HTTP/1.1 without TLS.
        tls: The servers over HTTP/2 with TLS.
    """

    holdings: Holdings
    store: Path
    plain: Sequence[Server]
    tls: Sequence[Server]
    duration_s: float
    scratch: Path

    def steps(self) -> Iterator[Step]:
        """Every step, in order."""
        file, many = self.holdings.small, self.holdings.many
        one = [f"/ipfs/{small_cid(self.store, self.holdings)}"]
        size = self.holdings.size_bytes(file)
        for clients in ALL_CLIENTS:
            yield self._requests(REQUESTS, "23 KB file", Ask(one, size, clients))
        paths, size = [self.holdings.path(file) for file in many], self.holdings.size_bytes(*many)
        yield self._requests(REQUESTS, "many files by path", Ask(paths, size, FEW_CLIENTS))
        for mib in corpora.LARGE_MIB:
            yield self._large(LARGE, f"{mib} MiB file", self.plain, mib)
        blocks = [f"/ipfs/{cid}?format=raw" for cid in large_blocks(self.store, self.holdings)]
        yield self._requests(BLOCKS, "raw 1 MiB blocks", Ask(blocks, corpora.MIB, FEW_CLIENTS))
        car = f"/ipfs/{self.holdings.corpus_cid}?format=car"
        yield Step(
            CAR,
            "CAR of the corpus",
            self._ipfs(),
            lambda server: download(server, car, None, CAR_TIMES),
        )
        yield self._large(
            HTTP_2,
            f"{corpora.LARGE_MIB[-1]} MiB file, HTTP/2",
            self.tls,
            corpora.LARGE_MIB[-1],
            *HTTP2,
        )

    def _ipfs(self) -> list[Server]:
        return [server for server in self.plain if server.name != NGINX]

    def _requests(self, part: str, name: str, ask: Ask) -> Step:
        name = f"{name}, {ask.clients} clients"
        return Step(
            part,
            name,
            self._ipfs(),
            lambda server: request_many(server, ask, self.duration_s, self.scratch),
        )

    def _large(
        self, part: str, name: str, servers: Sequence[Server], mib: int, *options: str
    ) -> Step:
        def run(server: Server) -> Served:
            path = f"/large{mib}.bin" if server.name == NGINX else self.holdings.large_path(mib)
            return download(server, path, mib * corpora.MIB, LARGE_TIMES, *options)

        return Step(part, name, servers, run)


Results = dict[str, dict[str, list[Served]]]
"""What was measured in each round: by step, by server."""


def run_round(steps: Sequence[Step], number: int, results: Results) -> None:
    """Run every step; each round begins with another server."""
    for step in steps:
        start = number % len(step.servers)
        for server in (*step.servers[start:], *step.servers[:start]):
            _say(f"{step.name}: {server.name}")
            row = results.setdefault(step.name, {})
            row.setdefault(server.name, []).append(step.run(server))


def medians(results: Results) -> dict[str, dict[str, Served]]:
    """The median of every figure by itself."""
    return {
        step: {name: _median(found) for name, found in row.items()} for step, row in results.items()
    }


def _median(found: list[Served]) -> Served:
    columns = zip(*(asdict(each).values() for each in found), strict=True)
    return Served(*map(statistics.median, columns))


def _rows(served: Mapping[str, Mapping[str, Served]]) -> Iterator[list[str]]:
    for step, row in served.items():
        for name, one in row.items():
            yield [
                step,
                name,
                f"{one.requests_s:.3g}" if one.requests_s < 100 else f"{one.requests_s:.0f}",
                f"{one.mb_s:.0f}",
                f"{one.p50_ms:.2f}",
                f"{one.p99_ms:.2f}",
                f"{one.cpu_ms:.3g}",
                f"{one.peak_mb:.0f}",
                f"{one.requests_s / row[KUBO].requests_s:.2f}" if KUBO in row else "-",
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
    results: Results = {}
    try:
        program = find_program("muniment", engines).path
        store = scratch / f"gateway-muniment-{size[0]}"
        holdings = find_holdings(corpus, large, *make_muniment_store(store, corpus, large))
        with (
            tempfile.TemporaryDirectory(dir=scratch, prefix="gateway-") as work,
            ExitStack() as stack,
        ):
            plain, tls = _start(
                stack, arguments.tools.split(","), holdings, program, store, Path(work)
            )
            loads = Loads(holdings, store, plain, tls, duration_s, Path(work))
            chosen = [step for step in loads.steps() if step.part in arguments.only.split(",")]
            for number in range(rounds):
                run_round(chosen, number, results)
    except (CommandFailedError, UnavailableError) as error:
        _say(str(error))
        return 1
    head = ("step", "server", "req/s", "MB/s", "p50 ms", "p99 ms", "CPU ms", "peak MB", "x kubo")
    print(table(head, list(_rows(medians(results)))))
    written = {"machine": before, "rounds": rounds, "served": results}
    print(f"\nwritten: {write_json(scratch, 'gateway', written)}")
    return 0


def _start(
    stack: ExitStack, tools: list[str], holdings: Holdings, program: Path, store: Path, work: Path
) -> tuple[list[Server], list[Server]]:
    """The servers over plain HTTP, and over TLS."""
    certificate = running.make_certificate(work)
    plain: dict[str, Server] = {}
    tls: dict[str, Server] = {}
    if MUNIMENT in tools:
        plain[MUNIMENT] = stack.enter_context(running.muniment(program, store))
        tls[MUNIMENT] = stack.enter_context(running.muniment(program, store, *certificate.options))
    if KUBO in tools:
        plain[KUBO] = _start_kubo(stack, holdings)
    if NGINX in tools:
        nginx = stack.enter_context(
            running.nginx(
                Path("/usr/sbin/nginx"), work, holdings.large, certificate, plain.get(KUBO)
            )
        )
        plain[NGINX], tls[NGINX] = nginx.plain, nginx.tls
        if nginx.kubo_tls:
            tls[KUBO] = nginx.kubo_tls
    return [plain[name] for name in TOOLS if name in plain], [
        tls[name] for name in TOOLS if name in tls
    ]


def _start_kubo(stack: ExitStack, holdings: Holdings) -> Server:
    node = stack.enter_context(LocalKubo())
    for folder, cid in (
        (holdings.corpus, holdings.corpus_cid),
        (holdings.large, holdings.large_cid),
    ):
        added = node.add(folder)
        if added != str(cid):
            raise CommandFailedError(f"expected {cid} of {folder} from Kubo, got {added}")
    return running.kubo(node.start())
