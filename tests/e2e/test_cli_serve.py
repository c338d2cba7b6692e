"""The commands of a service for real: what each prints, its exit code, and servers that answer, work and end as they should."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from muniment.adapters.sql.service import open_service_database
from muniment.entrypoints.cli.answers import ANSWERS
from muniment.entrypoints.cli.running import run

PROGRAM = [sys.executable, "-m", "muniment"]


class Desk:
    """Runs commands in this process, on a home of its own."""

    def __init__(self, home: Path, capfd):
        self.home = home
        self._capture = capfd
        self.error = ""

    def json(self, *words, code=0):
        self._capture.readouterr()
        found = run([str(word) for word in (*words, "--home", self.home, "--json")])
        printed = self._capture.readouterr()
        assert found == code, (words, printed)
        answer = json.loads(printed.out)
        if code == 0:
            name = words[0] if words[0] in ANSWERS else " ".join(words[:2])
            assert list(answer) == list(ANSWERS[name])
        return answer

    def text(self, *words, code=0):
        self._capture.readouterr()
        found = run([str(word) for word in (*words, "--home", self.home)])
        printed = self._capture.readouterr()
        assert found == code, (words, printed)
        self.error = printed.err
        return printed.out

    def organization(self, name="example"):
        return self.json("org", "create", name, "An Example", "--no-recovery-kit")["api_key"]


class Serving:
    """A `muniment serve` in a process of its own."""

    def __init__(self, home, *options):
        command = [*PROGRAM, "serve", "--home", str(home), "--port", "0", "--json", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        text = ""
        while not text.endswith("}\n"):
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(self.process.communicate())
            text += line
        self.answer = json.loads(text)
        self.url = self.answer["url"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, error = self.process.communicate(timeout=60)
        assert "Traceback" not in out + error
        return self.process.returncode


@pytest.fixture
def desk(tmp_path, capfd):
    return Desk(tmp_path / "service", capfd)


def headers(key):
    return {"authorization": f"Bearer {key}"}


# Organisations and keys


def test_an_organisation_gets_its_key_once_and_its_recovery_kit(desk, tmp_path):
    kit = tmp_path / "kit.txt"
    made = desk.json("org", "create", "example", "An Example", "--recovery-kit", kit)
    assert re.fullmatch(r"mnk_\w{12}_\w{49}", made["api_key"])
    assert made["organization"] == {"id": "example", "name": "An Example"}
    assert kit.read_text().count("AGE-SECRET-KEY") or "recovery" in kit.read_text().lower()
    assert made["recovery_recipient"].startswith("age1")
    shown = desk.json("org", "show", "example")
    assert made["api_key"] not in json.dumps(shown)
    assert desk.json("org", "create", "example", "Again", "--no-recovery-kit", code=6)
    assert desk.json("org", "create", "No Id", "x", "--no-recovery-kit", code=2)
    assert [o["organization"]["id"] for o in desk.json("org", "list")["organizations"]] == [
        "example"
    ]
    assert "An Example" in desk.text("org", "list")


def test_without_a_terminal_the_kit_needs_a_place(desk):
    error = desk.json("org", "create", "example", "An Example", code=2)["error"]
    assert "--recovery-kit" in error["message"]


def test_what_a_killed_run_left_of_an_organisation_is_put_aside(desk):
    (desk.home / "organizations/example").mkdir(parents=True)
    (desk.home / "organizations/example/config.toml").write_text("")
    desk.organization()
    left = [path.name for path in (desk.home / "organizations").iterdir()]
    assert sorted(name[:18] for name in left) == [".abandoned-example", "example"]


def test_an_archive_outlives_the_services_database(desk, tmp_path):
    """Whoever makes the organisation anew must not push its commits aside."""
    desk.organization()
    home = desk.home / "organizations/example"
    (tmp_path / "letter.txt").write_text("a letter")
    archive = [
        sys.executable,
        "-m",
        "muniment",
        "archive",
        str(tmp_path / "letter.txt"),
        "--home",
        str(home),
    ]
    subprocess.run(
        archive, check=True, capture_output=True, env=os.environ | {"MUNIMENT_CALENDARS": ""}
    )
    for file in desk.home.glob("service.sqlite3*"):
        file.unlink()
    refused = desk.json("org", "create", "example", "Again", "--no-recovery-kit", code=6)
    assert "muniment org adopt example" in refused["error"]["message"]
    adopted = desk.json("org", "adopt", "example", "--quota-files", 9)
    assert adopted["organization"] == {"id": "example", "name": "An Example"}
    assert desk.json("org", "show", "example")["quota_files"] == 9
    assert desk.json("org", "adopt", "example", code=6)
    assert desk.json("org", "adopt", "nobody", code=3)
    with Serving(desk.home) as serving:
        answer = httpx.get(f"{serving.url}/v1/commits", headers=headers(adopted["api_key"]))
    assert [commit["files"] for commit in answer.json()["items"]] == [1]
    home.rename(home.with_name("other"))
    assert "example" in desk.json("org", "adopt", "other", code=2)["error"]["message"]


def test_quotas(desk):
    desk.organization()
    set_ = desk.json("org", "quota", "example", "--quota-bytes", 1000, "--quota-files", 5)
    assert (set_["quota_bytes"], set_["quota_files"]) == (1000, 5)
    assert desk.json("org", "show", "example") == set_
    assert desk.json("org", "quota", "example")["quota_bytes"] is None
    assert desk.json("org", "quota", "nobody", code=3)


def test_the_life_of_a_key(desk):
    desk.organization()
    options = ["--role", "reader", "--scope", "files:read", "--days", "3", "--max-uses", "7"]
    options += ["--quota-bytes", "1000", "--quota-files", "5"]
    made = desk.json("api-key", "create", "example", "robot", *options)
    keys = {key["key_id"]: key for key in desk.json("api-key", "list", "example")["keys"]}
    assert len(keys) == 2
    key = keys[made["key_id"]]
    assert (key["role"], key["scopes"], key["max_uses"]) == ("reader", ["files:read"], 7)
    assert abs(key["expires_at"] - time.time() - 3 * 86_400) < 60
    rotated = desk.json("api-key", "rotate", "example", made["key_id"], "--overlap-hours", "1")
    keys = {key["key_id"]: key for key in desk.json("api-key", "list", "example")["keys"]}
    new = keys[rotated["key_id"]]
    assert new["scopes"] == ["files:read"]
    assert (new["quota_bytes"], new["quota_files"], new["used_bytes"]) == (1000, 5, 0)
    revoked = desk.json("api-key", "revoke", "example", made["key_id"])
    assert revoked["revoked_at"] is not None
    assert "no good any more" in desk.text("api-key", "list", "example")
    assert desk.json("api-key", "revoke", "example", "nobody", code=3)
    assert desk.json("api-key", "create", "nobody", "x", code=3)
    assert desk.json("api-key", "create", "example", "x", "--scope", "all", code=2)


def test_the_home_of_one_archive_is_not_that_of_a_service(desk):
    desk.text("init", "--organization-id", "example", "--no-recovery-kit")
    assert "one of its own" in desk.json("org", "list", code=2)["error"]["message"]


# The audit log and the database


def test_an_exported_audit_log_is_checked_without_a_service(desk, tmp_path):
    desk.organization()
    for number in range(5):
        desk.json("api-key", "create", "example", f"robot {number}")
    file = tmp_path / "log.jsonl"
    exported = desk.json("audit", "export", "example", "--output", file)
    assert exported["entries"] == 7
    last = exported["last_hash"]
    assert desk.json("audit", "verify", "--file", file)["last_hash"] == last
    assert desk.json("audit", "verify", "example", "--last-hash", last)["entries"] == 7
    assert desk.json("audit", "export", "example", "--output", file, code=2)
    lines = file.read_bytes().splitlines(keepends=True)
    cases = {
        "changed": [*lines[:3], lines[3].replace(b"robot", b"human"), *lines[4:]],
        "removed": lines[:2] + lines[3:],
        "moved": [lines[1], lines[0], *lines[2:]],
        "empty": [],
        "no entry": [b"{}\n"],
        "no JSON": [b"\xff\xfe\n"],
        "deep": [b"[" * 100_000 + b"\n"],
    }
    for name, changed in cases.items():
        wrong = tmp_path / f"{name}.jsonl"
        wrong.write_bytes(b"".join(changed))
        assert desk.json("audit", "verify", "--file", wrong, code=4), name
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[:-1]))
    desk.json("audit", "verify", "--file", cut)
    assert desk.json("audit", "verify", "--file", cut, "--last-hash", last, code=4)
    assert desk.json("audit", "verify", code=2)
    assert desk.json("audit", "verify", "nobody", code=3)


def test_a_log_that_was_cut_in_the_database_is_noticed(desk):
    desk.organization()
    assert desk.json("db", "check")["audit_entries"] == {"example": 2}
    database = open_service_database(desk.home / "service.sqlite3")
    with database.transaction(write=True) as connection:
        connection.exec_driver_sql("DELETE FROM audit_log WHERE number = 2")
    database.close()
    assert desk.json("db", "check", code=4)
    assert desk.json("audit", "verify", "example", code=4)


def test_the_database_is_upgraded_and_checked(desk):
    assert desk.json("db", "check", code=8)["error"]["code"] == "pending"
    upgraded = desk.json("db", "upgrade")
    assert upgraded["version_before"] == 0
    assert desk.json("db", "upgrade")["version_before"] == upgraded["version"]
    empty = {"version": upgraded["version"], "audit_entries": {}, "catalogs": {}}
    assert desk.json("db", "check") == empty
    file = desk.home / "service.sqlite3"
    data = file.read_bytes()
    file.write_bytes(data[:4096] + os.urandom(8192) + data[12_288:])
    assert desk.json("db", "check", code=4)


# Servers


@pytest.mark.parametrize("options", [[], ["--processes", "2"]], ids=["one", "two"])
def test_it_serves_until_it_is_told_to_stop(desk, options):
    key = desk.organization()
    with Serving(desk.home, *options) as serving:
        with httpx.Client(base_url=serving.url, headers=headers(key)) as client:
            assert client.get("/livez").json() == {"status": "alive"}
            assert client.get("/v1/organization").json()["name"] == "An Example"
            deadline = time.monotonic() + 20
            while client.get("/readyz").json()["status"] != "ready":
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert client.get("/v1/nothing").json()["code"] == "not-found"
        assert serving.stop() == 0


def test_a_process_can_work_and_answer_nothing_and_another_answer_and_not_work(desk):
    desk.organization()
    with Serving(desk.home, "--workers", "0") as serving:
        assert httpx.get(f"{serving.url}/readyz").json() | {"disk": "ok"} == {
            "status": "degraded",
            "database": "ok",
            "disk": "ok",
            "workers": "none",
        }
        with Serving(desk.home, "--only-work") as working:
            assert working.url is None
            deadline = time.monotonic() + 20
            while httpx.get(f"{serving.url}/readyz").json()["workers"] != "ok":
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert working.stop() == 0
        assert serving.stop(signal.SIGINT) == 0


def test_options_that_make_no_sense(desk):
    assert desk.json("serve", "--only-work", "--workers", 0, code=2)
    assert desk.json("serve", "--host", "203.0.113.1", code=2)
    assert desk.json("serve", "--certificate", __file__, code=2)
    desk.home.mkdir(exist_ok=True)
    (desk.home / "service.toml").write_text("requests = 0")
    assert desk.json("serve", code=2)


def test_a_server_that_stops_ends_the_streams_of_events_at_once(desk):
    key = desk.organization()
    with Serving(desk.home) as serving:
        stream = {"accept": "text/event-stream"} | headers(key)
        with httpx.stream("GET", f"{serving.url}/v1/events", headers=stream) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 2000"
            serving.process.send_signal(signal.SIGTERM)
            assert "data" not in "".join(lines)
        serving.process.communicate(timeout=30)
        assert serving.process.returncode == 0


# Slow and hostile clients


def raw(url, data):
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(data)
    return connection


def test_slow_clients_are_told_or_cut_off_while_others_work(desk):
    key = desk.organization()
    (desk.home / "service.toml").write_text("body_timeout_s = 1\nstall_timeout_s = 1\n")
    with Serving(desk.home) as serving:
        post = (
            f"POST /v1/keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            "content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        ).encode()
        put = (
            f"PUT /v1/files/a.txt HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            "content-length: 100\r\n\r\nsome"
        ).encode()
        slow = [raw(serving.url, post), raw(serving.url, put)]
        slow += [raw(serving.url, b"GET /v1/keys HTTP/1.1\r\nx: ") for _ in range(20)]
        answer = httpx.get(f"{serving.url}/v1/organization", headers=headers(key))
        assert answer.status_code == 200
        for connection in slow[:2]:
            assert b" 408 " in connection.recv(4096).partition(b"\r\n")[0]
        for connection in slow:
            connection.close()


def test_a_flood_is_refused_while_others_work(desk):
    key = desk.organization()
    (desk.home / "service.toml").write_text("rate_per_minute = 20\nfailures_per_minute = 20\n")
    flooding = desk.json("api-key", "create", "example", "flooding")["api_key"]
    with Serving(desk.home) as serving, httpx.Client(base_url=serving.url) as client:
        for who in ({}, headers(flooding)):
            found = [client.get("/v1/organization", headers=who) for _ in range(40)]
            assert {answer.status_code for answer in found[30:]} == {429}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in found[30:])
        flooded = [client.get("/v1/organization").status_code for _ in range(20)]
        assert client.get("/v1/organization", headers=headers(key)).status_code in (200, 429)
        assert 429 in flooded
        assert client.get("/livez").status_code == 200


@pytest.mark.engine
def test_several_processes_on_postgresql_are_one_service(desk, postgres, monkeypatch):
    url = postgres.create_database()
    monkeypatch.setenv("MUNIMENT_SERVICE_DATABASE", url)
    monkeypatch.setenv("MUNIMENT_SERVICE_RATE_PER_MINUTE", "60")
    key = desk.organization()
    with Serving(desk.home, "--processes", "2", "--workers", "0") as serving:
        with Serving(desk.home, "--only-work"):
            statuses, began_s = [], time.monotonic()
            for _ in range(200):  # a connection each, so that both processes are met
                answer = httpx.get(f"{serving.url}/v1/organization", headers=headers(key))
                statuses.append(answer.status_code)
            # The quota, and what comes back meanwhile: one a second.
            most = 61 + time.monotonic() - began_s
            assert min(55, most) <= statuses.count(200) <= most
            assert httpx.get(f"{serving.url}/readyz").json()["database"] == "ok"
        made = desk.json("api-key", "create", "example", "robot")
        robot = headers(made["api_key"])
        assert httpx.get(f"{serving.url}/v1/organization", headers=robot).status_code == 200
        desk.json("api-key", "revoke", "example", made["key_id"])
        time.sleep(1.1)  # what other processes remember of a key
        for _ in range(6):
            assert httpx.get(f"{serving.url}/v1/organization", headers=robot).status_code == 401
        assert desk.json("db", "check")["audit_entries"] == {"example": 4}
        name = url.partition("@/")[2].partition("?")[0]
        postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres.run_sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        gone = httpx.get(f"{serving.url}/v1/organization", headers=headers(key))
        assert (gone.status_code, gone.json()["code"]) == (503, "unavailable")
        assert httpx.get(f"{serving.url}/livez").status_code == 200
        postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert httpx.get(f"{serving.url}/v1/organization", headers=headers(key)).is_success
    postgres.drop_database(url)


def test_over_tls_the_audit_log_knows_who_it_was(desk, tmp_path):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *names], cwd=tmp_path, check=True, capture_output=True)
    key = desk.organization()
    options = ["--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    context.check_hostname = False
    with (
        Serving(desk.home, *options) as serving,
        httpx.Client(base_url=serving.url, verify=context, headers=headers(key)) as client,
    ):
        assert serving.url.startswith("https://")
        made = client.post("/v1/keys", json={"name": "robot", "role": "reader"})
        assert made.status_code == 201
        assert made.headers["strict-transport-security"].startswith("max-age=")
        (*_, entry) = client.get("/v1/audit").json()["items"]
        assert (entry["action"], entry["origin"]) == ("key.created", "127.0.0.1")
        assert entry["request_id"] == made.headers["x-request-id"]
