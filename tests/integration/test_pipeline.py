"""The stages of a commit: killed before and after every step, they go on and lose nothing."""

import os
import re
import shutil
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.archive import parity
from muniment.archive.pipeline import Pipeline, new_commit_id
from muniment.archive.record import CommitId


class Silent:
    def stage(self, commit_id, stage, total_bytes):
        pass

    def advance(self, size_bytes, files=0):
        pass


class Killed(BaseException):
    """The run ends here. What is written stays, as after kill -9."""


STEPS = {"claim", "advance", "finish", "adopt", "create", "stamp", "open_journal", "append", "write", "digest", "submit", "wait", "end_tar", "drop_from", "remove"}  # fmt: skip


class Faulty:
    """Passes on to `inner`, and ends the run at one of the steps: before it when the number is even, behind it when odd."""

    def __init__(self, inner, steps):
        self._inner, self._steps = inner, steps

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if name not in STEPS:
            return found

        def call(*arguments, **named):
            self._steps.pass_one(name)
            result = found(*arguments, **named)
            self._steps.pass_one(name)
            return result

        return call


class Steps:
    def __init__(self, last):
        self.left, self.at = last, ""

    def pass_one(self, name):
        self.at = name
        if self.left == 0:
            raise Killed(name)
        self.left -= 1


def faulty(pipeline: Pipeline, steps: Steps) -> Pipeline:
    make_staging = pipeline._staging
    pipeline._staging = lambda commit: Faulty(make_staging(commit), steps)
    for name in ("_catalog", "_store", "_parity", "_timestamper"):
        setattr(pipeline, name, Faulty(getattr(pipeline, name), steps))
    return pipeline


def check_all(home, check_commit, names):
    assert [commit.state for commit in home.archive.catalog.commits()] == ["stored"] * len(home.ids)
    assert home.archive.catalog.totals() == home.archive.catalog.recount()
    assert home.archive.catalog.totals().pending_files == 0
    stored = []
    for number, commit_id in enumerate(home.ids):
        row = home.archive.catalog.commit(commit_id)
        assert row.sequence == number + 1
        previous = home.archive.previous_of(commit_id)
        check_commit(home.path(commit_id), keyring=home.keyring(commit_id), previous=previous, check_chain=True)  # fmt: skip
        stored += [file.scanned.path for file in home.archive.catalog.files_of(commit_id)]
        expected = {file.name for file in home.path(commit_id).iterdir()}
        assert not any(name.endswith((".tmp", ".1")) for name in expected)
    inside = os.fsencode(home.source)[1:]
    assert sorted(stored) == sorted([inside, *(inside + b"/" + name.encode() for name in names)])
    assert sorted(os.listdir(home.archive.store.commits)) == sorted(home.ids)
    staging = home.folder / "home/staging"
    assert os.listdir(staging) == []  # it held the keys


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_killed_at_every_step_it_goes_on(part, make_home, tmp_path, check_commit):
    step, finished = part, False
    while not finished:
        home = make_home(tmp_path / str(step))
        home.write(a=b"some text " * 9000, b=os.urandom(80_000), c=b"some text " * 9000)
        home.scan()
        try:
            faulty(home.archive.pipeline(Silent()), Steps(step)).run()
            finished = True
        except Killed:
            home.reopen()
            home.archive.pipeline(Silent()).run()
        check_all(home, check_commit, ["a", "b", "c"])
        assert len(home.ids) == 1
        home.archive.close()
        step += 4
    assert step > 30


def killed(*_arguments):
    raise Killed


@pytest.mark.parametrize(("port", "method"), [("_parity", "create"), ("_timestamper", "stamp")])
def test_a_commit_whose_staging_folder_was_removed_is_begun_again(
    port, method, make_home, tmp_path, check_commit
):
    home = make_home(tmp_path / "home")
    home.write(a=b"some text " * 9000)
    home.scan()
    pipeline = home.archive.pipeline(Silent())
    setattr(pipeline, port, SimpleNamespace(**{method: killed}))
    with pytest.raises(Killed):
        pipeline.run()
    (unfinished,) = home.archive.catalog.commits()
    shutil.rmtree(home.folder / "home/staging" / unfinished.commit_id)
    home.reopen()
    home.archive.pipeline(Silent()).run()
    assert unfinished.commit_id not in home.ids
    check_all(home, check_commit, ["a"])


def test_batches_make_a_chain(make_home, tmp_path, check_commit):
    home = make_home(tmp_path / "h", batch_files=2)
    home.write(a=b"1", b=b"2", c=b"3", d=b"4")
    home.run()
    assert len(home.ids) == 3
    check_all(home, check_commit, ["a", "b", "c", "d"])
    home.archive.close()


def test_nothing_to_do_is_no_commit(home, check_commit):
    home.write(a=b"1")
    assert len(home.run().commits) == 1
    assert home.run().commits == []
    check_all(home, check_commit, ["a"])


def test_without_parity_there_is_none(make_home, tmp_path, check_commit):
    home = make_home(tmp_path / "h", parity_percent=0)
    home.write(a=b"1")
    home.run()
    assert list(home.path().glob("*.par2")) == []
    check_all(home, check_commit, ["a"])
    home.archive.close()


def test_a_batch_of_which_nothing_can_be_read_leaves_no_commit(home):
    home.write(a=b"1")
    home.run()
    home.write(a=b"22", b=b"3")
    os.utime(home.source, ns=(5, 5))
    home.scan()
    home.archive.pipeline(Silent()).run()
    before = home.ids
    home.write(a=b"333")
    home.scan()
    (home.source / "a").unlink()
    os.mkfifo(home.source / "a")
    result = home.archive.pipeline(Silent()).run()
    assert result.commits == []
    assert [problem.message for problem in result.problems] == ["it is no longer a regular file"]
    assert home.ids == before
    assert os.listdir(home.folder / "home/staging") == []


@given(
    st.integers(0, 1 << 50), st.integers(1, 50_000), st.sampled_from([65_536, 1 << 20, 50 << 20])
)
def test_chunks_are_never_more_than_parity_covers(source_bytes, files, chunk_bytes):
    pipeline = Pipeline.__new__(Pipeline)
    pipeline._policy = type("P", (), {"chunk_bytes": chunk_bytes})
    size = pipeline._chunk_bytes_for(source_bytes, files)
    tar_at_most = int(source_bytes * 1.13) + files * 1536 + 1024
    if source_bytes > files * 1024:
        assert -(-tar_at_most // size) < parity.SOURCE_BLOCKS_MAX
    assert size >= 65_536


@given(st.integers(0, 4_102_444_800), st.binary(min_size=5, max_size=5))
def test_commit_ids_have_their_form(now, bits):
    pattern = CommitId.__metadata__[0].pattern
    assert re.match(pattern, new_commit_id(now, lambda size: bits[:size]))


def test_commit_ids_use_all_of_their_randomness():
    ids = {new_commit_id(0, lambda _, bit=bit: (1 << bit).to_bytes(5, "big")) for bit in range(40)}
    assert len(ids) == 40
