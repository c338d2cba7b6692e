"""Proving that a commit holds a file."""

from typing import Any

from muniment.adapters.commit_folder import CommitFolder, SiblingCommits
from muniment.archive import verify
from muniment.archive.catalog import ArchivedFile
from muniment.archive.merkle import verify_inclusion
from muniment.bootstrap.archive import Archive
from muniment.errors import IntegrityError
from muniment.tasks.owner_view import Proofs, file_view


def prove(folder: CommitFolder, archive: Archive, file: ArchivedFile) -> dict[str, Any]:
    """Describe a file with its proof, made from the sealed bytes of its commit and checked; the database only said where to look.

    Raises:
        IntegrityError: The commit does not hold, or holds another file there.
        KeyUnavailableError: Its keyring cannot be opened, or the file was erased.
    """
    opened = verify.open_commit(
        folder, expected_signer=archive.trusted_signers, organization_id=archive.organization.id
    )
    file_key = archive.open_keyring_in(folder).key(file.leaf)
    records = opened.records
    record = verify.check_record(records, file.leaf, file_key, records.sealed_record(file.leaf))
    if record.path != file.scanned.path:
        raise IntegrityError(
            f"leaf {file.leaf} is another file than the database says: run `muniment rebuild`"
        )
    proofs = Proofs(records)
    view = file_view(file, records, proofs, SiblingCommits(folder))
    proof = view["merkle_proof"]
    siblings = [bytes.fromhex(text.removeprefix("blake3:")) for text in proof["siblings"]]
    leaf = bytes.fromhex(proof["leaf_hash"].removeprefix("blake3:"))
    verify_inclusion(leaf, file.leaf, len(records), siblings, opened.manifest.root)
    return view | {
        "commit_id": folder.commit_id,
        "leaf_count": len(records),
        "root": opened.manifest.merkle.root,
        "signer_key_id": opened.signer.key_id,
    }
