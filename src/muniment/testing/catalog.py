"""What every `Catalog` must do.

Run it over an adapter by calling each function of `CHECKS` with something that opens catalogues of an empty database::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check, tmp_path):
        check(lambda organization_id: open_catalog(tmp_path / "db", organization_id, "An organisation"))

`muniment.testing.catalog_machine` tries sequences of operations that nobody thought of.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from muniment.archive.catalog import (
    ArchivedFile,
    Catalog,
    CommitRow,
    CommitState,
    ContentPlace,
    Kind,
    Problem,
    ScanCounts,
    ScannedFile,
    TimestampState,
)
from muniment.errors import ConflictError, MunimentError, NotFoundError

OpenCatalog = Callable[[str], Catalog]
"""Opens the catalogue of an organisation, given its id, in one and the same database."""

BEFORE_STORED = tuple(CommitState)[1:-1]
FAR_FUTURE = 2**40
HOSTILE_PATHS = (
    b"\xff\xfe",
    b"a\nb",
    b"a b/'; DROP TABLE files; --",
    b"%_?",
    b"x" * 4096,
    "é".encode(),
    b"a\\b",
)


def seen(path: bytes, size: int = 1, *, version: int = 0, kind: Kind = Kind.FILE) -> ScannedFile:
    """Return what a scan sees of a path; another `version` is a file that has changed."""
    target = b"elsewhere" if kind is Kind.SYMLINK else None
    return ScannedFile(
        path, kind, size, 0o640, 1_700_000_000_000_000_000 + version, version, 7, target
    )


def commit_name(number: int) -> str:
    """Return a commit id; each number has its own, and ids sort like numbers."""
    return f"20260101T{number:06d}Z-aaaaaaaa"


def claim(
    catalog: Catalog,
    number: int,
    *,
    max_bytes: int = 2**50,
    max_files: int = 1_000,
    expires_at: int = FAR_FUTURE,
) -> CommitRow | None:
    """Claim what is pending for the commit of that number, created at that time."""
    return catalog.claim(
        commit_name(number),
        created_at=number,
        chunk_bytes_for=lambda source_bytes, files: 65_536 + source_bytes + files,
        max_bytes=max_bytes,
        max_files=max_files,
        expires_at=expires_at,
    )


def sealed(catalog: Catalog, number: int, leave_out: Iterable[bytes] = ()) -> list[ArchivedFile]:
    """Return what a run would archive of a commit's claim, paths of `leave_out` left out."""
    commit_id, left_out = commit_name(number), set(leave_out)
    claimed = [file for file in catalog.claimed(commit_id) if file.scanned.path not in left_out]
    return [
        archived(file.scanned, commit_id, leaf, file_id=file.file_id)
        for leaf, file in enumerate(claimed)
    ]


def archived(
    scanned: ScannedFile, commit_id: str, leaf: int, *, file_id: int | None = None
) -> ArchivedFile:
    """Return a version as a commit holds it; its digest is that of its path and size."""
    if scanned.kind is not Kind.FILE:
        return ArchivedFile(file_id, commit_id, leaf, scanned, None, "", None)
    place = ContentPlace(commit_id, leaf, 512 + 2048 * leaf, 1024, 700, "zstd")
    digest = digest_of(scanned)
    return ArchivedFile(
        file_id, commit_id, leaf, scanned, digest, "text/plain", place if scanned.size else None
    )


def digest_of(scanned: ScannedFile) -> bytes:
    """Return the digest that `archived` gives to a content."""
    return hashlib.sha256(b"%d %s" % (scanned.size, scanned.path)).digest()


def finish(catalog: Catalog, number: int, leave_out: Iterable[bytes] = ()) -> list[ArchivedFile]:
    """Lead a claimed commit through all its states; return what it holds."""
    commit_id = commit_name(number)
    head = catalog.chain_head()
    sequence = 1 if head is None or head.sequence is None else head.sequence + 1
    for state in BEFORE_STORED:
        catalog.advance(
            commit_id, state, **({"sequence": sequence} if state is CommitState.SIGNED else {})
        )
    files = sealed(catalog, number, leave_out)
    catalog.finish(commit_id, files, sealed_bytes=10 * number, leaf_count=len(files))
    return files


def archive(catalog: Catalog, number: int) -> list[ArchivedFile]:
    """Archive all that is pending as one commit."""
    assert claim(catalog, number) is not None, "nothing was pending"
    return finish(catalog, number)


