"""The worst day: store and database are gone, and `muniment rebuild` brings all of it back from a real S3 service."""

import hashlib
import io
import json
import shutil

import pytest

from muniment.adapters.object_storage import open_storage
from muniment.entrypoints.cli.running import run
from muniment.testing.seaweedfs import seaweedfs

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with (
        seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in running.environment.items():
            patch.setenv(name, value)
        import boto3.session  # noqa: PLC0415  # slow to import

        client = boto3.session.Session().client(
            "s3", endpoint_url=running.endpoint_url, region_name="us-east-1"
        )
        client.create_bucket(Bucket="archive")
        yield running


@pytest.fixture
def muniment(server, tmp_path, monkeypatch, capsys):
    """Run a command and read its answer, in an archive of two commits whose backup is in the bucket."""
    values = {
        "HOME": tmp_path / "home",
        "CALENDARS": "",
        "WORKERS": 1,
        "BACKUP": f"s3://archive/{tmp_path.name.replace('_', '-')}",
        "S3_ENDPOINT_URL": server.endpoint_url,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"MUNIMENT_{name}", str(value))

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
        (papers / f"letter-{number}").write_bytes(b"Dear Ana, %d\n" % number * 20_000)
        assert muniment("archive", papers)["commits"][0]["backed_up_at"]
    return muniment


@pytest.fixture
def bucket(muniment, server):
    """The bucket as its owner sees it."""
    return open_storage(muniment("status")["backup"], endpoint_url=server.endpoint_url)


def lose_everything(home):
    """All but keys and settings."""
    shutil.rmtree(home / "store")
    for path in home.glob("catalogue.sqlite3*"):
        path.unlink()


def without_backup_times(answer):
    return [commit | {"backed_up_at": None} for commit in answer["commits"]]


def test_everything_comes_back_from_the_bucket(muniment, bucket, tmp_path):
    home, target = tmp_path / "home", tmp_path / "out"
    assert any(key.endswith(".par2") and "+" in key for key in bucket.list("commits/"))
    before, ids = muniment("commits"), [c["commit_id"] for c in muniment("commits")["commits"]]
    assert muniment("backup", "--verify")["commits"][0]["objects"] > 5
    lose_everything(home)
    assert muniment("verify")["ok"] is False
    assert muniment("rebuild", "--from-backup", "--dry-run")["commits"] == 2
    assert not (home / "store").exists()

    answer = muniment("rebuild", "--from-backup")
    assert (answer["commits"], answer["problems"]) == (2, [])
    assert answer["imported"] == sorted(ids)
    after = muniment("commits")
    assert without_backup_times(after) == without_backup_times(before)
    assert all(commit["backed_up_at"] for commit in after["commits"])
    assert muniment("verify", "--deep")["ok"]
    assert muniment("doctor")["ok"]
    muniment("restore", "--target", target)
    papers = tmp_path / "papers"
    restored = target / papers.relative_to("/")
    assert {p.name: p.read_bytes() for p in restored.iterdir()} == {
        p.name: p.read_bytes() for p in papers.iterdir()
    }
    assert muniment("archive", papers)["commits"] == []
    assert muniment("rebuild", "--from-backup")["imported"] == []


def test_what_the_bucket_lost_is_named_and_mended(muniment, bucket, tmp_path):
    keys = sorted(bucket.list("commits/"))
    first, second = sorted({key.split("/")[1] for key in keys})
    chunk = next(key for key in keys if key.endswith(f"{first}_aa"))
    bucket.delete(chunk)  # parity mends it
    bucket.delete(f"commits/{second}/manifest.json")  # no commit without it
    lose_everything(tmp_path / "home")
    answer = muniment("rebuild", "--from-backup", code=4)
    assert answer["imported"] == [first]
    problems = [problem["commit_id"] for problem in answer["problems"]]
    assert set(problems) == {first, second}
    assert f"missing: {first}_aa" in answer["problems"][0]["message"]
    assert muniment("repair")["commits"][0]["from_parity"] == [f"{first}_aa"]
    assert muniment("rebuild")["commits"] == 1
    assert muniment("verify", "--deep", first)["ok"]


def test_a_commit_of_somebody_else_is_not_taken(muniment, bucket, tmp_path):
    home, (key,) = tmp_path / "home", sorted(bucket.list("commits/"))[:1]
    commit_id = key.split("/")[1]
    lose_everything(home)
    other = tmp_path / "other"
    muniment("--home", other, "init", "--organization-id", "other", "--no-recovery-kit")
    answer = muniment("--home", other, "rebuild", "--from-backup", code=4)
    assert (answer["commits"], answer["imported"]) == (0, [])
    assert "is of organisation 'hrdag'" in answer["problems"][0]["message"]
    assert list((other / "store" / "commits").iterdir()) == []
    manifest = b"".join(bucket.get(f"commits/{commit_id}/manifest.json"))
    changed = manifest.replace(b'"name":"', b'"name":"The ', 1)
    bucket.delete(f"commits/{commit_id}/manifest.json")
    digest = hashlib.sha256(changed).hexdigest()
    bucket.put(f"commits/{commit_id}/manifest.json", io.BytesIO(changed), len(changed), digest)
    answer = muniment("rebuild", "--from-backup", code=4)
    assert [problem["commit_id"] for problem in answer["problems"]] == [commit_id]
    assert "does not verify" in answer["problems"][0]["message"]


def test_a_bucket_that_cannot_be_reached_is_told(muniment, monkeypatch):
    monkeypatch.setenv("MUNIMENT_BACKUP", "s3://nowhere-at-all")
    assert muniment("rebuild", "--from-backup", code=7)["error"]["code"] == "external_service"
    monkeypatch.setenv("MUNIMENT_BACKUP", "")
    assert muniment("rebuild", "--from-backup", code=2)["error"]["code"] == "usage"
