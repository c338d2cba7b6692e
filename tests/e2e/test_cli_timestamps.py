"""Timestamps from the command line, with a calendar and a node on this machine."""

import datetime as dt
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.entrypoints.cli.running import run
from muniment.testing.bitcoin_node import LocalChain, LocalNode
from muniment.testing.calendar import LocalCalendar
from muniment.testing.loopback import LoopbackServer
from muniment.testing.timestamp_authority import OpensslAuthority

CLIENT = Path(sys.executable).parent / "ots"
VECTORS = Path(__file__).parents[1] / "vectors" / "ots" / "proofs.json"


@pytest.fixture
def archived(tmp_path, monkeypatch, capsys):
    """Two commits, archived while no calendar was set; returns what runs a command and reads its answer."""
    for name, value in {"HOME": tmp_path / "home", "CALENDARS": "", "WORKERS": 1}.items():
        monkeypatch.setenv(f"MUNIMENT_{name}", str(value))
    monkeypatch.setenv("MUNIMENT_CALENDAR_TIMEOUT_S", "5")

    def muniment(*words, code=0):
        capsys.readouterr()
        found = run([*map(str, words), "--json"])
        printed = capsys.readouterr()
        assert found == code, (words, printed)
        return json.loads(printed.out)

    papers = tmp_path / "papers"
    papers.mkdir()
    muniment("init", "--organization-id", "hrdag", "--no-recovery-kit")
    for number in range(2):
        (papers / str(number)).write_text(str(number))
        muniment("archive", papers)
    return muniment


@pytest.fixture
def calendar(archived, monkeypatch):
    with LocalCalendar(LocalChain()) as calendar:
        monkeypatch.setenv("MUNIMENT_CALENDARS", calendar.url)
        yield calendar


def states(answer, name="timestamp"):
    return [commit[name] for commit in answer["commits"]]


def test_without_calendars_nothing_is_asked(archived):
    answer = archived("ots", "upgrade")
    assert states(answer) == ["queued", "queued"]
    assert "no calendars are set" in answer["commits"][0]["notes"][0]
    assert states(archived("ots", "verify", code=8), "state") == ["queued", "queued"]
    commit_id = answer["commits"][0]["commit_id"]
    assert archived("ots", "info", commit_id, code=3)["error"]["code"] == "not_found"


def test_timestamps_are_queued_then_pending_then_complete(archived, calendar, monkeypatch):
    assert states(archived("ots", "upgrade", "--dry-run")) == ["queued", "queued"]
    assert calendar.submitted == []
    assert states(archived("ots", "upgrade")) == ["pending", "pending"]
    assert len(calendar.submitted) == 2
    assert states(archived("ots", "verify", code=8), "state") == ["pending", "pending"]
    answer = archived("ots", "upgrade")
    assert [commit["changed"] for commit in answer["commits"]] == [False, False]

    height = calendar.mine()
    answer = archived("ots", "upgrade")
    assert states(answer) == ["complete", "complete"]
    assert states(answer, "bitcoin_height") == [height, height]
    assert archived("ots", "upgrade")["commits"] == []
    status = archived("status")
    assert (status["timestamps_queued"], status["timestamps_pending"]) == (0, 0)
    commit_id = answer["commits"][0]["commit_id"]
    assert any(f"block {height}" in step for step in archived("ots", "info", commit_id)["steps"])

    with LocalNode(calendar.chain) as node:  # its blocks took no work, so they prove nothing
        monkeypatch.setenv("MUNIMENT_ESPLORA_URL", node.esplora_url)
        checks = archived("ots", "verify", commit_id, code=8)["commits"]
    assert checks[0]["state"] == "inconclusive"
    assert "work" in checks[0]["detail"]


def test_a_calendar_that_is_down_costs_nothing_but_time(archived, calendar):
    calendar.behaviour = "offline"
    assert states(archived("ots", "upgrade", code=7)) == ["queued", "queued"]
    calendar.behaviour = "honest"
    archived("ots", "upgrade")
    calendar.behaviour = "offline"
    answer = archived("ots", "upgrade")
    assert states(answer) == ["pending", "pending"]
    assert "503" in answer["commits"][0]["notes"][0]


