"""The tools of the archive benchmark: how each is called, run in a scratch folder, and its restores checked."""

import filecmp
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import CommandFailedError, Cost, measure
from benchmarks.peers import Program

FIRST, AGAIN, VERIFY, RESTORE_ALL, RESTORE_ONE = STEPS = (
    "first archive",
    "unchanged again",
    "full verify",
    "restore all",
    "restore one",
)
RESTORES = (RESTORE_ALL, RESTORE_ONE)

COMMANDS: Mapping[str, Mapping[str, str]] = {
    "muniment": {
        "init": "init --organization-id bench --no-recovery-kit --yes",
        FIRST: "archive {corpus}",
        AGAIN: "archive {corpus}",
        VERIFY: "verify --deep",
        RESTORE_ALL: "restore --target {target}/restored",
        RESTORE_ONE: "restore --target {target}/restored {one}",
    },
    "restic": {
        "init": "init",
        FIRST: "backup --quiet {corpus}",
        AGAIN: "backup --quiet {corpus}",
        VERIFY: "check --no-cache --read-data",
        RESTORE_ALL: "restore latest --target {target}",
        RESTORE_ONE: "restore latest --target {target} --include {one}",
    },
    "borg": {
        "init": "init --encryption repokey-blake2",
        FIRST: "create ::first {corpus}",
        AGAIN: "create ::again {corpus}",
        VERIFY: "check --verify-data",
        RESTORE_ALL: "extract ::first",
        RESTORE_ONE: "extract ::first {one_in_borg}",
    },
}
"""Every tool's command lines; all run in the (empty) folder that a restore goes to."""

ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "muniment": {"MUNIMENT_HOME": "{store}", "MUNIMENT_CALENDARS": ""},
    "restic": {
        "RESTIC_REPOSITORY": "{store}",
        "RESTIC_PASSWORD": "benchmark",
        "RESTIC_CACHE_DIR": "{cache}",
    },
    "borg": {"BORG_REPO": "{store}", "BORG_PASSPHRASE": "benchmark", "BORG_BASE_DIR": "{cache}"},
}
TOOLS = tuple(COMMANDS)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a tool keeps on disk, in bytes of disk blocks: the archive, its parity, and indexes that can be made again."""

    data_bytes: int
    parity_bytes: int
    index_bytes: int


Costs = dict[str, dict[str, Cost]]  # by step, by tool


class Contestant:
    """One tool at work in a scratch folder of its own."""

    def __init__(self, name: str, program: Program, corpus: Path, scratch: Path) -> None:
        self.name = name
        self._program = program
        self._corpus = corpus
        self._scratch = scratch / name
        self._store, self._cache, self._target = (
            self._scratch / part for part in ("store", "cache", "target")
        )
        self._restores = 0
        self._one = one_file(corpus)
        self._scratch.mkdir()
        self._target.mkdir()

    def run(self, step: str) -> Cost:
        """Run one step and check what it restored; the check is not measured."""
        os.sync()
        command = [
            str(self._program.path),
            *map(self._filled, shlex.split(COMMANDS[self.name][step])),
        ]
        cost = measure(
            command, env=self._environment(), cwd=self._target, log=self._scratch / "log"
        )
        if step in RESTORES:
            self._check_restored(everything=step == RESTORE_ALL)
            # Nothing is removed before the end: ext4 searches past every inode that was deleted in the last minutes, which would
            # charge one tool's clean-up to the next one's restore (up to ten seconds of system time for 20,000 files).
            self._restores += 1
            self._target = self._scratch / f"target-{self._restores}"
            self._target.mkdir()
        return cost

    def stored(self) -> Stored:
        """What the tool keeps on disk by now."""
        return stored(self._store, self._cache)

    def _filled(self, word: str) -> str:
        return word.format(
            corpus=self._corpus,
            one=self._one,
            one_in_borg=str(self._one).lstrip("/"),
            target=self._target,
            store=self._store,
            cache=self._cache,
        )

    def _environment(self) -> dict[str, str]:
        own = {name: self._filled(value) for name, value in ENVIRONMENTS[self.name].items()}
        return {"PATH": os.environ["PATH"], "HOME": str(self._scratch), "LC_ALL": "C.UTF-8", **own}

    def _check_restored(self, *, everything: bool) -> None:
        """Compare with the source, wherever below the target the tool has put it.

        Raises:
            CommandFailedError: Something is missing or differs.
        """
        if not everything:
            found = list(self._target.rglob(self._one.name))
            if len(found) != 1 or not filecmp.cmp(found[0], self._one, shallow=False):
                raise CommandFailedError(f"{self.name} did not restore {self._one} as it was")
            return
        below = self._one.relative_to(self._corpus)
        found = list(self._target.rglob(str(below)))
        if len(found) != 1:
            raise CommandFailedError(f"{self.name} restored {below} {len(found)} times")
        restored = found[0].parents[len(below.parts) - 1]
        difference = subprocess.run(
            ["diff", "-r", "-q", self._corpus, restored],
            check=False,
            capture_output=True,
            text=True,
        )
        if difference.returncode != 0:
            raise CommandFailedError(
                f"{self.name} restored something else: {difference.stdout[:500]}"
            )


def stored(store: Path, cache: Path) -> Stored:
    """Sort what is on disk into data, parity and index; a file with several names counts once, as for `du`."""
    sizes = {"data": 0, "parity": 0, "index": 0}
    seen: set[tuple[int, int]] = set()
    for root in (store, cache):
        for path in root.rglob("*"):
            status = path.lstat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            sizes[_kind(path, is_cache=root == cache)] += status.st_blocks * 512
    return Stored(sizes["data"], sizes["parity"], sizes["index"])


def _kind(path: Path, *, is_cache: bool) -> str:
    if path.suffix == ".par2":
        return "parity"
    is_database = path.name.endswith(
        (".db", ".db-wal", ".db-shm", ".sqlite3", ".sqlite3-wal", ".sqlite3-shm")
    )
    return "index" if is_cache or is_database else "data"


def one_file(corpus: Path) -> Path:
    """The text file in the middle of the corpus: what `restore one` asks for."""
    folders = sorted(path for path in corpus.iterdir() if path.is_dir() and path.name != "media")
    files = sorted(folders[len(folders) // 2].iterdir()) if folders else sorted(corpus.iterdir())
    return files[len(files) // 2]
