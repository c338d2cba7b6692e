"""The command line on a service that lies: whatever can be checked on this machine is, and nothing else gets through."""

import gzip
import json
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from muniment.client import Client
from muniment.entrypoints.cli.running import run
from muniment.testing.loopback import LoopbackServer
from muniment.testing.service import LocalService

LETTER = b"Dear Ana, we arrived safely.\n" * 100
LIE = LETTER.replace(b"safely", b"hungry")
PASSED_ON = ("content-type", "content-range", "etag", "location")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distrust")
    service = LocalService(folder / "home")
    service.key = service.create_organization()
    with service, Client(service.url, service.key) as client:
        for number in range(3):
            papers = folder / f"papers-{number}"
            papers.mkdir()
            (papers / "ana.txt").write_bytes(LETTER + b"%d" % number)
            (papers / "noise").write_bytes(os.urandom(100_000))
            for name in ("ana.txt", "noise"):
                client.upload(papers / name, f"{number}/{name}")
            client.wait(client.archive(), timeout_s=60)
        service.commits = [commit.commit_id for commit in client.list_commits()][::-1]
        yield service


class Desk:
    """Somebody at work on a service that `lie` may change the answers of."""

    def __init__(self, service, monkeypatch, capsys):
        self._service, self._monkeypatch, self._capsys = service, monkeypatch, capsys
        self._lie: Callable[[str, bytes], bytes] = lambda _path, body: body

    def respond(self, method, path, body):
        headers = {"authorization": f"Bearer {self._service.key}"}
        if method == "POST":
            headers |= {"content-type": "application/json", "idempotency-key": os.urandom(9).hex()}
        data = body if method == "POST" else None
        request = urllib.request.Request(self._service.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                told = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
                return answer.status, told, [self._lie(path, answer.read())]
        except urllib.error.HTTPError as error:
            return error.code, {"content-type": "application/problem+json"}, [error.read()]

    def run(self, *words, lie=None, code=0):
        """Run a command; returns its answer."""
        self._lie = lie or (lambda _path, body: body)
        with LoopbackServer(self.respond) as server:
            self._monkeypatch.setenv("MUNIMENT_URL", server.url)
            self._capsys.readouterr()
            found = run([*map(str, words), "--json"])
        printed = self._capsys.readouterr()
        assert found == code, printed
        assert "Traceback" not in printed.err
        return json.loads(printed.out)


@pytest.fixture
def desk(service, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MUNIMENT_API_KEY", service.key)
    monkeypatch.setenv("MUNIMENT_HOME", str(tmp_path / "no-archive-here"))
    return Desk(service, monkeypatch, capsys)


def at(end, change):
    """A lie about what lies at an address that ends so."""
    return lambda path, body: change(body) if path.partition("?")[0].endswith(end) else body


def flipped(body):
    return body[:500] + bytes([body[500] ^ 1]) + body[501:]


def damage(answer):
    assert answer["ok"] is False
    return {
        found["commit_id"]: found["problems"] for found in answer["commits"] if found["problems"]
    }


def test_an_honest_service_passes(desk, service):
    answer = desk.run("verify", "--deep")
    assert answer["ok"] is True
    assert answer["chains"] == [{"organization": "example", "commits": 3, "first": 1, "last": 3}]
    assert [found["commit_id"] for found in answer["commits"]] == service.commits
    for found in answer["commits"]:
        assert (found["contents"], found["content_bytes"]) == (2, 100_000 + len(LETTER) + 1)
        assert found["files"] >= 3
        assert found["timestamp"]["state"] == "queued"
        assert found["signer_compared"] is False
    there = desk.run("verify", "--deep", "--on-service")
    assert there == answer
    assert desk.run("verify", service.commits[1])["commits"][0]["leaves"] == 2


@pytest.mark.parametrize("name", ["{}_aa", "records.sealed", "{}.par2"])
def test_damage_is_seen_here(desk, service, name):
    commit_id = service.commits[1]
    name = name.format(commit_id)
    found = damage(desk.run("verify", lie=at(f"{commit_id}/documents/{name}", flipped), code=4))
    assert list(found) == [commit_id]


def test_what_the_service_says_of_signed_things_is_not_believed(desk, service):
    for how in ((), ("--on-service",)):
        lie = at(
            f"{service.commits[1]}/documents/manifest.json",
            lambda body: body.replace(b'"An Example"', b'"An Elpmaxe"'),
        )
        assert service.commits[1] in damage(desk.run("verify", *how, lie=lie, code=4))
    garbage = at("/documents/manifest.json.ots", lambda _body: b"garbage")
    assert desk.run("verify", lie=garbage)["ok"]  # there is none, and a problem is no proof


def test_a_missing_or_exchanged_commit_is_seen(desk, service):
    first, second, _third = service.commits

    def without(body):
        page = json.loads(body)
        page["items"] = [item for item in page["items"] if item["commit_id"] != second]
        return json.dumps(page).encode()

    found = damage(desk.run("verify", lie=at("/v1/commits", without), code=4))
    assert found == {second: ["commit number 2 is missing from the service"]}

    def exchanged(path, body):
        if f"/commits/{second}/documents/manifest.json" not in path:
            return body
        return desk.respond("GET", path.replace(second, first), b"")[2][0]

    assert second in damage(desk.run("verify", lie=exchanged, code=4))


def test_the_signer_is_compared(desk, service, tmp_path, monkeypatch):
    key = next((service.folder / "organizations" / "example").rglob("signing.pub"))
    answer = desk.run("verify", "--signer", key)
    assert answer["signer_compared"] is True
    monkeypatch.delenv("MUNIMENT_URL")
    other = tmp_path / "other"
    assert (
        run(["init", "--home", str(other), "--organization-id", "other", "--no-recovery-kit"]) == 0
    )
    wrong = next(other.rglob("signing.pub"))
    assert len(damage(desk.run("verify", "--signer", wrong, code=4))) == 3
    desk.run("verify", "--signer", "nonsense", code=2)
    desk.run("verify", "--organization", "other", code=3)


def test_a_deep_look_reads_every_file(desk, service):
    lie = at("/v1/restore", lambda body: body.replace(LETTER, LIE))
    found = damage(desk.run("verify", "--deep", lie=lie, code=4))
    assert set(found) == set(service.commits)
    assert desk.run("verify", lie=lie)["ok"]
    fewer = at("/v1/proofs", lambda body: body.partition(b"\n")[2])
    found = damage(desk.run("verify", "--deep", lie=fewer, code=4))
    assert any(
        "expected proofs of 2 leaves, got 1" in problem for problem in found[service.commits[0]]
    )


def test_nothing_is_restored_that_was_not_archived(desk, tmp_path):
    answer = desk.run("restore", "--target", tmp_path / "good")
    assert (answer["files"], answer["problems"]) == (6, [])
    restored = sorted((tmp_path / "good").rglob("ana.txt"))
    assert [path.read_bytes() for path in restored] == [LETTER + b"%d" % n for n in range(3)]

    lie = at("/v1/restore", lambda body: body.replace(LETTER, LIE))
    answer = desk.run("restore", "--target", tmp_path / "x", lie=lie, code=10)
    assert len(answer["problems"]) == 3
    assert all(
        "expected content with the digest" in found["message"] for found in answer["problems"]
    )
    assert {path.name for path in (tmp_path / "x").rglob("*") if path.is_file()} == {"noise"}


def test_no_proof_is_believed_that_does_not_lead_to_a_signed_root(desk, tmp_path):
    def other_digest(body):
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines:
            line["disclosed"]["fields"]["blake3"] = "00" * 32
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    answer = desk.run(
        "restore", "--target", tmp_path / "y", lie=at("/v1/proofs", other_digest), code=10
    )
    assert len(answer["problems"]) == 6
    assert not [path for path in (tmp_path / "y").rglob("*") if path.is_file()]


def test_names_and_missing_files_are_noticed(desk, tmp_path):
    def renamed(body):
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines:
            line["path_bytes"] = line["path_bytes"].replace("ana.txt", "eva.txt")
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    answer = desk.run("restore", "--target", tmp_path / "x", lie=at("/v1/proofs", renamed), code=10)
    messages = [found["message"] for found in answer["problems"]]
    assert sum("but it was archived as" in message for message in messages) == 3
    assert sum("without a proof" in message for message in messages) == 3

    fewer = at("/v1/proofs", lambda body: body.partition(b"\n")[2])
    answer = desk.run("restore", "--target", tmp_path / "y", lie=fewer, code=10)
    assert [found["message"] for found in answer["problems"]] == [
        "the service sent it without a proof"
    ]
    empty = at("/v1/restore", lambda _body: bytes(10_240))
    answer = desk.run("restore", "--target", tmp_path / "z", lie=empty, code=10)
    assert {found["message"] for found in answer["problems"]} == {"the service did not send it"}


def huge_header():
    """A tar that announces a pax header of 8 GiB."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, (8 << 30) - 1
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(10_000)


@pytest.mark.parametrize(
    "body",
    [huge_header(), b"", b"x" * 700, gzip.compress(bytes(20_000)), b"\0" * 511],
    ids=["huge header", "nothing", "text", "compressed", "too short"],
)
def test_what_is_no_tar_is_refused(desk, tmp_path, body):
    desk.run(
        "restore", "--target", tmp_path / "x", lie=at("/v1/restore", lambda _body: body), code=4
    )
    assert not [path for path in (tmp_path / "x").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "line", [b"x\n", b"{}\n", b"[]\n", b'{"commit_id": 7}\n', b"\xff\n", b'{"a"']
)
def test_what_is_no_proof_is_refused(desk, service, tmp_path, line):
    lie = at("/v1/proofs", lambda _body: line)
    code = 7 if line.endswith(b'"a"') else 4 if line in (b"x\n", b"[]\n", b"\xff\n") else 10
    desk.run("restore", "--target", tmp_path / "x", lie=lie, code=code)
    assert not [path for path in (tmp_path / "x").rglob("*") if path.is_file()]
    shown = desk.run("show", service.commits[0], lie=lie, code=7 if code == 7 else 4)
    assert "files" not in shown or shown["problems"]


def test_a_shown_proof_holds(desk, service):
    with Client(service.url, service.key) as client:
        (file,) = (found for found in client.list_files(name="ana.txt") if "/0/" in found.path)
    words = ("show", file.commit_id, "--proof", file.path)
    view = desk.run(*words)
    assert view["disclosed"]["fields"]["blake3"] == file.digest[7:]

    def other(body):
        view = json.loads(body)
        view["disclosed"]["fields"]["mode"] = 1
        return json.dumps(view).encode()

    desk.run(*words, lie=at("/proof", other), code=4)
