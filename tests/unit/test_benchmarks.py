"""The benchmarks' own instruments: what they measure must be what was spent, and the corpus the same everywhere."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.aims import AIMS, medians, verdicts
from benchmarks.archive import Contest, read_through
from benchmarks.corpus import MIB, make_corpus, make_tiny_files, text_files
from benchmarks.floor import run as run_floor
from benchmarks.measure import CommandFailedError, Cost, children, measure
from benchmarks.peers import Program
from benchmarks.report import table
from benchmarks.scan import measure_scans
from benchmarks.tools import FIRST, STEPS, Stored, one_file, stored

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROOT = Path(__file__).parents[2]
SPEND_CPU = "import time\nwhile time.process_time() < 0.3: pass\n"


MEASURE = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from benchmarks.measure import CommandFailedError, measure
folder = Path(sys.argv[1])
try:
    cost = measure([sys.executable, "-c", sys.argv[2]], env=dict(os.environ), cwd=folder, log=folder / "log")
except CommandFailedError as error:
    print(json.dumps(str(error)))
else:
    print(json.dumps(asdict(cost)))
"""


def spent(tmp_path: Path, code: str) -> Cost:
    """Measure from a small process, as a benchmark is: the kernel counts what a process was before it became the command."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path, code], cwd=ROOT, capture_output=True, check=True
    )
    answer = json.loads(done.stdout)
    if isinstance(answer, str):
        raise CommandFailedError(answer)
    return Cost(**answer)


class TestCorpus:
    def test_is_the_same_bytes_on_every_machine(self):
        digest = hashlib.sha256()
        for path, content in text_files(50):
            digest.update(path.encode() + content)
        assert (
            digest.hexdigest() == "28ee747a222b2ca16f10ad74600ae32795f2990e4f3bc2d17fd98a0a13b20c28"
        )

    def test_has_the_files_and_the_size_asked_for(self, tmp_path):
        folder = make_corpus(tmp_path, files=20, size_bytes=MIB)
        assert len(list(folder.glob("case*/*.txt"))) == 20
        assert [path.name for path in folder.glob("media/*")] == ["clip00.bin"]
        assert read_through(folder) == MIB

    def test_is_made_once_and_only_whole(self, tmp_path):
        folder = make_tiny_files(tmp_path, 3)
        (folder / "d0000" / "mark").touch()
        (tmp_path / "tiny-v1-4.partial" / "left by a crash").mkdir(parents=True)
        assert (make_tiny_files(tmp_path, 3) / "d0000" / "mark").exists()
        assert len(list(make_tiny_files(tmp_path, 4).rglob("*.txt"))) == 4
        assert sorted(os.listdir(tmp_path)) == ["tiny-v1-3", "tiny-v1-4"]

    def test_one_file_is_a_text_file(self, tmp_path):
        assert one_file(make_corpus(tmp_path, files=5, size_bytes=MIB)).name == "doc00002.txt"


class TestMeasure:
    def test_counts_the_processor_time_of_descendants(self, tmp_path):
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPEND_CPU!r}])"
        assert spent(tmp_path, code).cpu_s >= 0.3

    def test_counts_a_process_that_outlives_its_parent(self, tmp_path):
        code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-W', 'ignore', '-c', {SPEND_CPU!r}])"
        with subprocess.Popen(["sleep", "60"]) as other:  # such as a server of another test
            before = set(children(os.getpid()))
            assert spent(tmp_path, code).cpu_s >= 0.3
            assert set(children(os.getpid())) == before
            other.terminate()
        assert other.returncode == -signal.SIGTERM

    def test_sums_the_memory_of_processes_but_counts_shared_pages_once(self, tmp_path):
        code = (
            "import os, time\n"
            "shared = b'x' * 60_000_000\n"
            "child = os.fork()\n"
            "own = b'y' * 50_000_000\n"
            "time.sleep(0.6)\n"
            "if child: os.wait()\n"
        )
        cost = spent(tmp_path, code)
        assert 160 < cost.peak_mb < 210
        assert 110 < cost.largest_mb < 150

    def test_a_failure_shows_the_end_of_the_output(self, tmp_path):
        with pytest.raises(CommandFailedError, match=r"exit code 3\n.*it broke"):
            spent(tmp_path, "print('it broke', flush=True); raise SystemExit(3)")

    def test_a_program_that_is_not_there(self, tmp_path):
        with pytest.raises(CommandFailedError, match="cannot start /nowhere"):
            measure(["/nowhere"], env={}, cwd=tmp_path, log=tmp_path / "log")


class TestStored:
    def test_counts_disk_blocks_once_and_parity_and_indexes_apart(self, tmp_path):
        store, cache = tmp_path / "store", tmp_path / "cache"
        store.mkdir()
        cache.mkdir()
        (store / "chunk").write_bytes(os.urandom(8192))
        os.link(store / "chunk", store / "again")
        (store / "a.vol0+1.par2").write_bytes(os.urandom(4096))
        (store / "catalogue.db").write_bytes(os.urandom(4096))
        (cache / "files").write_bytes(os.urandom(12288))
        os.sync()
        assert stored(store, cache) == Stored(8192, 4096, 4096 + 12288)


class TestAims:
    def costs(self, **walls: float) -> dict[str, dict[str, Cost]]:
        return {
            step: {name: Cost(wall, wall, 100, 100) for name, wall in walls.items()}
            for step in STEPS
        }

    def test_compares_with_the_better_peer(self):
        rows = {
            row[0]: row for row in verdicts(self.costs(muniment=3.0, restic=10.0, borg=5.0), {})
        }
        assert rows["unchanged again, wall_s to restic and borg"] == (
            "unchanged again, wall_s to restic and borg",
            "0.5",
            "0.6",
            "MISSED",
        )
        assert rows["first archive, wall_s to restic"][2:] == ("0.3", "met")
        assert len(rows) == len(AIMS)

    def test_judges_nothing_without_muniment_or_the_peer(self):
        assert not list(verdicts(self.costs(restic=1.0, borg=1.0), {}))
        judged = [row[0] for row in verdicts(self.costs(muniment=0.1), {})]
        assert judged
        assert not [what for what in judged if " to " in what]

    def test_stored_leaves_parity_out(self):
        sizes = {"muniment": Stored(110, 900, 900), "restic": Stored(100, 0, 0)}
        assert list(verdicts({}, sizes)) == [
            ("stored without parity to restic", "1.05", "1.1", "MISSED")
        ]

    def test_the_median_of_each_figure(self):
        rounds = [{FIRST: {"borg": Cost(wall, 10 - wall, wall, wall)}} for wall in (1.0, 9.0, 2.0)]
        assert medians(rounds) == {FIRST: {"borg": Cost(2.0, 8.0, 2.0, 2.0)}}


def program(tmp_path: Path, script: str) -> Program:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Program(path, "stand-in 1")


class TestContest:
    """With a stand-in for the tool, whose restore copies from the source."""

    def contest(self, tmp_path: Path, script: str, damage: str = ":") -> Contest:
        corpus = make_corpus(tmp_path, files=5, size_bytes=MIB)
        stand_in = program(tmp_path, script.format(corpus=corpus, damage=damage))
        contest = Contest({"muniment": stand_in}, corpus, tmp_path)
        contest.run_round()
        assert not list(tmp_path.glob("archive-*"))
        return contest

    RESTORE = 'if [ "$1" = restore ]; then mkdir "$3"; cp -r "${{5:-{corpus}}}" "$3"; {damage}; fi'

    def test_measures_every_step(self, tmp_path):
        contest = self.contest(tmp_path, self.RESTORE)
        assert not contest.failures
        assert set(contest.rounds[0]) == {"init", *STEPS}

    def test_a_restore_that_differs_fails_and_is_not_run_again(self, tmp_path):
        contest = self.contest(tmp_path, self.RESTORE, damage='rm "$3"/*/media/clip00.bin')
        assert contest.failures["muniment"].startswith(
            "restore all: muniment restored something else"
        )
        assert "restore one" not in medians(contest.rounds)

    def test_a_restore_of_nothing_fails(self, tmp_path):
        assert "0 times" in self.contest(tmp_path, "exit 0").failures["muniment"]


def test_a_scan_measures_every_step_at_every_size(tmp_path):
    start_s, scans = measure_scans(program(tmp_path, "exit 0").path, [2, 3], tmp_path)
    assert start_s > 0
    assert [(scan.files, scan.step) for scan in scans] == [
        (files, step) for files in (2, 3) for step in ("add", "add again", "status")
    ]


def test_the_floor_runs_every_kernel(tmp_path):
    corpus = make_corpus(tmp_path, files=10, size_bytes=MIB)
    (tmp_path / "out").mkdir()
    seconds = run_floor(corpus, tmp_path / "out", 1)
    assert set(seconds) == {
        "read",
        "BLAKE3",
        "zstd 1",
        "secretstream",
        "tar",
        "write",
        "SHA-256",
        "PAR2",
    }
    assert list((tmp_path / "out").glob("parity.vol*.par2"))


def test_tables_align_figures_to_the_right():
    assert (
        table(("tool", "s"), [["borg", "10.5"], ["restic", "9.5"]])
        == "tool       s\nborg    10.5\nrestic   9.5"
    )
