"""Proving that commits hold files."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from muniment.adapters.commit_folder import CommitFolder, SiblingCommits
from muniment.archive import disclosure, verify
from muniment.archive import record as records
from muniment.archive.catalog import ArchivedFile
from muniment.archive.keyring import Keyring
from muniment.archive.merkle import verify_inclusion
from muniment.archive.verify import OpenedCommit
from muniment.bootstrap.archive import Archive
from muniment.errors import IntegrityError, KeyUnavailableError, MunimentError
from muniment.tasks.owner_view import Proofs, file_view

OpenKeyring = Callable[[str], Keyring]
"""Returns a commit's keys."""


def prove(folder: CommitFolder, archive: Archive, file: ArchivedFile) -> dict[str, Any]:
    """Describe a file with its proof, made from the sealed bytes of its commit and checked; the database only said where to look.

    Raises:
        IntegrityError: The commit does not hold, or holds another file there.
        KeyUnavailableError: Its keyring cannot be opened, or the file was erased.
    """
    prover = _Prover(folder, archive, archive.open_keyring_in(folder))
    view, path = prover.view(file.leaf)
    if path != file.scanned.path:
        raise IntegrityError(
            f"leaf {file.leaf} is another file than the database says: run `muniment rebuild`"
        )
    return view


def prove_many(
    archive: Archive, open_keyring: OpenKeyring, chosen: Iterable[ArchivedFile]
) -> Iterator[dict[str, Any]]:
    """Describe files with their proofs, commit after commit, in order of leaf.

    One that cannot be proven is described by `commit_id`, `leaf_index`, `problem`, and `erased`, which says whether its key was
    erased on purpose; the others follow.

    Args:
        archive: Whose files they are.
        open_keyring: Returns a commit's keys.
        chosen: The files; 8 bytes of each are held, and the tree of one commit.
    """
    leaves: dict[str, array[int]] = {}
    for file in chosen:
        leaves.setdefault(file.commit_id, array("Q")).append(file.leaf)
    for commit_id in sorted(leaves):
        yield from _prove_commit(archive, open_keyring, commit_id, sorted(leaves.pop(commit_id)))


def _prove_commit(
    archive: Archive, open_keyring: OpenKeyring, commit_id: str, leaves: list[int]
) -> Iterator[dict[str, Any]]:
    try:
        with archive.store.open(commit_id) as folder:
            prover = _Prover(folder, archive, open_keyring(commit_id))
            for leaf in leaves:
                try:
                    yield prover.view(leaf)[0]
                except MunimentError as error:
                    yield _problem(commit_id, leaf, error)
    except MunimentError as error:  # of the whole commit, before the first of its files
        whole = IntegrityError(str(error))  # nothing of it was erased: none of its keys was seen
        yield from (_problem(commit_id, leaf, whole) for leaf in leaves)


def _problem(commit_id: str, leaf: int, error: MunimentError) -> dict[str, Any]:
    return {
        "commit_id": commit_id,
        "leaf_index": leaf,
        "problem": str(error),
        "erased": isinstance(error, KeyUnavailableError),
    }


class _Prover:
    """Proves the files of one commit.

    Args:
        folder: The commit.
        archive: Whose it has to be.
        keyring: Its keys.

    Raises:
        IntegrityError: The commit does not hold.
    """

    def __init__(self, folder: CommitFolder, archive: Archive, keyring: Keyring) -> None:
        self._opened: OpenedCommit = verify.open_commit(
            folder,
            expected_signer=archive.trusted_signers,
            organization_id=archive.organization.id,
        )
        self._keyring, self._siblings = keyring, SiblingCommits(folder)
        self._proofs = Proofs(self._opened.records)

    def view(self, leaf: int) -> tuple[dict[str, Any], bytes]:
        """Describe the file at a leaf with its proof, which is checked; returns its path, too.

        Raises:
            IntegrityError: The commit does not hold it.
            KeyUnavailableError: It was erased.
        """
        opened, file_key = self._opened, self._keyring.key(leaf)
        table, manifest = opened.records, opened.manifest
        record = verify.check_record(table, leaf, file_key, table.sealed_record(leaf))
        file = records.to_archived(record, manifest.commit_id, leaf)
        view = file_view(file, table, self._proofs, self._siblings)
        proof = view["merkle_proof"]
        siblings = [_bytes(sibling) for sibling in proof["siblings"]]
        verify_inclusion(_bytes(proof["leaf_hash"]), leaf, len(table), siblings, manifest.root)
        disclosed = disclosure.disclose(leaf, file_key, records.fields(record))
        own = {
            "commit_id": manifest.commit_id,
            "leaf_count": len(table),
            "root": manifest.merkle.root,
            "signer_key_id": opened.signer.key_id,
            "disclosed": msgspec.to_builtins(disclosed),
        }
        return view | own, record.path


def _bytes(digest: str) -> bytes:
    return bytes.fromhex(digest.removeprefix("blake3:"))
