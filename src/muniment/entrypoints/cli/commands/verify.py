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
from muniment.archive.commit_source import read_manifest, read_whole
from muniment.archive.manifest import MANIFEST_NAME, Manifest, Previous
from muniment.archive.signing import VerifyKey
from muniment.bootstrap import Archive, read_verify_key
from muniment.entrypoints.cli.progress import Progress, progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.entrypoints.cli.text import count, size
from muniment.entrypoints.cli.timestamp_checks import TimestampCheck, check_timestamp
from muniment.errors import FormatError, IntegrityError, MunimentError, UsageError

if TYPE_CHECKING:
    from muniment.archive.timestamps import HeaderSource

_log = logging.getLogger(__name__)


@dataclass
class Finding:
    """What was found of one commit.

    Attributes:
        commit_id: The commit.
        report: What was checked; None when the commit could not even be opened.
        timestamp: What is known of its timestamp; None when that is damaged.
        problems: Everything wrong, in words.
    """

    commit_id: str
    report: "VerifyReport | None" = None
    timestamp: "TimestampCheck | None" = None
    problems: list[str] = field(default_factory=list)

    def view(self) -> dict[str, Any]:
        """Describe it as JSON."""
        report = self.report
        return {
            "commit_id": self.commit_id,
            "ok": not self.problems,
            "signer": report.signer if report else None,
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
@pass_session
def command(
    session: Session,
    commits: tuple[str, ...],
    deep: bool,
    signers: tuple[str, ...],
    folders: tuple[Path, ...],
) -> None:
    """Check that commits are whole, unchanged and in order: all of them, or only some.

    Reads every byte: files against the signed manifest, signature, Merkle tree, and the chain from commit to commit. With --deep
    also opens every file and compares it with what was archived.
    """
    if folders and commits:
        raise UsageError("commits of the store and --folder exclude each other")
    with contextlib.ExitStack() as stack:
        # A folder from elsewhere can be checked without having an archive.
        archive = stack.enter_context(session.archive()) if deep or not folders else None
        expected: Sequence[VerifyKey] | None = [_read_signer(signer) for signer in signers] or None
        if expected is None and archive is not None and not folders:
            expected = archive.trusted_signers
        progress = stack.enter_context(progress_of(session))
        run = _Run(archive, expected, progress, deep=deep)
        findings = list(_each(session, run.folders(folders) if folders else run.store(commits)))
    _finish(session, findings, expected is not None, bool(folders))


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
        self._headers: HeaderSource | None = None
        self._roots: bytes | None = None
        if archive is not None:
            self._headers, self._roots = archive.header_source(), archive.timestamp_roots()

    def folders(self, paths: Sequence[Path]) -> Iterator[Finding]:
        """Verify commit directories from anywhere, each by itself."""
        for path in paths:
            with CommitFolder(path.absolute()) as folder:
                yield self._verify(folder, None, check_chain=False)

    def store(self, names: Sequence[str]) -> Iterator[Finding]:
        """Verify the store's commits with their chain; all of them where none is named."""
        archive = self._archive
        assert archive is not None
        present = archive.commit_ids()
        if not present and not names:
            if _known_commits(archive):
                raise IntegrityError(
                    "all commits are missing from the store: fetch them from a backup or a partner, then run `muniment rebuild`"
                )
            return
        wanted = [archive.commit_id(name) for name in names] if names else present
        chain, broken = _read_chain(archive, present)
        for commit_id in sorted(wanted, key=chain.position):
            if commit_id in broken:
                yield Finding(commit_id, problems=[broken[commit_id]])
                continue
            previous, is_known = chain.before(commit_id)
            with archive.store.open(commit_id) as folder:
                yield self._verify(folder, previous, check_chain=is_known)
        if not names:
            gaps = chain.gaps(_known_commits(archive))
            yield from (Finding(name, problems=[what]) for name, what in gaps if name not in broken)

    def _verify(
        self, folder: "CommitFolder", previous: "Previous | None", *, check_chain: bool
    ) -> Finding:
        finding = Finding(folder.commit_id)
        try:
            keyring = None
            if self._deep:
                assert self._archive is not None
                keyring = self._archive.open_keyring_in(folder)
            self._progress.stage(folder.commit_id, "verify", _bytes_of(folder))
            finding.report = verify_commit(
                folder,
                worker_count=self._archive.worker_count if self._archive else os.cpu_count() or 1,
                expected_signer=self._expected,
                previous=previous,
                check_chain=check_chain,
                keyring=keyring,
                advance=self._progress.advance,
            )
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


class _Chain:
    """The chain as the store's own manifests tell it."""

    def __init__(self, links: list[tuple[Manifest, Previous]]) -> None:
        # In order of sequence, each with the words that the next one must use about it.
        self._links = sorted(links, key=lambda link: (link[0].chain.sequence, link[0].commit_id))
        self._positions = {link[0].commit_id: place for place, link in enumerate(self._links)}

    def position(self, commit_id: str) -> int:
        """Return a commit's place; those that cannot be read come last."""
        return self._positions.get(commit_id, len(self._links))

    def before(self, commit_id: str) -> tuple[Previous | None, bool]:
        """Describe the commit before, and tell whether it is known: a gap is told of once, and not again for what follows it."""
        position = self._positions[commit_id]
        sequence = self._links[position][0].chain.sequence
        if sequence == 1:
            return None, True
        if position and self._links[position - 1][0].chain.sequence == sequence - 1:
            return self._links[position - 1][1], True
        return None, False

    def gaps(self, known: Sequence[tuple[str, int]]) -> Iterator[tuple[str, str]]:
        """Name what is missing or there twice, from number 1 to the last that the store or the database knows of."""
        missing: dict[str, int] = {}
        expected = 1
        for manifest, _described in self._links:
            sequence, previous = manifest.chain.sequence, manifest.chain.previous
            if sequence < expected:
                yield (
                    manifest.commit_id,
                    f"the chain is forked: there is another commit number {sequence}",
                )
            elif sequence > expected and previous is not None:
                missing[previous.commit_id] = sequence - 1
            expected = sequence + 1
        missing |= {
            commit_id: number for commit_id, number in known if commit_id not in self._positions
        }
        for commit_id, number in sorted(missing.items(), key=lambda item: item[1]):
            yield commit_id, f"commit number {number} is missing from the store"


def _read_chain(archive: "Archive", commit_ids: Sequence[str]) -> tuple[_Chain, dict[str, str]]:
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
        links.append((manifest, described))
    return _Chain(links), broken


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
    session: Session, findings: list[Finding], signer_known: bool, from_elsewhere: bool
) -> None:
    damaged = list(dict.fromkeys(finding.commit_id for finding in findings if finding.problems))
    session.answer(
        {
            "ok": bool(findings) and not damaged,
            "signer_compared": signer_known,
            "commits": [finding.view() for finding in findings],
        }
    )
    if not findings:
        session.say("There are no commits yet: muniment archive FOLDER")
        return
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
    if not signer_known:
        signers = sorted({finding.report.signer for finding in findings if finding.report})
        session.say(
            f"Signed by {', '.join(signers)}: compare with what the organisation told you, or use --signer."
        )
