"""Every command for real: a home, a small folder, the exit code, what is printed, and what is on disk afterwards."""

import functools
import io
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from blake3 import blake3

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.adapters.key_files import load_identities, new_identity
from muniment.adapters.run_lock import run_lock
from muniment.archive.keyring import open_keyring, seal
from muniment.archive.merkle import verify_inclusion
from muniment.content.cid import CID, RAW
from muniment.entrypoints.cli.answers import ANSWERS, COMMIT, PROBLEM
from muniment.entrypoints.cli.running import run
from muniment.errors import KeyUnavailableError

EVIL = b"evil\x1b[31m\nname\xff\xe2\x80\xae.txt"
LETTER = b"Dear Ana,\n" * 200


class Desk:
    """An archivist at work: runs commands in this process, and reads what they print."""

    def __init__(self, folder: Path, capsys):
        self.folder = folder
        self.home = folder / "home"
        self.papers = folder / "papers"
        self._capsys = capsys
        self.error = ""

    def run(self, *words, code=0):
        """Run a command, check its exit code, and return what it printed."""
        self._capsys.readouterr()
        found = run([str(word) for word in words])
        printed = self._capsys.readouterr()
        self.error = printed.err
        assert found == code, (words, found, printed)
        assert "Traceback" not in printed.err
        return printed.out

    def json(self, *words, code=0, keys=None):
        """Run a command with --json; the answer's keys are those that are documented."""
        out = self.run(*words, "--json", code=code)
        assert out.isascii()
        answer = json.loads(out)
        if "error" in answer:
            assert set(answer) == {"error"}
            assert set(answer["error"]) == {"code", "message"}
        else:
            name = keys or " ".join(
                words[:2] if words[0] in ("ots", "store", "keys") else words[:1]
            )
            assert list(answer) == list(ANSWERS[name])
        return answer

    @property
    def commits(self):
        return sorted((self.home / "store" / "commits").iterdir())


@pytest.fixture
def desk(tmp_path, monkeypatch, capsys):
    desk = Desk(tmp_path, capsys)
    for name, value in {"HOME": desk.home, "CALENDARS": "", "WORKERS": 1}.items():
        monkeypatch.setenv(f"MUNIMENT_{name}", str(value))
    for name in ("PASSPHRASE", "BACKUP"):
        monkeypatch.delenv(f"MUNIMENT_{name}", raising=False)
    monkeypatch.setattr(
        "muniment.bootstrap.archive.run_lock", functools.partial(run_lock, timeout_s=0.05)
    )
    return desk


@pytest.fixture
def made(desk):
    """An archive with a recovery kit, and papers that wait."""
    (desk.papers / "letters").mkdir(parents=True)
    (desk.papers / "letters" / "ana.txt").write_bytes(LETTER)
    (desk.papers / "empty").write_bytes(b"")
    (desk.papers / "link").symlink_to("letters/ana.txt")
    (desk.papers / os.fsdecode(EVIL)).write_bytes(b"harmless")
    kit = desk.folder / "kit.txt"
    desk.run("init", "--organization-id", "hrdag", "--name", "HRDAG", "--recovery-kit", kit)
    return desk


@pytest.fixture
def archived(made):
    made.run("archive", made.papers)
    return made


# init


def test_init_makes_a_private_home_and_writes_the_kit_once(desk):
    kit = desk.folder / "kit.html"
    answer = desk.json("init", "--organization-id", "hrdag", "--recovery-kit", kit)
    assert kit.stat().st_mode & 0o777 == 0o600
    assert desk.home.stat().st_mode & 0o777 == 0o700
    secret = kit.read_text().split("line 1:")[1].split()[0]
    assert "AGE-SECRET-KEY" in kit.read_text()
    assert secret not in json.dumps(answer)
    assert not any(
        secret.encode() in path.read_bytes() for path in desk.home.rglob("*") if path.is_file()
    )
    desk.run("init", "--organization-id", "hrdag", "--no-recovery-kit", code=6)
    assert "nothing was changed" in desk.error


def test_init_refuses_before_it_makes_a_secret_that_nobody_would_see(desk):
    desk.run("init", "--organization-id", "hrdag", code=2)
    assert "--recovery-kit FILE" in desk.error
    (desk.folder / "kit.txt").write_text("something else")
    kit = ("--recovery-kit", desk.folder / "kit.txt")
    desk.run("init", "--organization-id", "hrdag", *kit, code=2)
    desk.run("init", "--organization-id", "hrdag", "--recovery-kit", "kit.pdf", code=2)
    desk.run("init", "--organization-id", "hrdag", "--recovery-kit", "/nowhere/kit.txt", code=2)
    desk.run("init", "--organization-id", "hrdag", *kit, "--no-recovery-kit", code=2)
    desk.run("init", "--organization-id", "Not An Id", "--no-recovery-kit", code=2)
    assert not desk.home.exists()


def test_init_prints_the_kit_where_it_is_asked_to(desk):
    answer = desk.json("init", "--organization-id", "hrdag", "--recovery-kit", "-")
    assert "AGE-SECRET-KEY-1" in answer["recovery_kit"]
    assert answer["recovery_recipient"] in answer["recovery_kit"]


def test_init_without_kit_seals_to_the_organisation_alone(desk):
    answer = desk.json("init", "--organization-id", "hrdag", "--no-recovery-kit")
    assert answer["recovery_recipient"] is None
    assert [r["recipient"] for r in desk.json("keys", "recipients")["recipients"]] == [
        answer["recipient"]
    ]


def test_a_locked_signing_key_takes_its_passphrase_from_the_environment(desk, monkeypatch):
    monkeypatch.setenv("MUNIMENT_PASSPHRASE", "correct horse")
    desk.run("init", "--organization-id", "hrdag", "--no-recovery-kit", "--passphrase")
    desk.papers.mkdir()
    desk.run("archive", desk.papers)
    (desk.papers / "more").write_bytes(b"more")
    monkeypatch.setenv("MUNIMENT_PASSPHRASE", "wrong")
    desk.run("archive", code=5)
    monkeypatch.delenv("MUNIMENT_PASSPHRASE")
    assert desk.json("archive", code=5)["error"]["code"] == "key_unavailable"
    assert "with a passphrase" in desk.run("doctor")


