"""`muniment content` for real: what each command prints, its exit code, and what is in the store afterwards."""

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID, RAW
from muniment.entrypoints.cli.answers import ANSWERS, SURVEY
from muniment.entrypoints.cli.answers import CID as CID_KEYS
from muniment.entrypoints.cli.running import run

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
"""`hello world`, as IPIP-499 has it."""
HELLO_V0 = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"
EVIL = b"evil\x1b[31m\nname\xff"


class Desk:
    """Runs `muniment content` in this process, on a store of its own."""

    def __init__(self, folder: Path, capfdbinary):
        self.folder = folder
        self.store = folder / "store"
        self._capture = capfdbinary
        self.error = ""

    def run(self, *words, code=0):
        """Run a command, check its exit code, and return the bytes that it printed."""
        self._capture.readouterr()
        own = [] if words[0] == "cid" else ["--store", self.store]
        found = run([str(word) for word in ("content", *words, *own)])
        printed = self._capture.readouterr()
        self.error = printed.err.decode()
        assert found == code, (words, found, printed)
        assert "Traceback" not in self.error
        return printed.out

    def text(self, *words, code=0):
        return self.run(*words, code=code).decode()

    def json(self, *words, code=0):
        """Run a command with --json; the answer's keys are those that are documented."""
        out = self.run(*words, "--json", code=code)
        assert out.isascii()
        answer = json.loads(out)
        if set(answer) == {"error"}:
            assert set(answer["error"]) == {"code", "message"}
        else:
            assert list(answer) == list(ANSWERS[f"content {words[0]}"])
        return answer

    def add(self, *words):
        (added,) = self.json("add", *words)["added"]
        return added["cid"]


@pytest.fixture
def desk(tmp_path, capfdbinary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUNIMENT_HOME", str(tmp_path / "nobody"))
    return Desk(tmp_path, capfdbinary)


@pytest.fixture
def tree(desk):
    root = desk.folder / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "hello").write_bytes(b"hello world")
    (root / "sub" / "large").write_bytes(bytes(range(256)) * 12_000)
    (root / "link").symlink_to("hello")
    (root / os.fsdecode(EVIL)).write_bytes(b"harmless")
    return root


# add


def test_add_prints_cids_and_pins(desk, tree):
    printed = desk.text("add", tree / "hello", tree)
    first, second = printed.splitlines()
    assert first == f"{HELLO}  hello"
    assert second.endswith("  tree")
    assert desk.text("pins").split() == sorted(
        [HELLO, second.split()[0]], key=lambda c: CID.parse(c).raw
    )
    answer = desk.json("add", tree, "--name", "papers")
    (added,) = answer["added"]
    assert added["cid"] == second.split()[0]
    assert (added["paths"], added["bytes"], answer["new_blocks"]) == (6, 3_072_019, 0)
    desk.run("add", tree)  # without a name, it keeps the one that it has
    desk.run("pin", added["cid"])
    assert {pin["name"] for pin in desk.json("pins")["pins"]} == {"", "papers"}


def test_add_in_the_old_profile(desk, tree):
    assert desk.add(tree / "hello", "--profile", "unixfs-v0-2015") == HELLO_V0
    assert desk.run("cat", HELLO_V0) == b"hello world"


def test_only_cid_stores_nothing_and_needs_no_store(desk, tree):
    answer = desk.json("add", "--only-cid", tree / "hello")
    assert (answer["added"][0]["cid"], answer["stored"]) == (HELLO, False)
    assert not desk.store.exists()
    assert run(["content", "add", "-n", str(tree / "hello")]) == 0  # nor a home
    assert run(["content", "add", str(tree / "hello")]) == 2


def test_no_pin(desk, tree):
    desk.run("add", "--no-pin", tree)
    assert desk.text("pins") == ""


def test_add_standard_input(desk):
    program = [sys.executable, "-m", "muniment", "content", "add", "-", "--store", desk.store]
    done = subprocess.run(program, input=b"hello world", capture_output=True, check=True)
    assert done.stdout.decode().strip() == HELLO
    assert desk.run("cat", HELLO) == b"hello world"
    desk.run("add", "-", "-", code=2)
    desk.run("add", "-w", "-", code=2)


def test_a_folder_around_files_keeps_their_names(desk, tree):
    cid = desk.add("-w", tree / "hello", tree / "sub")
    assert desk.run("cat", f"{cid}/hello") == b"hello world"
    assert [entry["name_display"] for entry in desk.json("ls", cid)["entries"]] == ["hello", "sub"]


