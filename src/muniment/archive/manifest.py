"""The manifest: the public, signed description of a commit (`docs/spec/commit.md`, section 2)."""

import base64
import itertools
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from muniment.archive import canonical, tarball
from muniment.archive.disclosure import DisclosedFile
from muniment.archive.record import CommitId, Natural
from muniment.archive.records_file import NAME as RECORDS_NAME
from muniment.archive.signing import SigningKey, VerifyKey
from muniment.errors import FormatError, SignatureError

FORMAT = "muniment-commit/1"
SIGNATURE_CONTEXT = b"muniment-commit-manifest/1\n"
MANIFEST_NAME = "manifest.json"
KEYRING_NAME = "keys.age"
TIMESTAMP_NAME = "manifest.json.ots"
RFC3161_NAME = "manifest.json.tsr"
BESIDE_NAMES = (KEYRING_NAME, TIMESTAMP_NAME, RFC3161_NAME)
MANIFEST_BYTES_MAX = 64 << 20

Positive = Annotated[int, Meta(ge=1, le=canonical.INTEGER_MAX)]
Sha256 = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Blake3 = Annotated[str, Meta(pattern=r"^blake3:[0-9a-f]{64}\Z")]
_FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,120}\Z")]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the manifest: nothing unknown in it, so nothing unsigned or unread hides there."""


class Organization(_Part, frozen=True):
    """Whose commit it is."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
    name: Annotated[str, Meta(min_length=1, max_length=200)]


class Previous(_Part, frozen=True):
    """The commit before, bound by its id, its root and its manifest."""

    commit_id: CommitId
    manifest_sha256: Sha256
    merkle_root: Blake3


class Chain(_Part, frozen=True):
    """The place in the organisation's chain of commits."""

    sequence: Positive
    previous: Previous | None


class Merkle(_Part, frozen=True):
    """The tree over the leaves."""

    algorithm: Literal["blake3-rfc9162"]
    leaf_count: Annotated[int, Meta(ge=1, le=tarball.LEAF_COUNT_MAX)]
    root: Blake3


class Par2(_Part, frozen=True):
    """How much parity there is."""

    block_bytes: Positive
    recovery_blocks: Positive


class Packaging(_Part, frozen=True):
    """How the tar was cut."""

    format: Literal["tar+split+par2"]
    tar_bytes: Positive
    chunk_bytes: Positive
    chunk_count: Positive
    chunk_prefix: str
    par2: Par2 | None


class SealedFile(_Part, frozen=True, order=True):
    """One immutable file of the commit, by name."""

    name: _FileName
    size: Natural
    sha256: Sha256
    blake3: Blake3


class Signer(_Part, frozen=True):
    """The key that signed."""

    algorithm: Literal["ed25519"]
    key_id: str
    public_key: str


class Keys(_Part, frozen=True):
    """The keys that concern the public."""

    signer: Signer


class Software(_Part, frozen=True):
    """What wrote the commit."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    version: Annotated[str, Meta(min_length=1, max_length=100)]


class Signature(_Part, frozen=True):
    """Ed25519 over the context and the canonical manifest without this member."""

    algorithm: Literal["ed25519"]
    value: str


class Manifest(_Part, frozen=True):
    """The whole manifest."""

    format: Literal["muniment-commit/1"]
    commit_id: CommitId
    created_at: Annotated[
        str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
    ]
    organization: Organization
    chain: Chain
    merkle: Merkle
    packaging: Packaging
    sealed: list[SealedFile]
    keys: Keys
    software: Software
    files: list[DisclosedFile] | UnsetType = UNSET
    signature: Signature | UnsetType = UNSET

    @property
    def root(self) -> bytes:
        """The Merkle root's 32 bytes."""
        return bytes.fromhex(self.merkle.root.removeprefix("blake3:"))

    @property
    def chunks(self) -> list[str]:
        """Names of the chunks, in order."""
        return tarball.chunk_names(self.packaging.chunk_prefix, self.packaging.chunk_count)

    @property
    def sealed_by_name(self) -> dict[str, SealedFile]:
        """The sealed files but the manifest, by name."""
        return {file.name: file for file in self.sealed}


def signer(key: VerifyKey) -> Signer:
    """Describe the key that signs."""
    return Signer("ed25519", key.key_id, base64.b64encode(bytes(key)).decode())


def sign(manifest: Manifest, key: SigningKey) -> bytes:
    """Return the canonical bytes of the manifest, signed."""
    unsigned = canonical.encode(msgspec.structs.replace(manifest, signature=UNSET))
    value = base64.b64encode(key.sign(SIGNATURE_CONTEXT + unsigned)).decode()
    return canonical.encode(
        msgspec.structs.replace(manifest, signature=Signature("ed25519", value))
    )


