"""The proof of one file as JSON: whoever has the signed manifest, and no key, can check it (`docs/spec/commit.md`, sections 6 and 7)."""

from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta

from muniment.archive import disclosure
from muniment.archive.catalog import Kind, ScannedFile
from muniment.archive.disclosure import HIDDEN_ALWAYS, DisclosedFile
from muniment.archive.manifest import Manifest
from muniment.archive.merkle import leaf_hash, verify_inclusion
from muniment.archive.record import Natural, ShownFields
from muniment.errors import FormatError

_LEVELS_MAX = 64
_PREFIX = "blake3:"

Digest = Annotated[str, Meta(pattern=r"^blake3:[0-9a-f]{64}\Z")]


class ProvenFile(NamedTuple):
    """What a proof says of a file, folder or link.

    Attributes:
        leaf: Its number in its commit.
        scanned: What was seen of it when it was archived.
        digest: BLAKE3 of its content; None for folders and links.
    """

    leaf: int
    scanned: ScannedFile
    digest: bytes | None


class _MerkleProof(msgspec.Struct, frozen=True):
    """The way from a leaf to the root."""

    leaf_index: Natural
    siblings: Annotated[list[Digest], Meta(max_length=_LEVELS_MAX)]


class _FileProof(msgspec.Struct, frozen=True):
    """Of all that is said of a file, what proves the rest."""

    ciphertext_hash: Digest
    merkle_proof: _MerkleProof
    disclosed: DisclosedFile


def check_proof(view: dict[str, Any], manifest: Manifest) -> ProvenFile:
    """Check that a commit holds a file as it is described; nothing is believed but what leads to the signed root.

    Args:
        view: The file with its proof, as `muniment.tasks.proofs` describes it.
        manifest: The commit's manifest, whose signature was verified.

    Raises:
        FormatError: It is no proof, or does not show all of the file's fields.
        IntegrityError: It does not lead to the root.
    """
    try:
        proof = msgspec.convert(view, _FileProof)
    except msgspec.ValidationError as error:
        raise FormatError(f"expected the proof of a file: {error}") from error
    disclosed, merkle = proof.disclosed, proof.merkle_proof
    if disclosed.leaf != merkle.leaf_index:
        raise FormatError(
            f"expected a proof of leaf {merkle.leaf_index}, got the fields of leaf {disclosed.leaf}"
        )
    leaf = leaf_hash(disclosure.fields_digest(disclosed), _bytes(proof.ciphertext_hash))
    siblings = [_bytes(sibling) for sibling in merkle.siblings]
    verify_inclusion(leaf, merkle.leaf_index, manifest.merkle.leaf_count, siblings, manifest.root)
    if not disclosed.hidden.keys() <= HIDDEN_ALWAYS:
        raise FormatError(f"leaf {disclosed.leaf}: expected all fields, but some are hidden")
    return _proven(disclosed.leaf, msgspec.convert(disclosed.fields, ShownFields))


def _proven(leaf: int, shown: ShownFields) -> ProvenFile:
    """Return what the fields say; those of a kind are all there."""
    assert shown.path_hex is not UNSET
    assert shown.kind is not UNSET
    assert shown.mode is not UNSET
    assert shown.mtime_ns is not UNSET
    assert shown.ctime_ns is not UNSET
    scanned = ScannedFile(
        path=bytes.fromhex(shown.path_hex),
        kind=Kind(shown.kind),
        size=0 if shown.size is UNSET else shown.size,
        mode=shown.mode,
        mtime_ns=int(shown.mtime_ns),
        ctime_ns=int(shown.ctime_ns),
        inode=0,
        target=None if shown.target_hex is UNSET else bytes.fromhex(shown.target_hex),
    )
    return ProvenFile(leaf, scanned, None if shown.blake3 is UNSET else bytes.fromhex(shown.blake3))


def _bytes(digest: str) -> bytes:
    return bytes.fromhex(digest.removeprefix(_PREFIX))
