"""What a service says, held against what was signed: nothing that can be checked here is believed."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from muniment.archive import manifest as manifests
from muniment.archive.chains import Link
from muniment.archive.manifest import Manifest, Previous
from muniment.archive.proof import ProvenFile, check_proof
from muniment.archive.signing import VerifyKey
from muniment.entrypoints.cli.remote.connecting import path_of
from muniment.errors import FormatError, IntegrityError, MissingDataError, NotFoundError
from muniment.text import display_path

if TYPE_CHECKING:
    from muniment.client import Client


class Evidence:
    """The signed manifests of a service, each fetched and checked once.

    Args:
        client: Speaks to the service.
        expected: Who must have signed; None believes the manifests' own keys.
        organization_id: Whose commits they must be; None for that of the first one.

    Attributes:
        signers: Whoever signed what was looked at.
    """

    def __init__(
        self,
        client: "Client",
        expected: Sequence[VerifyKey] | None = None,
        organization_id: str | None = None,
    ) -> None:
        self._client, self._expected, self._organization_id = client, expected, organization_id
        self._links: dict[str, Link] = {}
        self.signers: dict[str, None] = {}

    def manifest(self, commit_id: str) -> Manifest:
        """Return a commit's manifest, which holds.

        Raises:
            IntegrityError: It does not: its form, its signature, or whose it is.
        """
        return self.link(commit_id).manifest

    def link(self, commit_id: str) -> Link:
        """Return a commit's manifest, and how the next commit has to describe it.

        Raises:
            IntegrityError: See `manifest`.
        """
        if commit_id not in self._links:
            self._links[commit_id] = self._fetch(commit_id)
        return self._links[commit_id]

    def _fetch(self, commit_id: str) -> Link:
        try:
            data = self._client.show_document(commit_id)
        except NotFoundError as error:
            raise MissingDataError(f"the manifest of commit {commit_id} is missing") from error
        found = manifests.decode(data)
        if found.commit_id != commit_id:
            raise IntegrityError(f"expected the manifest of {commit_id}, got {found.commit_id}'s")
        signer = manifests.verify_signature(found, self._expected)
        own = self._organization_id = self._organization_id or found.organization.id
        if found.organization.id != own:
            raise IntegrityError(
                f"commit {commit_id} is of organisation {found.organization.id!r}, expected {own!r}"
            )
        self.signers[signer.key_id] = None
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return Link(found, Previous(commit_id, digest, found.merkle.root))

    def prove(self, view: dict[str, Any]) -> ProvenFile:
        """Check one proof of the service.

        Raises:
            IntegrityError: It does not hold, or the service has none.
        """
        commit_id, problem = view.get("commit_id"), view.get("problem")
        if not isinstance(commit_id, str):
            raise FormatError("expected a proof that names its commit")
        if problem is not None:
            raise IntegrityError(f"leaf {view.get('leaf_index')} of commit {commit_id}: {problem}")
        proven = check_proof(view, self.manifest(commit_id))
        _check_name(path_of(str(view.get("path_bytes", ""))), proven.scanned.path)
        return proven


def _check_name(name: bytes, archived: bytes) -> None:
    """Check what the service calls a file: the path that it was archived under, or the end of it, without the folder of the uploads.

    Raises:
        IntegrityError: It is another one.
    """
    if name and not (b"/" + archived).endswith(b"/" + name):
        raise IntegrityError(
            f"the service calls it {display_path(name)}, but it was archived as {display_path(archived)}"
        )