def test_init_takes_keys_that_are_there_already(desk):
    key = desk.folder / "raw.key"
    key.write_bytes(os.urandom(32))
    desk.run("init", "--organization-id", "a", "--no-recovery-kit", "--encryption-key", key, code=5)
    assert "chmod 600" in desk.error
    key.chmod(0o600)
    desk.run("init", "--organization-id", "a", "--no-recovery-kit", "--encryption-key", key)


def test_a_home_that_only_writes_archives_and_opens_nothing(desk, monkeypatch):
    """The head office opens what the field office archived, and the field office does not."""
    office, field = desk.folder / "office", desk.home
    desk.run("--home", office, "init", "--organization-id", "hrdag", "--no-recovery-kit")
    ours = desk.json("--home", office, "keys", "recipients", keys="keys recipients")["recipients"]
    backup = desk.folder / "backup"
    backup.mkdir()
    monkeypatch.setenv("MUNIMENT_BACKUP", str(backup))
    init = ("init", "--organization-id", "hrdag-field", "--write-only", "--recipient")
    kit = new_identity().recipient
    assert desk.json(*init, ours[0]["recipient"], "--recipient", kit)["recipient"] is None
    assert not (field / "keys" / "identity.txt").exists()
    assert [item["recipient"] for item in desk.json("keys", "list")["recipients"]] == [
        ours[0]["recipient"],
        kit,
    ]
    (desk.papers / "letters").mkdir(parents=True)
    (desk.papers / "letters" / "ana.txt").write_bytes(LETTER)
    assert desk.json("archive", desk.papers)["commits"][0]["backed_up_at"]
    (desk.papers / "same").write_bytes(LETTER)  # content that it cannot copy is stored again
    assert desk.json("archive")["commits"][0]["sequence"] == 2
    assert desk.json("status")["pending_files"] == 0
    assert desk.json("verify", "--keyless")["ok"]
    assert desk.json("backup", "--verify")["commits"][0]["problem"] is None
    assert "this is right for a home that only writes" in desk.run("doctor")
    assert "nobody: it only writes" in desk.run("keys", "list")

    desk.run("keys", "remove-recipient", kit)  # it has no identity to lock out
    desk.run("keys", "add-recipient", kit, "--name", "kit")
    for words in (
        ["restore", "--target", desk.folder / "no"],
        ["verify", "--deep"],
        ["keys", "rewrap", "--all"],
        ["show", desk.commits[0].name, "--json"],
    ):
        desk.run(*words, code=5)
        assert not (desk.folder / "no").exists()
    desk.run("verify", "--deep", code=5)
    assert "this home can archive, but not open what it archived" in desk.error
    assert "keys recover" in desk.error
    desk.run("rebuild", code=4)
    assert "Rebuild where the identity is" in desk.error
    assert desk.json("commits")["commits"][0]["sequence"] == 2  # what was known stays known

    reading = desk.folder / "reading"  # docs/guides/keys.md, "A home that only writes"
    (reading / "keys").mkdir(parents=True)
    for name in ("config.toml", "keys/signing.pub", "keys/recipients.txt"):
        shutil.copy2(field / name, reading / name)
    shutil.copy2(office / "keys" / "identity.txt", reading / "keys" / "identity.txt")
    monkeypatch.setenv("MUNIMENT_HOME", str(reading))
    assert len(desk.json("rebuild", "--from-backup")["imported"]) == 2
    assert desk.json("verify", "--deep")["ok"]
    desk.run("restore", "--target", desk.folder / "out")
    restored = desk.folder / "out" / str(desk.papers).lstrip("/")
    assert (restored / "letters" / "ana.txt").read_bytes() == LETTER
    assert (restored / "same").read_bytes() == LETTER


def test_a_home_that_only_writes_needs_recipients_who_can_open(desk):
    init = ("init", "--organization-id", "hrdag", "--write-only")
    recipient = new_identity().recipient
    desk.run(*init, code=2)
    assert "at least one recipient" in desk.error
    desk.run(*init, "--recipient", "age1nonsense", code=4)
    desk.run(*init, "--recipient", recipient, "--recipient", recipient, code=2)
    desk.run(*init, "--recipient", recipient, "--recovery-kit", "-", code=2)
    desk.run("init", "--organization-id", "hrdag", "--recipient", recipient, code=2)
    assert "--write-only" in desk.error
    assert not (desk.home / "config.toml").exists()
    assert "so is everything" in desk.run(*init, "--recipient", recipient)


# add, archive, status, commits


def test_add_remembers_and_counts(made):
    answer = made.json("add", made.papers)
    assert (answer["new"], answer["changed"], answer["unchanged"]) == (6, 0, 0)
    assert made.json("add", made.papers)["unchanged"] == 6
    assert "6 paths (2.0 kB) wait to be archived: muniment archive" in made.run("add", made.papers)
    assert not (made.home / "store").exists()


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(made):
    assert made.json("add", made.papers, "--dry-run")["pending_files"] == 6
    answer = made.json("archive", made.papers, "--dry-run")
    assert answer["dry_run"]
    assert answer["scan"]["new"] == 6
    status = made.json("status")
    assert (status["pending_files"], status["roots"]) == (0, [])
    assert not list(made.home.glob(".dry-run-*"))


def test_archive_makes_a_commit_and_then_finds_nothing_new(made):
    answer = made.json("archive", made.papers)
    (commit,) = answer["commits"]
    assert list(commit) == list(COMMIT)
    assert (commit["sequence"], commit["files"], commit["timestamp"]) == (1, 6, "queued")
    assert "Nothing is new or changed" in made.run("archive")
    (made.papers / "letters" / "ana.txt").write_bytes(b"another letter")
    out = made.run("archive")
    for word in (
        "number 2",
        "root       blake3:",
        "CID        bafy",
        "signed by  SHA256:",
        "queued",
    ):
        assert word in out
    listed = made.json("commits")["commits"]
    assert [row["sequence"] for row in listed] == [2, 1]
    assert [row["sequence"] for row in made.json("commits", "--limit", "1")["commits"]] == [2]
    assert commit["commit_id"] in made.run("commits")


