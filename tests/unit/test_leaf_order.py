"""The order of leaves: ascending paths, checked within ranges and from range to range."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.verifying import verify_commit
from muniment.archive import verify
from muniment.archive.keyring import Keyring
from muniment.archive.leaf_order import LeafPath, check_order, ends
from muniment.archive.verify import LeavesReport
from muniment.errors import FormatError

VECTORS = Path(__file__).parents[1] / "vectors/commit"
ID = "20261121T101112Z-abcdefg2"


def numbered(paths):
    return [LeafPath(leaf, path) for leaf, path in enumerate(paths)]


@given(st.lists(st.binary(min_size=1, max_size=3), unique=True))
def test_sorted_paths_are_in_order(paths):
    check_order(numbered(sorted(paths)))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([b"a", b"a"], "leaves 0 and 1 have the same path b'a'"),
        ([b"a", b"b", b"a"], "leaf 2 is out of order: its path b'a' is not behind that of leaf 1"),
        ([b"b", b"a", b"b"], "leaf 1 is out of order"),
        ([b"a/b", b"a"], "leaf 1 is out of order"),
        ([b"\xff", b"\x7f"], "leaf 1 is out of order"),
    ],
)
def test_other_orders_are_not(paths, message):
    with pytest.raises(FormatError, match=message):
        check_order(numbered(paths))


@given(
    st.lists(st.sampled_from([b"a", b"a/b", b"b", b"c"]), min_size=1, max_size=5),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_ranges_find_what_the_whole_would(paths, width, random):
    leaves = numbered(paths)
    ranges = [leaves[at : at + width] for at in range(0, len(leaves), width)]

    def by_ranges():
        for part in ranges:
            check_order(part)
        reports = [LeavesReport(len(part), 0, 0, 0, ends(part)) for part in ranges]
        random.shuffle(reports)
        verify.check_ranges(reports)

    assert _refuses(by_ranges) == _refuses(lambda: check_order(leaves))


def _refuses(check):
    try:
        check()
    except FormatError:
        return True
    return False


@pytest.mark.parametrize("leaves_at_once", [1, 2, 3, 2048])
def test_the_same_path_twice_is_found_in_different_ranges(leaves_at_once, tmp_path, monkeypatch):
    path = shutil.copytree(VECTORS / "good" / ID, tmp_path / ID)
    for file in (VECTORS / "bad/records-same-path").iterdir():
        shutil.copy(file, path)
    keyring = Keyring.decode((VECTORS / f"good/{ID}.keys").read_bytes(), ID)
    monkeypatch.setattr(verify, "_SPAN_LEAVES", leaves_at_once)
    with CommitFolder(path) as folder:
        report = verify_commit(folder, worker_count=1, keyring=keyring)
    (problem,) = [problem for problem in report.problems if "keys.age" not in problem]
    assert "leaves 3 and 4 have the same path b'd/none'" in problem
