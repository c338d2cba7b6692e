"""Restoring what a real archive holds: every kind of entry, refusal to leave the target, and nothing half."""

import errno
import os
import signal
import stat

import pytest

from muniment.adapters.durable import sync_filesystem
from muniment.adapters.restore_target import RestoreTarget
from muniment.archive.catalog import Kind, ScannedFile
from muniment.errors import ConflictError, FormatError, IntegrityError

ODD_NAMES = [
    b"line\nfeed",
    b"\xff\xfe not text",
    b" blank ",
    b"*[?]",
    b"-rf",
    "ünï".encode(),
    b"\x1b[31m",
    b"n" * 255,
    b"...",
    b"~",
    b"back\\slash",
]


def facts(folder):
    """Everything that a restore must bring back, by path."""
    found = {}
    for here, folders, files in os.walk(os.fsencode(folder)):
        for name in [*folders, *files, b"."]:
            path = os.path.normpath(os.path.join(here, name))
            status = os.lstat(path)
            mode = status.st_mode
            content = b""
            if stat.S_ISLNK(mode):
                mode, content = stat.S_IFLNK, os.readlink(path)
            elif stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, os.fsencode(folder))] = (mode, status.st_mtime_ns, content)
    return found


def whole(report):
    assert report.problems == []
    return report


def test_every_kind_of_entry_comes_back(home):
    source = home.source
    home.write(plain=b"hello", empty=b"", run_me=b"#!/bin/sh\n", deep__er__file=b"x" * 3_000_000)
    home.write(
        text=b"some text " * 200_000, exact=os.urandom(1 << 20), over=os.urandom((1 << 20) + 1)
    )
    (source / "nothing in it").mkdir()
    (source / "no entry").mkdir()
    (source / "no entry/inside").write_bytes(b"inside")
    for name in ODD_NAMES:
        with open(os.path.join(os.fsencode(source), name), "wb") as file:
            file.write(name)
    os.symlink("plain", source / "link")
    os.symlink("/etc/passwd", source / "absolute")
    os.symlink(b"../\xff\n/nowhere", os.fsencode(source / "dangling"))
    os.chmod(source / "run_me", 0o751)
    os.chmod(source / "plain", 0o000)
    os.chmod(source / "no entry", 0o500)
    for name, time in (
        ("plain", 1),
        ("empty", -5_000_000_001),
        ("no entry", 1_600_000_000_123_456_789),
    ):
        os.utime(source / name, ns=(time, time))
    os.utime(source / "link", ns=(77, 77), follow_symlinks=False)
    result = home.run()
    assert result.problems == []
    restored, report = home.restore()
    whole(report)
    assert facts(restored) == facts(source)
    assert report.files == len(facts(source))


def test_a_restored_file_or_folder_lends_nobody_the_rights_of_its_owner(home):
    home.write(program=b"#!/bin/sh\n")
    (home.source / "shared").mkdir()
    os.chmod(home.source / "program", 0o6755)
    os.chmod(home.source / "shared", 0o3770)
    assert home.run().problems == []
    restored, report = home.restore()
    whole(report)
    assert stat.S_IMODE(os.stat(restored / "program").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(restored / "shared").st_mode) == 0o1770


def killed_while_it_restores(target, path):
    """Restore a file in a process that is killed halfway; returns the process's id."""
    process = os.fork()
    if process == 0:

        def pieces():
            yield b"the first half"
            os.kill(os.getpid(), signal.SIGKILL)

        place = RestoreTarget(target, overwrite=False)
        place.write_file(ScannedFile(path, Kind.FILE, 28, 0o644, 0, 0, 0), pieces())
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    return process


