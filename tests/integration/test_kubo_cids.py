"""The same CIDs as Kubo: everything here is added by us and by a real Kubo, in both profiles, and must get the same names.

Then CARs are exchanged: what we export Kubo imports and verifies, what it exports we do.
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.adapters.content.adding import ContentAdder
from muniment.adapters.content.exporting import write_car
from muniment.adapters.content.importing import import_car
from muniment.adapters.content.leaves import AddOptions
from muniment.adapters.content.pinning import pin_roots
from muniment.content.cid import CID, RAW
from muniment.content.dag_pb import PBLink
from muniment.content.dag_scope import select_blocks
from muniment.content.unixfs import V0_2015, V1_2025, list_directory, read_file
from muniment.content.unixfs.node import Kind, decode_unixfs
from muniment.testing.kubo import LocalKubo

pytestmark = pytest.mark.engine("ipfs")

GIB = 1 << 30
ESCAPED = b"escaped"
"""A folder of names that Kubo prints otherwise than they are: its own CID has to do."""
PROFILES = {profile.name: profile for profile in (V1_2025, V0_2015)}


@pytest.fixture(scope="module")
def kubos():
    """A Kubo of each profile, by its name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(LocalKubo(name)) for name in PROFILES}


@pytest.fixture(params=PROFILES, scope="module")
def profile(request):
    return PROFILES[request.param]


def added(path, **options):
    """Add with Muniment; returns the root and all blocks but the leaves that are only zeros."""
    blocks = {}
    problems = []
    with ContentAdder(
        AddOptions(**options), worker_count=2, on_problem=lambda *problem: problems.append(problem)
    ) as adder:
        for cid, block in adder.blocks(os.fsencode(path)):
            blocks[cid] = block
    assert not problems
    return adder.added[0].cid, blocks


def cids_below(root, blocks, prefix=b""):
    """Yield the path and CID of everything in a folder."""
    for entry in list_directory(root, blocks.__getitem__):
        path = prefix + b"/" + entry.name if prefix else entry.name
        yield path, str(entry.cid)
        if entry.cid.codec != RAW and decode_unixfs(blocks[entry.cid]).kind in (
            Kind.DIRECTORY,
            Kind.HAMT_SHARD,
        ):
            yield from cids_below(entry.cid, blocks, path)


def kubo_cids(kubo, folder, *flags):
    """Return the CID of each path below a folder, as `ipfs add` tells them."""
    printed = kubo.run("add", "--recursive", "--progress=false", *flags, folder)
    head = os.path.basename(os.fsencode(folder))
    told = {}
    for line in printed.splitlines():
        word, cid, path = line.split(b" ", 2)
        assert word == b"added"
        path = path.removeprefix(head).removeprefix(b"/")
        if not path.startswith(ESCAPED + b"/"):
            told[path] = cid.decode()
    return told


def compare(kubo, folder, profile, **options):
    """Compare every path of a folder, and the folder itself."""
    flags = ["--hidden"] if options.get("hidden") else []
    root, blocks = added(folder, profile=profile, **options)
    ours = {b"": str(root)} | dict(cids_below(root, blocks))
    ours = {path: cid for path, cid in ours.items() if not path.startswith(ESCAPED + b"/")}
    theirs = kubo_cids(kubo, folder, "--only-hash", *flags)
    assert {
        path: (ours.get(path), cid) for path, cid in theirs.items() if ours.get(path) != cid
    } == {}
    assert ours.keys() == theirs.keys()
    return root, blocks


def noise(path, size):
    path.write_bytes(os.urandom(size))


def test_files_of_every_boundary(kubos, profile, tmp_path):
    """Empty, one byte, each profile's chunk and node width, one less and one more."""
    for name, size in {
        "empty": 0,
        "one byte": 1,
        "two chunks": 2 * profile.chunk_bytes + 17,
    }.items():
        noise(tmp_path / name, size)
    for other in PROFILES.values():
        for difference in (-1, 0, 1):
            noise(tmp_path / f"chunk {other.name} {difference:+}", other.chunk_bytes + difference)
    compare(kubos[profile.name], tmp_path, profile)


@pytest.mark.slow
def test_large_files(kubos, profile):
    """A full inner node, one link less and one more, and 3 GiB: mostly holes, so that the disk is spared."""
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    ) as folder:
        compare_large_files(kubos[profile.name], Path(folder), profile)


