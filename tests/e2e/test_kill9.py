"""Kill -9 at random points, again and again over one archive: nothing acknowledged is lost, nothing finished is redone."""

import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from muniment.archive import journal
from muniment.archive.catalog import CommitState
from muniment.archive.journal import FileDigests
from muniment.bootstrap.archive import Archive

KILLS = int(os.environ.get("MUNIMENT_TEST_KILLS", "200"))
STAGES = ("seal", "build tree", "package", "sign", "timestamp", "upload")
MUNIMENT = [sys.executable, "-m", "muniment"]


@pytest.mark.slow
def test_killed_at_random_points(tmp_path: Path) -> None:
    """200 kills, half of them after a random time, half shortly after a stage began."""
    rng = random.Random(20261121)
    archive = KilledArchive(tmp_path, rng)
    with archive:
        _kill_again_and_again(archive)


def _kill_again_and_again(archive: "KilledArchive") -> None:
    archive.run_to_the_end()
    archive.grow()
    full_run_s = archive.run_to_the_end()
    stages_hit: dict[str, int] = {}
    for kill in range(KILLS):
        if not archive.has_work():
            archive.grow()
        wanted = STAGES[kill // 2 % len(STAGES)] if kill % 2 else None
        stage = archive.run_and_kill(wanted, full_run_s)
        stages_hit[stage] = stages_hit.get(stage, 0) + 1
        archive.check_acknowledged()
    assert set(STAGES) <= stages_hit.keys(), stages_hit
    archive.run_to_the_end()
    archive.check_acknowledged()
    archive.check_whole()


class KilledArchive:
    """One archive, its source, and what it acknowledged so far."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.source, self.home, self._rng = folder / "source", folder / "home", rng
        self.target = folder / "restored"
        self._environment = {
            **os.environ,
            "MUNIMENT_HOME": str(self.home),
            "MUNIMENT_CALENDARS": "",
            "MUNIMENT_CHUNK_BYTES": str(1 << 20),
            "MUNIMENT_BATCH_FILES": "40",
            "MUNIMENT_WORKERS": "2",
        }
        # Takes requests and never answers: without it, the stage is over before it can be met.
        self._calendar = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._silent_calendar = f"http://127.0.0.1:{self._calendar.getsockname()[1]}"
        self._acknowledged: list[str] = []
        self._generation = 0
        self._call("init", "--organization-id", "test", "--name", "Test", "--no-recovery-kit")
        self.grow()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._calendar.close()

    def grow(self) -> None:
        """Add files of all sizes (one goes straight to the chunks), copies, links, and change one."""
        self._generation += 1
        folder = self.source / f"{self._generation:03d}"
        folder.mkdir(parents=True)
        for number in range(50):
            size = self._rng.choice([0, 1, 500, 20_000, 200_000])
            (folder / f"file {number}").write_bytes(
                self._rng.randbytes(size // 2) + b"text " * (size // 10)
            )
        (folder / "large").write_bytes(self._rng.randbytes(9 << 20))
        shutil.copy(folder / "large", folder / "large copy")
        (folder / "link").symlink_to("large")
        (self.source / "changing").write_bytes(self._rng.randbytes(100 + self._generation))

    def run_to_the_end(self) -> float:
        """Archive without being killed; returns the seconds it took."""
        started = time.monotonic()
        self._call("archive", str(self.source))
        return time.monotonic() - started

    def run_and_kill(self, stage: str | None, full_run_s: float) -> str:
        """Archive and kill: shortly after `stage` began, or after a random time. Returns the stage that was at work."""
        finished_before = dict(self._finished_chunks())
        slow = {"MUNIMENT_CALENDARS": self._silent_calendar, "MUNIMENT_CALENDAR_TIMEOUT_S": "5"}
        process = subprocess.Popen(
            [*MUNIMENT, "--verbose", "archive", str(self.source)],
            env=self._environment | (slow if stage == "timestamp" else {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        lines = _Lines(process.stderr.fileno())
        if stage is None:
            lines.read_for(self._rng.uniform(0, full_run_s))
        else:
            lines.read_until(stage, 60)
            lines.read_for(self._rng.choice([0, 0.003, 0.05]) * self._rng.random())
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
        lines.read_for(0)
        process.stderr.close()
        assert process.returncode in (0, -signal.SIGKILL), lines.text
        self._check_not_redone(finished_before)
        return lines.last_stage()

    def has_work(self) -> bool:
        """Whether anything is unfinished or pending."""
        with contextlib.closing(Archive(self.home)) as archive:
            totals = archive.catalog.totals()
        return bool(totals.unfinished_commits or totals.pending_files)

    def check_acknowledged(self) -> None:
        """Every commit that was ever acknowledged is still there; new ones verify, without keys."""
        with contextlib.closing(Archive(self.home)) as archive:
            stored = [commit.commit_id for commit in archive.catalog.commits(CommitState.STORED)]
        assert set(self._acknowledged) <= set(stored)
        for commit_id in set(stored) - set(self._acknowledged):
            self._call("verify", commit_id)
        self._acknowledged = stored

    def check_whole(self) -> None:
        """Everything is verified deeply, restored identical, and no version of a path is archived twice."""
        self._call("verify", "--deep")
        self._call("restore", "--target", str(self.target))
        restored = self.target / str(self.source).lstrip("/")
        subprocess.run(["diff", "-r", "--no-dereference", self.source, restored], check=True)
        versions = [
            (entry["path_hex"], entry["mtime"], entry.get("content_hash"))
            for commit_id in self._acknowledged
            for entry in json.loads(self._call("--json", "show", commit_id))["files"]
            if entry["kind"] != "directory"
        ]
        assert len(versions) == len(set(versions))
        assert not any((self.home / "staging").iterdir())

    def _finished_chunks(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield the chunks that a journal calls finished, with what identifies their bytes on disk."""
        for staging in (
            (self.home / "staging").glob("*") if (self.home / "staging").exists() else ()
        ):
            with contextlib.suppress(FileNotFoundError), open(staging / "journal", "rb") as file:
                frames = [frame for frame, _end in journal.read(file)]
                for frame in frames:
                    if isinstance(frame, FileDigests) and not frame.name.endswith(
                        ("par2", "json", "sealed")
                    ):
                        status = (staging / "commit" / frame.name).stat()
                        if status.st_size == int(self._environment["MUNIMENT_CHUNK_BYTES"]):
                            yield frame.name, (status.st_ino, status.st_mtime_ns)

    def _check_not_redone(self, before: dict[str, tuple[int, int]]) -> None:
        for name, identity in before.items():
            places = [
                *self.home.glob(f"staging/*/commit/{name}"),
                *self.home.glob(f"store/commits/*/{name}"),
            ]
            assert len(places) == 1, f"finished chunk {name} is gone"
            status = places[0].stat()
            assert (status.st_ino, status.st_mtime_ns) == identity, (
                f"finished chunk {name} was written again"
            )

    def _call(self, *arguments: str) -> str:
        done = subprocess.run(
            [*MUNIMENT, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (
            f"muniment {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout


class _Lines:
    """The stages that a run told of."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = ""

    def read_for(self, seconds: float) -> None:
        self._read(seconds, lambda: False)

    def read_until(self, stage: str, seconds: float) -> None:
        self._read(seconds, lambda: f": {stage}" in self.text)

    def last_stage(self) -> str:
        found = [(self.text.rfind(f": {stage}"), stage) for stage in STAGES]
        position, stage = max(found)
        return stage if position >= 0 else "collect"

    def _read(self, seconds: float, enough) -> None:
        deadline = time.monotonic() + seconds
        while not enough() and (left := deadline - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], left)[0]:
                data = os.read(self._descriptor, 65536)
                if not data:
                    return
                self.text += data.decode("utf-8", "replace")
