"""The archive over HTTP: from an upload to a commit, and back again."""

import hashlib
import io
import os
import re
import tarfile
import threading
import time
import zipfile
from urllib.parse import unquote

import pytest
from blake3 import blake3
from litestar.testing import TestClient

from muniment.accounts.permissions import Role
from muniment.adapters.verifying import verify_commit
from muniment.archive.merkle import verify_inclusion
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app

PAGE = b"<script>fetch('/v1/keys')</script>"
LARGE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(90_000))  # 2.9 MB
RAW_NAME = b"caf\xe9 \xff.txt"


class Office:
    """A service with two organisations, clients of each, and a worker while it is `working`."""

    def __init__(self, home, database="", **settings):
        home.mkdir(exist_ok=True)
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        (home / "service.toml").write_text(f"database = '{database}'\n" + "".join(lines))
        self.service = Service(home)
        self.keys = {
            name: self.service.operator.create_organization(name, name)[0]
            for name in ("one", "two")
        }
        self._app = create_app(self.service)
        self.client = self.as_key(self.keys["one"])
        self.stranger = self.as_key(self.keys["two"])

    def as_key(self, key):
        client = TestClient(self._app, base_url="http://muniment.test")
        client.headers["authorization"] = f"Bearer {key}"
        return client

    def as_role(self, role):
        return self.as_key(self.service.operator.create_key("one", role.value, role))

    def put(self, name, data):
        answer = self.client.put(f"/v1/files/{name}", content=data)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def do(self, path, client=None, **more):
        """Begin an operation and return it when it has ended."""
        answer = (client or self.client).post(path, **more)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/operations/{answer.json()['operation_id']}"
        return self.wait(answer.headers["location"])

    def wait(self, address):
        for _ in range(20):
            answer = self.client.get(address, params={"wait_s": 5})
            assert answer.status_code == 200, answer.text
            if answer.json()["finished_at"] is not None:
                return answer.json()
        raise AssertionError(answer.json())

    def archive(self, **params):
        done = self.do("/v1/archive", params=params)
        assert done["state"] == "succeeded", done
        return done

    def files(self, **params):
        answer = self.client.get("/v1/files", params=params)
        assert answer.status_code == 200, answer.text
        return {item["path"].partition("/")[2]: item for item in answer.json()["items"]}

    def close(self):
        self.service.close()


@pytest.fixture(autouse=True)
def quiet_archives(monkeypatch):
    monkeypatch.setenv("MUNIMENT_CALENDARS", "")
    monkeypatch.setenv("MUNIMENT_WORKERS", "1")


@pytest.fixture
def office(tmp_path):
    office = Office(tmp_path / "service")
    with office.service.worker():
        yield office
    office.close()


def test_from_upload_to_proof_on_each_database(tmp_path, database_url):
    office = Office(tmp_path / "service", database_url)
    with office.service.worker():
        uploaded = office.put("letters/ana.txt", b"Dear Ana")
        assert office.client.get("/v1/files").json()["items"] == []

        seen = office.do("/v1/catalog")
        assert seen["result"]["scan"] == {"new": 1, "changed": 0, "unchanged": 0}
        assert [item["state"] for item in office.files().values()] == ["pending"]

        done = office.archive(batch_size_gb=0.01)
        (commit,) = done["result"]["commits"]
        assert [stage["state"] for stage in done["stages"]] == ["done"] * 8

        (file,) = office.client.get("/v1/files").json()["items"]
        assert file["state"] == "archived"
        assert file["path"].endswith("/letters/ana.txt")
        assert file["digest"] == f"blake3:{blake3(b'Dear Ana').hexdigest()}"
        assert office.client.get(f"{file['address']}/content").content == b"Dear Ana"

        proof = office.client.get(f"{file['address']}/proof").json()
        bare = proof["merkle_proof"]
        verify_inclusion(
            bytes.fromhex(bare["leaf_hash"][7:]),
            bare["leaf_index"],
            proof["leaf_count"],
            [bytes.fromhex(text[7:]) for text in bare["siblings"]],
            bytes.fromhex(proof["root"][7:]),
        )
        shown = office.client.get(f"/v1/commits/{commit['commit_id']}").json()
        assert shown == office.client.get(f"/v1/archive/commit/{commit['commit_id']}").json()
        assert (shown["state"], shown["merkle_root"]) == ("stored", proof["root"])
        assert shown["verified_at"] is not None
        assert shown["problem"] is None

        upload = office.client.get(f"/v1/uploads/{uploaded['upload_id']}").json()
        assert upload["state"] == "archived"
        audit = office.client.get("/v1/audit").json()["items"]
        actions = [entry["action"] for entry in audit]
        for action in (
            "operation.requested",
            "commit.stored",
            "commit.verified",
            "upload.archived",
        ):
            assert action in actions
        stored = audit[actions.index("commit.stored")]
        assert stored["actor"].startswith("key:")
        assert stored["origin"] == f"operation:{done['operation_id']}"
        assert office.archive()["result"]["commit_count"] == 0  # no folder's time makes a commit
    office.close()