def compare_large_files(kubo, folder, profile):
    whole = profile.width * profile.chunk_bytes
    sizes = [whole - profile.chunk_bytes, whole, whole + 1, 3 * GIB + 5]
    for number, size in enumerate(sizes):
        with open(folder / str(number), "wb") as file:
            file.write(b"head %d" % number)
            file.truncate(size)
            file.seek(size // 2)
            file.write(b"middle")
    _root, blocks = compare(kubo, folder, profile)
    widths = {len(decode_unixfs(blocks[cid]).links) for cid in blocks if cid.codec != RAW}
    assert {profile.width - 1, profile.width} <= widths


def directory_of(folder, total, profile):
    """Fill a folder with empty files whose links count exactly `total` bytes by the profile's measure."""
    empty = profile.leaf_cid(b"" if profile.raw_leaves else b"\x0a\x04\x08\x02\x18\x00")
    tsize = 0 if profile.raw_leaves else 6

    def counted(length):
        return profile.directory_bytes(PBLink(empty, b"n" * length, tsize))

    folder.mkdir()
    left, number = total, 0
    while left:
        length = (
            180
            if left > counted(180) + counted(12)
            else next(
                length for length in range(5, 256) if counted(length) in (left, left - counted(60))
            )
        )
        (folder / f"{number:05}".ljust(length, "n")).touch()
        left -= counted(length)
        number += 1


def test_folders_at_the_threshold_of_sharding(kubos, profile, tmp_path):
    kinds = []
    for difference in (-1, 0, 1):
        folder = tmp_path / f"threshold {difference:+}"
        own = 4 if profile.hamt_by_block else 0
        directory_of(folder, profile.hamt_threshold_bytes - own + difference, profile)
        root, blocks = compare(kubos[profile.name], folder, profile)
        kinds.append(decode_unixfs(blocks[root]).kind)
        if profile.hamt_by_block and difference <= 0:
            assert len(blocks[root]) == profile.hamt_threshold_bytes + difference
    assert kinds == [Kind.DIRECTORY, Kind.DIRECTORY, Kind.HAMT_SHARD]


def test_a_folder_of_ten_thousand(kubos, profile, tmp_path):
    for number in range(10_000):
        (tmp_path / f"entry {number}").write_bytes(b"%d" % number)
    root, blocks = compare(kubos[profile.name], tmp_path, profile)
    assert decode_unixfs(blocks[root]).kind is Kind.HAMT_SHARD


NAMES = [
    "plain", "two words", "café", "cafe\u0301", "日本語", "🗂", "a:b*c?d", "%2F", "-", "--", "x" * 255, " ", "...", "..a",
    b"\xff\xfe", b"latin-1 \xe9", *(f"escaped/{name}" for name in ("\\", "\x01\x7f", "\u202etxt.exe", "\n", '"', "'", "\xa0")),
]  # fmt: skip


def test_names_links_and_empty_folders(kubos, profile, tmp_path):
    (tmp_path / "escaped").mkdir()
    for name in NAMES:
        raw = os.fsencode(tmp_path) + b"/" + (name if isinstance(name, bytes) else name.encode())
        with open(raw, "wb") as file:
            file.write(b"content")
    nested = tmp_path / "nested" / "empty" / "folders"
    nested.mkdir(parents=True)
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "dangling").symlink_to("no/such/thing")
    (tmp_path / "up").symlink_to("../..")
    os.symlink(b"\xff\xfe", os.fsencode(tmp_path / "odd"))
    (tmp_path / "nested" / "loop").symlink_to(".")
    compare(kubos[profile.name], tmp_path, profile)


def test_hidden_files(kubos, profile, tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "inside").write_text("x")
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / ".too").write_text("y")
    compare(kubos[profile.name], tmp_path, profile)
    compare(kubos[profile.name], tmp_path, profile, hidden=True)


def test_single_files_links_and_streams(kubos, profile, tmp_path):
    kubo = kubos[profile.name]
    noise(tmp_path / "file", 3 * profile.chunk_bytes)
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert str(added(tmp_path / name, profile=profile)[0]) == kubo.add(
            tmp_path / name, "--only-hash"
        )
    with (
        open(tmp_path / "file", "rb") as stream,
        ContentAdder(AddOptions(profile), worker_count=2) as adder,
    ):
        list(adder.stream_blocks(stream, b""))
    assert adder.added[0].cid == added(tmp_path / "file", profile=profile)[0]