def test_what_a_killed_restore_left_is_removed_by_the_next(tmp_path):
    elsewhere, in_folder, in_root = (  # the root last, as every restore looks there
        folder / f".muniment-restore-{killed_while_it_restores(tmp_path, path)}"
        for folder, path in (
            (tmp_path / "others", b"others/three"),
            (tmp_path / "papers", b"papers/two"),
            (tmp_path, b"one"),
        )
    )
    gone = elsewhere.name.rpartition("-")[2]
    kept = [
        f".muniment-restore-{os.getppid()}",
        ".muniment-restore-1",
        f".muniment-restore-{gone}.txt",
        f".muniment-restore-0{gone}",
        ".muniment-restore-",
        ".muniment-restore-99999999999999999999",
    ]
    for name in kept:
        (tmp_path / "papers" / name).write_bytes(b"somebody's")
    (tmp_path / "papers" / elsewhere.name).symlink_to("anywhere")
    assert in_root.read_bytes() == in_folder.read_bytes() == b"the first half"
    place = RestoreTarget(tmp_path, overwrite=False)
    place.write_file(ScannedFile(b"papers/two", Kind.FILE, 5, 0o644, 0, 0, 0), [b"whole"])
    place.close()
    assert sorted(os.listdir(tmp_path)) == ["others", "papers"]
    assert set(os.listdir(tmp_path / "papers")) == {*kept, elsewhere.name, "two"}
    assert elsewhere.exists()  # nothing was restored into its folder


def test_sparse_and_large_files_go_the_way_of_the_large(home):
    with open(home.source / "sparse", "wb") as file:
        file.truncate(20 << 20)
        file.seek(15 << 20)
        file.write(b"here")
    noise = os.urandom(1 << 20)
    home.write(large=noise * 9, again=noise * 9)
    result = home.run()
    assert (result.problems, len(result.commits)) == ([], 1)
    restored, report = home.restore()
    whole(report)
    assert facts(restored) == facts(home.source)
    assert home.archive.catalog.commit(home.ids[0]).sealed_bytes < 30 << 20  # `again` is a copy


def test_a_path_of_two_thousand_folders(home):
    here = os.open(home.source, os.O_RDONLY)
    depth = 2000 - len(os.fsencode(home.source)) // 2
    for _ in range(depth):
        os.mkdir(b"d", dir_fd=here)
        below = os.open(b"d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with open(os.open(b"f", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
        file.write(b"deep down")
    os.close(here)
    assert home.run().problems == []
    target = home.folder / "t"
    _, report = home.restore(target=target)
    whole(report)
    assert report.files == depth + 2
    remove_deep(home.source)
    remove_deep(target)


def remove_deep(folder):
    import subprocess  # noqa: PLC0415

    subprocess.run(["rm", "-rf", str(folder)], check=True)  # pytest's own removal recurses


def test_what_is_there_is_not_replaced_unless_wished(home):
    home.write(a=b"archived", b=b"too", d__c=b"below")
    home.run()
    restored, report = home.restore()
    whole(report)
    (restored / "a").write_bytes(b"mine")
    (restored / "b").unlink()
    _, report = home.restore()
    assert {os.path.basename(path) for path, _ in report.problems} == {b"a", b"c"}
    assert all("exists in the target already" in reason for _, reason in report.problems)
    assert (restored / "a").read_bytes() == b"mine"
    assert (restored / "b").read_bytes() == b"too"
    _, report = home.restore(overwrite=True)
    whole(report)
    assert (restored / "a").read_bytes() == b"archived"
    (restored / "b").unlink()
    (restored / "b").mkdir()
    _, report = home.restore(overwrite=True)
    assert [os.path.basename(path) for path, _ in report.problems] == [b"b"]


def test_a_link_in_the_target_is_never_followed(home):
    home.write(d__file=b"archived", d__e__file=b"below", file=b"beside")
    home.run()
    outside = home.folder / "outside"
    outside.mkdir()
    restored, _ = home.restore(target=home.folder / "target", files=[])
    restored.mkdir(parents=True)
    (restored / "d").symlink_to(outside)
    (restored / "file").symlink_to(outside / "made")
    for overwrite in (False, True):
        _, report = home.restore(target=home.folder / "target", overwrite=overwrite)
        assert report.problems
        assert os.listdir(outside) == []
    assert (restored / "file").read_bytes() == b"beside"  # the link itself was replaced
    assert not (restored / "file").is_symlink()


def scanned(path, kind=Kind.FILE, target=None):
    return ScannedFile(path, kind, 0, 0o644, 0, 0, 0, target)


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "outside").mkdir()
    target = RestoreTarget(tmp_path / "target", overwrite=True)
    yield target
    target.close()


