"""Losing and damaging sealed files, and getting them back byte for byte."""

import os
import random
import shutil
import subprocess

import pytest

from muniment.adapters.par2 import Par2Program
from muniment.errors import IntegrityError

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def template(make_home, tmp_path_factory):
    home = make_home(tmp_path_factory.mktemp("parity"))
    rng = random.Random(3)
    home.write(**{f"f{n}": rng.randbytes(40_000) for n in range(12)})
    home.run()
    home.archive.close()
    return home.path(home.ids[0])


@pytest.fixture
def commit(template, tmp_path):
    return shutil.copytree(template, tmp_path / template.name)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def covered(folder):
    return sorted(name for name in os.listdir(folder) if "_" in name or name == "records.sealed")


def repaired(commit, template):
    Par2Program().repair(commit, commit.name)
    found, expected = contents(commit), contents(template)
    assert {name: found.get(name) for name in covered(template)} == {name: expected[name] for name in covered(template)}  # fmt: skip
    return set(found) - set(expected)


def test_any_one_covered_file_can_be_lost(commit, template):
    names = covered(template)
    assert len(names) > 5
    for name in names:
        (commit / name).unlink()
        assert repaired(commit, template) == set()


def test_any_one_covered_file_can_be_emptied_cut_or_rubbish(commit, template):
    names = covered(template)
    for name, data in ((names[0], b""), (names[1], os.urandom(70_000)), ("records.sealed", b"x")):
        (commit / name).write_bytes(data)
        assert repaired(commit, template) == set()
    os.truncate(commit / names[2], 1000)
    assert repaired(commit, template) == set()


def test_scattered_damage_is_repaired(commit, template):
    rng = random.Random(5)
    for name in covered(template):
        data = bytearray((commit / name).read_bytes())
        for _ in range(max(1, len(data) // 4096 // 20)):
            data[rng.randrange(len(data))] ^= 0xFF
        (commit / name).write_bytes(data)
    assert repaired(commit, template) == set()


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_the_index_of_the_parity_may_be_gone_too(how, commit, template):
    index = commit / f"{commit.name}.par2"
    if how == "lost":
        index.unlink()
    else:
        index.write_bytes(os.urandom(index.stat().st_size))
    (commit / covered(template)[3]).unlink()
    repaired(commit, template)


def test_nothing_damaged_is_nothing_changed(commit, template):
    assert repaired(commit, template) == set()
    assert contents(commit) == contents(template)


def test_more_damage_than_parity_is_refused_clearly(commit, template):
    for name in covered(template)[:3]:
        (commit / name).unlink()
    with pytest.raises(IntegrityError, match="more damage than its parity can repair"):
        Par2Program().repair(commit, commit.name)


def test_no_parity_at_all_is_said(commit, template):
    for path in commit.glob("*.par2"):
        path.unlink()
    with pytest.raises(IntegrityError, match="there is no parity beside commit"):
        Par2Program().repair(commit, commit.name)


@pytest.mark.skipif(shutil.which("par2") is None, reason="needs the program par2")
def test_the_program_of_the_distribution_verifies_and_repairs_our_set(commit, template):
    run = ["par2", "verify", "-q", f"{commit.name}.par2"]
    assert subprocess.run(run, cwd=commit, capture_output=True, check=False).returncode == 0
    (commit / covered(template)[1]).unlink()
    assert subprocess.run(run, cwd=commit, capture_output=True, check=False).returncode == 1
    run[1] = "repair"
    assert subprocess.run(run, cwd=commit, capture_output=True, check=False).returncode == 0
    name = covered(template)[1]
    assert (commit / name).read_bytes() == (template / name).read_bytes()


def test_creating_again_replaces_what_a_killed_run_left(commit, template):
    par2 = commit / f"{commit.name}.par2"
    par2.write_bytes(b"half")
    from muniment.archive.manifest import Par2  # noqa: PLC0415

    names = Par2Program().create(commit, commit.name, covered(template), Par2(4096, 20))
    assert sorted(path.name for path in commit.glob("*.par2")) == names
    assert len(names) == 2
    (commit / covered(template)[0]).unlink()
    assert repaired(commit, template) - set(names) == set()
