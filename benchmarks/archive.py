"""`BENCH=archive`: archive, verify and restore one corpus with Muniment, restic and borg, step by step side by side.

The tools take turns within every step, so that a busy moment of the machine meets all of them alike; the page cache
is warm, and what the step before wrote is on disk. Figures of different runs must not be compared: ratios within one may.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks import corpus as corpora
from benchmarks.aims import Costs, median_cost, medians, verdicts
from benchmarks.measure import CommandFailedError, Cost, measure
from benchmarks.peers import PROJECT, Program, UnavailableError, find_program
from benchmarks.report import MB, machine, table, write_json
from benchmarks.tools import AGAIN, FIRST, STEPS, TOOLS, Contestant, Stored

SCRATCH_PER_CORPUS = 4
"""Free space needed, in sizes of the corpus: a store for each of three tools, and one restored copy at a time."""


FLOOR_WORKERS = (1, 2)


@dataclass(slots=True)
class Contest:
    """Rounds of all steps with all tools; a tool that fails once takes no further part."""

    programs: Mapping[str, Program]
    corpus: Path
    scratch: Path
    rounds: list[Costs] = field(default_factory=list)
    sizes: dict[str, Stored] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def run_round(self) -> None:
        """One round from nothing, in another order of the tools than the round before."""
        names = [name for name in self.programs if name not in self.failures]
        start = len(self.rounds) % max(len(names), 1)
        costs: Costs = {}
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix="archive-") as folder:
            tools = [
                Contestant(name, self.programs[name], self.corpus, Path(folder))
                for name in names[start:] + names[:start]
            ]
            for step in ("init", *STEPS):
                for tool in tools:
                    if tool.name not in self.failures:
                        self._run_step(step, tool, costs.setdefault(step, {}))
        self.rounds.append(costs)

    def _run_step(self, step: str, tool: Contestant, row: dict[str, Cost]) -> None:
        if step in (FIRST, AGAIN):
            read_through(self.corpus)
        _say(f"{step}: {tool.name}")
        try:
            row[tool.name] = tool.run(step)
        except CommandFailedError as error:
            self.failures[tool.name] = f"{step}: {error}"
            _say(f"{tool.name} failed at {self.failures[tool.name]}")
            return
        if step == FIRST:
            self.sizes[tool.name] = tool.stored()


@dataclass(frozen=True, slots=True)
class Floor:
    """The kernels' own cost on the corpus: as a whole, and the seconds in each, of all workers together."""

    workers: int
    cost: Cost
    seconds: dict[str, float]