def paths(files: Iterable[ArchivedFile]) -> list[bytes]:
    """Return the paths of archived versions."""
    return [file.scanned.path for file in files]


def raises(kind: type[MunimentError], action: Callable[[], object]) -> None:
    """Check that an action raises an error of a kind."""
    try:
        action()
    except kind:
        return
    raise AssertionError(f"expected {kind.__name__}, got no error")


def check_totals(catalog: Catalog) -> None:
    """Check that the totals are what a recount gives."""
    assert catalog.totals() == catalog.recount(), (catalog.totals(), catalog.recount())


def a_scan_tells_new_changed_and_unchanged(open_catalog: OpenCatalog) -> None:
    """Every difference counts as a change, and a pending version is replaced."""
    catalog = open_catalog("one")
    file = seen(b"a", 5)
    assert catalog.record_scan([]) == ScanCounts()
    assert catalog.record_scan([file, seen(b"b")]) == ScanCounts(new=2)
    assert catalog.record_scan([file, seen(b"b")]) == ScanCounts(unchanged=2)
    changes: list[dict[str, object]] = [
        {"kind": Kind.SYMLINK}, {"size": 6}, {"mode": 0}, {"mtime_ns": -1}, {"ctime_ns": 2**62}, {"inode": 2**63 - 1},
        {"target": b""},
    ]  # fmt: skip
    for change in changes:
        file = file._replace(**change)  # type: ignore[arg-type]
        assert catalog.record_scan([file]) == ScanCounts(changed=1), change
        assert catalog.record_scan([file]) == ScanCounts(unchanged=1), change
    assert catalog.totals().pending_files == 2
    assert catalog.totals().pending_bytes == 7
    assert claim(catalog, 1) is not None
    assert [found.scanned for found in catalog.claimed(commit_name(1))] == [file, seen(b"b")]
    check_totals(catalog)


def a_path_twice_in_one_scan_is_one_version(open_catalog: OpenCatalog) -> None:
    """The later of the two counts."""
    catalog = open_catalog("one")
    assert catalog.record_scan([seen(b"a", 1), seen(b"a", 2)]) == ScanCounts(new=1)
    assert catalog.record_scan([seen(b"a", 2)]) == ScanCounts(unchanged=1)
    check_totals(catalog)


def hostile_paths_survive(open_catalog: OpenCatalog) -> None:
    """Paths are bytes; nothing in them is special, and they sort as bytes."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(path) for path in HOSTILE_PATHS])
    assert catalog.record_scan([seen(path) for path in HOSTILE_PATHS]) == ScanCounts(unchanged=7)
    files = archive(catalog, 1)
    assert paths(files) == sorted(HOSTILE_PATHS)
    assert list(catalog.newest()) == files
    for path in HOSTILE_PATHS:
        assert paths(catalog.newest(prefix=path)) == [path]
        catalog.record_problems([Problem(path, "a problem", 1)])
        catalog.add_root(path)
    assert {problem.path for problem in catalog.problems()} == set(HOSTILE_PATHS)
    assert catalog.roots() == sorted(HOSTILE_PATHS)


def a_claim_keeps_its_limits(open_catalog: OpenCatalog) -> None:
    """By files, by bytes, and never empty."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"d", 50), seen(b"b", 20), seen(b"a", 10), seen(b"c", 0)])
    row = claim(catalog, 1, max_files=2)
    assert row is not None
    assert row.chunk_bytes == 65_536 + 30 + 2
    assert (row.state, row.created_at) == (CommitState.COLLECTED, 1)
    assert [file.scanned.path for file in catalog.claimed(row.commit_id)] == [b"a", b"b"]
    catalog.drop_commit(row.commit_id)
    row = claim(catalog, 2, max_bytes=30)
    assert row is not None
    assert [file.scanned.path for file in catalog.claimed(row.commit_id)] == [b"a", b"b", b"c"]
    row = claim(catalog, 3, max_bytes=1)
    assert row is not None
    assert [file.scanned.path for file in catalog.claimed(row.commit_id)] == [b"d"]
    assert claim(catalog, 4) is None
    raises(NotFoundError, lambda: catalog.commit(commit_name(4)))
    raises(ConflictError, lambda: claim(catalog, 3))
    assert catalog.totals().pending_files == 4
    check_totals(catalog)


