"""Adding files: what gets into the DAG, what is left out and said, and what it costs."""

import io
import os
import socket

import pytest

from muniment.adapters.content import adding
from muniment.adapters.content.adding import ContentAdder
from muniment.adapters.content.leaves import AddOptions
from muniment.adapters.source_file import SourceFile, UnreadableError
from muniment.content.cid import CID, RAW, verify_block
from muniment.content.unixfs import (
    V0_2015,
    V1_2025,
    describe,
    directory_dag,
    import_file,
    list_directory,
    read_file,
    resolve,
)
from muniment.content.unixfs.node import Kind
from muniment.errors import FormatError, UsageError

MIB = 1 << 20


class Run:
    """One adder's outcome: blocks, what was added, problems, and progress."""

    def __init__(self, *paths, wraps=False, workers=2, **options):
        self.blocks, self.problems, self.progress = {}, [], []
        with ContentAdder(
            AddOptions(**options),
            worker_count=workers,
            on_problem=lambda *problem: self.problems.append(problem),
            advance=lambda *progress: self.progress.append(progress),
        ) as adder:
            for path in paths:
                self.take(adder.blocks(os.fsencode(path)))
            if wraps:
                self.take(adder.wrap())
        self.added = adder.added

    def take(self, blocks):
        for cid, block in blocks:
            verify_block(cid, block)
            self.blocks[cid] = block

    @property
    def root(self):
        return self.added[-1].cid

    def get(self, cid):
        return self.blocks[cid]

    def names(self, path=""):
        directory = resolve(self.root, path, self.get)
        return sorted(entry.name for entry in list_directory(directory, self.get))

    def read(self, path):
        return b"".join(read_file(resolve(self.root, path, self.get), self.get))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "deep" / "last").write_bytes(b"last")
    (root / "sub" / "after").write_bytes(b"after")
    (root / "empty").mkdir()
    (root / "nothing").touch()
    (root / "large").write_bytes(os.urandom(9 * MIB + 5))
    (root / "link").symlink_to("sub/after")
    return root


@pytest.mark.parametrize("profile", [V1_2025, V0_2015], ids=lambda profile: profile.name)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_tree_is_what_it_was(tree, profile, workers):
    run = Run(tree, profile=profile, workers=workers)
    assert run.names() == [b"empty", b"large", b"link", b"nothing", b"sub"]
    assert run.names("empty") == []
    assert run.read("large") == (tree / "large").read_bytes()
    assert run.read("sub/deep/last") == b"last"
    assert run.read("nothing") == b""
    link = describe(resolve(run.root, "link", run.get), run.get)
    assert (link.kind, link.target) == (Kind.SYMLINK, b"sub/after")
    (added,) = run.added
    size = 9 * MIB + 5 + 9
    assert (added.name, added.paths, added.size) == (b"tree", 9, size)
    assert sum(size for size, _paths in run.progress) == size
    assert added.tsize == sum(map(len, run.blocks.values()))


def test_children_come_before_parents_and_the_root_last(tree):
    with ContentAdder(AddOptions(), worker_count=2) as adder:
        order = [cid for cid, _block in adder.blocks(os.fsencode(tree))]
    assert order[-1] == adder.added[0].cid


def test_a_single_file_is_named_by_its_content(tmp_path):
    (tmp_path / "a").write_bytes(b"hello world\n")
    assert Run(tmp_path / "a").root == CID.of(RAW, b"hello world\n")
    assert Run(os.path.relpath(tmp_path / "a")).added[0].name == b"a"


def test_a_stream_is_a_file(tmp_path):
    for size in (0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB):
        data = os.urandom(size)
        with ContentAdder(AddOptions(), worker_count=2) as adder:
            blocks = dict(adder.stream_blocks(Trickle(data), b"name"))
        assert b"".join(read_file(adder.added[0].cid, blocks.__getitem__)) == data
        assert adder.added[0].cid == import_file(io.BytesIO(data), lambda *_: None).root


class Trickle(io.BytesIO):
    """A stream that returns fewer bytes than asked for, as pipes do."""

    def read(self, size=-1):
        return super().read(min(size, 70_001))


def test_several_things_in_one_folder(tree, tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    run = Run(tree / "sub", tmp_path / "other", wraps=True)
    assert run.names() == [b"other", b"sub"]
    assert run.read("sub/after") == b"after"
    with pytest.raises(FormatError, match="twice"):
        Run(tree / "sub", tree / "sub", wraps=True)


def test_hidden_names_are_left_out_unless_asked_for(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".git").mkdir()
    (tmp_path / "root" / ".git" / "config").write_text("secret")
    (tmp_path / "root" / "shown").write_text("x")
    assert Run(tmp_path / "root").names() == [b"shown"]
    assert Run(tmp_path / "root", hidden=True).names() == [b".git", b"shown"]
    assert Run(tmp_path / "root" / ".git").names() == [b"config"]  # it was asked for by name


def test_special_files_are_left_out_and_named(tree):
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tree / "socket"))
        run = Run(tree)
    assert {path: message.split(",")[0] for path, message in run.problems} == {
        os.fsencode(tree / "pipe")[1:]: "is a pipe",
        os.fsencode(tree / "socket")[1:]: "is a socket",
    }
    assert b"pipe" not in run.names()
    alone = Run(tree / "pipe")
    assert (alone.added, len(alone.problems)) == ([], 1)


