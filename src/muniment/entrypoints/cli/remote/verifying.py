"""Verifying the commits of a service as those of an archive here: with the same checks, on this machine.

What is signed, the chain and the timestamps are always checked here. Sealed bytes pass through this machine as well, unless the service may read
them itself; then it is believed for those, and for nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from muniment.adapters.verifying import VerifyReport
from muniment.archive import verify
from muniment.archive.catalog import ContentPlace
from muniment.archive.chains import CommitChain, chains
from muniment.archive.commit_source import TarView
from muniment.archive.verify import OpenedCommit
from muniment.entrypoints.cli.progress import Progress
from muniment.entrypoints.cli.remote.archiving import OperationBar
from muniment.entrypoints.cli.remote.commit_source import RemoteCommit
from muniment.entrypoints.cli.remote.evidence import Evidence
from muniment.entrypoints.cli.remote.unpacking import Nowhere, Unpacking, expect
from muniment.errors import IntegrityError, MissingDataError
from muniment.tasks.timestamp_checks import check_timestamp
from muniment.tasks.verification import Finding
from muniment.text import display_path

if TYPE_CHECKING:
    from muniment.archive.timestamps import HeaderSource
    from muniment.client import Client


@dataclass(frozen=True)
class Manner:
    """How commits are verified.

    Attributes:
        deep: Whether every file is fetched and compared with what was archived, too.
        on_service: Whether the service reads the sealed bytes itself, and opens the files.
        headers: Where headers of Bitcoin's blocks come from; None for nowhere.
        roots_pem: Certificates of the timestamp authorities that are trusted; None for none.
    """

    deep: bool = False
    on_service: bool = False
    headers: "HeaderSource | None" = None
    roots_pem: bytes | None = None


class RemoteVerification:
    """Verifies commits of a service one after another.

    Args:
        client: Speaks to the service.
        evidence: Fetches manifests.
        manner: How.
        progress: Told how far it has come.
        is_signer_known: Whether the evidence knows who must have signed.

    Attributes:
        chains: The chain that was looked at.
    """

    def __init__(
        self,
        client: "Client",
        evidence: Evidence,
        manner: Manner,
        progress: Progress,
        *,
        is_signer_known: bool,
    ) -> None:
        self._client, self._evidence, self._manner = client, evidence, manner
        self._progress, self._is_signer_known = progress, is_signer_known
        self.chains: list[CommitChain] = []

    def findings(self, listed: Sequence[str], wanted: set[str]) -> Iterator[Finding]:
        """Verify commits with their chain.

        Args:
            listed: Ids of all commits of the service.
            wanted: Those to verify.
        """
        links, broken = [], {}
        for commit_id in listed:
            try:
                links.append(self._evidence.link(commit_id))
            except IntegrityError as error:
                broken[commit_id] = str(error)
        own = links[0].manifest.organization.id if links else ""
        chain = chains(links, own)[own]
        if links:
            self.chains = [chain]
        for commit_id in chain.commit_ids:
            if commit_id in wanted:
                yield self._verify(chain, commit_id)
        for commit_id in sorted(wanted & broken.keys()):
            yield self._finding(commit_id, own or None, [broken[commit_id]])
        if wanted.issuperset(listed):
            for commit_id, what in chain.gaps():
                if commit_id not in broken:
                    yield self._finding(commit_id, own, [what.replace("store", "service")])

    def _finding(self, commit_id: str, organization_id: str | None, problems: list[str]) -> Finding:
        return Finding(commit_id, organization_id, self._is_signer_known, problems=problems)

    def _verify(self, chain: CommitChain, commit_id: str) -> Finding:
        manifest = self._evidence.manifest(commit_id)
        finding = self._finding(commit_id, manifest.organization.id, [])
        previous, is_known = chain.before(commit_id)
        total_bytes = sum(file.size for file in manifest.sealed)
        self._progress.stage(commit_id, "verify", 0 if self._manner.on_service else total_bytes)
        commit = RemoteCommit(self._client, manifest, self._progress.advance)
        try:
            opened = verify.open_commit(commit, previous=previous, check_chain=is_known)
            report = VerifyReport(commit_id, opened.signer.key_id, manifest.organization.id)
            finding.report = report
            self._read(commit, opened, report)
            finding.problems += report.problems
            if not finding.problems:
                report.require_whole()
        except IntegrityError as error:
            finding.problems.append(str(error))
        finally:
            commit.close()
        try:
            finding.timestamp = check_timestamp(
                commit, self._manner.headers, self._manner.roots_pem
            )
        except IntegrityError as error:
            finding.problems.append(f"timestamp: {error}")
        return finding

    def _read(self, commit: RemoteCommit, opened: OpenedCommit, report: VerifyReport) -> None:
        """Have every byte read, here or there."""
        if self._manner.on_service:
            operation = self._client.verify_commit(commit.commit_id, deep=self._manner.deep)
            done = self._client.wait(operation, progress=OperationBar(self._progress))
            _take_result(done.outcome(), report)
            return
        _read_sealed(commit, opened, report)
        if self._manner.deep:
            self._open_files(report)

    def _open_files(self, report: VerifyReport) -> None:
        """Fetch every file, and compare it with what was archived."""
        expected = expect(self._client, self._evidence, commit_id=report.commit_id)
        self._progress.stage(report.commit_id, "open", expected.size_bytes)
        told = len({file.leaf for file in expected.files.values()}) + expected.erased
        if told != report.leaves:
            report.problems.append(f"expected proofs of {report.leaves} leaves, got {told}")
        unpacking = Unpacking(Nowhere(), expected, self._progress)
        if expected.files:
            unpacking.take(self._client.bundle(format="tar", commit_id=report.commit_id))
        report.contents, report.content_bytes = unpacking.contents, unpacking.size_bytes
        report.erased = expected.erased
        report.problems += expected.problems
        report.problems += (f"{display_path(path)}: {why}" for path, why in unpacking.problems)


def _read_sealed(commit: RemoteCommit, opened: OpenedCommit, report: VerifyReport) -> None:
    """Fetch every sealed file once, and check it and the leaves in it."""
    tar = TarView(commit, opened.manifest)
    try:
        for span in verify.spans(opened, tar):
            try:
                report.leaves += verify.check_leaves(opened, tar, span, None, _no_copies).leaves
            except IntegrityError as error:
                report.problems.append(str(error))
    except IntegrityError as error:
        report.problems.append(str(error))
    for file in opened.manifest.sealed:
        report.files += 1
        try:
            commit.check(file)
        except IntegrityError as error:
            report.problems.append(str(error))
            report.damaged.append(file.name)


def _no_copies(_place: ContentPlace) -> Callable[[int], bytes]:
    """Nothing is opened without keys."""
    raise MissingDataError("copies are read only with keys")


def _take_result(result: dict[str, Any], report: VerifyReport) -> None:
    """Believe what the service says of bytes that it has read itself.

    Raises:
        IntegrityError: It says nothing that makes sense.
    """
    try:
        report.files, report.leaves = int(result["files"]), int(result["leaves"])
        report.contents, report.content_bytes = (
            int(result["contents"]),
            int(result["content_bytes"]),
        )
        report.erased = int(result["erased"])
        report.damaged += map(str, result["damaged"])
        report.problems += map(str, result["problems"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"the service does not say what it has read: {error}") from error
    if not result.get("ok") and not report.problems:
        report.problems.append("the service says that something is wrong, and not what")