def what_is_put_back_with_a_problem_waits_for_the_next_run(open_catalog: OpenCatalog) -> None:
    """Otherwise a run would claim an unreadable file for ever."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a"), seen(b"b")])
    claim(catalog, 1)
    numbers = {file.scanned.path: file.file_id for file in catalog.claimed(commit_name(1))}
    catalog.unclaim(numbers.values(), [Problem(b"a", "cannot be read", 9)])
    assert list(catalog.claimed(commit_name(1))) == []
    claim(catalog, 2)
    assert [file.scanned.path for file in catalog.claimed(commit_name(2))] == [b"b"]
    assert catalog.expire_claims(0) == []
    claim(catalog, 3)
    assert [file.scanned.path for file in catalog.claimed(commit_name(3))] == [b"a"]
    assert list(catalog.problems()) == [Problem(b"a", "cannot be read", 9)]
    finish(catalog, 3)
    assert list(catalog.problems()) == []
    check_totals(catalog)


def a_change_gives_a_held_version_another_chance(open_catalog: OpenCatalog) -> None:
    """What could not be read before is another file now."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a", 1)])
    claim(catalog, 1)
    numbers = [file.file_id for file in catalog.claimed(commit_name(1))]
    catalog.unclaim(numbers, [Problem(b"a", "cannot be read", 9)])
    assert catalog.record_scan([seen(b"a", 1)]) == ScanCounts(unchanged=1)
    assert claim(catalog, 2) is None
    assert catalog.record_scan([seen(b"a", 2)]) == ScanCounts(changed=1)
    assert claim(catalog, 3) is not None
    check_totals(catalog)


def a_claimed_version_that_changed_is_dropped_when_put_back(open_catalog: OpenCatalog) -> None:
    """It describes what no longer exists, and the newer version waits."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a", 1)])
    claim(catalog, 1)
    assert catalog.record_scan([seen(b"a", 2)]) == ScanCounts(changed=1)
    assert claim(catalog, 2) is None, "the newer version overtook the older"
    catalog.drop_commit(commit_name(1))
    assert catalog.totals().pending_files == 1
    claim(catalog, 3)
    assert [file.scanned for file in catalog.claimed(commit_name(3))] == [seen(b"a", 2)]
    check_totals(catalog)


def a_newer_version_follows_when_the_older_is_archived(open_catalog: OpenCatalog) -> None:
    """Both are kept, and the newer is the newest."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a", 1)])
    claim(catalog, 1)
    catalog.record_scan([seen(b"a", 2)])
    finish(catalog, 1)
    archive(catalog, 2)
    assert [file.scanned.size for file in catalog.newest()] == [2]
    assert [file.scanned.size for file in catalog.newest(at=1)] == [1]
    assert [file.scanned.size for file in catalog.newest(commit_id=commit_name(1))] == [1]
    assert list(catalog.newest(at=0)) == []
    check_totals(catalog)


def what_vanished_is_forgotten(open_catalog: OpenCatalog) -> None:
    """And is known in its archived version if it comes back."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a", 1)])
    archive(catalog, 1)
    catalog.record_scan([seen(b"a", 2), seen(b"b", 2)])
    claim(catalog, 2)
    numbers = [file.file_id for file in catalog.claimed(commit_name(2))]
    catalog.forget(numbers, [Problem(b"b", "vanished", 1)])
    assert catalog.totals().pending_files == 0
    assert catalog.record_scan([seen(b"a", 1)]) == ScanCounts(unchanged=1)
    assert catalog.record_scan([seen(b"b", 2)]) == ScanCounts(new=1)
    check_totals(catalog)


def claims_expire(open_catalog: OpenCatalog) -> None:
    """Only those of commits that did nothing but claim."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a"), seen(b"b"), seen(b"c")])
    claim(catalog, 1, max_files=1, expires_at=100)
    claim(catalog, 2, max_files=1, expires_at=100)
    claim(catalog, 3, max_files=1, expires_at=101)
    catalog.advance(commit_name(2), CommitState.SEALED)
    assert catalog.expire_claims(99) == []
    assert catalog.expire_claims(100) == [commit_name(1)]
    assert [row.commit_id for row in catalog.commits()] == [commit_name(2), commit_name(3)]
    claim(catalog, 4)
    assert [file.scanned.path for file in catalog.claimed(commit_name(4))] == [b"a"]
    check_totals(catalog)