def test_what_is_left_out_is_named(desk, tree):
    os.mkfifo(tree / "pipe")
    answer = desk.json("add", tree, code=10)
    assert "pipe" in answer["problems"][0]["path_display"]
    desk.run("add", tree, code=10)
    assert "1 path left out" in desk.error
    desk.run("add", desk.folder / "nowhere", code=3)


def test_the_store_itself_is_not_added(desk, tree):
    desk.run("add", tree)
    cid = desk.json("add", desk.folder)["added"][0]["cid"]
    assert [entry["name_display"] for entry in desk.json("ls", cid)["entries"]] == ["tree"]


# get, ls, cat, stat


def test_names_that_do_not_print_are_harmless_and_exact(desk, tree):
    cid = desk.add(tree)
    printed = desk.text("ls", cid)
    assert "\x1b" not in printed
    assert "evil\\x1b[31m\\nname\\xff" in printed
    entry = next(e for e in desk.json("ls", cid)["entries"] if e["bytes"] == 8)
    assert bytes.fromhex(entry["name_hex"]) == EVIL
    desk.run("get", cid, "-o", "out")
    assert (desk.folder / "out" / os.fsdecode(EVIL)).read_bytes() == b"harmless"


def test_ls_in_pages(desk, tree):
    cid = desk.add(tree)
    whole = desk.json("ls", cid)
    assert whole["next_offset"] is None
    pages, offset = [], 0
    while offset is not None:
        page = desk.json("ls", cid, "--limit", 3, "--offset", offset)
        pages += page["entries"]
        offset = page["next_offset"]
    assert pages == whole["entries"]
    kinds = {entry["name_display"]: entry["kind"] for entry in pages}
    assert (kinds["hello"], kinds["sub"], kinds["link"]) == ("file", "directory", "symlink")
    lines = desk.text("ls", cid, "--limit", 1, "--offset", 3).splitlines()
    assert lines == [f"{CID.parse(pages[3]['cid'])}              -  sub/"]
    desk.run("ls", f"{cid}/hello", code=2)
    assert "expected a folder, got a file" in desk.error


def test_cat_and_its_ranges(desk, tree):
    cid = desk.add(tree)
    large = (tree / "sub" / "large").read_bytes()
    assert desk.run("cat", f"{cid}/sub/large") == large
    assert (
        desk.run("cat", f"/ipfs/{cid}/sub/large", "--offset", 1_048_570, "--length", 20)
        == large[1_048_570:1_048_590]
    )
    assert desk.run("cat", f"ipfs://{cid}/sub/%6Carge", "--offset", len(large)) == b""
    answer = desk.json("cat", f"{cid}/hello", "--offset", 6)
    assert base64.b64decode(answer["content_base64"]) == b"world"
    desk.run("cat", cid, code=4)
    desk.run("cat", f"{cid}/nothing", code=3)
    desk.run("cat", "/ipns/example.org", code=2)
    desk.run("cat", "no-cid", code=2)


def test_get_overwrites_nothing_unless_told(desk, tree):
    cid = desk.add(tree)
    answer = desk.json("get", f"{cid}/sub")
    assert (answer["paths"], answer["bytes"]) == (2, 3_072_000)
    assert (desk.folder / "sub" / "large").read_bytes() == (tree / "sub" / "large").read_bytes()
    assert desk.json("get", f"{cid}/sub", code=6)["error"]["code"] == "conflict"
    (desk.folder / "sub" / "large").write_bytes(b"changed")
    desk.run("get", f"{cid}/sub", "--force")
    assert (desk.folder / "sub" / "large").stat().st_size == 3_072_000
    desk.run("get", cid)
    assert (desk.folder / cid / "hello").read_bytes() == b"hello world"


def test_get_an_archive(desk, tree):
    cid = desk.add(tree)
    printed = desk.run("get", cid, "--archive", "-o", "-")
    desk.run("get", f"{cid}/sub", "--archive")
    for data in (printed, (desk.folder / "sub.tar").read_bytes()):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            member = next(m for m in archive if m.name.endswith("large"))
            assert archive.extractfile(member).read() == (tree / "sub" / "large").read_bytes()
    desk.run("get", cid, "-o", "-", code=2)