def test_a_link_that_was_restored_is_not_followed(target, tmp_path):
    target.write_link(scanned(b"d", Kind.SYMLINK, b"../outside"))
    with pytest.raises(IntegrityError, match="is a link or not a folder"):
        target.write_file(scanned(b"d/file"), [b"x"])
    with pytest.raises(IntegrityError, match="is a link or not a folder"):
        target.make_folder(b"d/e")
    with pytest.raises(IntegrityError, match="is a link or not a folder"):
        target.finish_folder(scanned(b"d", Kind.DIRECTORY))
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize(
    "path", [b"../x", b"a/../../x", b"/x", b"", b".", b"..", b"a//b", b"a/", b"a\0b"]
)
def test_paths_that_leave_the_target_are_refused(path, target, tmp_path):
    for attempt in (
        lambda: target.write_file(scanned(path), [b"x"]),
        lambda: target.write_link(scanned(path, Kind.SYMLINK, b"t")),
        lambda: target.make_folder(path),
    ):
        with pytest.raises(FormatError, match="path that is not clean"):
            attempt()
    assert os.listdir(tmp_path / "target") == []


def test_a_folder_is_never_replaced_by_a_file_or_link(target):
    target.make_folder(b"d/e")
    for attempt in (
        lambda: target.write_file(scanned(b"d"), [b"x"]),
        lambda: target.write_link(scanned(b"d", Kind.SYMLINK, b"/")),
    ):
        with pytest.raises(ConflictError, match="exists in the target already"):
            attempt()


@pytest.mark.parametrize("plant", [os.link, os.symlink, lambda _outside, name: os.mkfifo(name)])
def test_a_trap_under_the_temporary_name_is_not_written_into(plant, target, tmp_path):
    outside = tmp_path / "outside/file"
    outside.write_bytes(b"untouched")
    plant(outside, tmp_path / f"target/.muniment-restore-{os.getpid()}")
    target.write_file(scanned(b"file"), [b"restored"])
    assert outside.read_bytes() == b"untouched"
    assert (tmp_path / "target/file").read_bytes() == b"restored"
    assert os.listdir(tmp_path / "target") == ["file"]


def test_pieces_that_fail_leave_nothing_half(target, tmp_path):
    def pieces():
        yield b"half"
        raise IntegrityError("no more")

    (tmp_path / "target/file").write_bytes(b"before")
    with pytest.raises(IntegrityError, match="no more"):
        target.write_file(scanned(b"file"), pieces())
    assert os.listdir(tmp_path / "target") == ["file"]
    assert (tmp_path / "target/file").read_bytes() == b"before"
    with pytest.raises(OverflowError):
        target.write_link(scanned(b"l", Kind.SYMLINK, b"t")._replace(mtime_ns=1 << 200))
    assert os.listdir(tmp_path / "target") == ["file"]


@pytest.mark.parametrize("size", [5000, 3_000_000, 9 << 20])
def test_corrupt_content_leaves_nothing_and_harms_nobody_else(size, home):
    home.write(a=os.urandom(size), b=b"whole")
    home.run()
    file = next(file for file in home.archive.catalog.files_of(home.ids[0]) if file.scanned.size == size)  # fmt: skip
    chunk_bytes = home.archive.catalog.commit(home.ids[0]).chunk_bytes
    index, within = divmod(file.place.offset + file.place.sealed_size - 600, chunk_bytes)
    path = sorted(home.path().glob("*_*"))[index]
    data = bytearray(path.read_bytes())
    data[within] ^= 1
    path.write_bytes(data)
    restored, report = home.restore()
    assert [os.path.basename(path) for path, _ in report.problems] == [b"a"]
    assert "was changed" in report.problems[0][1]
    assert sorted(os.listdir(restored)) == ["b"]