def test_a_proof_of_something_else_is_wrong(archived, calendar, tmp_path):
    upgraded = archived("ots", "upgrade")["commits"]
    commits = tmp_path / "home" / "store" / "commits"
    first, second = (commits / commit["commit_id"] for commit in upgraded)  # in order of the chain
    shutil.copy(first / "manifest.json.ots", second / "manifest.json.ots")
    checks = archived("ots", "verify", code=4)["commits"]
    assert [check["state"] for check in checks] == ["pending", "wrong"]
    verified = archived("verify", code=4)["commits"]
    assert "another file" in verified[1]["problems"][0]
    (second / "manifest.json.ots").write_bytes(b"nonsense")
    assert archived("ots", "upgrade", code=4)["commits"][1]["problem"]
    assert archived("ots", "info", second.name, code=4)["error"]["code"] == "format"


@pytest.mark.engine
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_tokens_of_an_authority_are_checked_against_the_roots_that_are_trusted(
    archived, tmp_path, monkeypatch
):
    (tmp_path / "authority").mkdir()
    (tmp_path / "other").mkdir()
    authority = OpensslAuthority(tmp_path / "authority", "An authority")
    other = OpensslAuthority(tmp_path / "other", "Another authority")
    (tmp_path / "papers" / "more").write_text("more")
    with LoopbackServer(authority.respond) as server:
        monkeypatch.setenv("MUNIMENT_RFC3161_URLS", server.url)
        commit_id = archived("archive")["commits"][0]["commit_id"]
    folder = tmp_path / "home" / "store" / "commits" / commit_id
    data = ["-data", folder / "manifest.json", "-in", folder / "manifest.json.tsr"]
    root = authority.folder / "root.pem"
    authority.openssl("ts", "-verify", *map(str, data), "-CAfile", str(root))

    def checked(code=8):
        (check,) = archived("ots", "verify", commit_id, code=code)["commits"]
        return check

    check = checked()
    assert check["tokens"] == {
        "state": "not checked",
        "detail": "not checked: no roots set",
        "times": [],
    }
    assert archived("verify")["ok"]  # and the commits without a token have none to check
    assert archived("show", commit_id)["timestamp"]["tokens"]["state"] == "not checked"

    monkeypatch.setenv("MUNIMENT_RFC3161_ROOTS_FILE", str(root))
    check = checked()
    assert (check["state"], check["tokens"]["state"]) == ("queued", "verified")
    (time,) = check["tokens"]["times"]
    assert time["authority"] == "CN=An authority"
    assert time["time"].startswith(f"{dt.datetime.now(dt.UTC):%Y-}")
    commits = {c["commit_id"]: c["timestamp"]["tokens"] for c in archived("verify")["commits"]}
    assert commits.pop(commit_id)["times"] == [time]
    assert set(commits.values()) == {None}
    assert archived("show", commit_id)["timestamp"]["tokens"]["times"] == [time]

    monkeypatch.setenv("MUNIMENT_RFC3161_ROOTS_FILE", str(other.folder / "root.pem"))
    wrong = checked(code=4)
    assert wrong["state"] == "wrong"
    assert "no timestamp token holds under the given roots" in wrong["detail"]
    assert "manifest.json.tsr" in archived("verify", code=4)["commits"][2]["problems"][0]
    monkeypatch.setenv("MUNIMENT_RFC3161_ROOTS_FILE", str(root))
    (folder / "manifest.json.tsr").write_bytes(b"nonsense")
    assert checked(code=4)["state"] == "wrong"
    monkeypatch.setenv("MUNIMENT_RFC3161_ROOTS_FILE", str(tmp_path / "nothing.pem"))
    assert "rfc3161_roots_file" in archived("ots", "verify", code=2)["error"]["message"]
    monkeypatch.setenv("MUNIMENT_RFC3161_ROOTS_FILE", str(folder / "manifest.json"))
    assert "PEM" in archived("ots", "verify", code=2)["error"]["message"]


