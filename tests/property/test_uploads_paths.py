"""Names of uploads: whatever a client sends, no file leaves its folder, and no two share a place."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muniment.adapters.upload_files import UploadFiles
from muniment.errors import UsageError
from muniment.uploads.upload import (
    NAME_BYTES_MAX,
    PATH_BYTES_MAX,
    Upload,
    UploadState,
    check_path,
    folders_of,
    numbered,
)

TRAPS = (
    *(b"..", b".", b"", b"/", b"a", b"A", b"\x00", b"~", b" ", b"-", b"*", b"\\", b"..\\x", b"C:"),
    *(b"\xc3\xa4", b"a\xcc\x88", b"\xff\xfe", b"\xef\xac\x80", b"ff", b"\xe2\x80\xae"),
    *(b"...", b"con", b"x" * 255, b"x" * 256, b"\xc3" * 254 + b"\xa4\xa4", b"\n", b"\x1b[2J"),
)
names = st.sampled_from(TRAPS) | st.binary(max_size=300)
paths = st.lists(names, max_size=70).map(b"/".join) | st.binary(max_size=PATH_BYTES_MAX + 10)


@given(paths)
@example(b"../../etc/passwd")
@example(b"/etc/passwd")
@example(b"a/../../b")
@example(b"a\x00b")
def test_a_path_stays_below_its_folder(path):
    try:
        kept = check_path(path)
    except UsageError:
        names = path.split(b"/")
        is_long = len(path) > PATH_BYTES_MAX or path.count(b"/") > 64
        assert is_long or b".." in names or b"\0" in path or not path.strip(b"./")
        return
    parts = kept.split(b"/")
    assert parts
    assert all(parts)
    assert not {b".", b".."} & set(parts)
    assert all(len(part) <= NAME_BYTES_MAX for part in parts)
    assert os.path.normpath(b"/root/" + kept) == b"/root/" + kept
    assert check_path(kept) == kept


@given(paths, st.integers(1, 10**9), st.integers(1, 10**9))
def test_numbered_paths_are_paths_in_the_same_folder_and_differ(path, one, other):
    try:
        kept = check_path(path)
    except UsageError:
        return
    first, second = numbered(kept, one), numbered(kept, other)
    assert (first == second) == (one == other)
    assert check_path(first) == first or len(first) > PATH_BYTES_MAX
    assert folders_of(first) == folders_of(kept)
    assert len(first.rpartition(b"/")[2]) <= NAME_BYTES_MAX


@pytest.mark.parametrize(
    ("path", "number", "expected"),
    [
        (b"a/b.txt", 2, b"a/b (2).txt"),
        (b"a.b/c", 3, b"a.b/c (3)"),
        (b".hidden", 2, b".hidden (2)"),
        (b"x.tar.gz", 2, b"x.tar (2).gz"),
    ],
)
def test_a_number_stands_before_the_ending(path, number, expected):
    assert numbered(path, number) == expected


@settings(max_examples=60, deadline=None)
@given(paths)
def test_a_file_is_placed_where_its_path_says_and_nowhere_else(path):
    try:
        place = b"day/" + check_path(path)
    except UsageError:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = UploadFiles(root / "incoming", root / "uploads")
        upload = Upload("example", "1", path, 3, 0, 0, "", state=UploadState.RECEIVED, place=place)
        file = files.create(upload, is_exact=True)
        file.write([b"abc"])
        file.finish(None)
        files.place(upload)
        files.place(upload)  # as whoever comes after a crash does
        file.close()
        found = [
            os.path.join(base, name)
            for base, _folders, names in os.walk(os.fsencode(folder))
            for name in names
        ]
        assert found == [os.fsencode(root) + b"/uploads/" + place]
        assert Path(os.fsdecode(found[0])).read_bytes() == b"abc"