def test_no_descriptor_stays_open(home):
    home.write(a=b"1", d__b=b"2", d__e__c=b"3")
    home.run()
    home.restore(target=home.folder / "t0")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1, 4):
        home.restore(target=home.folder / f"t{number}")
    assert len(os.listdir("/proc/self/fd")) == before


# --- The same content more than once --------------------------------------------------------------


def leaf_of(home, commit_id, name):
    return next(file for file in home.archive.catalog.files_of(commit_id) if file.scanned.path.endswith(b"/" + name))  # fmt: skip


def test_copies_within_and_across_commits_survive_the_erasure_of_the_first(home, check_commit):
    noise, text = os.urandom(9 << 20), b"the same text " * 500
    home.write(a_noise=noise, a_text=text, b_noise=noise, b_text=text)
    home.run()
    home.write(c_noise=noise, c_text=text)
    home.run()
    one, two = home.ids
    holders = [leaf_of(home, one, name) for name in (b"a_noise", b"a_text", b"b_noise", b"b_text")]
    assert sum(file.place.leaf == file.leaf for file in holders) == 2
    copies = [leaf_of(home, two, name) for name in (b"c_noise", b"c_text")]
    assert [file.place.commit_id for file in copies] == [one, one]
    assert home.archive.catalog.commit(two).sealed_bytes < 1 << 20
    check_commit(home.path(two), keyring=home.keyring(two))

    first = [file for file in holders if file.place.leaf == file.leaf]
    home.erase(one, [file.leaf for file in first])
    home.reopen()
    restored, report = home.restore()
    erased = {file.scanned.path for file in first}
    assert {path for path, _ in report.problems} == erased
    assert all("was erased" in reason for _, reason in report.problems)
    for name in ("a_noise", "b_noise", "c_noise", "a_text", "b_text", "c_text"):
        path = os.fsencode(home.source / name)[1:]
        assert (restored / name).exists() == (path not in erased)
        if path not in erased:
            assert (restored / name).read_bytes() == (noise if "noise" in name else text)
    reports = check_commit(home.path(one), keyring=home.keyring(one))
    assert sum(report.erased for report in reports) == 2


def test_an_erased_content_is_not_copied_again_but_stored_again(home):
    home.write(a=b"the same text " * 500)
    home.run()
    home.erase(home.ids[0], [leaf_of(home, home.ids[0], b"a").leaf])
    home.reopen()
    home.write(b=b"the same text " * 500)
    home.run()
    again = leaf_of(home, home.ids[1], b"b")
    assert again.place.commit_id == home.ids[1]
    restored, report = home.restore("b")
    whole(report)
    assert (restored / "b").read_bytes() == b"the same text " * 500


# --- What is selected -----------------------------------------------------------------------------


def test_patterns_and_versions(home):
    home.write(**{"a__x.txt": b"1", "a__y.md": b"2", "b__x.txt": b"3", "a[1]": b"4"})
    home.run()
    home.write(**{"a__x.txt": b"newer"})
    home.run()
    for number, (patterns, expected) in enumerate([
        (["a"], {"a", "a/x.txt", "a/y.md"}),
        (["a/x.txt"], {"a/x.txt"}),
        (["*.txt"], {"a/x.txt", "b/x.txt"}),
        (["a/*"], {"a/x.txt", "a/y.md"}),
        (["a[1]"], {"a[1]"}),
        (["a", "a/x.txt", "b/?.txt"], {"a", "a/x.txt", "a/y.md", "b/x.txt"}),
        (["nothing"], set()),
    ]):  # fmt: skip
        restored, report = home.restore(*patterns, target=home.folder / f"t{number}")
        whole(report)
        assert report.files == len(expected)
        assert all((restored / name).exists() for name in expected)
        if "a/x.txt" in expected:
            assert (restored / "a/x.txt").read_bytes() == b"newer"


