"""The command line on a service: the same words, answers and exit codes as on an archive of this machine."""

import json
import os

import pytest

from muniment.client import Client
from muniment.client.uploads import UploadCalls
from muniment.content.cid import CID, RAW
from muniment.entrypoints.cli.answers import ANSWERS, COMMIT
from muniment.entrypoints.cli.remote import ANYWHERE, FORMS
from muniment.entrypoints.cli.root import COMMANDS
from muniment.entrypoints.cli.running import run
from muniment.testing.loopback import LoopbackServer
from muniment.testing.service import LocalService

LETTER = b"Dear Ana,\n" * 200
EVIL = b"evil\x1b[31m\xff.txt"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = LocalService(tmp_path_factory.mktemp("remote") / "home")
    key = service.create_organization()
    with service:
        folder = service.folder.parent
        (folder / "key").write_text(key + "\n")
        (folder / "key").chmod(0o600)
        papers = folder / "papers"
        (papers / "1994").mkdir(parents=True)
        (papers / "1994" / "ana.txt").write_bytes(LETTER)
        (papers / "noise").write_bytes(os.urandom(300_000))
        (papers / os.fsdecode(EVIL)).write_bytes(b"x")
        yield service


class Desk:
    """Somebody at work on a service."""

    def __init__(self, service, capsys):
        self.folder = service.folder.parent
        self.papers = self.folder / "papers"
        self._capsys = capsys
        self.error = ""

    def run(self, *words, code=0):
        self._capsys.readouterr()
        found = run([str(word) for word in words])
        printed = self._capsys.readouterr()
        self.error = printed.err
        assert found == code, (words, found, printed)
        assert "Traceback" not in printed.err
        assert "\x1b[31m" not in printed.out
        return printed.out

    def json(self, *words, code=0):
        out = self.run(*words, "--json", code=code)
        assert out.isascii()
        answer = json.loads(out)
        name = " ".join(words[:2] if words[0] in ("ots", "content") else words[:1])
        if "error" not in answer:
            assert list(answer) == list(ANSWERS[name])
        return answer


@pytest.fixture
def desk(service, monkeypatch, capsys):
    monkeypatch.setenv("MUNIMENT_URL", service.url)
    monkeypatch.setenv("MUNIMENT_API_KEY", (service.folder.parent / "key").read_text())
    monkeypatch.setenv("MUNIMENT_HOME", str(service.folder / "no-archive-here"))
    return Desk(service, capsys)


@pytest.fixture
def full(desk):
    """A desk whose papers are archived, in two commits at least."""
    while len(json.loads(desk.run("commits", "--json"))["commits"]) < 2:
        desk.run("archive", desk.papers)
    return desk


def test_nothing_yet(desk):
    if not desk.json("commits")["commits"]:
        assert "no commits yet" in desk.run("commits")
        assert desk.json("verify")["ok"] is False
        assert "0 paths" in desk.run("status")


def test_files_are_uploaded_and_archived(desk):
    would = desk.run("archive", desk.papers, "--dry-run")
    assert "3 files" in would
    answer = desk.json("archive", desk.papers)
    assert [list(commit) for commit in answer["commits"]] == [list(COMMIT)]
    assert answer["commits"][0]["state"] == "stored"
    assert answer["problems"] == []
    assert "Nothing is new" in desk.run("archive")
    (desk.folder / "one").write_bytes(b"one more")
    told = desk.run("archive", desk.folder / "one")
    assert "Commit " in told
    assert "signed by  SHA256:" in told


def test_what_is_no_file_is_named(desk):
    folder = desk.folder / "odd"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "fine").write_bytes(b"fine")
    (folder / "link").symlink_to("sub/fine")
    (folder / "way").symlink_to("sub")
    os.mkfifo(folder / "pipe")
    answer = desk.json("archive", folder, code=10)
    problems = {found["path_display"].rpartition("/")[2]: found for found in answer["problems"]}
    assert set(problems) == {"link", "way", "pipe"}
    assert "symbolic link" in problems["way"]["message"]
    assert answer["commits"][0]["files"] == 1
    desk.run("archive", folder / "link")  # what is named is meant
    desk.run("archive", folder / "nothing", code=3)


