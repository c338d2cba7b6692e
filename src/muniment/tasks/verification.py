"""Verifying commits: all that `muniment.archive.verify` checks, their chains and their timestamps."""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.verifying import VerifyReport, verify_commit
from muniment.archive.chains import CommitChain, Link, chains
from muniment.archive.commit_source import read_manifest, read_whole
from muniment.archive.manifest import MANIFEST_NAME, Previous
from muniment.archive.ports import Progress
from muniment.archive.signing import VerifyKey
from muniment.bootstrap.archive import Archive
from muniment.errors import (
    FormatError,
    IntegrityError,
    MissingDataError,
    MunimentError,
    NotFoundError,
)
from muniment.tasks.timestamp_checks import TimestampCheck, check_timestamp

if TYPE_CHECKING:
    from muniment.archive.timestamps import HeaderSource

_log = logging.getLogger(__name__)


@dataclass
class Finding:
    """What was found of one commit.

    Attributes:
        commit_id: The commit.
        organization_id: Whose it says that it is, where its manifest can be read.
        signer_compared: Whether it was known who must have signed.
        report: What was checked; None when the commit could not even be opened.
        timestamp: What is known of its timestamp; None when that is damaged.
        problems: Everything wrong, in words.
    """

    commit_id: str
    organization_id: str | None = None
    signer_compared: bool = False
    report: "VerifyReport | None" = None
    timestamp: "TimestampCheck | None" = None
    problems: list[str] = field(default_factory=list)

    def view(self) -> dict[str, Any]:
        """Describe it as JSON."""
        report = self.report
        return {
            "commit_id": self.commit_id,
            "organization": self.organization_id,
            "ok": not self.problems,
            "signer": report.signer if report else None,
            "signer_compared": self.signer_compared,
            "files": report.files if report else 0,
            "leaves": report.leaves if report else 0,
            "contents": report.contents if report else 0,
            "content_bytes": report.content_bytes if report else 0,
            "erased": report.erased if report else 0,
            "damaged": report.damaged if report else [],
            "timestamp": self.timestamp.view() if self.timestamp else None,
            "problems": self.problems,
        }


