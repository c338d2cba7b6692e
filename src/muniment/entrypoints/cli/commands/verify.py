"""`muniment verify`."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from muniment.archive.chains import CommitChain
from muniment.archive.signing import VerifyKey
from muniment.bootstrap.archive import read_verify_key
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import FormatError, IntegrityError, UsageError
from muniment.tasks.verification import Finding, Verification
from muniment.text import count, size


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
@click.option(
    "--on-service",
    is_flag=True,
    help="With --url: let the service read the sealed files itself, and believe it for those; saves fetching them all.",
)
@pass_session
def command(
    session: Session,
    commits: tuple[str, ...],
    deep: bool,
    signers: tuple[str, ...],
    folders: tuple[Path, ...],
    organization_id: str | None,
    on_service: bool,
) -> None:
    """Check that commits are whole, unchanged and in order: all of them, or only some.

    Reads every byte: files against the signed manifest, signature, Merkle tree, and the chain from commit to commit. With --deep
    also opens every file and compares it with what was archived. With --url the same is done on this machine, with what the service
    sends: it is not believed.
    """
    if on_service:
        raise UsageError("--on-service works only with --url")
    if folders and commits:
        raise UsageError("commits of the store and --folder exclude each other")
    if folders and organization_id is not None:
        raise UsageError("--organization and --folder exclude each other")
    with contextlib.ExitStack() as stack:
        # A folder from elsewhere can be checked without having an archive.
        archive = stack.enter_context(session.archive()) if deep or not folders else None
        expected = read_signers(signers)
        progress = stack.enter_context(progress_of(session))
        run = Verification(archive, expected, progress, deep=deep)
        found = run.folders(folders) if folders else run.store(commits, organization_id)
        findings = list(tell_each(session, found))
    advice = "get another copy of it" if folders else "run `muniment repair {commits}`"
    finish(session, findings, run.chains, advice)


def read_signers(texts: Sequence[str]) -> Sequence[VerifyKey] | None:
    """Return the keys that are expected; None where none is named.

    Raises:
        UsageError: One is no key.
    """
    return [_read_signer(text) for text in texts] or None


def _read_signer(text: str) -> VerifyKey:
    if os.path.exists(text):
        return read_verify_key(Path(text))
    try:
        return VerifyKey.from_openssh(text)
    except FormatError as error:
        raise UsageError(
            f"--signer: expected a .pub file or a line 'ssh-ed25519 AAAA...', got {text!r}"
        ) from error


def tell_each(session: Session, findings: Iterator[Finding]) -> Iterator[Finding]:
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


def finish(
    session: Session, findings: list[Finding], found_chains: list[CommitChain], advice: str
) -> None:
    """Tell what was found, and end with the exit code for that.

    Args:
        session: Where it is told.
        findings: Of each commit.
        found_chains: The chains that were looked at.
        advice: What to do about damaged commits; `{commits}` stands for the first of them.
    """
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
        what_to_do = advice.format(commits=" ".join(damaged[:5]))
        session.warn(
            f"muniment: {count(len(damaged), 'commit')} of {len({f.commit_id for f in findings})} not as they should be: {what_to_do}"
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
