"""The owner's view of a commit: everything about its files, with their proofs (docs/spec/commit.md, section 7).

It has the form of the manifest that came before this format: one JSON object of version 2 with `files` in it.
"""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from muniment.adapters.commit_folder import CommitFolder, SiblingCommits
from muniment.archive import verify
from muniment.archive.catalog import ArchivedFile, Kind
from muniment.archive.keyring import Keyring
from muniment.archive.manifest import Manifest, Signature
from muniment.archive.merkle import MerkleTree
from muniment.archive.records_file import RecordsFile
from muniment.archive.verify import OpenedCommit
from muniment.errors import MunimentError
from muniment.tasks.views import path_view

_NONCE_BYTES = 24  # the header of a sealed stream
_NANOSECONDS = 1_000_000_000


def manifest_view(manifest: Manifest) -> dict[str, Any]:
    """Describe the commit, without its files."""
    previous, packaging = manifest.chain.previous, manifest.packaging
    assert isinstance(manifest.signature, Signature)
    return {
        "version": 2,
        "commit_id": manifest.commit_id,
        "created_at": manifest.created_at,
        "merkle": {
            "algorithm": manifest.merkle.algorithm,
            "root": manifest.merkle.root,
            "leaf_count": manifest.merkle.leaf_count,
        },
        "signature": {
            "algorithm": "ed25519",
            "signer_org": manifest.organization.id,
            "signer_key_id": manifest.keys.signer.key_id,
            "value": manifest.signature.value,
        },
        "chain": {
            "sequence": manifest.chain.sequence,
            "previous_commit_id": previous.commit_id if previous else None,
            "previous_merkle_root": previous.merkle_root if previous else None,
        },
        "packaging": {
            "format": packaging.format,
            "chunk_size": packaging.chunk_bytes,
            "chunk_prefix": packaging.chunk_prefix,
            "chunk_count": packaging.chunk_count,
            "par2_redundancy": _redundancy_percent(manifest),
        },
        "provenance": {
            "organization": manifest.organization.id,
            "organization_name": manifest.organization.name,
        },
        "software": {"name": manifest.software.name, "version": manifest.software.version},
    }


def _redundancy_percent(manifest: Manifest) -> int:
    par2 = manifest.packaging.par2
    if par2 is None:
        return 0
    covered = sum(file.size for file in manifest.sealed if not file.name.endswith(".par2"))
    return par2.recovery_blocks * par2.block_bytes * 100 // max(covered, 1)


class Proofs:
    """Inclusion proofs of a commit's leaves."""

    def __init__(self, records: RecordsFile) -> None:
        self._leaves = records.leaves()
        self._tree = MerkleTree(self._leaves)

    def view(self, leaf: int) -> dict[str, Any]:
        """Describe the proof of one leaf: the neighbours on the way to the root, and on which side each stands."""
        return {
            "leaf_index": leaf,
            "leaf_hash": f"blake3:{self._leaves[leaf].hex()}",
            "siblings": [f"blake3:{sibling.hex()}" for sibling in self._tree.inclusion_proof(leaf)],
            "directions": list(_directions(leaf, len(self._leaves))),
        }


def _directions(index: int, width: int) -> Iterator[str]:
    """Tell for each level with a neighbour on which side it stands: L or R."""
    while width > 1:
        if index % 2:
            yield "L"
        elif index + 1 < width:
            yield "R"
        index, width = index // 2, (width + 1) // 2


def file_views(
    folder: CommitFolder, opened: OpenedCommit, keyring: Keyring, proofs: Proofs
) -> Iterator[dict[str, Any]]:
    """Describe every file, in order of leaf.

    Raises:
        IntegrityError: A record does not open; those before it were good.
    """
    siblings = SiblingCommits(folder)
    for file in verify.archived_files(opened, keyring):
        yield file_view(file, opened.records, proofs, siblings)


def file_view(
    file: ArchivedFile, records: RecordsFile, proofs: Proofs, siblings: SiblingCommits
) -> dict[str, Any]:
    """Describe one file, folder or link with its proof."""
    scanned = file.scanned
    view: dict[str, Any] = path_view(scanned.path) | {
        "kind": str(scanned.kind),
        "size": scanned.size,
        "mode": f"{scanned.mode:04o}",
        "mtime": scanned.mtime_ns // _NANOSECONDS,
        "mtime_ns": str(scanned.mtime_ns),
        "metadata_hash": f"blake3:{records.fields_digest(file.leaf).hex()}",
        "ciphertext_hash": f"blake3:{records.ciphertext_digest(file.leaf).hex()}",
        "merkle_proof": proofs.view(file.leaf),
    }
    if scanned.kind is Kind.FILE and file.digest is not None:
        view |= {"content_hash": f"blake3:{file.digest.hex()}", "filetype": file.media_type}
    if scanned.target is not None:
        view["target_hex"] = scanned.target.hex()
    if file.place is not None:
        place = file.place
        view["encryption"] = {
            "algorithm": "XChaCha20-Poly1305",
            "key_id": f"{file.commit_id}/{file.leaf}",
            "nonce": base64.b64encode(siblings.open_member(place)(_NONCE_BYTES)).decode(),
            "compressed": place.compression != "none",
            "compression_algorithm": place.compression,
        }
        view["place"] = {
            "commit_id": place.commit_id,
            "leaf_index": place.leaf,
            "offset": place.offset,
            "sealed_size": place.sealed_size,
        }
    return view


def write_view(
    head: dict[str, Any], files: Iterator[dict[str, Any]], write: Callable[[str], object]
) -> MunimentError | None:
    """Write head and files as one JSON object, file by file; returns what ended it too early, which is in the object too."""
    failure = None
    write(json.dumps(head, indent=2)[: -len("\n}")] + ',\n  "files": [')
    separator = "\n    "
    try:
        for view in files:
            write(separator + json.dumps(view))
            separator = ",\n    "
    except MunimentError as error:
        failure = error
    problems = [] if failure is None else [str(failure)]
    write('\n  ],\n  "problems": ' + json.dumps(problems) + "\n}\n")
    return failure