class Verification:
    """Verifies commits one after another.

    Args:
        archive: Whose commits they are; None for commits from anywhere.
        expected: Who must have signed; None for whom the archive trusts.
        progress: Told how far it has come.
        deep: Whether every file is decrypted and hashed, too.

    Attributes:
        chains: The chains that were looked at.
    """

    def __init__(
        self,
        archive: Archive | None,
        expected: Sequence[VerifyKey] | None,
        progress: Progress,
        *,
        deep: bool,
    ) -> None:
        self._archive, self._expected, self._progress, self._deep = (
            archive,
            expected,
            progress,
            deep,
        )
        self.chains: list[CommitChain] = []
        self._headers: HeaderSource | None = None
        self._roots: bytes | None = None
        if archive is not None:
            self._headers, self._roots = archive.header_source(), archive.timestamp_roots()

    def folders(self, paths: Sequence[Path]) -> Iterator[Finding]:
        """Verify commit directories from anywhere, each by itself."""
        for path in paths:
            with CommitFolder(path.absolute()) as folder:
                yield self._verify(folder, self._expected)

    def store(self, names: Sequence[str], organization_id: str | None) -> Iterator[Finding]:
        """Verify the store's commits with their chains; all of them where none is named.

        Args:
            names: Which commits.
            organization_id: Only commits of this organisation.
        """
        archive = self._archive
        assert archive is not None
        own = archive.organization.id
        present = archive.commit_ids()
        known = _known_commits(archive)
        if not present and not names:
            if known:
                raise IntegrityError(
                    "all commits are missing from the store: fetch them from a backup or a partner, then run `muniment rebuild`"
                )
            return
        wanted = {archive.commit_id(name) for name in names} if names else set(present)
        links, broken = _read_links(archive, present)
        found = chains(links, own)
        if organization_id is not None:
            if organization_id not in found:
                raise NotFoundError(f"the store has no commit of organisation {organization_id!r}")
            found = {organization_id: found[organization_id]}
        self.chains = [chain for chain in found.values() if not wanted.isdisjoint(chain.commit_ids)]
        for chain in self.chains:
            yield from self._chain(chain, wanted, own)
        if own not in found:
            return
        for commit_id in sorted(wanted & broken.keys()):  # what cannot be read is taken for our own
            yield Finding(commit_id, own, problems=[broken[commit_id]])
        if not names:
            for chain in found.values():
                for name, what in chain.gaps(known if chain.organization_id == own else ()):
                    if name not in broken:
                        yield Finding(name, chain.organization_id, problems=[what])

    def one(self, commit_id: str) -> Finding:
        """Verify a commit of the store of our own organisation, with its link to the one before it, if that is in the store, too."""
        archive = self._archive
        assert archive is not None
        expected = self._expected or archive.trusted_signers
        try:
            previous, is_known = archive.previous_of(commit_id), True
        except (
            NotFoundError,
            FormatError,
            MissingDataError,
        ):  # whatever it is, `_verify` will tell
            previous, is_known = None, False
        except IntegrityError as error:
            return Finding(commit_id, archive.organization.id, problems=[str(error)])
        with archive.store.open(commit_id) as folder:
            return self._verify(folder, expected, previous, check_chain=is_known)

    def _chain(self, chain: CommitChain, wanted: set[str], own: str) -> Iterator[Finding]:
        """Verify the commits of one organisation; whose keys only their owner tells us are not compared."""
        archive = self._archive
        assert archive is not None
        expected = self._expected
        if expected is None and chain.organization_id == own:
            expected = archive.trusted_signers
        for commit_id in chain.commit_ids:
            if commit_id in wanted:
                previous, is_known = chain.before(commit_id)
                with archive.store.open(commit_id) as folder:
                    yield self._verify(folder, expected, previous, check_chain=is_known)

    def _verify(
        self,
        folder: "CommitFolder",
        expected: Sequence[VerifyKey] | None,
        previous: "Previous | None" = None,
        *,
        check_chain: bool = False,
    ) -> Finding:
        finding = Finding(folder.commit_id, signer_compared=expected is not None)
        try:
            keyring = None
            if self._deep:
                assert self._archive is not None
                keyring = self._archive.open_keyring_in(folder)
            self._progress.stage(folder.commit_id, "verify", _bytes_of(folder))
            finding.report = verify_commit(
                folder,
                worker_count=self._archive.worker_count if self._archive else os.cpu_count() or 1,
                expected_signer=expected,
                previous=previous,
                check_chain=check_chain,
                keyring=keyring,
                advance=self._progress.advance,
            )
            finding.organization_id = finding.report.organization_id
            finding.problems += finding.report.problems
            if not finding.problems:
                finding.report.require_whole()
        except IntegrityError as error:
            finding.problems.append(str(error))
        try:
            finding.timestamp = check_timestamp(folder, self._headers, self._roots)
        except IntegrityError as error:
            finding.problems.append(f"timestamp: {error}")
        return finding


def _bytes_of(folder: "CommitFolder") -> int:
    """Files and their contents are both read."""
    return 2 * sum(folder.size(name) for name in folder.names())


def _known_commits(archive: Archive) -> list[tuple[str, int]]:
    """Return what the database knows; commits are verified without it, too."""
    try:
        return archive.known_commits()
    except MunimentError as error:
        _log.warning("the database cannot tell whether commits are missing: %s", error)
        return []


def _read_links(archive: "Archive", commit_ids: Sequence[str]) -> tuple[list[Link], dict[str, str]]:
    links, broken = [], {}
    for commit_id in commit_ids:
        try:
            with archive.store.open(commit_id) as folder:
                manifest = read_manifest(folder)
                digest = hashlib.sha256(read_whole(folder, MANIFEST_NAME)).hexdigest()
        except MunimentError as error:
            broken[commit_id] = str(error)
            continue
        described = Previous(manifest.commit_id, f"sha256:{digest}", manifest.merkle.root)
        links.append(Link(manifest, described))
    return links, broken