def decode(data: bytes) -> Manifest:
    """Parse a manifest and check everything that needs no other file; its signature is checked by `verify_signature`.

    Raises:
        FormatError: It is not canonical, or anything in it is missing, unknown, out of range or contradictory.
    """
    manifest = canonical.decode(data, Manifest, what="the manifest", size_max=MANIFEST_BYTES_MAX)
    if manifest.signature is UNSET:
        raise FormatError("the manifest has no signature")
    if (manifest.chain.sequence == 1) != (manifest.chain.previous is None):
        raise FormatError(
            "the manifest's chain is contradictory: exactly the first commit has no previous one"
        )
    _check_times(manifest)
    _check_packaging(manifest)
    return manifest


def _check_times(manifest: Manifest) -> None:
    """Check that the manifest's times are in the calendar."""
    for text in (manifest.created_at, manifest.commit_id[:16]):
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            raise FormatError(f"the manifest has a time that does not exist: {text}") from error


def _check_packaging(manifest: Manifest) -> None:
    packaging, names = manifest.packaging, [file.name for file in manifest.sealed]
    if any(left >= right for left, right in itertools.pairwise(names)):
        raise FormatError(
            "the manifest's sealed files are not sorted by name, or a name is there twice"
        )
    if packaging.chunk_prefix != manifest.commit_id + "_":
        raise FormatError(
            f"the manifest's chunk prefix is {packaging.chunk_prefix!r}, expected {manifest.commit_id}_"
        )
    if packaging.chunk_count != -(-packaging.tar_bytes // packaging.chunk_bytes):
        raise FormatError("the manifest's chunk count does not fit the size of its tar")
    files, chunks = (
        manifest.sealed_by_name,
        manifest.chunks if packaging.chunk_count <= len(names) else [],
    )
    parity = re.compile(re.escape(manifest.commit_id) + r"(\.vol[0-9]+\+[0-9]+)?\.par2")
    others = set(names) - set(chunks) - {RECORDS_NAME}
    for name in others:
        if not parity.fullmatch(name):
            raise FormatError(f"the manifest names a file that is no part of a commit: {name!r}")
    if (packaging.par2 is not None) != bool(others):
        raise FormatError("the manifest's parity files and its packaging do not agree")
    if not chunks or RECORDS_NAME not in files or not files.keys() >= set(chunks):
        raise FormatError(
            f"the manifest does not name {RECORDS_NAME} and all {packaging.chunk_count} chunks"
        )
    for index, name in enumerate(chunks):
        expected = min(packaging.chunk_bytes, packaging.tar_bytes - index * packaging.chunk_bytes)
        if files[name].size != expected:
            raise FormatError(
                f"the manifest gives {name} {files[name].size} bytes, expected {expected}"
            )


def verify_signature(
    manifest: Manifest, expected: VerifyKey | Sequence[VerifyKey] | None = None
) -> VerifyKey:
    """Check the manifest's signature; returns the key that made it.

    Args:
        manifest: As `decode` returned it.
        expected: The organisation's key or keys, known from elsewhere; None believes the key in the manifest, which proves only
            that the manifest is whole.

    Raises:
        SignatureError: The signature does not verify, or another key made it.
    """
    described = manifest.keys.signer
    key = VerifyKey(_decode_base64(described.public_key, 32, "the manifest's public key"))
    if described.key_id != key.key_id:
        raise SignatureError(
            f"the manifest's key id is {described.key_id!r}, but its public key is {key.key_id}"
        )
    if expected is not None:
        trusted = [expected] if isinstance(expected, VerifyKey) else list(expected)
        if bytes(key) not in {bytes(known) for known in trusted}:
            known = ", ".join(known.key_id for known in trusted) or "no key"
            raise SignatureError(f"the manifest was signed by {key.key_id}, expected {known}")
    assert isinstance(manifest.signature, Signature)
    value = _decode_base64(manifest.signature.value, 64, "the manifest's signature")
    unsigned = canonical.encode(msgspec.structs.replace(manifest, signature=UNSET))
    try:
        key.verify(SIGNATURE_CONTEXT + unsigned, value)
    except SignatureError as error:
        raise SignatureError(
            f"the manifest's signature by {key.key_id} does not verify: it was changed"
        ) from error
    return key


def _decode_base64(text: str, size: int, what: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise FormatError(f"{what} is not base64") from error
    if len(data) != size or base64.b64encode(data).decode() != text:
        raise FormatError(f"{what} is not {size} bytes of padded base64")
    return data
