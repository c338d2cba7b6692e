"""`muniment verify`."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.verifying import VerifyReport, verify_commit
from muniment.archive.chains import CommitChain, Link, chains
from muniment.archive.commit_source import read_manifest, read_whole
from muniment.archive.manifest import MANIFEST_NAME, Previous
from muniment.archive.signing import VerifyKey
from muniment.bootstrap import Archive, read_verify_key
from muniment.entrypoints.cli.progress import Progress, progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import (
    FormatError,
    IntegrityError,
    MunimentError,
    NotFoundError,
    UsageError,
)
from muniment.tasks.timestamp_checks import TimestampCheck, check_timestamp
from muniment.text import count, size

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


@click.command(
    cls=Command, name="verify", short_help="Check that commits are whole, unchanged and in order."
)
@click.argument("commits", nargs=-1, metavar="[COMMIT...]")
@click.option(
    "--deep/--keyless",
    default=False,
    help="Decrypt and hash every file too, or check only what needs no key (default).",
)
@click.option(
    "--signer",
    "signers",
    multiple=True,
    metavar="KEY",
    help="Expect this signer: a .pub file, or its line 'ssh-ed25519 AAAA...'. May be given several times.",
)
@click.option(
    "--folder",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Check this commit directory, which need not be in the store.",
)
@click.option(
    "--organization",
    "organization_id",
    metavar="ID",
    help="Check only the commits of this organisation; without it, those of every one, each with its own chain.",
)
@pass_session
def command(
    session: Session,
    commits: tuple[str, ...],
    deep: bool,
    signers: tuple[str, ...],
    folders: tuple[Path, ...],
    organization_id: str | None,
) -> None:
    """Check that commits are whole, unchanged and in order: all of them, or only some.

    Reads every byte: files against the signed manifest, signature, Merkle tree, and the chain from commit to commit. With --deep
    also opens every file and compares it with what was archived.
    """
    if folders and commits:
        raise UsageError("commits of the store and --folder exclude each other")
    if folders and organization_id is not None:
        raise UsageError("--organization and --folder exclude each other")
    with contextlib.ExitStack() as stack:
        # A folder from elsewhere can be checked without having an archive.
        archive = stack.enter_context(session.archive()) if deep or not folders else None
        expected: Sequence[VerifyKey] | None = [_read_signer(signer) for signer in signers] or None
        progress = stack.enter_context(progress_of(session))
        run = _Run(archive, expected, progress, deep=deep)
        found = run.folders(folders) if folders else run.store(commits, organization_id)
        findings = list(_each(session, found))
    _finish(session, findings, run.chains, bool(folders))


def _read_signer(text: str) -> "VerifyKey":
    if os.path.exists(text):
        return read_verify_key(Path(text))
    try:
        return VerifyKey.from_openssh(text)
    except FormatError as error:
        raise UsageError(
            f"--signer: expected a .pub file or a line 'ssh-ed25519 AAAA...', got {text!r}"
        ) from error


class _Run:
    """Verifies commits one after another."""

    def __init__(
        self,
        archive: "Archive | None",
        expected: "Sequence[VerifyKey] | None",
        progress: "Progress",
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
        expected: "Sequence[VerifyKey] | None",
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


def _each(session: Session, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Tell of each commit when it is done."""
    for finding in findings:
        if finding.problems:
            session.say(f"DAMAGED  {finding.commit_id}")
            session.say(*(f"         {problem}" for problem in finding.problems[:5]))
            if len(finding.problems) > 5:
                session.say(f"         and {len(finding.problems) - 5} more")
        elif finding.report is not None:
            report = finding.report
            opened = (
                f", {count(report.contents, 'content')} opened ({size(report.content_bytes)})"
                if report.contents
                else ""
            )
            erased = f", {report.erased:,} erased on purpose" if report.erased else ""
            session.say(
                f"ok       {finding.commit_id}  {count(report.leaves, 'path')}{opened}{erased}; timestamp {finding.timestamp}"
            )
        yield finding


def _finish(
    session: Session,
    findings: list[Finding],
    found_chains: list[CommitChain],
    from_elsewhere: bool,
) -> None:
    damaged = list(dict.fromkeys(finding.commit_id for finding in findings if finding.problems))
    checked = [finding for finding in findings if finding.report]
    session.answer(
        {
            "ok": bool(findings) and not damaged,
            "signer_compared": bool(checked)
            and all(finding.signer_compared for finding in checked),
            "chains": [_chain_view(chain) for chain in found_chains],
            "commits": [finding.view() for finding in findings],
        }
    )
    if not findings:
        session.say("There are no commits yet: muniment archive FOLDER")
        return
    if len(found_chains) > 1:
        session.say(*(_chain_line(chain) for chain in found_chains))
    if damaged:
        how = (
            "get another copy of it"
            if from_elsewhere
            else f"run `muniment repair {' '.join(damaged[:5])}`"
        )
        session.warn(
            f"muniment: {count(len(damaged), 'commit')} of {len({f.commit_id for f in findings})} not as they should be: {how}"
        )
        click.get_current_context().exit(IntegrityError.exit_code)
    session.say(f"{count(len(findings), 'commit')} checked: nothing is wrong.")
    for organization_id, signers in _not_compared(checked).items():
        session.say(
            f"Those of {organization_id} were signed by {', '.join(sorted(signers))}: compare with what that organisation told you, or use --signer."
        )


def _chain_view(chain: CommitChain) -> dict[str, Any]:
    sequences = [link.manifest.chain.sequence for link in chain.links]
    return {
        "organization": chain.organization_id,
        "commits": len(sequences),
        "first": sequences[0],
        "last": sequences[-1],
    }


def _chain_line(chain: CommitChain) -> str:
    view = _chain_view(chain)
    return f"chain    {view['organization']}: {count(view['commits'], 'commit')}, number {view['first']} to {view['last']}"


def _not_compared(findings: list[Finding]) -> dict[str, set[str]]:
    """Return, by organisation, who signed what was compared with nothing but the manifest's own key."""
    signers: dict[str, set[str]] = {}
    for finding in findings:
        if finding.report and not finding.signer_compared:
            signers.setdefault(finding.report.organization_id, set()).add(finding.report.signer)
    return signers
