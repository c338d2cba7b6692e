"""Commits that `muniment archive` made, in the hands of the standalone reader: the program as it is, with a keyring and `DIR`."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.entrypoints.cli.running import run

PROGRAM = Path(__file__).parents[2] / "standalone" / "muniment_commit.py"
MIB = 1 << 20
TEXT = b"a testimony, line by line\n" * 4_000
LARGE = random.Random(1).randbytes(5 * MIB + 7)  # several chunks and messages


class Desk:
    """An archive with two commits, and the reader over them."""

    def __init__(self, folder, compression, disclose):
        self.folder, self.papers = folder, folder / "papers"
        self.environment = {
            "HOME": folder / "home",
            "CALENDARS": "",
            "WORKERS": 1,
            "CHUNK_BYTES": MIB,
            "COMPRESSION": compression,
            "DISCLOSE_FILES": disclose,
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(f"MUNIMENT_{name}", str(value))
            self._archive()

    def _archive(self):
        (self.papers / "deep").mkdir(parents=True)
        for name, data in {"text": TEXT, "large": LARGE, "empty": b"", "deep/same": TEXT}.items():
            (self.papers / name).write_bytes(data)
        (self.papers / os.fsdecode(b"odd\xff\x1b[31m\n")).write_bytes(b"odd")
        (self.papers / "text").chmod(0o640)
        (self.papers / "link").symlink_to("/nowhere/at/all")
        assert run(["init", "--organization-id", "hrdag", "--no-recovery-kit", "--quiet"]) == 0
        assert run(["archive", str(self.papers), "--quiet"]) == 0
        (self.papers / "again").write_bytes(LARGE)  # its content lies in the first commit
        (self.papers / "new").write_bytes(TEXT[::-1])
        assert run(["archive", "--quiet"]) == 0

    @property
    def commits(self):
        store = self.folder / "home" / "store" / "commits"
        manifests = [json.loads((path / "manifest.json").read_bytes()) for path in store.iterdir()]
        manifests.sort(key=lambda manifest: manifest["chain"]["sequence"])
        return [store / manifest["commit_id"] for manifest in manifests]

    def read(self, *words, code=0):
        """Run the reader with the archive's identity and its signer's public line."""
        keys = self.folder / "home" / "keys"
        line = " ".join((keys / "signing.pub").read_text().split()[:2])
        command = [sys.executable, PROGRAM, *words, "--signer", line]
        if "file" not in words:
            command += ["--identity", keys / "identity.txt"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done
        return done.stdout


@pytest.fixture(
    scope="module",
    params=[("zstd", False), ("zstd", True), ("lz4", False), ("none", True)],
    ids=lambda param: f"{param[0]}{'-disclosed' if param[1] else ''}",
)
def desk(request, tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("desk"), *request.param)
    desk.compression, desk.disclosed = request.param
    return desk


def test_every_commit_is_verified_with_its_chain(desk):
    first, second = desk.commits
    out = desk.read("verify", first)
    assert "(as expected)" in out
    assert "contents   8 opened\n" in out
    assert ("the disclosed fields are those of the 8 leaves" in out) == desk.disclosed
    out = desk.read("verify", second, "--previous", first)
    assert f"continues {first.name}" in out
    assert "NOT CHECKED" not in out
    assert out.endswith("VERIFIED\n")
    desk.read("verify", first, "--previous", second, code=1)


def test_every_file_is_listed(desk):
    first, second = desk.commits
    out = desk.read("list", first)
    for name, size in {"text": len(TEXT), "large": len(LARGE), "empty": 0}.items():
        path = re.escape(f"{str(desk.papers)[1:]}/{name}")
        assert re.search(rf"file +\d{{4}} +{size} +\d+ {path}\n", out)
    assert "link -> /nowhere/at/all" in out
    assert "odd\\xff\\x1b[31m\\n" in out
    assert f"{len(LARGE)}" in desk.read("list", second)


def test_every_file_is_extracted_as_it_was(desk, tmp_path):
    for number, commit in enumerate(desk.commits):
        target = tmp_path / str(number)
        desk.read("extract", commit, target)
    first, second = (tmp_path / name / str(desk.papers)[1:] for name in "01")
    for path in (found for folder in (first, second) for found in folder.rglob("*")):
        original = desk.papers / path.relative_to(first if first in path.parents else second)
        assert path.lstat().st_mtime_ns == original.lstat().st_mtime_ns
        if path.is_symlink():
            assert os.readlink(path) == os.readlink(original)
        elif path.is_file():
            assert path.read_bytes() == original.read_bytes()
            assert path.stat().st_mode == original.stat().st_mode
    names = {os.fsencode(path.name) for path in first.iterdir()}
    assert names == {b"text", b"large", b"empty", b"deep", b"link", b"odd\xff\x1b[31m\n"}
    assert {path.name for path in second.iterdir()} == {"again", "new"}


def test_a_copy_without_the_commit_that_holds_it_is_said_and_all_else_checked(desk, tmp_path):
    first, second = desk.commits
    out = desk.read("verify", second, "--commits", tmp_path)
    assert "NOT CHECKED" in out
    assert first.name in out
    assert out.endswith("VERIFIED\n")


def test_the_contents_are_packed_as_the_setting_says(desk):
    """Else the tests above would say less than they seem to."""
    (commit, *_), found = desk.commits, {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in desk.environment.items():
            patch.setenv(f"MUNIMENT_{name}", str(value))
        from muniment.bootstrap.archive import Archive  # noqa: PLC0415

        archive = Archive(desk.folder / "home")
        for file in archive.catalog.files_of(commit.name):
            if file.place is not None:
                found[file.scanned.path.rpartition(b"/")[2]] = file.place
        archive.close()
    assert found[b"text"].compression == desk.compression
    assert found[b"large"].compression == "none"
    assert found[b"text"].leaf == found[b"same"].leaf  # stored once


def test_one_changed_bit_in_what_is_disclosed_or_sealed_is_found(desk, tmp_path):
    copy = tmp_path / desk.commits[0].name
    copy.mkdir()
    for path in desk.commits[0].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    for path in sorted(copy.iterdir()):
        if path.suffix != ".age" and ".json." not in path.name:
            data = path.read_bytes()
            changed = bytearray(data)
            changed[len(data) // 2] ^= 1
            path.write_bytes(changed)
            desk.read("verify", copy, code=1)
            path.write_bytes(data)
    desk.read("verify", copy)