def test_what_cannot_be_archived_is_named_and_tried_again(made, monkeypatch):
    pipe = made.papers / os.fsdecode(b"pipe\x1b[2J")
    os.mkfifo(pipe)
    answer = made.json("archive", made.papers, code=10)
    (problem,) = answer["problems"]
    assert list(problem) == list(PROBLEM)
    assert bytes.fromhex(problem["path_hex"]) == os.fsencode(pipe)
    assert len(answer["commits"]) == 1
    made.run("archive", code=10)
    assert "\x1b" not in made.error
    assert "pipe\\x1b[2J" in made.error
    assert "1 path could not be archived" in made.run("status")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # all in one second
    made.run("archive", code=10)
    assert len(made.json("status")["problems"]) == 1
    pipe.unlink()
    made.run("archive")
    assert made.json("status")["problems"] == []


def test_paths_that_make_no_sense_are_refused_before_anything_happens(made):
    assert made.json("archive", made.folder / "nothing", code=3)["error"]["code"] == "not_found"
    assert made.json("add", made.home / "keys", code=2)["error"]["code"] == "usage"
    assert made.json("status")["roots"] == []


def test_the_home_inside_an_archived_folder_is_left_out(made):
    made.run("archive", made.folder)
    files = made.run("show", made.commits[0].name, "--files")
    assert "/papers/empty" in files
    assert "/home/keys" not in files


def test_status_says_what_to_do_next(made, monkeypatch):
    assert "nothing was added yet: muniment archive FOLDER" in made.run("status")
    made.run("add", made.papers)
    assert "6 paths to archive: muniment archive" in made.run("status")
    made.run("archive")
    monkeypatch.setenv("MUNIMENT_CALENDARS", "https://calendar.example")
    monkeypatch.setenv("MUNIMENT_BACKUP", "/mnt/backup")
    steps = made.json("status")["next_steps"]
    assert steps == [
        "1 timestamp waits: muniment ots upgrade",
        "1 commit not backed up: muniment backup",
    ]


def test_empty_archives_are_explained(made):
    assert "no commits yet" in made.run("commits")
    assert "no commits yet" in made.run("verify")
    assert made.json("verify")["ok"] is False
    assert "no commits yet" in made.run("repair")
    assert "no commits yet" in made.run("ots", "verify")
    assert "Nothing to archive yet" in made.run("archive")
    made.run("restore", "--target", made.folder / "out", code=3)
    assert "nothing is archived yet" in made.error


# show


def test_show_gives_facts_and_files(archived):
    commit_id = archived.commits[0].name
    out = archived.run("show", commit_id[:10])
    assert f"Commit {commit_id}" in out
    assert "HRDAG (hrdag)" in out
    listing = archived.run("show", commit_id, "--files")
    assert "evil\\x1b[31m\\nname\\xff\\u202e.txt" in listing
    assert "\x1b" not in listing
    archived.run("show", "19991231", code=3)


def test_show_json_is_the_owners_view_with_proofs_that_hold(archived):
    view = archived.json("show", archived.commits[0].name)
    assert len(view["files"]) == view["merkle"]["leaf_count"] == 6
    by_name = {file["path_display"].rpartition("/")[2]: file for file in view["files"]}
    assert by_name["ana.txt"]["size"] == len(LETTER)
    assert by_name["ana.txt"]["encryption"]["algorithm"] == "XChaCha20-Poly1305"
    assert "encryption" not in by_name["empty"]
    evil = by_name["evil\\x1b[31m\\nname\\xff\\u202e.txt"]
    assert bytes.fromhex(evil["path_hex"]) == os.fsencode(archived.papers) + b"/" + EVIL
    root = bytes.fromhex(view["merkle"]["root"].removeprefix("blake3:"))
    for file in view["files"]:
        verify_by_hand(file["merkle_proof"], len(view["files"]), root)


def verify_by_hand(proof, leaf_count, root):

    node = leaf = bytes.fromhex(proof["leaf_hash"][7:])
    siblings = [bytes.fromhex(text[7:]) for text in proof["siblings"]]
    for side, sibling in zip(proof["directions"], siblings, strict=True):
        pair = sibling + node if side == "L" else node + sibling
        node = blake3(b"\x01" + pair).digest()
    assert node == root
    verify_inclusion(leaf, proof["leaf_index"], leaf_count, siblings, root)


def test_show_proves_one_file(archived):
    commit_id = archived.commits[0].name
    letter = archived.papers / "letters" / "ana.txt"
    out = archived.run("show", commit_id, "--proof", letter)
    assert "leaf" in out
    assert "root       blake3:" in out
    view = json.loads(archived.run("show", commit_id, "--proof", letter, "--json"))
    verify_by_hand(view["merkle_proof"], view["leaf_count"], bytes.fromhex(view["root"][7:]))
    archived.run("show", commit_id, "--proof", "/nothing", code=3)
    archived.run("show", commit_id, "--proof", letter, "--files", code=2)


# verify, repair, rebuild


def test_verify_reads_everything(archived):
    assert "1 commit checked: nothing is wrong" in archived.run("verify")
    answer = archived.json("verify", "--deep")
    assert answer["ok"]
    assert answer["signer_compared"]
    assert answer["commits"][0]["leaves"] == 6
    assert answer["commits"][0]["contents"] == 2
    assert archived.json("verify", "--keyless")["commits"][0]["contents"] == 0
    archived.run("verify", "2099", code=3)


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damage_is_found_named_and_mended(archived):
    commit = archived.commits[0]
    chunk = next(commit.glob("*_aa"))
    before = chunk.read_bytes()
    damage(chunk)
    answer = archived.json("verify", code=4)
    assert answer["commits"][0]["damaged"] == [chunk.name]
    archived.run("verify", code=4)
    assert f"muniment repair {commit.name}" in archived.error
    assert archived.json("repair", "--dry-run", code=4)["commits"][0]["damaged"] == [chunk.name]
    assert chunk.read_bytes() != before
    assert archived.json("repair")["commits"][0]["from_parity"] == [chunk.name]
    assert chunk.read_bytes() == before
    archived.run("verify", "--deep")
    assert "nothing needs repair" in archived.run("repair")


def ruin(commit):
    """Damage more than parity can mend."""
    for path in commit.iterdir():
        if "_aa" in path.name or path.suffix == ".par2":
            path.write_bytes(bytes(path.stat().st_size))


def test_damage_beyond_repair_is_said_and_nothing_is_lost(archived):
    ruin(archived.commits[0])
    assert archived.json("repair", code=4)["commits"][0]["problem"]
    archived.run("repair", code=4)
    assert "NOT MENDED" in archived.error
    assert "Set `backup` to a folder or bucket that has the commit" in archived.error
    assert "rebuild --from DIR" in archived.error