def test_what_is_gone_or_forbidden_is_named(tree, monkeypatch):
    def peek(self, offset, count):
        raise UnreadableError("it cannot be read: input/output error")

    monkeypatch.setattr(SourceFile, "peek", peek)
    run = Run(tree)
    assert [(os.path.basename(path), message) for path, message in run.problems] == [
        (b"large", "it cannot be read: input/output error")
    ]
    assert b"large" not in run.names()


def test_a_large_file_that_changes_while_it_is_read_is_left_out_and_named(tree, monkeypatch):
    original = SourceFile.peek

    def peek(self, offset, count):
        if offset == 8 * MIB:
            with open(tree / "large", "ab") as file:
                file.write(b"more")
        return original(self, offset, count)

    monkeypatch.setattr(SourceFile, "peek", peek)
    run = Run(tree)
    ((path, message),) = run.problems
    assert (os.path.basename(path), message) == (b"large", "it changed while it was read")
    assert run.names() == [b"empty", b"link", b"nothing", b"sub"]


def test_a_file_that_shrinks_while_it_is_read_is_left_out(tree, monkeypatch):
    original = SourceFile.peek

    def peek(self, offset, count):
        if offset == 4 * MIB:
            os.truncate(tree / "large", 5 * MIB)
        return original(self, offset, count)

    monkeypatch.setattr(SourceFile, "peek", peek)
    assert [message for _path, message in Run(tree).problems] == ["it changed while it was read"]


def test_a_small_file_that_changes_once_is_read_again(tree, monkeypatch):
    original, reads = SourceFile.whole, []

    def whole(self):
        data = original(self)
        reads.append(self._path)
        if self._path.endswith(b"last") and reads.count(self._path) == 1:
            (tree / "sub" / "deep" / "last").write_bytes(b"newer")
        return data

    monkeypatch.setattr(SourceFile, "whole", whole)
    run = Run(tree)
    assert (run.problems, run.read("sub/deep/last")) == ([], b"newer")


def test_holes_are_not_read(tmp_path, monkeypatch):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(64 * MIB + 3)
        file.seek(20 * MIB)
        file.write(b"data")
    if os.stat(tmp_path / "sparse").st_blocks * 512 > MIB:
        pytest.skip("this file system has no holes")
    peeks, original = [], SourceFile.peek

    def peek(self, offset, count):
        peeks.append(offset)
        return original(self, offset, count)

    with open(tmp_path / "sparse", "rb") as file:
        expected = import_file(file, lambda *_: None)
    monkeypatch.setattr(SourceFile, "peek", peek)
    run = Run(tmp_path / "sparse")
    assert run.root == expected.root
    assert sorted(peeks) == [20 * MIB, 64 * MIB]


def test_no_more_than_the_window_is_read_ahead(tmp_path, monkeypatch):
    """However slow the store is."""
    monkeypatch.setattr(adding, "WINDOW_BYTES", 8 * MIB)
    for number in range(30):
        (tmp_path / str(number)).write_bytes(os.urandom(MIB))
    (tmp_path / "large").write_bytes(os.urandom(40 * MIB))
    read = 0
    whole, peek = SourceFile.whole, SourceFile.peek

    def counted(original):
        def reading(self, *arguments):
            nonlocal read
            data = original(self, *arguments)
            read += len(data)
            return data

        return reading

    monkeypatch.setattr(SourceFile, "whole", counted(whole))
    monkeypatch.setattr(SourceFile, "peek", counted(peek))
    taken = 0
    with ContentAdder(AddOptions(), worker_count=4) as adder:
        for _cid, block in adder.blocks(os.fsencode(tmp_path)):
            assert read - taken <= 8 * MIB + 2 * adding._JOB_BYTES
            taken += len(block)
    assert read == 70 * MIB


@pytest.mark.parametrize("taken", range(1, 14, 3))
def test_an_adder_that_is_given_up_lets_go_of_its_files(tree, taken, monkeypatch):
    monkeypatch.setattr(adding, "WINDOW_BYTES", 1)
    before = len(os.listdir("/proc/self/fd"))
    with ContentAdder(AddOptions(), worker_count=2) as adder:
        blocks = adder.blocks(os.fsencode(tree))
        for _ in range(taken):
            next(blocks)
        blocks.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_modes_and_times_change_the_dag(tree):
    os.utime(tree / "nothing", ns=(5, 5))
    os.chmod(tree / "nothing", 0o640)
    run = Run(tree, preserve_mode=True, preserve_mtime=True)
    info = describe(resolve(run.root, "nothing", run.get), run.get)
    assert (info.metadata.mode, info.metadata.mtime_ns) == (0o640, 5)
    assert run.root != Run(tree).root
    assert run.read("large") == (tree / "large").read_bytes()


def test_the_root_of_the_file_system_is_refused():
    with pytest.raises(UsageError):
        Run("/")


def test_folders_that_are_to_be_skipped_are(tree):
    run = Run(tree, skip=(os.fsencode(tree / "sub"),))
    assert run.names() == [b"empty", b"large", b"link", b"nothing"]


def test_a_deep_tree(tmp_path):
    deepest = tmp_path / "top" / "/".join("d" * 3 for _ in range(300))
    deepest.mkdir(parents=True)
    (deepest / "file").write_bytes(b"deep")
    run = Run(tmp_path / "top")
    assert run.read("/".join("d" * 3 for _ in range(300)) + "/file") == b"deep"
    assert run.root == nested(300)


def nested(depth):
    inner, tsize = CID.of(RAW, b"deep"), 4
    name = b"file"
    for _ in range(depth + 1):
        dag = directory_dag([(name, inner, tsize)])
        inner, tsize, name = dag.root, dag.tsize, b"ddd"
    return inner