def test_stat(desk, tree):
    cid = desk.add(tree, "--preserve-mode", "--preserve-mtime")
    about = desk.json("stat", f"{cid}/hello")
    assert (about["kind"], about["bytes"], about["complete"], about["blocks"]) == (
        "file",
        11,
        True,
        1,
    )
    assert about["mode"] == f"{(tree / 'hello').stat().st_mode & 0o7777:04o}"
    assert about["mtime_ns"] == (tree / "hello").stat().st_mtime_ns
    assert CID.parse(about["v0"]).to_v1() == CID.parse(about["v1"])
    assert desk.json("stat", f"{cid}/link")["target_display"] == "hello"
    printed = desk.text("stat", cid)
    assert "kind    directory" in printed
    assert "complete" in printed


# import, export


def test_a_dag_goes_from_store_to_store_by_a_car(desk, tree):
    cid = desk.add(tree)
    answer = desk.json("export", cid, "-o", "tree.car")
    assert answer["bytes"] == (desk.folder / "tree.car").stat().st_size
    assert desk.run("export", cid) == (desk.folder / "tree.car").read_bytes()
    desk.run("export", cid, "-o", "tree.car", code=6)
    desk.run("export", cid, "-o", "tree.car", "--force")
    desk.store = desk.folder / "other"
    answer = desk.json("import", "tree.car", "--name", "tree")
    assert answer["roots"] == [{"cid": cid, "complete": True, "missing": None, "pinned": True}]
    assert answer["cars"][0]["roots"] == [cid]
    assert desk.run("cat", f"{cid}/hello") == b"hello world"
    assert desk.text("pins") == f"{cid}  tree\n"


def test_import_from_standard_input(desk, tree):
    cid = desk.add(tree)
    data = desk.run("export", cid)
    program = [sys.executable, "-m", "muniment", "content", "import", "-", "--store", "other"]
    done = subprocess.run(program, input=data, capture_output=True, check=True, cwd=desk.folder)
    assert f"{cid}  pinned" in done.stdout.decode()


def test_parts_of_a_dag_are_incomplete_until_all_are_there(desk, tree):
    cid = desk.add(tree)
    desk.run("export", cid, "--dag-scope", "block", "-o", "root.car")
    desk.run("export", f"{cid}/sub/large", "--entity-bytes", "0:10", "-o", "part.car")
    desk.run("export", cid, "-o", "whole.car")
    desk.store = desk.folder / "other"
    answer = desk.json("import", "root.car", "part.car", code=4)
    (root,) = answer["roots"]
    assert (root["cid"], root["complete"], root["pinned"]) == (cid, False, False)
    assert (
        desk.text("import", "root.car", code=4)
        .splitlines()[1]
        .startswith(f"{cid}  not pinned, incomplete")
    )
    assert (
        desk.run("cat", f"{cid}/sub/large", "--length", 11)
        == (tree / "sub" / "large").read_bytes()[:11]
    )
    about = desk.json("stat", cid)
    assert (about["complete"], about["missing_blocks"] > 0) == (False, True)
    desk.run("pin", cid, code=4)
    desk.run("get", cid, "-o", "out", code=3)
    assert not (desk.folder / "out").exists()
    kinds = {entry["name_display"]: entry["kind"] for entry in desk.json("ls", cid)["entries"]}
    assert kinds["hello"] == "missing"
    desk.run("import", "root.car", "--allow-incomplete")
    assert cid in desk.text("pins")
    answer = desk.json("import", "root.car", "whole.car")  # the second completes the first
    assert answer["roots"] == [{"cid": cid, "complete": True, "missing": None, "pinned": True}]


def test_scopes_orders_and_duplicates(desk, tree):
    (tree / "again").write_bytes(b"hello world")  # and two chunks of the large file are equal
    cid = desk.add(tree)
    assert desk.json("export", cid, "--dag-scope", "block", "-o", "1")["blocks"] == 1
    assert desk.json("export", f"{cid}/sub", "--dag-scope", "entity", "-o", "2")["blocks"] == 2
    whole = desk.json("export", cid, "-o", "3")["blocks"]
    assert (
        desk.json("export", cid, "--dups", "y", "--order", "unk", "-o", "4")["blocks"] == whole + 2
    )
    part = desk.json("export", f"{cid}/sub/large", "--entity-bytes", "-5:*", "-o", "5")
    assert (part["blocks"], part["root"]) == (4, cid)
    desk.run("export", cid, "--entity-bytes", "x", code=2)
    desk.run("export", f"{cid}/sub/large", "--entity-bytes", "0:1", "--dag-scope", "all", code=2)
    desk.run("export", cid, "--json", code=2)