def test_what_was_archived_is_removed_and_nothing_else(office, tmp_path):
    office.put("a.txt", b"a")
    office.archive()
    office.put("b.txt", b"b")
    found = [
        name
        for _folder, _folders, names in os.walk(tmp_path / "service/uploads/one")
        for name in names
    ]
    assert found == ["b.txt"]


@pytest.mark.slow
def test_uploads_stay_where_they_are_if_wished(tmp_path):
    office = Office(tmp_path / "service", keep_staged="true")
    with office.service.worker():
        office.put("a.txt", b"a")
        office.archive()
        kept = [
            names for _folder, _folders, names in os.walk(tmp_path / "service/uploads/one") if names
        ]
        assert kept == [["a.txt"]]
        assert office.archive()["result"]["commit_count"] == 0
        assert office.client.get("/v1/uploads").json()["items"][0]["state"] == "archived"
    office.close()


@pytest.mark.slow
def test_uploads_in_a_damaged_commit_are_kept(office, tmp_path, monkeypatch):
    office.put("a.txt", b"a" * 5000)

    def damaging(folder, **more):
        with open(folder.path / f"{folder.commit_id}_aa", "r+b") as chunk:
            chunk.seek(700)
            chunk.write(b"damaged")
        return verify_commit(folder, **more)

    with monkeypatch.context() as patch:
        patch.setattr("muniment.tasks.verification.verify_commit", damaging)
        failed = office.do("/v1/archive")
    assert failed["state"] == "failed"
    assert failed["problem"]["code"] == "damaged"
    kept = [
        names for _folder, _folders, names in os.walk(tmp_path / "service/uploads/one") if names
    ]
    assert kept == [["a.txt"]]
    (commit,) = office.client.get("/v1/commits").json()["items"]
    assert "damaged" in commit["problem"]
    assert office.client.get("/v1/uploads").json()["items"][0]["state"] == "received"

    file = office.files()["a.txt"]
    answer = office.client.get(f"{file['address']}/content")
    assert (answer.status_code, answer.json()["code"]) == (500, "damaged")
    office.service.archives.get("one").repair(commit["commit_id"])
    assert office.archive()["result"]["commit_count"] == 0
    assert office.client.get("/v1/uploads").json()["items"][0]["state"] == "archived"
    assert not [
        names for _folder, _folders, names in os.walk(tmp_path / "service/uploads/one") if names
    ]


@pytest.mark.slow
def test_a_file_that_changed_behind_its_commit_is_archived_again_before_it_goes(
    office, tmp_path, monkeypatch
):
    office.put("a.txt", b"first")
    (day,) = (tmp_path / "service/uploads/one").iterdir()

    def changing(folder, **more):
        (day / "a.txt").write_bytes(b"second")
        return verify_commit(folder, **more)

    with monkeypatch.context() as patch:
        patch.setattr("muniment.tasks.verification.verify_commit", changing)
        office.archive()
    assert (day / "a.txt").read_bytes() == b"second"
    office.archive()
    assert not (day / "a.txt").exists()
    address = office.files()["a.txt"]["address"]
    assert office.client.get(f"{address}/content").content == b"second"