def states_follow_each_other(open_catalog: OpenCatalog) -> None:
    """No state can be left out or entered twice, and a stored commit stays."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a")])
    claim(catalog, 1)
    commit_id = commit_name(1)
    raises(ConflictError, lambda: catalog.advance(commit_id, CommitState.TREE_BUILT))
    raises(ConflictError, lambda: catalog.advance(commit_id, CommitState.COLLECTED))
    raises(ConflictError, lambda: catalog.finish(commit_id, []))
    row = catalog.advance(commit_id, CommitState.SEALED, leaf_count=1, source_bytes=5)
    assert (row.state, row.leaf_count, row.source_bytes) == (CommitState.SEALED, 1, 5)
    assert catalog.commit(commit_id) == row
    raises(ConflictError, lambda: catalog.advance(commit_id, CommitState.SEALED))
    raises(NotFoundError, lambda: catalog.advance(commit_name(9), CommitState.SEALED))
    for state in BEFORE_STORED[1:]:
        catalog.advance(commit_id, state)
    raises(
        ConflictError, lambda: catalog.finish(commit_id, sealed(catalog, 1))
    )  # it has no place in the chain
    assert catalog.commit(commit_id).state is CommitState.TIMESTAMPED, (
        "a failed finish left a trace"
    )
    catalog.finish(commit_id, sealed(catalog, 1), sequence=1, merkle_root=b"r" * 32)
    assert catalog.commit(commit_id).merkle_root == b"r" * 32
    raises(ConflictError, lambda: catalog.finish(commit_id, []))
    raises(ConflictError, lambda: catalog.drop_commit(commit_id))
    check_totals(catalog)


def a_finish_is_all_or_nothing(open_catalog: OpenCatalog) -> None:
    """A version that is not claimed by the commit fails it, and an error in the middle leaves no trace."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a"), seen(b"b")])
    claim(catalog, 1)
    for state in BEFORE_STORED:
        catalog.advance(commit_name(1), state)
    files = sealed(catalog, 1)
    stranger = archived(seen(b"c"), commit_name(1), 2, file_id=10**9)
    before = catalog.totals()
    raises(ConflictError, lambda: catalog.finish(commit_name(1), [*files, stranger], sequence=1))
    raises(ConflictError, lambda: catalog.finish(commit_name(1), _failing(files), sequence=1))
    assert catalog.totals() == before
    assert list(catalog.files_of(commit_name(1))) == []
    catalog.finish(commit_name(1), files, sequence=1)
    assert list(catalog.files_of(commit_name(1))) == files
    check_totals(catalog)


def _failing(files: list[ArchivedFile]) -> Iterable[ArchivedFile]:
    yield from files
    raise ConflictError("the reader failed")