def test_an_interrupted_run_goes_on_where_it_stopped(desk, service, monkeypatch):
    monkeypatch.setattr("muniment.client.uploads.RESUMABLE_BYTES", 1 << 20)
    key = (desk.folder / "key").read_text().strip()
    folder = desk.folder / "large"
    folder.mkdir()
    for name in ("arrived", "begun", "other"):
        (folder / name).write_bytes(os.urandom(24 << 20))

    class StoppedError(Exception):
        pass

    def upload(name, stop_bytes):
        told = []

        def progress(size_bytes):
            told.append(size_bytes)
            if sum(told) > stop_bytes:
                raise StoppedError

        with Client(service.url, key) as client:
            client.upload(folder / name, f"large/{name}", progress=progress)

    upload("arrived", 1 << 30)
    for name in ("begun", "other"):
        with pytest.raises(StoppedError):
            upload(name, 16 << 20)
    begun = (folder / "other").stat()
    (folder / "other").write_bytes(os.urandom(24 << 20))  # not what was begun
    os.utime(folder / "other", ns=(0, begun.st_mtime_ns))  # though it looks like that

    sent, bring = [], UploadCalls._bring

    def counted(client, body, about):
        sent.append(about.path)
        return bring(client, body, about)

    monkeypatch.setattr(UploadCalls, "_bring", counted)
    answer = desk.json("archive", folder)
    assert sent == [b"large/other"]
    assert [commit["files"] for commit in answer["commits"]] == [3]
    target = desk.folder / "large-back"
    desk.run("restore", "*/large/*", "--target", target)
    for path in target.rglob("*"):
        if path.is_file():
            name = path.name.partition(" ")[0]  # what was given up has had the name
            assert path.read_bytes() == (folder / name).read_bytes()


def test_files_keep_their_time_to_the_nanosecond(desk, monkeypatch):
    monkeypatch.setattr("muniment.client.uploads.RESUMABLE_BYTES", 1 << 20)
    folder, back = desk.folder / "dated", desk.folder / "dated-back"
    folder.mkdir()
    wanted = {"small": 1_577_836_800_123_456_789, "early": -1_000_000_001, "large": 987_654_321}
    for name, time_ns in wanted.items():
        (folder / name).write_bytes(name.encode() * (1 << 18 if name == "large" else 1))
        os.utime(folder / name, ns=(time_ns, time_ns))
    desk.run("archive", folder)
    desk.run("restore", "*/dated/*", "--target", back)
    found = {path.name: path.stat().st_mtime_ns for path in back.rglob("*") if path.is_file()}
    assert found == wanted


def test_a_time_that_no_service_keeps_holds_no_other_file_up(desk):
    folder = desk.folder / "far"
    folder.mkdir()
    for name in ("fine", "far"):
        (folder / name).write_bytes(name.encode())
    os.utime(folder / "far", ns=(0, 10_000_000_000 * 10**9))
    if (folder / "far").stat().st_mtime < 10_000_000_000:
        pytest.skip("the file system has no such time either")
    answer = desk.json("archive", folder, code=10)
    assert [problem["path_display"].rpartition("/")[2] for problem in answer["problems"]] == ["far"]
    assert "1677 to 2262" in answer["problems"][0]["message"]
    assert answer["commits"][0]["files"] == 1


def test_looking(full):
    status = full.json("status")
    assert status["organization"] == {"id": "example", "name": "An Example"}
    assert status["commits"] == len(full.json("commits")["commits"])
    assert "Archive of An Example" in full.run("status")
    newest = full.json("commits", "--limit", 1)["commits"][0]["commit_id"]
    assert newest in full.run("commits")
    facts = full.run("show", newest[:-2], "--files")
    assert f"Commit {newest}" in facts
    assert "leaf" in facts
    view = full.json("show", newest)
    assert view["catalogue"]["commit_id"] == newest
    assert view["files"][0]["merkle_proof"]["leaf_index"] == 0
    full.run("show", "19", code=3)
    full.run("show", "2", code=2)  # so begin several


def test_one_file_is_proven(full, service):
    with Client(service.url, (full.folder / "key").read_text().strip()) as client:
        (file,) = client.list_files(name="ana.txt")
    view = json.loads(full.run("show", file.commit_id, "--proof", file.path, "--json"))
    assert view["content_hash"] == file.digest
    assert "is in commit" in full.run("show", file.commit_id, "--proof", file.path)
    full.run("show", file.commit_id, "--proof", "nothing", code=3)


def test_checking(full):
    answer = full.json("verify", "--deep")
    assert answer["ok"]
    assert all(commit["contents"] for commit in answer["commits"])
    assert "nothing is wrong" in full.run("verify", answer["commits"][0]["commit_id"])
    full.run("verify", "--folder", full.folder, code=2)
    assert full.json("ots", "upgrade", "--dry-run")["commits"][0]["timestamp"] == "queued"
    assert full.json("ots", "upgrade")["commits"][0]["changed"] is False
    checks = full.json("ots", "verify", code=8)["commits"]
    assert {check["state"] for check in checks} == {"queued"}
    full.run("ots", "info", checks[0]["commit_id"], code=3)
    full.run("ots", "verify", "nothing", code=3)