def measure_floor(corpus: Path, scratch: Path, workers: int) -> Floor:
    """Run `benchmarks.floor` with so many processes."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="floor-") as folder:
        os.sync()
        log = Path(folder) / "log"
        command = [
            sys.executable,
            "-m",
            "benchmarks.floor",
            str(corpus),
            f"{folder}/out",
            str(workers),
        ]
        cost = measure(command, env=dict(os.environ), cwd=PROJECT, log=log)
        return Floor(workers, cost, json.loads(log.read_text("utf-8")))


def median_floor(floors: Sequence[Floor]) -> Floor:
    """The median of the whole, with the kernels of the run that is nearest to it."""
    cost = median_cost([floor.cost for floor in floors])
    nearest = min(floors, key=lambda floor: abs(floor.cost.wall_s - cost.wall_s))
    return replace(nearest, cost=cost)


def _cost_rows(costs: Costs) -> Iterator[list[str]]:
    for step, row in costs.items():
        for tool, cost in row.items():
            ratios = (
                f"{cost.wall_s / row[peer].wall_s:.2f}" if peer in row else "-"
                for peer in ("restic", "borg")
            )
            yield [
                step,
                tool,
                f"{cost.wall_s:.2f}",
                f"{cost.cpu_s:.2f}",
                f"{cost.peak_mb:.0f}",
                *ratios,
            ]


def _floor_rows(floors: Iterable[Floor], ours: Cost | None) -> Iterator[list[str]]:
    for floor in floors:
        ratio = f"{ours.wall_s / floor.cost.wall_s:.2f}" if ours else "-"
        kernels = ", ".join(f"{name} {seconds:.2f}" for name, seconds in floor.seconds.items())
        yield [
            str(floor.workers),
            f"{floor.cost.wall_s:.2f}",
            f"{floor.cost.cpu_s:.2f}",
            ratio,
            kernels,
        ]


def _print(costs: Costs, sizes: Mapping[str, Stored], floors: Sequence[Floor]) -> None:
    print(
        table(
            ("step", "tool", "wall s", "CPU s", "peak MB", "x restic", "x borg"),
            list(_cost_rows(costs)),
        )
    )
    stored_rows = [
        [tool, *(f"{size / MB:.1f}" for size in asdict(kept).values())]
        for tool, kept in sizes.items()
    ]
    print("\n" + table(("stored after the first", "data MB", "parity MB", "index MB"), stored_rows))
    if floors:
        ours = costs.get(FIRST, {}).get("muniment")
        head = (
            "floor: workers",
            "wall s",
            "CPU s",
            "ours/floor",
            "seconds by kernel, of all workers",
        )
        print("\n" + table(head, list(_floor_rows(floors, ours))))
    judged = list(verdicts(costs, sizes))
    if judged:
        print("\n" + table(("aim", "at most", "measured", "verdict"), judged))


def _say(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def _programs(names: Iterable[str], engines: Path) -> dict[str, Program]:
    programs = {}
    for name in names:
        try:
            programs[name] = find_program(name, engines)
        except UnavailableError as error:
            _say(f"left out: {name} {error}")
    return programs


def read_through(folder: Path) -> int:
    """Read every file once, so that the page cache has it; the bytes read."""
    total_bytes = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb", buffering=0) as file:
                while piece := file.read(corpora.MIB):
                    total_bytes += len(piece)
    return total_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--tools",
        default=",".join(TOOLS),
        help="which to run, in this order (default: %(default)s)",
    )
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="run everything N times, report medians"
    )
    parser.add_argument("--corpus", type=Path, help="archive this folder instead of a made one")
    parser.add_argument(
        "--files", type=int, default=corpora.TEXT_FILES, help="text files of the made corpus"
    )
    parser.add_argument("--bytes", type=int, default=corpora.GIB, help="size of the made corpus")
    parser.add_argument("--no-floor", action="store_true", help="leave out the pipeline's floor")


def run(arguments: argparse.Namespace, scratch: Path, engines: Path) -> int:
    """Run the benchmark; 1 if a tool failed, or Muniment was asked for and is not there."""
    names = arguments.tools.split(",")
    if unknown := set(names) - set(TOOLS):
        known = ", ".join(TOOLS)
        raise SystemExit(f"benchmarks: unknown tools {', '.join(sorted(unknown))}; known: {known}")
    programs = _programs(names, engines)
    corpus = arguments.corpus or corpora.make_corpus(scratch, arguments.files, arguments.bytes)
    corpus_bytes = read_through(corpus)
    needed_bytes = SCRATCH_PER_CORPUS * corpus_bytes
    if shutil.disk_usage(scratch).free < needed_bytes:
        raise SystemExit(f"benchmarks: {scratch} needs {needed_bytes / MB:.0f} MB free")
    before = machine()
    contest = Contest(programs, corpus.resolve(), scratch)
    for _ in range(arguments.repeat):
        contest.run_round()
    costs = medians(contest.rounds)
    floors = [] if arguments.no_floor else _floors(corpus.resolve(), scratch, arguments.repeat)
    result: dict[str, object] = {
        "machine": before,
        "corpus": {"path": str(corpus), "bytes": corpus_bytes},
        "repeat": arguments.repeat,
        "versions": {name: program.version for name, program in programs.items()},
        "costs": costs,
        "stored": contest.sizes,
        "floors": floors,
        "verdicts": list(verdicts(costs, contest.sizes)),
        "failures": contest.failures,
    }
    print("\n".join(f"{name}: {program.version}" for name, program in programs.items()) + "\n")
    _print(costs, contest.sizes, floors)
    print(f"\nwritten: {write_json(scratch, 'archive', result)}")
    return 1 if contest.failures or "muniment" in set(names) - set(programs) else 0


def _floors(corpus: Path, scratch: Path, repeat: int) -> list[Floor]:
    floors = []
    for workers in FLOOR_WORKERS:
        _say(f"floor with {workers} process{'es' if workers > 1 else ''}")
        read_through(corpus)
        measured = [measure_floor(corpus, scratch, workers) for _ in range(repeat)]
        floors.append(median_floor(measured))
    return floors