def test_where_a_missing_commit_may_come_from_is_said(archived, monkeypatch):
    def remedy():
        checks = archived.json("doctor", code=1)["checks"]
        return next(
            check["remedy"] for check in checks if "missing from the store" in check["message"]
        )

    backup = archived.folder / "backup"
    backup.mkdir()
    monkeypatch.setenv("MUNIMENT_BACKUP", str(backup))
    archived.run("backup")
    shutil.rmtree(archived.commits[0])
    assert remedy().startswith("muniment rebuild --from-backup")
    archived.run("rebuild", "--from-backup")
    ruin(archived.commits[0])
    shutil.rmtree(backup)
    backup.mkdir()
    archived.run("repair", code=4)
    assert "The backup could not mend it either" in archived.error
    monkeypatch.delenv("MUNIMENT_BACKUP")
    shutil.rmtree(archived.commits[0])
    assert "set `backup` to where one is" in remedy()


def test_a_commit_that_is_missing_from_the_chain_is_noticed(archived):
    for number in range(3):
        (archived.papers / f"more-{number}").write_text(str(number))
        archived.run("archive")
    first, second, third, last = archived.json("commits")["commits"][::-1]
    store = archived.home / "store" / "commits"
    for lost in (second, last):
        away = archived.folder / lost["commit_id"]
        (store / lost["commit_id"]).rename(away)
        wrong = [c for c in archived.json("verify", code=4)["commits"] if not c["ok"]]
        assert [commit["commit_id"] for commit in wrong] == [lost["commit_id"]]
        assert f"number {lost['sequence']} is missing" in wrong[0]["problems"][0]
        away.rename(store / lost["commit_id"])
    assert [c["ok"] for c in archived.json("verify")["commits"]] == [True] * 4
    assert archived.json("verify", third["commit_id"], first["commit_id"])["ok"]


@pytest.fixture
def shared(archived, monkeypatch):
    """A store in which two commits of another organisation lie too, and the other's home."""
    other = archived.folder / "other"
    monkeypatch.setenv("MUNIMENT_HOME", str(other))
    archived.run("init", "--organization-id", "other", "--no-recovery-kit")
    for number in range(2):
        (archived.papers / f"other-{number}").write_text(str(number))
        archived.run("archive", archived.papers)
    monkeypatch.setenv("MUNIMENT_HOME", str(archived.home))
    for commit in (other / "store/commits").iterdir():
        shutil.copytree(commit, archived.home / "store/commits" / commit.name)
    return archived, other


def test_every_organisation_in_a_store_has_a_chain_of_its_own(shared):
    desk, other = shared
    answer = desk.json("verify")
    assert answer["ok"]
    assert answer["chains"] == [
        {"organization": "hrdag", "commits": 1, "first": 1, "last": 1},
        {"organization": "other", "commits": 2, "first": 1, "last": 2},
    ]
    compared = [(c["organization"], c["signer_compared"]) for c in answer["commits"]]
    assert compared == [("hrdag", True), ("other", False), ("other", False)]
    assert not answer["signer_compared"]
    printed = desk.run("verify")
    assert "chain    other: 2 commits, number 1 to 2" in printed
    assert "Those of other were signed by SHA256:" in printed
    assert len(desk.json("verify", "--organization", "other")["commits"]) == 2
    assert desk.json("verify", "--organization", "hrdag")["signer_compared"]
    keys = [desk.home / "keys/signing.pub", other / "keys/signing.pub"]
    assert desk.json("verify", "--signer", keys[0], "--signer", keys[1])["signer_compared"]
    assert len(desk.json("verify", "--signer", keys[0], code=4)["commits"]) == 3
    desk.run("verify", "--organization", "nobody", code=3)
    desk.run("verify", "--organization", "other", "--folder", desk.commits[0], code=2)


def test_a_gap_in_the_chain_of_another_organisation_is_told(shared):
    desk, _other = shared
    first = desk.json("verify", "--organization", "other")["commits"][0]["commit_id"]
    shutil.rmtree(desk.home / "store/commits" / first)
    wrong = [c for c in desk.json("verify", code=4)["commits"] if not c["ok"]]
    assert [(c["commit_id"], c["organization"]) for c in wrong] == [(first, "other")]
    assert "commit number 1 is missing" in wrong[0]["problems"][0]


def test_a_commit_that_changed_its_organisation_is_missing_from_ours(shared):
    """Whoever puts a commit that claims to be another's in the place of ours does not go unnoticed."""
    desk, _other = shared
    foreign = desk.json("verify", "--organization", "other")["commits"][0]["commit_id"]
    (own,) = (c["commit_id"] for c in desk.json("verify", "--organization", "hrdag")["commits"])
    commits = desk.home / "store/commits"
    shutil.rmtree(commits / own)
    shutil.copytree(commits / foreign, commits / own)
    wrong = [c for c in desk.json("verify", code=4)["commits"] if not c["ok"]]
    assert [c["commit_id"] for c in wrong] == [own]


def test_commits_of_another_organisation_are_not_entered(shared):
    desk, other = shared
    for pub in (other / "keys").glob("signing*"):  # not even where its key is trusted
        if pub.suffix == ".pub":
            shutil.copy(pub, desk.home / "keys/signing-other.pub")
    answer = desk.json("rebuild", code=4)
    assert answer["commits"] == 1
    assert len(answer["problems"]) == 2
    assert "of organisation 'other', expected 'hrdag'" in answer["problems"][0]["message"]
    shutil.rmtree(desk.home / "store/commits" / answer["problems"][0]["commit_id"])
    answer = desk.json("rebuild", "--from", other / "store/commits", code=4)
    assert answer["imported"] == []


def test_a_manifest_of_another_signer_does_not_pass(archived, monkeypatch):
    other = archived.folder / "other"
    monkeypatch.setenv("MUNIMENT_HOME", str(other))
    archived.run("init", "--organization-id", "other", "--no-recovery-kit")
    commit = archived.commits[0]
    answer = archived.json("verify", "--folder", commit)
    assert answer["ok"]
    assert not answer["signer_compared"]
    wrong = archived.json(
        "verify", "--folder", commit, "--signer", other / "keys/signing.pub", code=4
    )
    assert "signed by" in wrong["commits"][0]["problems"][0]
    right = archived.home / "keys" / "signing.pub"
    assert archived.json("verify", "--folder", commit, "--signer", right)["signer_compared"]
    line = " ".join(right.read_text().split()[:2])
    assert archived.json("verify", "--folder", commit, "--signer", line)["signer_compared"]
    archived.run("verify", "--folder", commit, "--signer", "nonsense", code=2)
    archived.run("verify", commit.name, "--folder", commit, code=2)


