"""Verification spread over worker processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from muniment.adapters.commit_folder import CommitFolder, SiblingCommits
from muniment.adapters.worker_pool import WorkerPool
from muniment.archive import verify
from muniment.archive.commit_source import TarView, check_file
from muniment.archive.keyring import Keyring
from muniment.archive.manifest import Previous, SealedFile
from muniment.archive.signing import VerifyKey
from muniment.archive.verify import LeavesReport, OpenedCommit, Span
from muniment.errors import IntegrityError


@dataclass
class VerifyReport:
    """What was checked of a commit, and what was found wrong.

    Attributes:
        commit_id: The commit.
        signer: Fingerprint of the key that signed it.
        organization_id: Whose it says that it is.
        files: Sealed files checked.
        leaves: Leaves checked.
        contents: Contents that were decrypted and hashed; 0 without keys.
        erased: Leaves whose keys were erased on purpose.
        content_bytes: Plaintext bytes of these contents.
        damaged: Sealed files that are missing or damaged, which parity may repair.
        problems: Everything found wrong, in words.
    """

    commit_id: str
    signer: str
    organization_id: str
    files: int = 0
    leaves: int = 0
    contents: int = 0
    erased: int = 0
    content_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def require_whole(self) -> None:
        """Raise what was found wrong.

        Raises:
            IntegrityError: Something was, or nothing was checked at all.
        """
        if self.problems:
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            raise IntegrityError(f"commit {self.commit_id}: {self.problems[0]}{more}")
        if not self.files or not self.leaves:
            raise IntegrityError(f"commit {self.commit_id}: nothing was checked")


def verify_commit(
    folder: CommitFolder,
    *,
    worker_count: int,
    expected_signer: VerifyKey | Sequence[VerifyKey] | None = None,
    previous: Previous | None = None,
    check_chain: bool = False,
    keyring: Keyring | None = None,
    advance: Callable[[int], object] = lambda _size_bytes: None,
) -> VerifyReport:
    """Verify a stored commit; damage is collected in the report, so that all of it is known.

    Args:
        folder: The commit.
        worker_count: How many processes work.
        expected_signer: See `verify.open_commit`.
        previous: See `verify.open_commit`.
        check_chain: See `verify.open_commit`.
        keyring: The commit's keys, to check every content too; None checks all that needs none.
        advance: Told how many bytes were checked.

    Raises:
        IntegrityError: Manifest, signature, chain or tree do not hold: then nothing else says anything.
    """
    opened = verify.open_commit(
        folder, expected_signer=expected_signer, previous=previous, check_chain=check_chain
    )
    report = VerifyReport(folder.commit_id, opened.signer.key_id, opened.manifest.organization.id)
    try:
        verify.check_keyring(folder, opened.manifest)
    except IntegrityError as error:
        report.problems.append(str(error))
    ranges: list[LeavesReport] = []
    with WorkerPool(worker_count, _Verifier, folder, opened, keyring) as pool:
        for outcome in pool.map_unordered(_tasks(opened, TarView(folder, opened.manifest), report)):
            _note(report, outcome)
            if outcome.leaves is not None:
                ranges.append(outcome.leaves)
            advance(outcome.size_bytes)
    try:
        verify.check_ranges(ranges)
    except IntegrityError as error:
        report.problems.append(str(error))
    return report


def _tasks(opened: OpenedCommit, tar: TarView, report: VerifyReport) -> Iterator[SealedFile | Span]:
    yield from opened.manifest.sealed
    try:
        yield from verify.spans(opened, tar)
    except IntegrityError as error:
        report.problems.append(str(error))


@dataclass(frozen=True)
class _Outcome:
    """What a worker found: of a file, or of a span of leaves."""

    size_bytes: int
    file: str = ""
    leaves: LeavesReport | None = None
    problem: str = ""


def _note(report: VerifyReport, outcome: _Outcome) -> None:
    if outcome.problem:
        report.problems.append(outcome.problem)
        if outcome.file:
            report.damaged.append(outcome.file)
    if outcome.file:
        report.files += 1
    if outcome.leaves is not None:
        report.leaves += outcome.leaves.leaves
        report.contents += outcome.leaves.opened
        report.erased += outcome.leaves.erased
        report.content_bytes += outcome.leaves.size_bytes


class _Verifier:
    """What a worker does."""

    def __init__(self, folder: CommitFolder, opened: OpenedCommit, keyring: Keyring | None) -> None:
        self._folder, self._opened, self._keyring = folder, opened, keyring
        self._tar = TarView(folder, opened.manifest)
        self._copies = SiblingCommits(folder)

    def __call__(self, task: SealedFile | Span) -> _Outcome:
        if isinstance(task, SealedFile):
            return self._check_file(task)
        try:
            report = verify.check_leaves(
                self._opened, self._tar, task, self._keyring, self._copies.open_member
            )
        except IntegrityError as error:
            return _Outcome(0, problem=str(error))
        return _Outcome(report.size_bytes, leaves=report)

    def _check_file(self, file: SealedFile) -> _Outcome:
        try:
            check_file(self._folder, file)
        except IntegrityError as error:
            return _Outcome(file.size, file=file.name, problem=str(error))
        return _Outcome(file.size, file=file.name)