# --- Files that change while they are read --------------------------------------------------------


def test_files_that_vanish_or_become_something_else(home):
    home.write(stays=b"1", vanishes=b"2", folder=b"3", link=b"4", pipe=b"5", below__gone=b"6")
    home.scan()
    source = home.source
    for name in ("vanishes", "folder", "link", "pipe", "below/gone"):
        (source / name).unlink()
    (source / "below").rmdir()
    (source / "below").write_bytes(b"now a file")
    (source / "folder").mkdir()
    os.symlink("stays", source / "link")
    os.mkfifo(source / "pipe")

    class Quiet:
        def stage(self, commit_id, stage, total_bytes):
            pass

        def advance(self, size_bytes, files=0):
            pass

    result = home.archive.pipeline(Quiet()).run()
    assert result.vanished == 2
    reasons = {os.path.basename(problem.path): problem.message for problem in result.problems}
    assert set(reasons) == {b"folder", b"link", b"pipe"}
    assert reasons[b"folder"] == reasons[b"pipe"] == "it is no longer a regular file"
    assert "cannot be read" in reasons[b"link"]
    restored, _ = home.restore("stays")
    assert (restored / "stays").read_bytes() == b"1"
    home.run()  # and the next run takes them as they are now
    restored, report = home.restore(target=home.folder / "t2")
    assert os.readlink(restored / "link") == "stays"
    assert (restored / "below").read_bytes() == b"now a file"
    whole(report)


def test_a_file_is_archived_as_it_was_read_and_not_as_it_was_scanned(home):
    home.write(grows=b"short", shrinks=b"x" * 9_000_000, empties=b"something")
    home.scan()
    home.write(grows=b"longer than before", shrinks=b"small", empties=b"")
    home.archive.pipeline(type("P", (), {"stage": lambda *_: None, "advance": lambda *_, **__: None})()).run()  # fmt: skip
    restored, report = home.restore()
    whole(report)
    assert (restored / "grows").read_bytes() == b"longer than before"
    assert (restored / "shrinks").read_bytes() == b"small"
    assert (restored / "empties").read_bytes() == b""


def test_large_files_that_another_commit_holds_are_copied_twice_under_its_key(home, check_commit):
    noise = os.urandom(9 << 20)
    home.write(first=noise)
    home.run()
    home.write(again=noise, and_again=noise)
    home.run()
    check_commit(home.path(), keyring=home.keyring())
    restored, report = home.restore()
    whole(report)
    assert all((restored / name).read_bytes() == noise for name in ("first", "again", "and_again"))


def test_everything_is_in_its_place_when_the_disk_is_waited_for(home, monkeypatch):
    home.write(folder__file=b"1", other=b"2")
    os.utime(home.source / "folder", (1, 1))
    home.run()
    synced = []

    def sync_filesystem(descriptor):
        folder = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((folder, facts(folder)))

    monkeypatch.setattr("muniment.adapters.restoring.sync_filesystem", sync_filesystem)
    target, report = home.restore()
    assert not report.problems
    ((folder, found),) = synced
    assert folder == str(home.folder / "restored")
    assert found == facts(folder)
    assert (target / "folder/file").read_bytes() == b"1"
    home.restore(target=home.folder, overwrite=True, durable=False)
    assert len(synced) == 1


def test_a_disk_that_fails_at_the_end_is_told_of(home, monkeypatch):
    def fail(_descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    home.write(file=b"1")
    home.run()
    monkeypatch.setattr("muniment.adapters.restoring.sync_filesystem", fail)
    _target, report = home.restore()
    ((path, problem),) = report.problems
    assert path == os.fsencode(home.folder / "restored")
    assert "do not rely on anything that was restored now: Input/output error" in problem


def test_a_file_system_is_synced_or_an_error_raised(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    sync_filesystem(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_filesystem(descriptor)