def test_a_key_that_signed_before_is_still_trusted(archived):
    keys = archived.home / "keys"
    other = archived.folder / "other"
    archived.run("--home", other, "init", "--organization-id", "x", "--no-recovery-kit")
    (keys / "signing.pub").rename(keys / "signing-until-2026.pub")
    for name in ("signing", "signing.pub"):
        shutil.copy2(other / "keys" / name, keys / name)
    (archived.papers / "new").write_text("new")
    archived.run("archive")
    assert archived.json("verify")["ok"]
    for commit in archived.commits:
        damage(next(commit.glob("*_aa")))
    repaired = archived.json("repair")["commits"]
    assert [len(commit["from_parity"]) for commit in repaired] == [1, 1]

    def rebuild(*words, code=0):
        for path in archived.home.glob("catalogue.sqlite3*"):
            path.unlink()
        return archived.json("rebuild", *words, code=code)

    assert rebuild()["commits"] == 2
    copy = archived.folder / "copy"
    shutil.copytree(archived.home / "store" / "commits", copy)
    shutil.rmtree(archived.home / "store")
    assert len(rebuild("--from", copy)["imported"]) == 2

    (keys / "signing-until-2026.pub").unlink()
    archived.run("verify", code=4)
    assert len(archived.json("repair", code=4)["commits"]) == 2
    assert len(rebuild(code=4)["problems"]) == 1


def test_the_database_is_made_anew_from_the_commits(archived):
    before = archived.json("commits")
    for path in archived.home.glob("catalogue.sqlite3*"):
        path.unlink()
    archived.run("doctor", code=1)
    assert archived.json("rebuild", "--dry-run")["commits"] == 1
    assert archived.json("rebuild")["files"] == 6
    assert archived.json("commits") == before
    archived.run("doctor")
    archived.run("restore", "--target", archived.folder / "out")
    restored = archived.folder / "out" / str(archived.papers).lstrip("/")
    assert (restored / "letters" / "ana.txt").read_bytes() == LETTER


def test_a_damaged_database_stops_no_verification(archived):
    for path in archived.home.glob("catalogue.sqlite3*"):
        path.write_bytes(b"nonsense" * 1000)
    assert archived.json("verify", "--deep")["ok"]
    archived.run("verify")
    assert "the database cannot tell" in archived.error
    archived.run("status", code=4)
    assert "muniment rebuild" in archived.error
    out = archived.run("doctor", code=1)
    assert "FAIL  database" in out
    assert out.count("muniment rebuild") == 1
    assert "WARN  clock: not checked, for the same reason as: database" in out


def test_an_archive_comes_back_from_a_copy_of_its_commits(archived):
    copy = archived.folder / "copy"
    shutil.move(archived.home / "store" / "commits", copy)
    for path in archived.home.glob("catalogue.sqlite3*"):
        path.unlink()
    shutil.rmtree(archived.home / "store")
    (copy / "stray").mkdir()
    answer = archived.json("rebuild", "--from", copy, code=4)
    assert len(answer["imported"]) == 1
    assert [problem["commit_id"] for problem in answer["problems"]] == ["stray"]
    archived.run("verify", "--deep")


def test_a_new_machine_opens_a_copy_with_the_recovery_kit(archived, monkeypatch):
    """docs/runbooks/machine-gone.md, where the old keys are there but for the identity."""
    new = archived.folder / "new"
    (new / "keys").mkdir(parents=True)
    for name in ("config.toml", "keys/signing.pub", "keys/recipients.txt"):
        shutil.copy2(archived.home / name, new / name)
    monkeypatch.setenv("MUNIMENT_HOME", str(new))
    copy = archived.home / "store" / "commits"
    assert len(archived.json("rebuild", "--from", copy, code=4)["imported"]) == 1
    monkeypatch.setattr("sys.stdin", io.StringIO(typed_kit(archived)))
    assert archived.json("keys", "recover")["opened"] == 1
    assert archived.json("rebuild")["files"] == 6
    archived.run("verify", "--deep")
    out = archived.folder / "out"
    archived.run("restore", "--target", out)
    assert (out / str(archived.papers).lstrip("/") / "letters" / "ana.txt").read_bytes() == LETTER


def typed_kit(desk):
    lines = (desk.folder / "kit.txt").read_text().split("line 1:")[1].splitlines()[:3]
    return " ".join(line.rpartition(":")[2] for line in lines)


# restore


def test_restore_puts_everything_back(archived):
    target = archived.folder / "deep" / "out"
    answer = archived.json("restore", "--target", target)
    assert (answer["files"], answer["problems"]) == (6, [])
    restored = target / str(archived.papers).lstrip("/")
    assert (restored / "letters" / "ana.txt").read_bytes() == LETTER
    assert (restored / os.fsdecode(EVIL)).read_bytes() == b"harmless"
    assert os.readlink(restored / "link") == "letters/ana.txt"


@pytest.mark.parametrize(
    "pattern", ["*.txt", "*/letters/*", "{papers}/letters/ana.txt", "letters/ana.txt"]
)
def test_restore_takes_paths_and_patterns(archived, pattern, monkeypatch):
    monkeypatch.chdir(archived.papers)
    target = archived.folder / "out"
    archived.run("restore", "--target", target, pattern.format(papers=archived.papers))
    assert (
        target / str(archived.papers).lstrip("/") / "letters" / "ana.txt"
    ).read_bytes() == LETTER


def test_restore_goes_back_in_time(archived):
    letter = archived.papers / "letters" / "ana.txt"
    first = archived.json("commits")["commits"][0]
    letter.write_bytes(b"newer")
    archived.run("archive")
    out = archived.folder / "out"
    restored = out / str(letter).lstrip("/")
    archived.run("restore", "--target", out, letter)
    assert restored.read_bytes() == b"newer"
    archived.run("restore", "--target", out, letter, "--commit", first["commit_id"], "--overwrite")
    assert restored.read_bytes() == LETTER
    archived.run("restore", "--target", out, letter, "--at", "2001-01-01", code=3)
    archived.run("restore", "--target", out, letter, "--at", "2999-12-31", "--overwrite")
    assert restored.read_bytes() == b"newer"
    for nonsense in ("yesterday", "2026-13-01", "2026-01-31T12:00:00"):
        archived.run("restore", "--target", out, "--at", nonsense, code=2)


