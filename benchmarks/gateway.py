"""`BENCH=gateway`: the embedded node beside Kubo, on the same files: adding, getting, exporting, importing, and serving over HTTP.

The tools take turns within every step, and the servers run all the time, so that a busy moment of the machine meets all alike. Servers
and clients share the machine's processors: what a server spends for a request says more than how many it answers.
A quick look at one part while working on it::

    python -m benchmarks gateway --only requests --quick
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field
from pathlib import Path

from benchmarks import corpus as corpora
from benchmarks import gateway_loads as loads
from benchmarks import nodes, servers
from benchmarks.aims import median_cost
from benchmarks.gateway_aims import Figures, verdicts
from benchmarks.gateway_loads import KUBO, MUNIMENT, NGINX, TOOLS, Loads
from benchmarks.holdings import Holdings, find_holdings
from benchmarks.loads import Served
from benchmarks.measure import CommandFailedError, Cost
from benchmarks.nodes import Node
from benchmarks.peers import Program, UnavailableError, find_program
from benchmarks.report import MB, machine, table, write_json
from benchmarks.servers import Server
from muniment.content.cid import CID
from muniment.errors import MunimentError

PARTS = {"add": nodes.ADD, "get": nodes.GET, "export": nodes.EXPORT, "import": nodes.IMPORT}
"""Parts at the command line; the others are those of `gateway_loads`."""
ALL_PARTS = (*PARTS, *loads.PARTS)
REQUIRED, PEERS = ("curl", "h2load", MUNIMENT), (KUBO, NGINX)
ROUNDS, CONTENT_ROUNDS, DURATION_S = 3, 2, 3.0
"""Everything that the command line's rounds write is kept until the end, so there are fewer of them."""
SCRATCH_PER_ROUND = 8
"""Free space that each of those needs, in sizes of the corpus."""
QUICK_FILES, QUICK_BYTES, QUICK_DURATION_S = 2_000, 100_000_000, 2.0


@dataclass(slots=True)
class Benchmark:
    """One run.

    Attributes:
        programs: The programs that are there.
        parts: What is to be measured.
        corpus: Folder of the corpus.
        large: Folder of the large files.
        work: Folder for everything that is removed at the end.
    """

    programs: Mapping[str, Program]
    parts: Collection[str]
    corpus: Path
    large: Path
    work: Path
    costs: dict[str, dict[str, list[Cost]]] = field(default_factory=dict)
    served: loads.Results = field(default_factory=dict)
    resident_mb: dict[str, float] = field(default_factory=dict)

    def run(self, rounds: int, duration_s: float) -> None:
        """Measure everything; the servers serve what the last round at the command line has added."""
        steps = [step for part, step in PARTS.items() if part in self.parts]
        with ExitStack() as stack:
            for number in range(min(rounds, CONTENT_ROUNDS) if steps else 1):
                added, root = self._run_nodes(stack, number, steps)
            if steps and set(self.parts) <= set(PARTS):
                return
            holdings = self._add_large(added, root)
            plain, tls = self._start(stack, added)
            self._measure(Loads(holdings, plain, tls, duration_s, self.work), rounds)

    def _run_nodes(
        self, stack: ExitStack, number: int, steps: Collection[str]
    ) -> tuple[list[Node], str]:
        names = [name for name in nodes.TOOLS if name in self.programs]
        names = names[number % len(names) :] + names[: number % len(names)]

        def fresh() -> list[Node]:
            made = (nodes.new_node(name, self.programs[name], self.work) for name in names)
            return [stack.enter_context(node) for node in made]

        added = fresh()
        root, costs = nodes.run_round(
            added, fresh() if nodes.IMPORT in steps else [], steps, self.corpus
        )
        for step in steps:
            for name, cost in costs[step].items():
                self.costs.setdefault(step, {}).setdefault(name, []).append(cost)
        return added, root

    def _add_large(self, added: Sequence[Node], root: str) -> Holdings:
        (large_root,) = {node.add(self.large)[1] for node in added}
        store = next(node.store for node in added if node.name == MUNIMENT)
        return find_holdings(self.corpus, self.large, CID.parse(root), CID.parse(large_root), store)

    def _start(self, stack: ExitStack, added: Sequence[Node]) -> tuple[list[Server], list[Server]]:
        """The servers over plain HTTP, and over TLS."""
        plain: dict[str, Server] = {}
        tls: dict[str, Server] = {}
        certificate = servers.make_certificate(self.work)
        for node in added:
            if node.kubo:
                plain[KUBO] = servers.kubo(node.kubo.start())
            else:
                program = (node.program, node.store)
                plain[MUNIMENT] = stack.enter_context(servers.muniment(*program))
                tls[MUNIMENT] = stack.enter_context(
                    servers.muniment(*program, *certificate.options)
                )
        if NGINX in self.programs:
            nginx = stack.enter_context(
                servers.nginx(
                    self.programs[NGINX].path, self.work, self.large, certificate, plain.get(KUBO)
                )
            )
            plain[NGINX], tls[NGINX] = nginx.plain, nginx.tls
            if nginx.kubo_tls:
                tls[KUBO] = nginx.kubo_tls
        return _in_order(plain), _in_order(tls)

    def _measure(self, all_loads: Loads, rounds: int) -> None:
        all_loads.check()
        steps = [step for step in all_loads.steps() if step.part in self.parts]
        for number in range(rounds):
            loads.run_round(steps, number, self.served)
        for server in all_loads.plain:
            self.resident_mb[server.name] = server.peak_resident_mb()


def _in_order(of: Mapping[str, Server]) -> list[Server]:
    return [of[name] for name in TOOLS if name in of]