def test_files_come_back(full, tmp_path):
    assert full.json("restore", "--target", tmp_path / "x", "--dry-run")["files"] >= 3
    assert not (tmp_path / "x").exists()
    answer = full.json("restore", "--target", tmp_path / "x")
    assert answer["problems"] == []
    assert answer["files"] >= 3
    (letter,) = (tmp_path / "x").rglob("ana.txt")
    assert letter.read_bytes() == LETTER
    assert letter.parent.name == "1994"
    assert (
        next(iter((tmp_path / "x").rglob("noise"))).read_bytes()
        == (full.papers / "noise").read_bytes()
    )
    assert any(EVIL in names for _, _, names in os.walk(os.fsencode(tmp_path)))
    again = full.json("restore", "--target", tmp_path / "x", code=10)
    assert len(again["problems"]) == answer["files"]
    full.run("restore", "--target", tmp_path / "x", "--overwrite")
    full.run("restore", "*ana.txt", "--target", tmp_path / "y")
    assert [path.name for path in (tmp_path / "y").rglob("*") if path.is_file()] == ["ana.txt"]
    full.run("restore", "nothing", "--target", tmp_path / "z", code=3)
    assert "a pattern finds a name anywhere: '*nothing*'" in full.error
    full.run("restore", "--at", "2020-01-01", "--target", tmp_path / "z", code=3)


def test_the_key_is_needed_and_kept_private(desk, monkeypatch):
    monkeypatch.delenv("MUNIMENT_API_KEY")
    assert desk.json("status", code=5)["error"]["code"] == "key_unavailable"
    desk.run("status", "--api-key-file", desk.folder / "key")
    open_key = desk.folder / "open-key"
    open_key.write_bytes((desk.folder / "key").read_bytes())
    open_key.chmod(0o644)
    desk.run("status", "--api-key-file", open_key, code=5)
    monkeypatch.setenv("MUNIMENT_API_KEY", "mnk_wrong")
    assert desk.json("status", code=5)["error"]["code"] == "key_unavailable"
    assert "mnk_wrong" not in desk.error


def test_a_service_that_is_not_there(desk, monkeypatch):
    monkeypatch.setattr("muniment.client.retrying.Patience.wait_s", lambda *_: 0)
    answer = desk.json("status", "--url", "http://127.0.0.1:1", code=7)
    assert answer["error"]["code"] == "external_service"
    assert "[errno" not in answer["error"]["message"]
    desk.run("status", "--url", "http://192.0.2.1", code=2)
    desk.run("status", "--url", "nonsense", code=2)


def test_what_is_no_service_is_not_taken_for_one(desk):
    def respond(_method, _path, _body):
        return 404, {"content-type": "text/html"}, [b"<h1>Not found</h1>"]

    with LoopbackServer(respond) as server:
        for words in (
            ["status"],
            ["archive", desk.papers],
            ["verify"],
            ["show", "x"],
            ["content", "pins"],
        ):
            answer = desk.json(*words, "--url", server.url, code=7)
            assert "version 1 of the API" in answer["error"]["message"]


def test_what_works_only_here_says_so(desk):
    for words in (["doctor"], ["rebuild"], ["backup"], ["keys", "list"], ["store", "verify"]):
        desk.run(*words, code=2)
        assert "only on this machine" in desk.error
    desk.run("completion", "bash")
    desk.run("completion", "bash", "--url", "https://example.org", code=2)


def test_every_form_belongs_to_a_command():
    assert set(FORMS) <= set(ANSWERS)
    assert {name.partition(" ")[0] for name in FORMS} <= set(COMMANDS)
    assert not ANYWHERE & set(FORMS)


def test_pins(full, service):
    with Client(service.url, (full.folder / "key").read_text().strip()) as client:
        (commit, *_others) = client.list_commits()
    cid = str(CID.of(RAW, b"nobody has this"))
    assert full.json("content", "pins") == {"pins": []}
    full.run("content", "unpin", cid, code=3)
    full.run("content", "pin", f"/ipfs/{cid}/folder", code=2)
    full.run("content", "pin", "nonsense", code=2)
    with Client(service.url, (full.folder / "key").read_text().strip()) as client:
        client.add_pin(cid, name="waits")
        assert [pin.name for pin in client.list_pins(name="waits")] == ["waits"]
    assert full.json("content", "unpin", cid) == {"unpinned": [cid]}
    full.run("content", "pin", commit.commit_cid, "--name", "a commit")
    full.run("content", "pin", commit.commit_cid, "--name", "a commit")  # once more is not one more
    full.run("content", "pin", commit.commit_cid)
    assert full.json("content", "pins")["pins"] == [{"cid": commit.commit_cid, "name": "a commit"}]