def test_restore_never_replaces_unless_told_to(archived):
    target = archived.folder / "out"
    archived.run("restore", "--target", target)
    letter = target / str(archived.papers).lstrip("/") / "letters" / "ana.txt"
    letter.write_bytes(b"mine")
    answer = archived.json("restore", "--target", target, code=10)
    assert all(
        "exists in the target already" in problem["message"] for problem in answer["problems"]
    )
    archived.run("restore", "--target", target, code=10)
    assert "\x1b" not in archived.error
    assert letter.read_bytes() == b"mine"
    archived.run("restore", "--target", target, "--overwrite")
    assert letter.read_bytes() == LETTER


def test_a_dry_run_of_restore_lists_and_writes_nothing(archived):
    target = archived.folder / "out"
    out = archived.run("restore", "--target", target, "--dry-run", "*.txt")
    assert "\x1b" not in out
    assert "2 paths (2.0 kB) would be restored" in out
    assert not target.exists()


def test_what_is_not_archived_is_not_restored(archived):
    archived.run("restore", "--target", archived.folder / "out", "secret", code=3)
    assert "'*secret*'" in archived.error
    assert not (archived.folder / "out").exists()


# keys


def test_keys_are_listed_without_secrets(made):
    answer = made.json("keys", "list")
    assert [r["name"] for r in answer["recipients"]] == ["HRDAG", "recovery"]
    assert answer["identities"] == [answer["recipients"][0]["recipient"]]
    assert "SECRET" not in made.run("keys", "list")
    assert made.json("keys", "recipients")["recipients"] == answer["recipients"]


def test_the_recovery_kit_is_checked_and_opens_the_archive_again(archived, monkeypatch):

    typed = typed_kit(archived)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed.lower()))
    assert archived.json("keys", "check-recovery-kit")["name"] == "recovery"
    monkeypatch.setattr("sys.stdin", io.StringIO(typed.replace(typed.split()[0], "QQQQ", 1)))
    assert archived.json("keys", "check-recovery-kit", code=4)["error"]["code"] == "format"

    (archived.home / "keys" / "identity.txt").unlink()
    archived.run("restore", "--target", archived.folder / "out", code=5)
    archived.run("verify", "--deep", code=5)
    archived.run("verify")
    assert "this is right for a home that only writes" in archived.run("doctor")
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert archived.json("keys", "recover") | {"recipient": ""} == {
        "recipient": "",
        "opened": 1,
        "commits": 1,
    }
    archived.run("restore", "--target", archived.folder / "out")


def test_a_new_kit_takes_the_place_of_a_lost_one(archived, monkeypatch):
    archived.run("keys", "new-recovery-kit", code=2)
    kit = archived.folder / "new.txt"
    answer = archived.json("keys", "new-recovery-kit", "--recovery-kit", kit)
    assert len(archived.json("keys", "recipients")["recipients"]) == 3
    archived.run("keys", "remove-recipient", "recovery")
    archived.run("keys", "rewrap")
    shutil.move(kit, archived.folder / "kit.txt")
    monkeypatch.setattr("sys.stdin", io.StringIO(typed_kit(archived)))
    assert archived.json("keys", "check-recovery-kit")["name"] == answer["name"]
    (archived.home / "keys" / "identity.txt").unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO(typed_kit(archived)))
    assert archived.json("keys", "recover")["opened"] == 1


def test_a_foreign_kit_changes_nothing(archived, monkeypatch):

    foreign = new_identity()
    for words, code in ((("check-recovery-kit",), 3), (("recover",), 5)):
        monkeypatch.setattr("sys.stdin", io.StringIO(foreign.reveal()))
        archived.run("keys", *words, code=code)
    assert foreign.reveal() not in (archived.home / "keys" / "identity.txt").read_text()


def test_recipients_come_and_go_and_keyrings_follow(archived):

    partner = new_identity()
    archived.run("keys", "add-recipient", partner.recipient, "--name", "Partner")
    archived.run("keys", "add-recipient", partner.recipient, "--name", "Again", code=6)
    archived.run("keys", "add-recipient", "age1nonsense", "--name", "No", code=4)
    commit = archived.commits[0]
    assert opens(commit, partner) is False
    assert archived.json("keys", "rewrap", "--dry-run")["commits"] == [commit.name]
    assert opens(commit, partner) is False
    assert archived.json("keys", "rewrap")["commits"] == [commit.name]
    assert opens(commit, partner) is True
    assert archived.json("keys", "rewrap")["skipped"] == 1
    assert archived.json("keys", "rewrap", "--all")["commits"] == [commit.name]
    assert archived.json("keys", "remove-recipient", "Partner")["recipient"] == partner.recipient
    archived.run("keys", "remove-recipient", "Partner", code=3)
    archived.run("keys", "rewrap")
    assert opens(commit, partner) is False
    archived.run("verify", "--deep")


def test_no_home_locks_itself_out_by_mistake(archived, monkeypatch):
    commit = archived.commits[0]
    listed, sealed = archived.home / "keys" / "recipients.txt", (commit / "keys.age").read_bytes()
    before = listed.read_text()
    own = archived.json("keys", "list")["identities"][0]
    assert archived.json("keys", "remove-recipient", own, code=2)["error"]["code"] == "usage"
    archived.run("keys", "remove-recipient", "HRDAG", code=2)
    assert "could not open its own archive" in archived.error
    assert own in archived.error
    assert listed.read_text() == before

    listed.write_text(f"# recovery\n{before.split()[-1]}\n")  # by hand
    for words in (["--all"], [commit.name], ["--all", "--dry-run"]):
        archived.run("keys", "rewrap", *words, code=2)
        assert "--yes-lock-me-out" in archived.error
    assert (commit / "keys.age").read_bytes() == sealed
    archived.run("keys", "remove-recipient", "recovery", "--yes-lock-me-out", code=2)
    assert "last recipient" in archived.error

    listed.write_text(before)
    archived.run("keys", "remove-recipient", "HRDAG", "--yes-lock-me-out")
    assert archived.json("keys", "rewrap", "--yes-lock-me-out")["commits"] == [commit.name]
    archived.run("verify", "--deep", code=5)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed_kit(archived)))
    assert archived.json("keys", "recover")["opened"] == 1
    archived.run("verify", "--deep")
    archived.run("keys", "rewrap", "--all")  # the kit is an identity of this home now