def a_finish_keeps_what_was_read(open_catalog: OpenCatalog) -> None:
    """A file can change between scan and reading; what was read is archived, and leaves close their gaps."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(path, 1) for path in (b"a", b"b", b"c", b"d")])
    claim(catalog, 1)
    for state in BEFORE_STORED:
        catalog.advance(commit_name(1), state)
    files = sealed(catalog, 1, leave_out=[b"b"])
    read = archived(seen(b"c", 99, version=1), commit_name(1), 1, file_id=files[1].file_id)
    catalog.finish(commit_name(1), [files[0], read, files[2]], sequence=1)
    assert list(catalog.files_of(commit_name(1))) == [files[0], read, files[2]]
    totals = catalog.totals()
    assert (totals.archived_files, totals.archived_bytes) == (3, 101)
    assert (totals.pending_files, totals.pending_bytes) == (1, 1)
    assert catalog.record_scan([read.scanned, seen(b"b", 1)]) == ScanCounts(unchanged=2)
    check_totals(catalog)


def contents_are_found(open_catalog: OpenCatalog) -> None:
    """Where they lie, and never by a copy, an empty file, a folder or an unfinished commit."""
    catalog = open_catalog("one")
    original, empty = seen(b"a", 10), seen(b"empty", 0)
    catalog.record_scan(
        [original, empty, seen(b"d", 0, kind=Kind.DIRECTORY), seen(b"l", 0, kind=Kind.SYMLINK)]
    )
    claim(catalog, 1)
    assert catalog.find_content([digest_of(original)]) == {}
    files = finish(catalog, 1)
    assert [file.place is None for file in files] == [False, True, True, True]
    found = catalog.find_content(
        [digest_of(original), digest_of(original), digest_of(empty), b"?" * 32]
    )
    assert found == {digest_of(original): files[0].place}
    assert catalog.known_sizes([10, 11, 10]) == {10}
    catalog.record_scan([seen(b"copy", 10)])
    claim(catalog, 2)
    (copy,) = sealed(catalog, 2)
    copy = ArchivedFile(
        copy.file_id, copy.commit_id, 0, copy.scanned, digest_of(original), "", files[0].place
    )
    for state in BEFORE_STORED:
        catalog.advance(commit_name(2), state)
    catalog.finish(commit_name(2), [copy], sequence=2)
    assert list(catalog.files_of(commit_name(2))) == [copy]
    assert catalog.find_content([digest_of(original)]) == found
    assert catalog.find_content([]) == {}
    assert catalog.known_sizes([]) == set()


def a_copy_within_a_commit_is_found_at_its_original(open_catalog: OpenCatalog) -> None:
    """The place that is told is that of the member which holds the content."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a", 10), seen(b"b", 10)])
    claim(catalog, 1)
    for state in BEFORE_STORED:
        catalog.advance(commit_name(1), state)
    first, second = sealed(catalog, 1)
    copy = ArchivedFile(
        second.file_id, second.commit_id, 1, second.scanned, first.digest, "", first.place
    )
    catalog.finish(commit_name(1), [first, copy], sequence=1)
    assert list(catalog.files_of(commit_name(1))) == [first, copy]
    assert catalog.find_content([digest_of(first.scanned)]) == {first.digest: first.place}


def prefixes_are_folders(open_catalog: OpenCatalog) -> None:
    """`a` is itself and what lies below it, not `a.txt`; the order is that of bytes."""
    catalog = open_catalog("one")
    folder = seen(b"a", 0, kind=Kind.DIRECTORY)
    others = [seen(path) for path in (b"a.txt", b"a/b", b"a/b/c", b"a0", b"ab", b"a/\xff")]
    catalog.record_scan([folder, *others])
    archive(catalog, 1)
    assert paths(catalog.newest(prefix=b"a")) == [b"a", b"a/b", b"a/b/c", b"a/\xff"]
    assert paths(catalog.newest(prefix=b"/a/b/")) == [b"a/b", b"a/b/c"]
    assert paths(catalog.newest(prefix=b"a/b/c")) == [b"a/b/c"]
    assert paths(catalog.newest(prefix=b"nothing")) == []
    assert paths(catalog.newest()) == sorted(paths(catalog.newest()))


def commits_are_found(open_catalog: OpenCatalog) -> None:
    """By id, by an unambiguous beginning, by state, in order, at the chain's head."""
    catalog = open_catalog("one")
    assert catalog.chain_head() is None
    assert catalog.totals().last_commit is None
    catalog.record_scan([seen(b"a"), seen(b"b"), seen(b"c")])
    for number in (2, 1, 3):
        claim(catalog, number, max_files=1)
    finish(catalog, 2)
    finish(catalog, 1)
    assert [row.commit_id for row in catalog.commits()] == [commit_name(n) for n in (1, 2, 3)]
    assert [row.commit_id for row in catalog.commits(CommitState.STORED)] == [
        commit_name(1),
        commit_name(2),
    ]
    assert [row.commit_id for row in catalog.commits(CommitState.SIGNED)] == []
    assert catalog.commit(commit_name(2)[:15]).commit_id == commit_name(2)
    for beginning in ("", "2026", "2027", "%", commit_name(2) + "a"):
        raises(NotFoundError, lambda beginning=beginning: catalog.commit(beginning))  # type: ignore[misc]
    head, totals = catalog.chain_head(), catalog.totals()
    assert head is not None
    assert (head.commit_id, head.sequence) == (commit_name(1), 2)
    assert totals.last_commit == head
    assert (totals.commits, totals.unfinished_commits, totals.sealed_bytes) == (2, 1, 30)
    check_totals(catalog)