def _median(found: Sequence[Served]) -> Served:
    columns = zip(*map(astuple, found), strict=True)
    return Served(*map(statistics.median, columns))


def medians(run: Benchmark) -> Figures:
    """The median of every figure by itself, by step and tool."""
    figures: dict[str, dict[str, Cost | Served]] = {}
    for step, costs in run.costs.items():
        figures[step] = {name: median_cost(found) for name, found in costs.items()}
    for step, served in run.served.items():
        figures[step] = {name: _median(found) for name, found in served.items()}
    return figures


def _cost_rows(figures: Figures) -> Iterator[list[str]]:
    for step, row in figures.items():
        for name, cost in row.items():
            if isinstance(cost, Cost):
                times = [f"{cost.wall_s:.2f}", f"{cost.cpu_s:.2f}", f"{cost.peak_mb:.0f}"]
                yield [step, name, *times, *(_ratio(row, name, peer, "wall_s") for peer in (KUBO,))]


def _served_rows(figures: Figures) -> Iterator[list[str]]:
    for step, row in figures.items():
        for name, one in row.items():
            if isinstance(one, Served):
                rates = [_three(one.requests_s), f"{one.mb_s:.0f}"]
                times = [f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", _three(one.cpu_ms)]
                ratios = [_ratio(row, name, peer, "requests_s") for peer in (KUBO, NGINX)]
                yield [step, name, *rates, *times, f"{one.peak_mb:.0f}", *ratios]


def _ratio(row: Mapping[str, Cost | Served], name: str, peer: str, figure: str) -> str:
    if peer not in row or name == peer:
        return "-"
    return f"{getattr(row[name], figure) / getattr(row[peer], figure):.2f}"


def _three(figure: float) -> str:
    """With three digits, or all those before the point."""
    return f"{figure:.3g}" if figure < 100 else f"{figure:.0f}"


def _print(run: Benchmark) -> None:
    figures = medians(run)
    print("\n".join(f"{name}: {program.version}" for name, program in run.programs.items()))
    tables: list[tuple[Sequence[str], list[Sequence[str]]]] = [
        (("step", "tool", "wall s", "CPU s", "peak MB", "x kubo"), [*_cost_rows(figures)]),
        (
            (
                "load",
                "server",
                "req/s",
                "MB/s",
                "p50 ms",
                "p99 ms",
                "CPU ms/req",
                "PSS MB",
                "x kubo",
                "x nginx",
            ),
            [*_served_rows(figures)],
        ),
        (
            ("server", "peak resident MB"),
            [[name, f"{mb:.0f}"] for name, mb in run.resident_mb.items()],
        ),
        (("aim", "limit", "ratio", "verdict"), [*verdicts(figures)]),
    ]
    for head, rows in tables:
        if rows:
            print("\n" + table(head, rows))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--only", default=",".join(ALL_PARTS), help="parts to measure (default: %(default)s)"
    )
    parser.add_argument(
        "--tools", default=",".join(TOOLS), help="which to run (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"rounds; medians are reported (default: {ROUNDS})"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help=f"of a load of requests (default: {DURATION_S})"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of everything, with a tenth of the corpus"
    )


def run(arguments: argparse.Namespace, scratch: Path, engines: Path) -> int:
    """Run the benchmark; 1 if anything failed."""
    parts = _chosen(arguments.only, ALL_PARTS)
    tools = _chosen(arguments.tools, TOOLS)
    size = (QUICK_FILES, QUICK_BYTES) if arguments.quick else (corpora.TEXT_FILES, corpora.GIB)
    rounds = arguments.rounds or (1 if arguments.quick else ROUNDS)
    duration_s = arguments.seconds or (QUICK_DURATION_S if arguments.quick else DURATION_S)
    if shutil.disk_usage(scratch).free < CONTENT_ROUNDS * SCRATCH_PER_ROUND * size[1]:
        raise SystemExit(
            f"benchmarks: {scratch} needs {CONTENT_ROUNDS * SCRATCH_PER_ROUND * size[1] / MB:.0f} MB free"
        )
    before = machine()
    try:
        programs = {name: find_program(name, engines) for name in REQUIRED}
        programs |= _peers([name for name in PEERS if name in tools], engines)
        corpus, large = corpora.make_corpus(scratch, *size), corpora.make_large_files(scratch)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="gateway-") as work:
            tempfile.tempdir = work  # so that every store is on the same disk
            benchmark = Benchmark(programs, parts, corpus, large, Path(work))
            benchmark.run(rounds, duration_s)
    except (CommandFailedError, UnavailableError, MunimentError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    finally:
        tempfile.tempdir = None
    _print(benchmark)
    result: dict[str, object] = {
        "machine": before,
        "rounds": rounds,
        "versions": {name: program.version for name, program in programs.items()},
        "costs": benchmark.costs,
        "served": benchmark.served,
        "resident_mb": benchmark.resident_mb,
        "verdicts": list(verdicts(medians(benchmark))),
    }
    print(f"\nwritten: {write_json(scratch, 'gateway', result)}")
    return 0


def _peers(names: Sequence[str], engines: Path) -> dict[str, Program]:
    """Those of the peers that can be had."""
    found = {}
    for name in names:
        try:
            found[name] = find_program(name, engines)
        except UnavailableError as error:
            print(f"benchmarks: left out: {name} {error}", file=sys.stderr)
    return found


def _chosen(text: str, known: Sequence[str]) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(known):
        raise SystemExit(
            f"benchmarks: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}"
        )
    return [name for name in known if name in chosen]
