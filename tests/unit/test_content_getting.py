"""Getting content out: whole or not at all, never over what is there, never outside of the target."""

import os
from pathlib import Path

import pytest

from muniment.adapters.content import getting
from muniment.adapters.content.adding import ContentAdder
from muniment.adapters.content.getting import get_to
from muniment.adapters.content.leaves import AddOptions
from muniment.adapters.content.new_file import new_file
from muniment.content.cid import CID, RAW
from muniment.content.dag_pb import PBLink
from muniment.content.unixfs import directory_dag
from muniment.content.unixfs.node import (
    Metadata,
    encode_directory,
    encode_file,
    encode_symlink,
    encode_wrapped_leaf,
)
from muniment.content.unixfs.profile import V1_2025
from muniment.errors import (
    ConflictError,
    FormatError,
    IntegrityError,
    MunimentError,
    NotFoundError,
)


class Blocks(dict):
    """Blocks by CID."""

    def node(self, block):
        cid = V1_2025.node_cid(block)
        self[cid] = block
        return cid

    def leaf(self, data):
        cid = CID.of(RAW, data)
        self[cid] = data
        return cid

    def folder(self, *links, metadata=None):
        return self.node(encode_directory([PBLink(cid, name, 0) for name, cid in links], metadata))

    def link(self, target):
        return self.node(encode_symlink(target))

    def get(self, cid):
        try:
            return self[cid]
        except KeyError:
            raise NotFoundError(f"no block {cid}") from None


@pytest.fixture
def blocks():
    return Blocks()