def commits_change_with_the_totals(open_catalog: OpenCatalog) -> None:
    """Timestamps complete and backups are verified after a commit is stored."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a")])
    archive(catalog, 1)
    totals = catalog.totals()
    assert (totals.timestamps_queued, totals.timestamps_pending, totals.not_backed_up) == (1, 0, 1)
    catalog.update_commit(commit_name(1), timestamp=TimestampState.PENDING)
    assert (catalog.totals().timestamps_queued, catalog.totals().timestamps_pending) == (0, 1)
    row = catalog.update_commit(
        commit_name(1),
        timestamp=TimestampState.COMPLETE,
        bitcoin_height=9,
        backed_up_at=5,
        sealed_bytes=7,
    )
    assert catalog.commit(commit_name(1)) == row
    totals = catalog.totals()
    assert (totals.timestamps_pending, totals.not_backed_up, totals.sealed_bytes) == (0, 0, 7)
    check_totals(catalog)


def problems_are_kept_until_they_are_solved(open_catalog: OpenCatalog) -> None:
    """One a path, the last one noticed, newest first."""
    catalog = open_catalog("one")
    catalog.record_problems(
        [Problem(b"a", "first", 1), Problem(b"b", "b", 2), Problem(b"b", "again", 3)]
    )
    catalog.record_problems([Problem(b"a", "second", 4), Problem(b"c", "c", 3)])
    expected = [Problem(b"a", "second", 4), Problem(b"b", "again", 3), Problem(b"c", "c", 3)]
    assert list(catalog.problems()) == expected
    assert catalog.totals().problems == 3
    check_totals(catalog)
    assert catalog.clear_problems(4) == 2
    assert list(catalog.problems()) == expected[:1]
    catalog.record_problems([])
    check_totals(catalog)


def a_rebuild_gives_the_same_catalogue(open_catalog: OpenCatalog) -> None:
    """Whatever the order in which commits are found, and finding one again changes nothing."""
    catalog, rebuilt = open_catalog("one"), open_catalog("two")
    for number in (1, 2, 3):
        catalog.record_scan([seen(b"a", number), seen(b"b", 1), seen(b"c%d" % number, 5)])
        archive(catalog, number)
    for number in (2, 3, 1, 2, 3):
        commit_id = commit_name(number)
        rebuilt.insert_commit(
            catalog.commit(commit_id), [_as_found(file) for file in catalog.files_of(commit_id)]
        )
        check_totals(rebuilt)
    assert rebuilt.totals() == catalog.totals()
    assert list(map(_as_found, rebuilt.newest())) == list(map(_as_found, catalog.newest()))
    assert list(rebuilt.commits()) == list(catalog.commits())
    everything = [seen(b"a", 3), seen(b"b", 1), seen(b"c1", 5)]
    assert rebuilt.record_scan(everything) == ScanCounts(unchanged=3), (
        "an unknown inode is no change"
    )
    assert rebuilt.record_scan(everything) == ScanCounts(unchanged=3)
    assert rebuilt.record_scan([everything[0]._replace(inode=8)]) == ScanCounts(changed=1)
    check_totals(rebuilt)


def a_rebuild_takes_what_waits(open_catalog: OpenCatalog) -> None:
    """A commit that was complete, but not yet stored in the catalogue, archives what it had claimed."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a", 1), seen(b"b", 1)])
    row = claim(catalog, 1)
    assert row is not None
    files = [_as_found(file) for file in sealed(catalog, 1, leave_out=[b"b"])]
    catalog.record_scan([seen(b"c", 1)])
    catalog.insert_commit(replace(row, sequence=1), files)
    totals = catalog.totals()
    assert (totals.archived_files, totals.pending_files, totals.unfinished_commits) == (1, 2, 0)
    assert paths(archive(catalog, 2)) == [b"b", b"c"]
    check_totals(catalog)


def a_rebuild_replaces_what_was_known(open_catalog: OpenCatalog) -> None:
    """Also when the commit that is found holds less."""
    catalog = open_catalog("one")
    for number in (1, 2):
        catalog.record_scan([seen(b"a", number), seen(b"b", number)])
        archive(catalog, number)
    row = catalog.commit(commit_name(2))
    catalog.insert_commit(row, [archived(seen(b"b", 2), row.commit_id, 0)])
    assert [file.scanned for file in catalog.newest()] == [seen(b"a", 1), seen(b"b", 2)]
    assert catalog.record_scan([seen(b"a", 1), seen(b"b", 2)]) == ScanCounts(unchanged=2)
    assert catalog.totals().archived_files == 3
    check_totals(catalog)