def test_from_the_first_archive_to_what_the_standard_client_says(archived, calendar, tmp_path):
    papers, commits = tmp_path / "papers", tmp_path / "home" / "store" / "commits"
    (papers / "up").write_text("the calendar is there")
    (up,) = archived("archive")["commits"]
    assert up["timestamp"] == "pending"
    calendar.behaviour = "offline"
    (papers / "down").write_text("the calendar is gone")
    (down,) = archived("archive")["commits"]
    assert down["timestamp"] == "queued"
    assert not (commits / down["commit_id"] / "manifest.json.ots").exists()
    calendar.behaviour = "honest"
    first = calendar.mine()

    def upgrade():
        return {c["commit_id"]: c for c in archived("ots", "upgrade")["commits"]}

    upgraded = upgrade()
    assert upgraded[up["commit_id"]]["bitcoin_height"] == first
    assert upgraded[down["commit_id"]]["timestamp"] == "pending"
    second = calendar.mine()
    upgraded = upgrade()
    assert upgraded[down["commit_id"]]["bitcoin_height"] == second
    assert archived("status")["next_steps"] == [
        "no backup is configured: set `backup` in config.toml"
    ]

    with LocalNode(calendar.chain) as node:

        def client(*words, code=0):
            command = [CLIENT, "--no-cache", "-l", calendar.url, "--bitcoin-node", node.rpc_url]
            done = subprocess.run(
                [*command, *words], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == code, done.stderr
            return done.stdout + done.stderr

        for commit, height in ((up, first), (down, second)):
            folder = commits / commit["commit_id"]
            proof = folder / "manifest.json.ots"
            described = client("info", proof)
            assert commit["manifest_sha256"].removeprefix("sha256:") in described
            assert f"BitcoinBlockHeaderAttestation({height})" in described
            assert f"Success! Bitcoin block {height}" in client("verify", proof)
        with open(folder / "manifest.json", "ab") as manifest:
            manifest.write(b"\n")
        assert "File does not match original" in client("verify", proof, code=1)


def test_a_proof_in_a_real_block_is_verified(archived, tmp_path, monkeypatch):
    """The bytes that a published proof is about take the place of a manifest: `ots` looks at nothing but their digest."""
    vectors = json.loads(VECTORS.read_text())
    proofs = {proof["name"]: proof for proof in vectors["proofs"]}
    commit_id = archived("commits")["commits"][0]["commit_id"]
    folder = tmp_path / "home" / "store" / "commits" / commit_id
    (folder / "manifest.json").write_bytes(bytes.fromhex(proofs["hello-world.txt.ots"]["file_hex"]))
    proof = folder / "manifest.json.ots"
    proof.write_bytes(bytes.fromhex(proofs["hello-world.txt.ots"]["proof_hex"]))

    def state(code):
        (check,) = archived("ots", "verify", commit_id, code=code)["commits"]
        return check["state"], check["bitcoin_height"], check["bitcoin_time"]

    assert state(8) == ("inconclusive", None, None)
    headers = tmp_path / "headers.txt"
    headers.write_text(f"358391 {vectors['header_358391']}\n")
    monkeypatch.setenv("MUNIMENT_BITCOIN_HEADERS_FILE", str(headers))
    assert state(0) == ("verified", 358391, "2015-05-28T15:41:18Z")
    assert any("block 358391" in step for step in archived("ots", "info", commit_id)["steps"])
    (upgraded,) = archived("ots", "upgrade", commit_id)["commits"]
    assert (upgraded["timestamp"], upgraded["bitcoin_height"]) == ("complete", 358391)
    assert archived("commits")["commits"][0]["bitcoin_time"] == "2015-05-28T15:41:18Z"

    proof.write_bytes(bytes.fromhex(proofs["bad-stamp.txt.ots"]["proof_hex"]))
    assert state(4) == ("wrong", None, None)
