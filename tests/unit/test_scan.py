"""Walking folders, hostile ones too."""

import os
import socket
import subprocess

import pytest

from muniment.adapters import scan as module
from muniment.adapters.scan import scan, scanned_file
from muniment.archive.catalog import Kind


class Walk:
    """A scan's results by path relative to a folder."""

    def __init__(self, base, roots=(b"",), skip=()):
        self.base = os.fsencode(base)
        self.problems = {}
        self.files = list(
            scan([self.under(root) for root in roots], self._note, list(map(self.under, skip)))
        )
        self.paths = [file.path[len(self.base) - 1 :] for file in self.files]
        self.by_path = dict(zip(self.paths, self.files, strict=True))
        assert len(self.by_path) == len(self.files), "a path came twice"

    def under(self, path):
        return os.path.join(self.base, path) if path else self.base

    def _note(self, path, message):
        assert not path.startswith(b"/")
        self.problems[path[len(self.base) - 1 :]] = message


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    yield folder
    subprocess.run(
        ["rm", "-rf", folder], check=True
    )  # pytest's own clean-up recurses, which deep folders break


def test_everything_is_seen_as_it_is(base):
    (base / "folder" / "empty").mkdir(parents=True)
    (base / "file").write_bytes(b"content")
    (base / "file").chmod(0o4640)
    os.utime(base / "file", ns=(1, -(10**9) + 7))
    (base / "link").symlink_to("folder")
    walk = Walk(base)
    assert sorted(walk.paths) == [b"", b"/file", b"/folder", b"/folder/empty", b"/link"]
    status = os.lstat(base / "file")
    file = walk.by_path[b"/file"]
    assert file.path == os.fsencode(base)[1:] + b"/file"
    assert file[1:] == (Kind.FILE, 7, 0o4640, -(10**9) + 7, status.st_ctime_ns, status.st_ino, None)
    assert walk.by_path[b"/link"].kind is Kind.SYMLINK
    assert (walk.by_path[b"/link"].target, walk.by_path[b"/link"].size) == (b"folder", 0)
    assert (walk.by_path[b"/folder"].kind, walk.by_path[b"/folder"].size) == (Kind.DIRECTORY, 0)
    assert walk.problems == {}


def test_a_folder_comes_before_what_it_holds(base):
    (base / "a" / "b" / "c").mkdir(parents=True)
    assert Walk(base).paths == [b"", b"/a", b"/a/b", b"/a/b/c"]


def test_names_are_bytes(base):
    names = [b"\xff\xfe", b"a\nb", b" ", b"-rf", b"*", "é".encode(), b"x" * 255]
    for name in names:
        os.close(os.open(os.path.join(os.fsencode(base), name), os.O_CREAT))
    assert sorted(Walk(base).paths) == sorted([b"", *(b"/" + name for name in names)])


def test_what_is_no_file_is_a_problem(base):
    os.mkfifo(base / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(base / "socket"))
        walk = Walk(base)
    assert walk.paths == [b""]
    assert walk.problems == {
        b"/pipe": "is a pipe, which cannot be archived",
        b"/socket": "is a socket, which cannot be archived",
    }
    assert "character device" in Walk("/dev/null").problems[b""]


def test_links_are_not_followed(base):
    (base / "loop").symlink_to(base)
    (base / "folder").mkdir()
    (base / "folder" / "up").symlink_to("..")
    (base / "dangling").symlink_to("nowhere")
    assert sorted(Walk(base).paths) == [b"", b"/dangling", b"/folder", b"/folder/up", b"/loop"]
    assert Walk(base, [b"loop"]).paths == [b"/loop"]


def test_a_folder_that_cannot_be_listed_is_told(base, monkeypatch):
    for name in ("a", "closed", "z"):
        (base / name).mkdir()
        (base / name / "file").write_bytes(b"")
    real = os.scandir

    def scandir(path):  # tests may run as root, who can list everything
        if path.endswith(b"/closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(module.os, "scandir", scandir)
    walk = Walk(base)
    assert sorted(walk.paths) == [b"", b"/a", b"/a/file", b"/z", b"/z/file"]
    assert walk.problems == {b"/closed": "cannot be read: Permission denied"}


def test_a_root_that_does_not_exist_is_told(base):
    assert Walk(base, [b"absent"]).problems == {
        b"/absent": "cannot be read: No such file or directory"
    }


def test_what_vanishes_meanwhile_is_left_out(base):
    for number in range(50):
        (base / f"{number}").write_bytes(b"")
    (base / "folder").mkdir()
    problems = []
    walk = scan([os.fsencode(base)], lambda *problem: problems.append(problem))
    next(walk)
    for number in range(50):
        (base / f"{number}").unlink()
    (base / "folder").rmdir()
    assert list(walk) == []
    assert problems == []


def test_deep_folders_need_neither_recursion_nor_descriptors(base):
    depth = 1_200
    here = os.open(base, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("file", os.O_CREAT, dir_fd=here))
    os.close(here)
    walk = Walk(base)
    assert len(walk.files) == depth + 2
    assert walk.paths[-1].endswith(b"/d/file")


def test_paths_too_long_for_the_kernel_are_told(base):
    here = os.open(base, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("n" * 250, dir_fd=here)
        deeper = os.open("n" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    (base / "beside").write_bytes(b"")
    walk = Walk(base)
    assert b"/beside" in walk.paths
    assert max(map(len, walk.paths)) < 4096
    assert list(walk.problems.values()) == ["cannot be read: File name too long"]


def test_skipped_folders_are_never_entered(base):
    (base / "data" / "home" / "commits").mkdir(parents=True)
    (base / "data" / "file").write_bytes(b"")
    (base / "way").symlink_to("data")
    home = b"data/home"
    assert sorted(Walk(base, skip=[home]).paths) == [b"", b"/data", b"/data/file", b"/way"]
    assert sorted(Walk(base, [b"data"], skip=[b"way/home"]).paths) == [b"/data", b"/data/file"]
    assert Walk(base, skip=[b"absent"]).problems == {}
    for inside in (b"data/home", b"data/home/commits", b"way/home/commits"):
        walk = Walk(base, [inside], skip=[home])
        assert walk.paths == []
        assert walk.problems == {b"/" + inside: "belongs to Muniment itself, which is not archived"}


def test_roots_inside_each_other_are_walked_once(base):
    (base / "a" / "b").mkdir(parents=True)
    (base / "ab").mkdir()
    (base / "link").symlink_to("a")
    walk = Walk(base, [b"a/b", b"a", b"a/", b"a/../a", b"ab"])
    assert walk.paths == [b"/a", b"/a/b", b"/ab"]
    assert sorted(Walk(base, [b"", b"link/b"]).paths) == [
        b"",
        b"/a",
        b"/a/b",
        b"/ab",
        b"/link",
        b"/link/b",
    ]


def test_an_abandoned_walk_closes_its_folders(base):
    (base / "a" / "b").mkdir(parents=True)
    walk = scan([os.fsencode(base)], print)
    next(walk)
    walk.close()  # a folder left open would be a ResourceWarning, which is an error here


def test_numbers_fit_into_64_bits():
    class Status:
        st_mode, st_size, st_ino = 0o100644, 1, 2**64 - 1
        st_mtime_ns, st_ctime_ns = 2**70, -(2**70)

    file = scanned_file(b"a", Status())
    assert (file.inode, file.mtime_ns, file.ctime_ns) == (2**63 - 1, 2**63 - 1, 1 - 2**63)