def test_downloads_in_parts_and_under_conditions(office):
    office.put("large.bin", LARGE)
    office.put("small.txt", b"0123456789")
    office.put("empty", b"")
    office.archive()
    files = office.files()
    for name, data in (("large.bin", LARGE), ("small.txt", b"0123456789")):
        content = files[name]["address"] + "/content"
        whole = office.client.get(content)
        assert whole.content == data
        etag = whole.headers["etag"]
        assert etag == f'"blake3:{blake3(data).hexdigest()}"'
        assert whole.headers["accept-ranges"] == "bytes"
        size = len(data)
        for asked, start, end in (
            ("bytes=0-0", 0, 1),
            ("bytes=2-5", 2, 6),
            (f"bytes={size - 3}-", size - 3, size),
            ("bytes=-4", size - 4, size),
            (f"bytes=1-{10**17}", 1, size),
            (f"bytes=-{10**17}", 0, size),
        ):
            part = office.client.get(content, headers={"range": asked})
            assert part.status_code == 206, asked
            assert part.content == data[start:end]
            assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        for ignored in ("bytes=0-1,3-4", "bytes=5-2", "bytes=-", "lines=1-2", "bytes=a-b"):
            answer = office.client.get(content, headers={"range": ignored})
            assert (answer.status_code, len(answer.content)) == (200, size), ignored
        for none in (f"bytes={size}-", "bytes=-0"):
            answer = office.client.get(content, headers={"range": none})
            assert answer.status_code == 416
            assert answer.headers["content-range"] == f"bytes */{size}"
            assert answer.json()["code"] == "range-not-satisfiable"
        middle = {"range": "bytes=2-5"}
        assert office.client.get(content, headers=middle | {"if-range": etag}).status_code == 206
        assert office.client.get(content, headers=middle | {"if-range": '"x"'}).status_code == 200
        same = office.client.get(content, headers={"if-none-match": f'"x", {etag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
        told = office.client.head(content)
        assert told.headers["content-length"] == str(size)
        assert told.headers["etag"] == etag
    # Across the boundary of sealed messages
    part = office.client.get(
        files["large.bin"]["address"] + "/content", headers={"range": "bytes=1048570-2097160"}
    )
    assert part.content == LARGE[1048570:2097161]
    assert (
        office.client.get(
            files["empty"]["address"] + "/content", headers={"range": "bytes=0-"}
        ).content
        == b""
    )


def test_nothing_that_was_archived_acts_in_the_name_of_the_service(office):
    office.put("page.html", PAGE)
    office.put("caf%C3%A9%20%22%E2%80%AE.html", PAGE)
    office.archive()
    for name, file in office.files().items():
        answer = office.client.get(f"{file['address']}/content")
        assert answer.content == PAGE
        assert answer.headers["content-security-policy"].startswith("sandbox;")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "text/html"
        disposition = answer.headers["content-disposition"]
        plain, _, extended = disposition.partition("; filename*=UTF-8''")
        assert re.fullmatch(r'attachment; filename="[ -~]+"', plain)
        assert (unquote(extended) or plain[22:-1]) == name


def test_many_files_as_one_stream_with_any_names(office):
    office.put("letters/ana.txt", b"Dear Ana")
    office.put("letters/" + "".join(f"%{byte:02X}" for byte in RAW_NAME), b"raw")
    office.put("large.bin", LARGE)
    office.put("empty", b"")
    office.archive()
    day = next(iter(office.client.get("/v1/files").json()["items"]))["path"][:10].encode()

    answer = office.client.post("/v1/restore", json={"format": "tar"})
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        members = {os.fsencode(member.name): tar.extractfile(member).read() for member in tar}
    assert members == {
        day + b"/letters/ana.txt": b"Dear Ana",
        day + b"/letters/" + RAW_NAME: b"raw",
        day + b"/large.bin": LARGE,
        day + b"/empty": b"",
    }
    answer = office.client.post("/v1/restore", json={"format": "zip"})
    assert answer.headers["content-disposition"] == 'attachment; filename="one.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        contents = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    digest = hashlib.sha256(day + b"/letters/" + RAW_NAME).hexdigest()[:12]
    assert contents.pop(f"letters/caf\\xe9 \\xff.txt~{digest}") == b"raw"
    assert contents == {"letters/ana.txt": b"Dear Ana", "large.bin": LARGE, "empty": b""}

    for wanted in (
        {"paths": [f"{day.decode()}/letters"]},
        {"paths": [f"{day.decode()}/let*"]},
        {
            "paths": [f"{day.decode()}/letters/ana.txt"],
            "path_bytes": [f"{day.decode()}/letters/caf%E9%20%FF.txt"],
        },
    ):
        answer = office.client.post("/v1/restore", json=wanted | {"format": "tar"})
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
            assert len(tar.getnames()) == 2
    assert office.client.post("/v1/restore", json={"paths": ["nothing"]}).status_code == 404
    assert office.client.post("/v1/restore", json={"format": "rar"}).status_code == 400
    assert "file.restored" in [e["action"] for e in office.client.get("/v1/audit").json()["items"]]


@pytest.mark.slow
def test_erased_files_are_gone_and_told_of(office):
    office.put("a.txt", b"a")
    office.put("b.txt", b"b")
    (commit,) = office.archive()["result"]["commits"]
    files, archive = office.files(), office.service.archives.get("one")
    assert office.client.get(files["a.txt"]["address"] + "/content").content == b"a"
    keyring = archive.open_keyring(commit["commit_id"]).without([files["a.txt"]["leaf"]])
    (archive.store.path(commit["commit_id"]) / "keys.age").write_bytes(
        archive.seal_keyring(keyring)
    )
    answer = office.client.get(files["a.txt"]["address"] + "/content")
    assert (answer.status_code, answer.json()["code"]) == (410, "gone")
    for format_ in ("zip", "tar"):
        content = office.client.post("/v1/restore", json={"format": format_}).content
        assert b"muniment-problems.txt" in content
        assert b"a.txt: " in content
        assert b"b.txt" in content


def test_files_are_listed_and_searched_page_by_page(office):
    for number in range(5):
        office.put(f"letters/{number}.txt", b"letter %d" % (number % 3))
    office.put("photo.jpg", b"\xff\xd8\xff\xe0" + bytes(40))
    (commit,) = office.archive()["result"]["commits"]
    office.put("letters/waiting.txt", b"waits")
    office.do("/v1/catalog")

    seen, address = [], "/v1/files?limit=2"
    while address:
        answer = office.client.get(address)
        seen += [item["path"].partition("/")[2] for item in answer.json()["items"]]
        link = answer.headers.get("link", "")
        assert bool(link) is bool(answer.json()["next"])
        address = link[1:].partition(">")[0]
    letters = [f"letters/{number}.txt" for number in range(5)]
    assert seen == [*letters, "letters/waiting.txt", "photo.jpg"]
    day = office.client.get("/v1/files").json()["items"][0]["path"][:10]
    assert list(office.files(path=f"{day}/letters")) == [*letters, "letters/waiting.txt"]
    assert list(office.files(path=f"{day}/letters/3.txt")) == ["letters/3.txt"]
    assert list(office.files(state="pending")) == ["letters/waiting.txt"]
    assert (
        len(office.files(state="archived")) == len(office.files(commit_id=commit["commit_id"])) == 6
    )
    assert (
        list(office.files(name="*.jpg")) == list(office.files(media_type="image/")) == ["photo.jpg"]
    )
    assert len(office.files(kind="file")) == 7
    assert office.files(kind="symlink") == {}
    digest = f"blake3:{blake3(b'letter 0').hexdigest()}"
    assert list(office.files(digest=digest)) == ["letters/0.txt", "letters/3.txt"]
    first = office.client.get("/v1/files", params={"digest": digest, "limit": 1}).json()
    second = office.client.get(
        "/v1/files", params={"digest": digest, "limit": 1, "cursor": first["next"]}
    ).json()
    assert [item["leaf"] for item in first["items"] + second["items"]] == [0, 3]
    for wrong in ({"cursor": "nonsense"}, {"state": "gone"}, {"digest": "sha256:00"}, {"limit": 0}):
        assert office.client.get("/v1/files", params=wrong).status_code == 400, wrong
    assert office.client.get("/v1/files", params={"commit_id": "none"}).status_code == 404


@pytest.mark.slow
def test_a_version_that_waits_comes_behind_the_archived_one(office, tmp_path):
    elsewhere = tmp_path / "papers"
    elsewhere.mkdir()
    (elsewhere / "note").write_bytes(b"one")
    office.service.archives.get("one").catalog.add_root(os.fsencode(elsewhere))
    office.archive()
    (elsewhere / "note").write_bytes(b"two!")
    office.do("/v1/catalog")
    seen, cursor = [], ""
    while cursor is not None:
        page = office.client.get(
            "/v1/files", params={"path": f"{elsewhere}/note", "limit": 1, "cursor": cursor}
        ).json()
        seen += [(item["path"], item["state"]) for item in page["items"]]
        cursor = page["next"]
    assert seen == [(f"{elsewhere}/note", "archived"), (f"{elsewhere}/note", "pending")]


@pytest.mark.slow
def test_commits_show_what_is_public_of_them_and_no_keys(office):
    office.put("a.txt", b"a")
    (first,) = office.archive()["result"]["commits"]
    office.put("b.txt", b"b")
    office.archive()
    page = office.client.get("/v1/commits", params={"limit": 1}).json()
    rest = office.client.get("/v1/commits", params={"limit": 1, "cursor": page["next"]}).json()
    assert [item["sequence"] for item in page["items"] + rest["items"]] == [2, 1]
    assert rest["next"] is None
    address = f"/v1/commits/{first['commit_id']}"
    manifest = office.client.get(f"{address}/documents/manifest.json")
    shown = office.client.get(address).json()
    assert f"sha256:{hashlib.sha256(manifest.content).hexdigest()}" == shown["manifest_sha256"]
    for hidden in ("keys.age", "%2e%2e%2fkeys.age", "manifest.json.ots"):
        assert office.client.get(f"{address}/documents/{hidden}").status_code == 404, hidden
    assert office.client.get(f"{address}/timestamp").json()["state"] == "queued"
    # A beginning of an id is no id.
    assert office.client.get(f"/v1/commits/{first['commit_id'][:-1]}").status_code == 404


@pytest.mark.slow
def test_verification_tells_what_is_wrong(office):
    office.put("a.txt", b"a" * 5000)
    (commit,) = office.archive()["result"]["commits"]
    address = f"/v1/commits/{commit['commit_id']}"
    good = office.do(f"{address}/verify")
    assert good["result"]["ok"] is True
    assert good["result"]["contents"] == 1
    assert office.do(f"{address}/verify?deep=false")["result"]["contents"] == 0
    path = office.service.archives.get("one").store.path(commit["commit_id"])
    (path / f"{commit['commit_id']}_aa").write_bytes(b"")
    bad = office.do(f"{address}/verify")
    assert bad["state"] == "succeeded"
    assert bad["result"]["ok"] is False
    assert bad["result"]["damaged"] == [f"{commit['commit_id']}_aa"]
    assert office.client.get(address).json()["problem"]
    assert office.client.post("/v1/commits/none/verify").status_code == 404


def test_status_counts_what_waits_and_what_is_archived(office):
    assert office.client.get("/v1/status").json()["last_commit"] is None
    office.put("a.txt", b"abc")
    office.do("/v1/catalog")
    status = office.client.get("/v1/status").json()
    assert (status["pending_files"], status["pending_bytes"], status["commits"]) == (1, 3, 0)
    office.archive()
    status = office.client.get("/v1/status").json()
    assert (status["pending_files"], status["archived_files"], status["commits"]) == (0, 1, 1)
    assert status["timestamps_queued"] == 1
    assert status["last_commit"]["sequence"] == 1


@pytest.mark.slow
def test_timestamps_are_asked_for_again(office):
    office.put("a.txt", b"a")
    office.archive()
    done = office.do("/v1/archive/ots-upgrade")
    assert done["state"] == "succeeded"
    assert done["result"] == {"completed": 0, "waiting": 1, "unreached": 0, "problems": []}


@pytest.mark.slow
def test_an_operation_that_waits_for_the_command_line_says_so_and_goes_on(office):
    office.put("a.txt", b"a")
    archive = office.service.archives.get("one")
    with archive.lock():
        answer = office.client.post("/v1/archive")
        address = answer.headers["location"]
        while (shown := office.client.get(address).json())["progress"] is None:
            time.sleep(0.05)
        assert shown["progress"]["stage"] == "waiting"
        assert {stage["state"] for stage in shown["stages"]} == {"waiting"}
    assert office.wait(address)["state"] == "succeeded"


@pytest.mark.slow
def test_one_run_at_a_time_and_each_can_be_cancelled_and_resumed(office):
    office.put("a.txt", b"a")
    with office.service.archives.get("one").lock():
        first = office.client.post("/v1/archive").headers["location"]
        second = office.client.post("/v1/archive").headers["location"]
        while office.client.get(first).json()["state"] != "running":
            time.sleep(0.05)
        assert office.client.get(second).json()["state"] == "queued"
        assert office.client.post(f"{second}/cancel").json()["state"] == "cancelled"
        assert office.client.post(f"{first}/cancel").json()["cancel_requested"] is True
        assert office.wait(first)["state"] == "cancelled"
        assert office.client.post(f"{first}/cancel").json()["state"] == "cancelled"
    resumed = office.client.post(f"{first}/resume")
    assert resumed.status_code == 202
    assert office.wait(first)["result"]["commit_count"] == 1
    again = office.client.post(f"{first}/resume")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    listed = office.client.get("/v1/operations", params={"state": "cancelled"}).json()["items"]
    assert [f"/v1/operations/{item['operation_id']}" for item in listed] == [second]
    actions = [entry["action"] for entry in office.client.get("/v1/audit").json()["items"]]
    assert actions.count("operation.cancel-requested") == 2
    assert actions.count("operation.resumed") == 1


@pytest.mark.slow
def test_an_unfinished_commit_is_resumed_by_name(office, monkeypatch):
    office.put("a.txt", b"a")
    stopped = threading.Event()

    def stop(_self, _folder, _prefix, _names, _par2):
        stopped.set()
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("muniment.adapters.par2.Par2Program.create", stop)
        address = office.client.post("/v1/archive").headers["location"]
        assert stopped.wait(30)
        office.client.post(f"{address}/cancel")
        assert office.wait(address)["state"] == "cancelled"
    (commit,) = office.client.get("/v1/status").json()["unfinished"]
    assert commit["state"] == "tree_built"
    office.put("b.txt", b"b")
    done = office.do(f"/v1/archive/resume/{commit['commit_id']}")
    assert [row["commit_id"] for row in done["result"]["commits"]] == [commit["commit_id"]]
    assert list(office.files()) == ["a.txt"]
    again = office.client.post(f"/v1/archive/resume/{commit['commit_id']}")
    assert again.status_code == 409
    assert office.client.post("/v1/archive/resume/none").status_code == 404


def test_what_is_of_another_organisation_does_not_exist(office):
    office.put("a.txt", b"a")
    done = office.archive()
    file = office.files()["a.txt"]
    commit = f"/v1/commits/{file['commit_id']}"
    operation = f"/v1/operations/{done['operation_id']}"
    for method, path in (
        ("GET", commit),
        ("GET", f"/v1/archive/commit/{file['commit_id']}"),
        ("GET", f"{commit}/timestamp"),
        ("GET", f"{commit}/documents/manifest.json"),
        ("POST", f"{commit}/verify"),
        ("POST", f"/v1/archive/resume/{file['commit_id']}"),
        ("GET", file["address"]),
        ("GET", f"{file['address']}/content"),
        ("HEAD", f"{file['address']}/content"),
        ("GET", f"{file['address']}/proof"),
        ("GET", operation),
        ("POST", f"{operation}/cancel"),
        ("POST", f"{operation}/resume"),
    ):
        missing = path.replace(file["commit_id"], "20200101T000000Z-aaaaaaaa").replace(
            done["operation_id"], "01900000-0000-7000-8000-000000000000"
        )
        foreign = office.stranger.request(method, path)
        nothing = office.stranger.request(method, missing)
        assert foreign.status_code == nothing.status_code == 404, path
        if method != "HEAD":
            one, other = foreign.json(), nothing.json()
            del one["request_id"], other["request_id"]
            assert {k: v for k, v in one.items() if k != "detail"} == {
                k: v for k, v in other.items() if k != "detail"
            }
            assert one["detail"].replace(file["commit_id"], "").replace(
                done["operation_id"], ""
            ) == other["detail"].replace("20200101T000000Z-aaaaaaaa", "").replace(
                "01900000-0000-7000-8000-000000000000", ""
            )
    assert office.stranger.get("/v1/files").json()["items"] == []
    assert office.stranger.get("/v1/commits").json()["items"] == []
    assert office.stranger.get("/v1/operations").json()["items"] == []
    assert office.stranger.get("/v1/status").json()["archived_files"] == 0
    assert office.stranger.get("/v1/files", params={"digest": file["digest"]}).json()["items"] == []
    assert office.stranger.post("/v1/restore", json={}).status_code == 404


def test_each_role_does_what_the_table_says(office):
    office.put("a.txt", b"a")
    office.archive()
    file = office.files()["a.txt"]
    contributor, reader, auditor = map(
        office.as_role, (Role.CONTRIBUTOR, Role.READER, Role.AUDITOR)
    )
    assert contributor.get("/v1/files").status_code == 403
    assert contributor.get(f"{file['address']}/content").status_code == 403
    assert contributor.get("/v1/operations").status_code == 200
    assert reader.get(f"{file['address']}/content").status_code == 200
    assert reader.post("/v1/archive").status_code == 403
    assert auditor.get(f"{file['address']}/proof").status_code == 200
    assert auditor.get(f"{file['address']}/content").status_code == 403
    assert auditor.post("/v1/restore", json={}).status_code == 403
    assert auditor.post(f"/v1/commits/{file['commit_id']}/verify").status_code == 202
    assert auditor.post("/v1/catalog").status_code == 403