def opens(commit, identity):

    try:
        return bool(open_keyring((commit / "keys.age").read_bytes(), [identity]))
    except KeyUnavailableError:
        return False


# store, backup, doctor, completion


def test_the_block_store_is_counted_verified_and_swept(archived):
    stats = archived.json("store", "stats")
    assert stats["pins"] == 1
    assert archived.json("store", "verify")["ok"]
    assert "are whole, 1 root complete." in archived.run("store", "verify")
    assert archived.json("store", "gc", "--dry-run")["removed_blocks"] == 0
    archived.run("store", "gc", "--yes")
    damage(next(archived.commits[0].glob("*_aa")))
    answer = archived.json("store", "verify", code=4)
    assert "_aa" in answer["problems"][0]["place"]


def test_garbage_is_only_removed_when_confirmed(archived):

    with EmbeddedBlockStore(archived.home / "store") as blocks:
        cid = CID.of(RAW, b"garbage")
        blocks.put(cid, b"garbage")
    archived.run("store", "gc", code=2)
    assert "--yes" in archived.error
    assert archived.json("store", "gc", "--yes")["removed_blocks"] == 1
    with EmbeddedBlockStore(archived.home / "store") as blocks:
        assert not blocks.has(cid)


def test_a_backup_that_cannot_be_reached_holds_up_no_archiving(made, monkeypatch):
    monkeypatch.setenv("MUNIMENT_BACKUP", str(made.folder / "not-mounted"))
    (commit,) = made.json("archive", made.papers)["commits"]
    assert commit["backed_up_at"] is None
    (made.papers / "more").write_text("more")
    made.run("archive")
    assert "archived, but not backed up yet" in made.error
    assert made.json("status")["not_backed_up"] == 2


def test_commits_are_backed_up_and_the_backup_checked(archived, monkeypatch):
    archived.run("backup", code=2)
    backup = archived.folder / "backup"
    backup.mkdir()
    monkeypatch.setenv("MUNIMENT_BACKUP", str(backup))
    assert archived.json("backup", "--dry-run")["commits"][0]["objects"] == 0
    assert not list(backup.iterdir())
    assert "manifest.json" in archived.json("backup")["commits"][0]["sent"]
    assert archived.json("status")["not_backed_up"] == 0
    assert "up to date" in archived.run("backup")
    archived.run("keys", "rewrap", "--all")
    assert archived.json("backup")["commits"][0]["replaced"] == ["keys.age"]
    assert "whole" in archived.run("backup", "--verify")
    damage(next(backup.rglob("*_aa")))
    assert "damaged" in archived.json("backup", "--verify", code=4)["commits"][0]["problem"]
    assert archived.json("status")["not_backed_up"] == 1
    archived.run("backup", code=4)  # what is there is never overwritten
    lost = next(backup.rglob("*_aa"))
    lost.unlink()
    assert "missing" in archived.json("backup", "--verify", code=4)["commits"][0]["problem"]
    assert archived.json("backup")["commits"][0]["sent"] == [lost.name]
    assert archived.json("backup", "--verify")["commits"][0]["problem"] is None
    assert archived.json("status")["not_backed_up"] == 0
    (archived.papers / "more").write_text("more")
    assert archived.json("archive")["commits"][0]["backed_up_at"]


def test_repair_fetches_from_the_backup_what_parity_cannot_mend(archived, monkeypatch):
    backup = archived.folder / "backup"
    backup.mkdir()
    monkeypatch.setenv("MUNIMENT_BACKUP", str(backup))
    archived.run("backup")
    ruin(archived.commits[0])
    assert archived.json("repair")["commits"][0]["from_backup"]
    archived.run("verify", "--deep")


@pytest.fixture
def backed_up(archived, monkeypatch):
    """An archive of which a backup holds everything."""
    backup = archived.folder / "backup"
    backup.mkdir()
    monkeypatch.setenv("MUNIMENT_BACKUP", str(backup))
    archived.run("backup")
    return archived


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1])


def spoil_header(path):
    path.write_bytes(b"x" + path.read_bytes()[1:])