def listing(folder):
    """Describe all that is in a folder: content of files, targets of links, None for folders."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(root, name)
            content = None if path.is_dir() else path.read_bytes
            found[str(path.relative_to(folder))] = (
                os.readlink(path) if path.is_symlink() else content and content()
            )
    return found


def test_a_tree_comes_out_as_it_went_in(tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "sub" / "file").write_bytes(os.urandom(3_000_000))
    (tree / "sub" / os.fsdecode(b"\xff\xfe")).write_bytes(b"odd")
    (tree / "link").symlink_to("../outside")
    with ContentAdder(AddOptions(), worker_count=1) as adder:
        blocks = Blocks(adder.blocks(os.fsencode(tree)))
    report = get_to(adder.added[0].cid, tmp_path / "out", blocks.get)
    assert listing(tmp_path / "out") == listing(tree)
    assert (report.paths, report.size_bytes) == (6, 3_000_003)
    assert os.listdir(tmp_path) in (["tree", "out"], ["out", "tree"])


def test_modes_and_times_come_out_too_but_no_rights_of_others(tmp_path, blocks):
    leaf = blocks.node(encode_wrapped_leaf(b"x", Metadata(0o4751, 10**18 + 1)))
    inner = blocks.folder((b"file", leaf), metadata=Metadata(0o500, 5))
    root = blocks.folder((b"in", inner), metadata=Metadata(0o2711, 7))
    get_to(root, tmp_path / "out", blocks.get)
    status = os.stat(tmp_path / "out" / "in" / "file")
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o751, 10**18 + 1)
    status = os.stat(tmp_path / "out" / "in")
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o500, 5)
    assert os.stat(tmp_path / "out").st_mode & 0o7777 == 0o711
    get_to(leaf, tmp_path / "single", blocks.get)
    assert os.stat(tmp_path / "single").st_mtime_ns == 10**18 + 1


@pytest.mark.parametrize("mtime_ns", [(2**63 - 1) * 10**9, -(2**63) * 10**9])
def test_times_that_no_file_can_have_are_left_out(tmp_path, blocks, mtime_ns):
    leaf = blocks.node(encode_wrapped_leaf(b"x", Metadata(None, mtime_ns)))
    root = blocks.folder((b"file", leaf), metadata=Metadata(None, mtime_ns))
    get_to(root, tmp_path / "out", blocks.get)
    get_to(leaf, tmp_path / "single", blocks.get)
    assert listing(tmp_path / "out") == {"file": b"x"}


def test_nothing_that_is_there_is_touched_without_force(tmp_path, blocks):
    file, link = blocks.leaf(b"new"), blocks.link(b"new")
    folder = blocks.folder((b"a", file))
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    before = listing(tmp_path)
    for root in (file, link, folder):
        for name in ("file", "dangling", "folder"):
            with pytest.raises(ConflictError):
                get_to(root, tmp_path / name, blocks.get)
    assert listing(tmp_path) == before


def test_with_force_files_and_links_are_replaced_and_folders_added_to(tmp_path, blocks):
    file, link = blocks.leaf(b"new"), blocks.link(b"new")
    folder = blocks.folder((b"a", file), (b"link", link), (b"sub", blocks.folder((b"b", file))))
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "file").symlink_to("target")
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "a").write_bytes(b"old")
    (tmp_path / "folder" / "kept").write_bytes(b"kept")
    get_to(file, tmp_path / "file", blocks.get, force=True)
    get_to(folder, tmp_path / "folder", blocks.get, force=True)
    assert listing(tmp_path) == {
        "target": b"old",  # not through the link
        "file": b"new",
        "folder": None,
        "folder/a": b"new",
        "folder/kept": b"kept",
        "folder/link": "new",
        "folder/sub": None,
        "folder/sub/b": b"new",
    }
    for root, name in ((folder, "target"), (file, "folder"), (link, "folder")):
        with pytest.raises(ConflictError):
            get_to(root, tmp_path / name, blocks.get, force=True)


def hostile_names():
    return [b"..", b".", b"a/b", b"/etc/passwd", b"../outside", b"a\0b", b"", b"\0"]


@pytest.mark.parametrize("name", hostile_names())
@pytest.mark.parametrize("depth", [0, 2])
def test_hostile_names_leave_nothing_behind(tmp_path, blocks, name, depth):
    (tmp_path / "parent").mkdir()
    root = blocks.folder((b"fine", blocks.leaf(b"fine")), (name, blocks.leaf(b"evil")))
    for _ in range(depth):
        root = blocks.folder((b"a", blocks.leaf(b"fine")), (b"inner", root))
    with pytest.raises(FormatError):
        get_to(root, tmp_path / "parent" / "out", blocks.get)
    assert listing(tmp_path) == {"parent": None}


@pytest.mark.parametrize("target", [b"/etc", b"..", b"../../outside", b"/"])
@pytest.mark.parametrize("force", [False, True])
def test_no_file_is_written_through_a_link(tmp_path, blocks, target, force):
    """A link and a folder of the same name: by different nodes, or because the link was there before."""
    (tmp_path / "outside").mkdir()
    below = blocks.folder((b"passwd", blocks.leaf(b"evil")))
    twice = blocks.folder((b"x", blocks.link(target)), (b"x", below))
    out = tmp_path / "parent" / "out"
    out.parent.mkdir()
    with pytest.raises(FormatError, match="twice"):
        get_to(twice, out, blocks.get)
    if force:
        out.mkdir()
        (out / "x").symlink_to(tmp_path / "outside")
        with pytest.raises(IntegrityError):
            get_to(blocks.folder((b"x", below)), out, blocks.get, force=True)
    assert listing(tmp_path / "outside") == {}


def test_a_link_with_no_target_or_a_zero_byte_is_refused(tmp_path, blocks):
    for target in (b"", b"a\0b"):
        with pytest.raises(FormatError):
            get_to(blocks.link(target), tmp_path / "out", blocks.get)
        with pytest.raises(FormatError):
            get_to(blocks.folder((b"x", blocks.link(target))), tmp_path / "out", blocks.get)
    assert listing(tmp_path) == {}


def test_what_lacks_a_block_leaves_nothing_behind(tmp_path, blocks):
    missing = CID.of(RAW, b"missing")
    large = blocks.node(encode_file([PBLink(missing, b"", 7)], [7]))
    root = blocks.folder((b"a", blocks.leaf(b"a")), (b"b", large))
    for cid in (root, large, missing):
        with pytest.raises(NotFoundError):
            get_to(cid, tmp_path / "out", blocks.get)
    assert listing(tmp_path) == {}


def test_a_dag_that_explodes_is_refused(tmp_path, blocks, monkeypatch):
    """Folders that hold the same folder twice, 40 levels deep: a million million paths of 40 blocks."""
    monkeypatch.setattr(getting, "MAX_PATHS", 200)
    root = blocks.folder((b"x", blocks.leaf(b"x")))
    for _ in range(40):
        root = blocks.folder((b"a", root), (b"b", root))
    with pytest.raises(FormatError, match="at most 200 paths"):
        get_to(root, tmp_path / "out", blocks.get)
    assert listing(tmp_path) == {}


def test_a_file_larger_than_the_disk_is_refused_before_it_is_written(tmp_path, blocks):
    cid, size = blocks.leaf(bytes(1 << 20)), 1 << 20
    for _ in range(4):
        links = [PBLink(cid, b"", size)] * 1024
        cid = blocks.node(encode_file(links, [size] * 1024))
        size *= 1024
    for root in (cid, blocks.folder((b"bomb", cid))):
        with pytest.raises(MunimentError, match="no room"):
            get_to(root, tmp_path / "out", blocks.get)
    assert listing(tmp_path) == {}


def test_a_path_longer_than_the_system_takes_is_refused(tmp_path, blocks):
    root = blocks.leaf(b"x")
    for _ in range(30):
        root = blocks.folder((b"n" * 200, root))
    with pytest.raises(FormatError):
        get_to(root, tmp_path / "out", blocks.get)
    assert listing(tmp_path) == {}


def test_what_is_no_unixfs_is_refused(tmp_path, blocks):
    for root in (blocks.node(b""), blocks.node(b"\x0a\x02\x08\x03"), CID.of(0x71, b"\xa0")):
        blocks.setdefault(root, b"\xa0")
        with pytest.raises(FormatError):
            get_to(root, tmp_path / "out", blocks.get)
    assert listing(tmp_path) == {}


def test_a_sharded_folder_comes_out(tmp_path, blocks):
    names = [b"%d" % number + b"n" * 100 for number in range(3000)]
    dag = directory_dag([(name, blocks.leaf(name), len(name)) for name in names])
    blocks.update(dag.inner)
    get_to(dag.root, tmp_path / "out", blocks.get)
    assert listing(tmp_path / "out") == {name.decode(): name for name in names}


# New files


def test_a_new_file_that_fails_leaves_no_trace(tmp_path):
    def fail():
        with new_file(tmp_path / "x", replace=False) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert listing(tmp_path) == {}


def test_a_new_file_does_not_replace_one_that_appears_meanwhile(tmp_path):
    def write_slowly():
        with new_file(tmp_path / "x", replace=False) as file:
            file.write(b"mine")
            (tmp_path / "x").write_bytes(b"theirs")

    with pytest.raises(ConflictError):
        write_slowly()
    assert listing(tmp_path) == {"x": b"theirs"}


def test_a_new_file_without_hard_links(tmp_path, monkeypatch):
    def link(*_arguments, **_more):
        raise OSError(1, "not permitted")

    monkeypatch.setattr(os, "link", link)
    with new_file(tmp_path / "x", replace=False) as file:
        file.write(b"content")
    assert listing(tmp_path) == {"x": b"content"}
