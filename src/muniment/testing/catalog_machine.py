"""A catalogue against a model of it in plain dicts, through sequences of operations that Hypothesis makes up.

Subclass `CatalogMachine`, say how a catalogue is opened, and run it with `run_state_machine_as_test`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from muniment.archive.catalog import (
    ArchivedFile,
    Catalog,
    CommitState,
    Problem,
    ScanCounts,
    ScannedFile,
)
from muniment.testing.catalog import FAR_FUTURE, archived, claim, commit_name, seen

PATHS = (b"a", b"a/b", b"a/c", b"a.txt", b"b", b"\xff\n", b"c/d/e")


class Stage(Enum):
    """How far a version has come."""

    PENDING = auto()
    HELD = auto()  # put back with a problem
    CLAIMED = auto()
    ARCHIVED = auto()


@dataclass(eq=False, slots=True)
class Version:
    """One version of a path, as the model has it."""

    scanned: ScannedFile
    stage: Stage = Stage.PENDING
    commit: int | None = None

    @property
    def path(self) -> bytes:
        """Its path."""
        return self.scanned.path


@dataclass(eq=False, slots=True)
class Commit:
    """A commit, as the model has it."""

    number: int
    expires_at: int
    claimed: list[Version]
    state: CommitState = CommitState.COLLECTED
    sequence: int | None = None
    leaves: tuple[ArchivedFile, ...] = ()

    @property
    def commit_id(self) -> str:
        """Its id."""
        return commit_name(self.number)


class CatalogMachine(RuleBasedStateMachine):
    """Operations of a run, in any order, on files that change meanwhile."""

    def open_catalog(self, organization_id: str) -> Catalog:
        """Open a catalogue of the machine's own database, which is empty at first."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """Open the catalogue, twice: as two processes would."""
        self.catalogs = [self.open_catalog("one"), self.open_catalog("one")]
        self.disk: dict[bytes, ScannedFile] = {}
        self.latest: dict[bytes, Version] = {}
        self.commits: dict[int, Commit] = {}
        self.problems: dict[bytes, str] = {}
        self.time = 0

    @property
    def catalog(self) -> Catalog:
        """One of the two, in turn."""
        self.catalogs.reverse()
        return self.catalogs[0]

    @rule(path=st.sampled_from(PATHS), size=st.integers(0, 50))
    def write(self, path: bytes, size: int) -> None:
        """Create or change a file."""
        self.time += 1
        self.disk[path] = seen(path, size, version=self.time)

    @rule(paths=st.sets(st.sampled_from(PATHS)))
    def scan(self, paths: set[bytes]) -> None:
        """Scan some of the files there are."""
        files = [self.disk[path] for path in sorted(paths & self.disk.keys())]
        counts = ScanCounts()
        for file in files:
            counts += self._record(file)
        assert self.catalog.record_scan(files) == counts

    def _record(self, file: ScannedFile) -> ScanCounts:
        version = self.latest.get(file.path)
        if version is not None and version.scanned == file:
            return ScanCounts(unchanged=1)
        if version is not None and version.stage in (Stage.PENDING, Stage.HELD):
            version.scanned, version.stage = file, Stage.PENDING
        else:
            self.latest[file.path] = Version(file)
        return ScanCounts(new=1) if version is None else ScanCounts(changed=1)

    @rule(max_files=st.integers(1, 4), max_bytes=st.integers(0, 100), expires=st.booleans())
    def claim(self, max_files: int, max_bytes: int, *, expires: bool) -> None:
        """Begin a commit."""
        self.time += 1
        commit = Commit(self.time, self.time if expires else FAR_FUTURE, [])
        under_way = {version.path for other in self._unfinished() for version in other.claimed}
        room = max_bytes
        for path in sorted(self.latest):
            version = self.latest[path]
            if version.stage is not Stage.PENDING or path in under_way:
                continue
            room -= version.scanned.size
            if commit.claimed and (room < 0 or len(commit.claimed) == max_files):
                break
            commit.claimed.append(version)
        limits = {"max_files": max_files, "max_bytes": max_bytes, "expires_at": commit.expires_at}
        row = claim(self.catalog, commit.number, **limits)
        assert (row is None) == (not commit.claimed)
        if row is None:
            return
        for version in commit.claimed:
            version.stage, version.commit = Stage.CLAIMED, commit.number
        self.commits[commit.number] = commit

    @rule(data=st.data(), with_problem=st.booleans())
    def put_back(self, data: st.DataObject, *, with_problem: bool) -> None:
        """Put some claimed versions back."""
        commit, chosen = self._choose(data)
        if commit is None:
            return
        problems = [
            Problem(version.path, "a problem", self.time) for version in chosen if with_problem
        ]
        self.catalog.unclaim(self._numbers(commit, chosen), problems)
        self._put_back(commit, chosen, Stage.HELD if with_problem else Stage.PENDING)
        self.problems.update((problem.path, problem.message) for problem in problems)

    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """Lose some claimed files before they are read."""
        commit, chosen = self._choose(data)
        if commit is None:
            return
        self.catalog.forget(self._numbers(commit, chosen))
        for version in chosen:
            commit.claimed.remove(version)
            if self.latest[version.path] is version:
                del self.latest[version.path]
                kept = self._newest(self._stored()).get(version.path)
                if kept is not None:
                    self.latest[version.path] = Version(kept.scanned, Stage.ARCHIVED)

    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        """Lead a commit one state on; the last one stores it, maybe without some of its files."""
        commit = self._choose_commit(data)
        if commit is None:
            return
        state = tuple(CommitState)[tuple(CommitState).index(commit.state) + 1]
        if state is CommitState.STORED:
            self._finish(commit, data.draw(st.sets(st.sampled_from(PATHS), max_size=2)))
            return
        columns: dict[str, object] = {}
        if state is CommitState.SIGNED:
            head = self.catalog.chain_head()
            assert (head and head.sequence) == max(
                (other.sequence for other in self.commits.values() if other.sequence), default=None
            )
            commit.sequence = columns["sequence"] = ((head and head.sequence) or 0) + 1
        self.catalog.advance(commit.commit_id, state, **columns)
        commit.state = state

    def _finish(self, commit: Commit, left_out: set[bytes]) -> None:
        claimed = {file.scanned: file.file_id for file in self.catalog.claimed(commit.commit_id)}
        assert list(claimed) == [version.scanned for version in commit.claimed]
        kept = [version for version in commit.claimed if version.path not in left_out]
        commit.leaves = tuple(
            archived(version.scanned, commit.commit_id, leaf, file_id=claimed[version.scanned])
            for leaf, version in enumerate(kept)
        )
        self.catalog.finish(commit.commit_id, commit.leaves, sealed_bytes=commit.number)
        commit.state = CommitState.STORED
        for version in kept:
            version.stage = Stage.ARCHIVED
            self.problems.pop(version.path, None)
        self._put_back(commit, [version for version in commit.claimed if version.path in left_out])
        commit.claimed = []

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """Drop an unfinished commit."""
        commit = self._choose_commit(data)
        if commit is not None:
            self.catalog.drop_commit(commit.commit_id)
            self._drop(commit)

    @rule()
    def begin_run(self) -> None:
        """Expire claims, and release what earlier runs put back."""
        expired = [
            commit
            for commit in self._unfinished()
            if commit.expires_at <= self.time and commit.state is CommitState.COLLECTED
        ]
        assert sorted(self.catalog.expire_claims(self.time)) == [it.commit_id for it in expired]
        for commit in expired:
            self._drop(commit)
        for version in self.latest.values():
            if version.stage is Stage.HELD:
                version.stage = Stage.PENDING

    @rule()
    def open_again(self) -> None:
        """Lose one process without a farewell: its connections are closed, and nothing else."""
        self.catalogs[0].close()
        self.catalogs[0] = self.open_catalog("one")

    @rule(data=st.data())
    def rebuild(self, data: st.DataObject) -> None:
        """Find a stored commit again."""
        stored = self._stored()
        if stored:
            commit = data.draw(st.sampled_from(stored))
            row = self.catalog.commit(commit.commit_id)
            leaves = [_without_number(leaf) for leaf in self.catalog.files_of(commit.commit_id)]
            self.catalog.insert_commit(row, leaves)

    @invariant()
    def totals_are_right(self) -> None:
        """The totals, a recount and the model agree."""
        totals = self.catalog.totals()
        assert totals == self.catalog.recount()
        waiting = [
            version
            for version in self.latest.values()
            if version.stage in (Stage.PENDING, Stage.HELD)
        ]
        waiting += [version for commit in self._unfinished() for version in commit.claimed]
        leaves = [leaf for commit in self._stored() for leaf in commit.leaves]
        assert totals.pending_files == len(waiting)
        assert totals.pending_bytes == sum(version.scanned.size for version in waiting)
        assert totals.archived_files == len(leaves)
        assert totals.archived_bytes == sum(leaf.scanned.size for leaf in leaves)
        assert totals.commits == len(self._stored())
        assert totals.unfinished_commits == len(list(self._unfinished()))
        assert totals.sealed_bytes == sum(commit.number for commit in self._stored())
        assert {problem.path for problem in self.catalog.problems()} == self.problems.keys()
        assert totals.problems == len(self.problems)

    @invariant()
    def no_version_is_lost(self) -> None:
        """Every version is where the model has it, and nowhere else."""
        catalog = self.catalog
        for commit in self._stored():
            found = list(catalog.files_of(commit.commit_id))
            assert [_without_number(leaf) for leaf in found] == [
                _without_number(leaf) for leaf in commit.leaves
            ]
        for commit in self._unfinished():
            found_scanned = [file.scanned for file in catalog.claimed(commit.commit_id)]
            assert found_scanned == [version.scanned for version in commit.claimed]
        newest = [_without_number(file) for file in catalog.newest()]
        expected = self._newest(self._stored())
        assert newest == [_without_number(expected[path]) for path in sorted(expected)]

    @invariant()
    def the_past_stays(self) -> None:
        """A time in the past shows what was the newest then."""
        stored = [commit for commit in self._stored() if commit.number <= self.time // 2]
        expected = self._newest(stored)
        found = [_without_number(file) for file in self.catalog.newest(at=self.time // 2)]
        assert found == [_without_number(expected[path]) for path in sorted(expected)]

    def teardown(self) -> None:
        """Close what was opened."""
        for catalog in getattr(self, "catalogs", []):
            catalog.close()

    def _stored(self) -> list[Commit]:
        return [commit for commit in self.commits.values() if commit.state is CommitState.STORED]

    def _unfinished(self) -> list[Commit]:
        return [
            commit for commit in self.commits.values() if commit.state is not CommitState.STORED
        ]

    def _newest(self, commits: Iterable[Commit]) -> dict[bytes, ArchivedFile]:
        ordered = sorted(commits, key=lambda commit: commit.sequence or 0)
        return {leaf.scanned.path: leaf for commit in ordered for leaf in commit.leaves}

    def _choose_commit(self, data: st.DataObject) -> Commit | None:
        unfinished = self._unfinished()
        return data.draw(st.sampled_from(unfinished)) if unfinished else None

    def _choose(self, data: st.DataObject) -> tuple[Commit | None, list[Version]]:
        commit = self._choose_commit(data)
        if commit is None or not commit.claimed:
            return None, []
        return commit, data.draw(st.lists(st.sampled_from(commit.claimed), unique_by=id))

    def _numbers(self, commit: Commit, chosen: list[Version]) -> list[int]:
        wanted = {version.path for version in chosen}
        claimed = self.catalog.claimed(commit.commit_id)
        return [file.file_id for file in claimed if file.scanned.path in wanted]

    def _put_back(
        self, commit: Commit, chosen: list[Version], stage: Stage = Stage.PENDING
    ) -> None:
        for version in list(chosen):
            commit.claimed.remove(version)
            version.commit = None
            if self.latest[version.path] is version:
                version.stage = stage

    def _drop(self, commit: Commit) -> None:
        self._put_back(commit, commit.claimed)
        del self.commits[commit.number]


def _without_number(file: ArchivedFile) -> ArchivedFile:
    return ArchivedFile(
        None, file.commit_id, file.leaf, file.scanned, file.digest, file.media_type, file.place
    )