def test_a_car_with_one_wrong_bit(desk, tree):
    cid = desk.add(tree)
    data = bytearray(desk.run("export", cid))
    data[-1] ^= 1
    (desk.folder / "bad.car").write_bytes(data)
    desk.store = desk.folder / "other"
    desk.run("import", "bad.car", code=4)
    assert "bad.car: block" in desk.error
    assert desk.text("pins") == ""
    (desk.folder / "no.car").write_bytes(b"this is no CAR")
    assert desk.json("import", "no.car", code=4)["error"]["code"] == "format"
    desk.run("import", "nowhere.car", code=1)


# pin, unpin, cid


def test_pinning(desk, tree):
    cid = desk.add(tree, "--no-pin")
    answer = desk.json("pin", f"{cid}/sub", "--name", "below")
    below = answer["pinned"][0]["cid"]
    assert list(answer["pinned"][0]) == ["cid", *SURVEY]
    assert desk.text("pins") == f"{below}  below\n"
    assert desk.json("unpin", below)["unpinned"] == [below]
    desk.run("unpin", below, code=3)
    desk.run("unpin", f"{cid}/sub", code=2)
    desk.run("pin", CID.of(RAW, b"unknown"), code=4)


def test_garbage_is_what_no_pin_reaches(desk, tree):
    kept = desk.add(tree / "hello")
    gone = desk.add(tree / "sub")
    desk.run("unpin", gone)
    with EmbeddedBlockStore(desk.store) as store:
        store.gc()
        assert [str(cid) for cid in store.cids()] == [kept]


def test_all_or_none_is_unpinned(desk, tree):
    one, two = desk.add(tree / "hello"), desk.add(tree, "--no-pin")
    desk.run("unpin", one, two, code=3)
    assert one in desk.text("pins")


def test_cids_in_other_forms(desk):
    about = desk.json("cid", HELLO_V0)["cids"][0]
    assert list(about) == [*CID_KEYS, "converted"]
    assert (about["codec"], about["hash"], about["version"]) == ("dag-pb", "sha2-256", 0)
    for base in ("base32", "base36", "base58btc", "base16"):
        text = desk.text("cid", HELLO_V0, "--version", "1", "--base", base).strip()
        assert CID.parse(text) == CID.parse(HELLO_V0).to_v1()
        assert desk.text("cid", text, "--version", "0").strip() == HELLO_V0
    raw = desk.text("cid", HELLO_V0, "--codec", "raw").strip()
    assert CID.parse(raw).codec == RAW
    assert desk.text("cid", raw, "--codec", "dag-pb", "--version", "0").strip() == HELLO_V0
    desk.run("cid", HELLO, "--version", "0", code=2)
    desk.run("cid", HELLO_V0, "--version", "0", "--base", "base32", code=2)
    desk.run("cid", "Qm", code=2)
    assert HELLO in desk.text("cid", HELLO)
    strange = desk.json("cid", "f0178" + CID.parse(HELLO).multihash.hex())["cids"][0]
    assert (strange["codec"], strange["v0"]) == ("0x78", None)


# At home


def test_the_store_of_the_home_is_the_default(desk, tree, monkeypatch):
    home = desk.folder / "home"
    monkeypatch.setenv("MUNIMENT_HOME", str(home))
    monkeypatch.setenv("MUNIMENT_CALENDARS", "")
    monkeypatch.setenv("MUNIMENT_WORKERS", "1")
    assert run(["init", "-q", "--organization-id", "hrdag", "--no-recovery-kit"]) == 0
    assert run(["content", "pins"]) == 0  # of a new home
    assert run(["content", "add", str(tree / "hello")]) == 0
    assert run(["archive", "-q", str(tree)]) == 0
    with EmbeddedBlockStore(home / "store") as store:
        (commit,) = set(store.directories().values())
        assert store.has(CID.parse(HELLO))
    assert run(["content", "stat", str(commit)]) == 0
    assert run(["content", "unpin", str(commit)]) == 2
    desk.store = home / "store"
    assert str(commit) in desk.text("pins")


def test_asking_for_help_imports_little():
    code = (
        "import sys; from muniment.entrypoints.cli.running import run; run(['content', '--help']);"
        "print([name for name in ('sqlite3', 'concurrent.futures', 'muniment.adapters.block_store', 'rich', 'hashlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().splitlines()[-1] == "[]"
