"""Muniment and Kubo at the command line, without a daemon: adding, getting, exporting and importing the same files."""

import filecmp
import os
import shlex
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import CommandFailedError, Cost, measure
from benchmarks.peers import Program
from muniment.testing.kubo import LocalKubo

ADD, GET, EXPORT, IMPORT = STEPS = ("add", "get", "CAR export", "CAR import")
MUNIMENT, KUBO = TOOLS = ("muniment", "kubo")

COMMANDS: Mapping[str, Mapping[str, str]] = {
    MUNIMENT: {
        ADD: "content add --store {store} {folder}",
        GET: "content get --store {store} --output {target} {cid}",
        EXPORT: "content export --store {store} {cid}",
        IMPORT: "content import --store {store} {car}",
    },
    KUBO: {
        ADD: "add --recursive --quieter {folder}",
        GET: "get --output {target} {cid}",
        EXPORT: "dag export --progress=false {cid}",
        IMPORT: "dag import {car}",
    },
}
"""Each one's command lines, with its own defaults; the CAR is what the export prints."""


@dataclass(frozen=True, slots=True)
class Node:
    """One of them, with a store of its own."""

    name: str
    program: Path
    store: Path
    environment: Mapping[str, str]
    scratch: Path
    kubo: LocalKubo | None = None

    def add(self, folder: Path) -> tuple[Cost, str]:
        """Add a folder; what that costs, and the folder's CID."""
        cost = self._run(ADD, folder=folder, output=self.scratch / "cid")
        return cost, (self.scratch / "cid").read_text("utf-8").split()[0]

    def get(self, cid: str, folder: Path) -> Cost:
        """Write a folder out of the store, and compare it with what was added; the comparison is not measured.

        Raises:
            CommandFailedError: It differs.
        """
        target = self.scratch / "target"
        cost = self._run(GET, cid=cid, target=target)
        difference = subprocess.run(
            ["diff", "-r", "-q", folder, target], check=False, capture_output=True, text=True
        )
        if difference.returncode != 0:
            raise CommandFailedError(f"{self.name} wrote other files: {difference.stdout[:500]}")
        return cost

    @property
    def car(self) -> Path:
        """Where an export goes."""
        return self.scratch / "export.car"

    def export(self, cid: str) -> Cost:
        """Write a DAG to a CAR."""
        return self._run(EXPORT, cid=cid, output=self.car)

    def import_(self, car: Path) -> Cost:
        """Read a CAR into the store, every block verified and the root pinned."""
        return self._run(IMPORT, car=car)

    def _run(self, step: str, *, output: Path | None = None, **words: object) -> Cost:
        os.sync()
        line = COMMANDS[self.name][step]
        command = [word.format(store=self.store, **words) for word in shlex.split(line)]
        return measure(
            [str(self.program), *command],
            env=self.environment,
            cwd=self.scratch,
            log=self.scratch / "log",
            output=output,
        )


@contextmanager
def new_node(name: str, program: Program, scratch: Path) -> Iterator[Node]:
    """A node with an empty store, everything below `scratch`."""
    with (
        tempfile.TemporaryDirectory(dir=scratch, prefix=f"{name}-") as folder,
        ExitStack() as stack,
    ):
        own = Path(folder)
        if name == KUBO:
            kubo = stack.enter_context(LocalKubo())
            yield Node(name, program.path, kubo.repository, kubo.environment, own, kubo)
        else:
            environment = {"PATH": os.environ["PATH"], "HOME": folder, "LC_ALL": "C.UTF-8"}
            environment["MUNIMENT_HOME"] = f"{folder}/home"
            yield Node(name, program.path, own / "home" / "store", environment, own)


Costs = dict[str, dict[str, Cost]]
"""What was measured: by step, by tool."""


def run_round(
    nodes: Sequence[Node], importers: Sequence[Node], steps: Collection[str], folder: Path
) -> tuple[str, Costs]:
    """One round of `steps`, in which the nodes take turns; adding is always one of them. Return the folder's CID, too.

    Raises:
        CommandFailedError: A step failed, or the nodes do not agree on the CID or on the CAR.
    """
    costs: Costs = {ADD: {}}
    cids = []
    for node in nodes:
        costs[ADD][node.name], cid = node.add(folder)
        cids.append(cid)
    if len(set(cids)) != 1:
        raise CommandFailedError(f"expected one CID of {folder} from all, got {', '.join(cids)}")
    if GET in steps:
        costs[GET] = {node.name: node.get(cids[0], folder) for node in nodes}
    if not {EXPORT, IMPORT}.isdisjoint(steps):
        costs[EXPORT] = {node.name: node.export(cids[0]) for node in nodes}
        car, *others = [node.car for node in nodes]
        if not all(filecmp.cmp(car, other, shallow=False) for other in others):
            raise CommandFailedError("the CARs differ")
        costs[IMPORT] = {node.name: node.import_(car) for node in importers}
    return cids[0], costs