def spoil_end(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("hurt", [Path.unlink, cut_short, spoil_header, spoil_end])
def test_a_lost_keyring_is_noticed_without_keys_and_fetched(backed_up, hurt):
    keyring = backed_up.commits[0] / "keys.age"
    before = keyring.read_bytes()
    hurt(keyring)
    if hurt is not spoil_end:  # what only those find who open it
        (problem,) = backed_up.json("verify", code=4)["commits"][0]["problems"]
        assert problem.startswith("keys.age is ")
        assert "nobody can open this commit; fetch it from a partner or the backup" in problem
    assert backed_up.json("verify", "--deep", code=4)["commits"][0]["problems"]
    assert backed_up.json("repair", "--dry-run", code=4)["commits"][0]["damaged"] == ["keys.age"]
    assert backed_up.json("repair")["commits"][0]["from_backup"] == ["keys.age"]
    assert keyring.read_bytes() == before
    assert backed_up.json("verify", "--deep")["ok"]
    assert "nothing needs repair" in backed_up.run("repair")


def test_only_a_keyring_that_opens_is_fetched(backed_up):
    commit = backed_up.commits[0]
    stored = backed_up.folder / "backup" / "commits" / commit.name / "keys.age"
    keys, good = (commit / "keys.age").read_bytes(), stored.read_bytes()
    inside = open_keyring(keys, load_identities(backed_up.home / "keys"))
    (commit / "keys.age").unlink()
    foreign = seal(inside, [new_identity().recipient])
    other = seal(inside[:-1] + b"!", [new_identity().recipient])[:-1]
    for bad in (foreign, other, good[:-1], b"", good[:-9] + bytes(9), None):
        stored.unlink(missing_ok=True)
        if bad is not None:
            stored.write_bytes(bad)
        assert "still lacks keys.age" in backed_up.json("repair", code=4)["commits"][0]["problem"]
        assert not (commit / "keys.age").exists()
    stored.write_bytes(foreign)
    (backed_up.home / "keys" / "identity.txt").unlink()  # a home that only writes cannot tell
    assert backed_up.json("repair")["commits"][0]["from_backup"] == ["keys.age"]


def test_a_keyring_sealed_to_others_is_left_as_it_is(backed_up):
    keyring = backed_up.commits[0] / "keys.age"
    inside = open_keyring(keyring.read_bytes(), load_identities(backed_up.home / "keys"))
    keyring.write_bytes(sealed := seal(inside, [new_identity().recipient]))
    assert "nothing needs repair" in backed_up.run("repair")
    assert keyring.read_bytes() == sealed


@pytest.mark.parametrize("hurt", [Path.unlink, cut_short, damage])
def test_a_lost_manifest_is_fetched(backed_up, hurt):
    commit = backed_up.commits[0]
    before = (commit / "manifest.json").read_bytes()
    hurt(commit / "manifest.json")
    damage(next(commit.glob("*_aa")))
    (commit / "keys.age").unlink()
    backed_up.run("verify", code=4)
    answer = backed_up.json("repair", "--dry-run", code=4)
    assert answer["commits"][0]["damaged"] == ["manifest.json"]
    result = backed_up.json("repair")["commits"][0]
    assert result["from_backup"] == ["manifest.json", "keys.age"]
    assert result["from_parity"] == [next(commit.glob("*_aa")).name]
    assert (commit / "manifest.json").read_bytes() == before
    assert backed_up.json("verify", "--deep")["ok"]


def test_a_manifest_of_another_signer_or_commit_is_not_fetched(backed_up, monkeypatch):
    (backed_up.papers / "more").write_text("more")
    backed_up.run("archive")
    first, second = backed_up.commits
    stored = backed_up.folder / "backup" / "commits" / first.name / "manifest.json"
    manifest = (first / "manifest.json").read_bytes()
    (first / "manifest.json").unlink()
    for bad in ((second / "manifest.json").read_bytes(), manifest[:-1], b"{}", None):
        stored.unlink(missing_ok=True)
        if bad is not None:
            stored.write_bytes(bad)
        assert backed_up.json("repair", first.name, code=4)["commits"][0]["problem"]
        assert not (first / "manifest.json").exists()
    stored.write_bytes(manifest)
    other = backed_up.folder / "other"
    backed_up.run("--home", other, "init", "--organization-id", "other", "--no-recovery-kit")
    shutil.copy2(other / "keys" / "signing.pub", backed_up.home / "keys" / "signing.pub")
    problem = backed_up.json("repair", first.name, code=4)["commits"][0]["problem"]
    assert "was signed by" in problem
    assert not (first / "manifest.json").exists()


def test_without_a_backup_what_parity_does_not_cover_is_named(archived):
    (archived.commits[0] / "keys.age").unlink()
    assert "still lacks keys.age" in archived.json("repair", code=4)["commits"][0]["problem"]
    (archived.commits[0] / "manifest.json").unlink()
    assert "manifest.json" in archived.json("repair", code=4)["commits"][0]["problem"]


def test_the_doctor_finds_what_is_wrong_and_says_the_remedy(archived):
    out = archived.run("doctor")
    assert "FAIL" not in out
    answer = archived.json("doctor")
    assert {check["level"] for check in answer["checks"]} <= {"OK", "WARN"}
    archived.home.chmod(0o755)
    assert "chmod 700" in archived.run("doctor")
    (archived.home / "keys" / "identity.txt").chmod(0o644)
    assert "chmod 600" in archived.run("doctor", code=1)
    (archived.home / "keys" / "identity.txt").chmod(0o600)
    commit = archived.commits[0].name
    archived.commits[0].rename(archived.folder / "away")
    assert "missing from the store" in archived.run("doctor", code=1)
    (archived.folder / "away").rename(archived.home / "store" / "commits" / commit)
    for path in archived.home.glob("catalogue.sqlite3*"):
        path.unlink()
    assert "1 commit in the store, but not in the database" in archived.run("doctor", code=1)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script(desk, shell):
    assert "_MUNIMENT_COMPLETE" in desk.run("completion", shell)


# the whole program


def test_without_an_archive_every_command_says_how_to_make_one(desk):
    for words in (["status"], ["archive"], ["verify"], ["doctor"], ["keys", "list"], ["commits"]):
        desk.run(*words, code=2)
        assert "muniment init" in desk.error


def test_a_second_run_waits_its_turn_and_changes_nothing(archived):
    with run_lock(archived.home / "lock"):
        assert archived.json("archive", code=6)["error"]["code"] == "conflict"
        archived.run("add", archived.papers, code=6)
        archived.run("status")
        archived.run("verify")


def test_quiet_prints_nothing(archived):
    for words in (["status"], ["verify"], ["archive"], ["commits"], ["doctor"]):
        assert archived.run(*words, "--quiet") == ""
        assert archived.error == ""
    archived.run("-q", "show", "1999", code=3)
    assert archived.error.startswith("muniment: ")


def test_global_options_stand_anywhere(archived, monkeypatch):
    home = archived.home
    monkeypatch.setenv("MUNIMENT_HOME", "/nowhere")
    for words in (["--home", home, "store", "stats"], ["store", "stats", "--home", home]):
        archived.run(*words)
    assert json.loads(archived.run("--json", "--home", home, "commits"))
    assert json.loads(archived.run("store", "--json", "--home", home, "stats"))


def test_nonsense_is_answered_in_one_line(desk):
    desk.run("bla", code=2)
    assert desk.error.count("\n") == 1
    assert desk.json("archive", "--bla", code=2)["error"]["code"] == "usage"
    desk.run("commits", "--limit", "0", code=2)


def test_errors_of_the_system_are_told_without_a_traceback(archived, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device", "/archive/x")

    monkeypatch.setattr("muniment.archive.pipeline.Pipeline.run", full)
    error = archived.json("archive", code=1)["error"]
    assert error["code"] == "disk_full"
    assert "nothing that was acknowledged is lost" in error["message"]

    def broken(*_args, **_more):
        raise ZeroDivisionError("oops\x1b[0m")

    monkeypatch.setattr("muniment.archive.pipeline.Pipeline.run", broken)
    archived.run("archive", code=70)
    assert "please report" in archived.error
    assert "\x1b" not in archived.error
    assert archived.json("archive", code=70)["error"]["code"] == "defect"


def test_an_interrupt_says_how_to_go_on(archived, monkeypatch):
    def interrupt(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr("muniment.archive.pipeline.Pipeline.run", interrupt)
    archived.run("archive", code=130)
    assert "interrupted; run again to resume" in archived.error