def test_a_folder_around_several_things(kubos, profile, tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_text("c")
    with ContentAdder(AddOptions(profile), worker_count=1) as adder:
        for name in (b"a", b"b"):
            list(adder.blocks(os.fsencode(tmp_path) + b"/" + name))
        list(adder.wrap())
    told = kubos[profile.name].add(
        tmp_path / "a", "--only-hash", "--wrap-with-directory", tmp_path / "b"
    )
    assert str(adder.added[0].cid) == told.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--preserve-mode"], {"preserve_mode": True}),
        (["--preserve-mtime"], {"preserve_mtime": True}),
        (["--preserve-mode", "--preserve-mtime"], {"preserve_mode": True, "preserve_mtime": True}),
    ],
    ids=["mode", "mtime", "both"],
)
def test_modes_and_times(kubos, profile, tmp_path, flags, options):
    """Kubo stores them only where leaves are wrapped; it needs to be told, and to write."""
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "empty").touch()
    noise(tmp_path / "folder" / "small", 1000)
    noise(tmp_path / "folder" / "large", 2 * profile.chunk_bytes + 1)
    (tmp_path / "folder" / "link").symlink_to("small")
    for number in range(1500):
        (tmp_path / "folder" / f"{number:05}{'n' * 200}").touch()
    os.chmod(tmp_path / "folder" / "small", 0o4711)
    os.chmod(tmp_path / "empty", 0o600)
    for path, time_ns in {
        "folder/small": 1,
        "folder/large": 1_700_000_000_000_000_000,
        "empty": -1_500_000_000,
    }.items():
        os.utime(tmp_path / path, ns=(time_ns, time_ns))
    theirs = kubos[profile.name].add(tmp_path, *flags, "--raw-leaves=false")
    assert str(added(tmp_path, profile=profile, **options)[0]) == theirs


# CARs


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A folder with a large file, a sharded folder, a link, and the same file twice."""
    folder = tmp_path_factory.mktemp("car") / "tree"
    (folder / "many").mkdir(parents=True)
    noise(folder / "large", 5 * (1 << 20) + 7)
    for number in range(2000):
        (folder / "many" / f"{number}{'n' * 150}").write_bytes(b"%d" % (number % 700))
    (folder / "link").symlink_to("large")
    return folder


def test_kubo_imports_our_cars(kubos, profile, tree, tmp_path):
    with EmbeddedBlockStore(tmp_path / "store") as store:
        with ContentAdder(AddOptions(profile), worker_count=2) as adder:
            store.put_many(adder.blocks(os.fsencode(tree)), verify=False)
        root = adder.added[0].cid
        with open(tmp_path / "tree.car", "wb") as file:
            write_car(file, root, select_blocks([], root, store.get, "all"))
    with LocalKubo(profile.name) as kubo:  # an empty one
        kubo.run("dag", "import", "--pin-roots=true", tmp_path / "tree.car")
        assert kubo.run("cat", f"{root}/large") == (tree / "large").read_bytes()
        assert str(root) in kubo.run("pin", "ls", "--type=recursive", "--quiet").decode().split()
        kubo.run("repo", "verify")


@pytest.mark.parametrize("version", [1, 2])
def test_we_import_cars_of_kubo(kubos, profile, tree, tmp_path, version):
    kubo = kubos[profile.name]
    root = kubo.add(tree)
    car = kubo.run("dag", "export", "--progress=false", root)
    if version == 2:
        car = as_version_2(car)
    (tmp_path / "tree.car").write_bytes(car)
    with EmbeddedBlockStore(tmp_path / "store") as store:
        with open(tmp_path / "tree.car", "rb") as stream:
            report = import_car(stream, store, worker_count=2)
        assert report.version == version
        (imported,) = pin_roots(report.roots, store)
        assert (str(imported.cid), imported.missing, imported.pinned) == (root, None, True)
        (large,) = (
            entry.cid
            for entry in list_directory(CID.parse(root), store.get)
            if entry.name == b"large"
        )
        assert b"".join(read_file(large, store.get)) == (tree / "large").read_bytes()


def as_version_2(car):
    """Put a CARv1 into the envelope of version 2: Kubo reads those but writes none."""
    place = (51).to_bytes(8, "little") + len(car).to_bytes(8, "little") + bytes(8)
    return bytes.fromhex("0aa16776657273696f6e02") + bytes(16) + place + car


def test_our_car_is_the_one_that_kubo_makes(kubos, profile, tree, tmp_path):
    """Depth first and without duplicates, the bytes are the same."""
    kubo = kubos[profile.name]
    root = CID.parse(kubo.add(tree))
    theirs = kubo.run("dag", "export", "--progress=false", str(root))
    with EmbeddedBlockStore(tmp_path / "store") as store:
        (tmp_path / "theirs.car").write_bytes(theirs)
        with open(tmp_path / "theirs.car", "rb") as stream:
            import_car(stream, store)
        with open(tmp_path / "ours.car", "wb") as file:
            write_car(file, root, select_blocks([], root, store.get, "all"))
    assert (tmp_path / "ours.car").read_bytes() == theirs


def test_kubo_imports_version_2_as_we_do(kubos, profile, tree, tmp_path):
    kubo = kubos[profile.name]
    root = kubo.add(tree)
    (tmp_path / "two.car").write_bytes(
        as_version_2(kubo.run("dag", "export", "--progress=false", root))
    )
    with LocalKubo(profile.name) as empty:
        told = empty.run("dag", "import", "--stats", tmp_path / "two.car").decode()
    assert root in told
