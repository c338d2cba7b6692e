"""`BENCH=scan`: what the catalogue costs per file, at growing numbers of tiny files, and how fast the program starts.

The cost per file should stay the same from ten thousand files to a million.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import corpus as corpora
from benchmarks.measure import CommandFailedError, Cost, measure
from benchmarks.peers import UnavailableError, find_program
from benchmarks.report import machine, table, write_json

HELP, INIT = "--help", "init --organization-id bench --no-recovery-kit --yes"
STEPS = {
    "add": "add {folder}",
    "add again": "add {folder}",
    "status": "status",
}
PER_FILE = ("add", "add again")
"""The steps that look at every file; the others should not grow with them."""
HELP_RUNS = 5


@dataclass(frozen=True, slots=True)
class Scan:
    """One step's cost at one number of files."""

    files: int
    step: str
    cost: Cost


class Muniment:
    """The program, with a home in a scratch folder."""

    def __init__(self, program: Path, scratch: Path) -> None:
        self._program = program
        self._scratch = scratch

    def run(self, words: str, folder: Path | None = None) -> Cost:
        """Run one command line and measure it."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._scratch),
            "LC_ALL": "C.UTF-8",
            "MUNIMENT_HOME": str(self._scratch / "home"),
            "MUNIMENT_CALENDARS": "",
        }
        command = [str(self._program), *(word.format(folder=folder) for word in words.split())]
        return measure(command, env=environment, cwd=self._scratch, log=self._scratch / "log")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--files", default="10000,100000,1000000", help="numbers of files (default: %(default)s)"
    )


def run(arguments: argparse.Namespace, scratch: Path, engines: Path) -> int:
    """Run the benchmark; 1 if a step failed."""
    before = machine()
    try:
        program = find_program("muniment", engines)
        counts = sorted(map(int, arguments.files.split(",")))
        start_s, scans = measure_scans(program.path, counts, scratch)
    except (CommandFailedError, UnavailableError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(f"{program.version}\nmuniment --help: {start_s:.3f} s (the best of {HELP_RUNS})\n")
    head = ("step", "files", "wall s", "CPU s", "peak MB", "us a file", "x the smallest")
    print(table(head, list(_rows(scans))))
    result = {"machine": before, "version": program.version, "help_s": start_s, "scans": scans}
    print(f"\nwritten: {write_json(scratch, 'scan', result)}")
    return 0


def measure_scans(program: Path, counts: list[int], scratch: Path) -> tuple[float, list[Scan]]:
    """The best start-up time in seconds, and the cost of every step at each of `counts` files."""
    scans: list[Scan] = []
    with tempfile.TemporaryDirectory(dir=scratch, prefix="scan-") as work:
        muniment = Muniment(program, Path(work))
        start_s = min(muniment.run(HELP).wall_s for _ in range(HELP_RUNS))
    for files in counts:
        folder = corpora.make_tiny_files(scratch, files)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="scan-") as work:
            muniment = Muniment(program, Path(work))
            muniment.run(INIT)
            for step, words in STEPS.items():
                print(f"benchmarks: {step}: {files} files", file=sys.stderr, flush=True)
                os.sync()
                scans.append(Scan(files, step, muniment.run(words, folder)))
    return start_s, scans


def _rows(scans: list[Scan]) -> Iterator[list[str]]:
    for scan in sorted(scans, key=lambda scan: (list(STEPS).index(scan.step), scan.files)):
        cost = scan.cost
        row = [
            scan.step,
            str(scan.files),
            f"{cost.wall_s:.2f}",
            f"{cost.cpu_s:.2f}",
            f"{cost.peak_mb:.0f}",
        ]
        if scan.step in PER_FILE:
            smallest = next(other for other in scans if other.step == scan.step)
            per_file_s = cost.wall_s / scan.files
            growth = per_file_s / (smallest.cost.wall_s / smallest.files)
            yield [*row, f"{per_file_s * 1e6:.1f}", f"{growth:.2f}"]
        else:
            yield [*row, "-", "-"]