def a_strange_commit_does_no_harm(open_catalog: OpenCatalog) -> None:
    """One that holds a path twice, in no order, and copies from a commit that is lost."""
    catalog = open_catalog("one")
    lost = ContentPlace("lost", 4, 512, 1024, 700, "none")
    files = [
        archived(seen(path, 3), "strange", leaf) for leaf, path in enumerate((b"z", b"a", b"z"))
    ]
    copy = ArchivedFile(None, "strange", 3, seen(b"copy", 3), b"d" * 32, "", lost)
    row = CommitRow("strange", CommitState.STORED, 1, 65_536, sequence=1)
    catalog.insert_commit(row, [*files, copy])
    assert paths(catalog.files_of("strange")) == [b"z", b"a", b"z", b"copy"]
    assert paths(catalog.newest()) == [b"a", b"copy", b"z"]
    assert catalog.find_content([b"d" * 32]) == {}
    check_totals(catalog)


def organisations_do_not_meet(open_catalog: OpenCatalog) -> None:
    """Nothing of one is seen, counted or changed by another in the same database."""
    one, two = open_catalog("one"), open_catalog("two")
    one.record_scan([seen(b"a", 1)])
    one.add_root(b"a")
    one.record_problems([Problem(b"a", "one's", 1)])
    (file,) = archive(one, 1)
    assert (two.totals().archived_files, two.totals().problems, two.roots()) == (0, 0, [])
    assert [*two.newest(), *two.commits(), *two.problems()] == []
    assert two.find_content([digest_of(file.scanned)]) == {}
    assert two.known_sizes([1]) == set()
    assert two.chain_head() is None
    raises(NotFoundError, lambda: two.commit(commit_name(1)))
    raises(NotFoundError, lambda: two.drop_commit(commit_name(1)))
    assert two.record_scan([seen(b"a", 1)]) == ScanCounts(new=1)
    claim(two, 1)
    assert file.file_id is not None
    one.forget([mine.file_id for mine in two.claimed(commit_name(1))])
    one.unclaim([mine.file_id for mine in two.claimed(commit_name(1))])
    finish(two, 1)
    assert one.totals().archived_files == two.totals().archived_files == 1
    check_totals(one)
    check_totals(two)


def all_is_there_after_opening_again(open_catalog: OpenCatalog) -> None:
    """Nothing is kept in memory alone."""
    catalog = open_catalog("one")
    catalog.record_scan([seen(b"a"), seen(b"b")])
    claim(catalog, 1, max_files=1)
    files = finish(catalog, 1)
    catalog.add_root(b"r")
    catalog.add_root(b"r")
    totals = catalog.totals()
    catalog.close()
    again = open_catalog("one")
    assert again.totals() == totals
    assert list(again.newest()) == files
    assert again.roots() == [b"r"]
    check_totals(again)


def _as_found(file: ArchivedFile) -> ArchivedFile:
    """Return a version as it is read from its commit: without number and inode."""
    scanned = file.scanned._replace(inode=0)
    return ArchivedFile(
        None, file.commit_id, file.leaf, scanned, file.digest, file.media_type, file.place
    )


CHECKS: tuple[Callable[[OpenCatalog], None], ...] = (
    a_scan_tells_new_changed_and_unchanged,
    a_path_twice_in_one_scan_is_one_version,
    hostile_paths_survive,
    a_claim_keeps_its_limits,
    what_is_put_back_with_a_problem_waits_for_the_next_run,
    a_change_gives_a_held_version_another_chance,
    a_claimed_version_that_changed_is_dropped_when_put_back,
    a_newer_version_follows_when_the_older_is_archived,
    what_vanished_is_forgotten,
    claims_expire,
    states_follow_each_other,
    a_finish_is_all_or_nothing,
    a_finish_keeps_what_was_read,
    contents_are_found,
    a_copy_within_a_commit_is_found_at_its_original,
    prefixes_are_folders,
    commits_are_found,
    commits_change_with_the_totals,
    problems_are_kept_until_they_are_solved,
    a_rebuild_gives_the_same_catalogue,
    a_rebuild_takes_what_waits,
    a_rebuild_replaces_what_was_known,
    a_strange_commit_does_no_harm,
    organisations_do_not_meet,
    all_is_there_after_opening_again,
)
