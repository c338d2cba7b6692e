"""`muniment verify` on a service."""

from pathlib import Path

from muniment.entrypoints.cli.commands.verify import finish, read_signers, tell_each
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.remote import refuse
from muniment.entrypoints.cli.remote.connecting import connect, find_stored, stored_commits
from muniment.entrypoints.cli.remote.evidence import Evidence
from muniment.entrypoints.cli.remote.timestamps import time_sources
from muniment.entrypoints.cli.remote.verifying import Manner, RemoteVerification
from muniment.entrypoints.cli.session import Session
from muniment.errors import NotFoundError


def verify(
    session: Session,
    commits: tuple[str, ...],
    *,
    deep: bool,
    signers: tuple[str, ...],
    folders: tuple[Path, ...],
    organization_id: str | None,
    on_service: bool,
) -> None:
    """Check that commits are whole, unchanged and in order: all of them, or only some."""
    refuse({"--folder": folders})
    expected = read_signers(signers)
    headers, roots_pem = time_sources(session)
    manner = Manner(deep, on_service, headers, roots_pem)
    with connect(session) as client, progress_of(session) as progress:
        listed = [found.commit_id for found in stored_commits(client)]
        wanted = {find_stored(client, name).commit_id for name in commits} or set(listed)
        if organization_id not in (None, client.show_organization().organization_id):
            raise NotFoundError(f"the service has no commit of organisation {organization_id!r}")
        run = RemoteVerification(
            client,
            Evidence(client, expected, organization_id),
            manner,
            progress,
            is_signer_known=expected is not None,
        )
        findings = list(tell_each(session, run.findings(listed, wanted)))
    finish(session, findings, run.chains, "tell whoever runs the service")
