"""The shapes of what comes as a plain object from further inside: results of operations, and proofs. Tests hold the examples to them."""

from typing import Any

import msgspec

from muniment.archive.catalog import Kind


class Counts(msgspec.Struct):
    """What a look at the uploads found."""

    new: int
    changed: int
    unchanged: int


class PathProblem(msgspec.Struct):
    """A path that could not be archived."""

    path_hex: str
    path_display: str
    message: str


class MadeCommit(msgspec.Struct):
    """A commit that an operation made."""

    commit_id: str
    sequence: int | None
    files: int
    commit_cid: str | None


class CommitProblem(msgspec.Struct):
    """A commit that something went wrong with."""

    commit_id: str
    message: str


class CatalogResult(msgspec.Struct):
    """What `catalog` did."""

    scan: Counts
    pending_files: int
    pending_bytes: int
    problems: list[PathProblem]
    problem_count: int


class ArchiveResult(msgspec.Struct):
    """What `archive` did.

    Attributes:
        commits: The commits that it made; the first 200.
        vanished: Files that were gone before they could be archived.
        backup_problems: Why commits were not backed up, by their ids.
    """

    scan: Counts
    commits: list[MadeCommit]
    commit_count: int
    vanished: int
    backup_problems: dict[str, str]
    problems: list[PathProblem]
    problem_count: int


class UpgradeResult(msgspec.Struct):
    """What `ots-upgrade` did.

    Attributes:
        completed: Timestamps that are complete now.
        waiting: Those that are not.
        unreached: Calendars that did not answer.
    """

    completed: int
    waiting: int
    unreached: int
    problems: list[CommitProblem]


class AuthorityTime(msgspec.Struct):
    """The time that an authority signed, as RFC 3339 has it."""

    authority: str
    time: str


class TokensView(msgspec.Struct):
    """What is known of a commit's RFC 3161 tokens.

    Attributes:
        state: `verified` or `not checked`.
        times: Each authority that holds under the configured roots.
    """

    state: str
    detail: str
    times: list[AuthorityTime]


class CheckedTimestamp(msgspec.Struct):
    """What is known of a commit's time; `bitcoin_time` as RFC 3339 has it."""

    state: str
    detail: str
    bitcoin_height: int | None
    bitcoin_time: str | None
    tokens: TokensView | None


class VerifyResult(msgspec.Struct, omit_defaults=True):
    """What `verify` found.

    Attributes:
        ok: Whether everything is as it was signed.
        signer: The key that signed it.
        signer_compared: Whether the signer is one that this organisation trusts.
        leaves: Files, folders and links.
        contents: Contents that were opened.
        damaged: What does not open; the first 50.
        problems: What is wrong, in words; the first 50.
    """

    commit_id: str
    ok: bool
    problems: list[str]
    damaged_count: int
    damaged: list[str]
    organization: str | None = None
    signer: str | None = None
    signer_compared: bool | None = None
    files: int | None = None
    leaves: int | None = None
    contents: int | None = None
    content_bytes: int | None = None
    erased: int | None = None
    timestamp: CheckedTimestamp | None = None


class PinResult(msgspec.Struct):
    """What `pin` brought."""

    blocks: int
    size_bytes: int


class UnpinResult(msgspec.Struct):
    """Whether `unpin` let go of anything: another pin may want it."""

    released: bool


class BatchResult(msgspec.Struct):
    """How many items of a `batch` were done."""

    done: int
    failed: int


class EmptyResult(msgspec.Struct, forbid_unknown_fields=True):
    """There was nothing to do."""


RESULTS = (
    CatalogResult,
    ArchiveResult,
    UpgradeResult,
    VerifyResult,
    PinResult,
    UnpinResult,
    BatchResult,
    EmptyResult,
)
RESULT_SCHEMA: dict[str, Any] = {
    "anyOf": [{"$ref": f"#/components/schemas/{result.__name__}"} for result in RESULTS]
}
"""What a result can be, beside being an object."""


class MerkleProof(msgspec.Struct):
    """The way from a leaf to the root (RFC 9162, with BLAKE3).

    Attributes:
        siblings: The neighbours, from the leaf up.
        directions: On which side each stands: `L` or `R`.
    """

    leaf_index: int
    leaf_hash: str
    siblings: list[str]
    directions: list[str]


class Encryption(msgspec.Struct):
    """How a content is encrypted; the nonce in base64."""

    algorithm: str
    key_id: str
    nonce: str
    compressed: bool
    compression_algorithm: str


class Place(msgspec.Struct):
    """Where the encrypted content lies: in the chunks of a commit."""

    commit_id: str
    leaf_index: int
    offset: int
    sealed_size: int


class Disclosed(msgspec.Struct):
    """Fields of the record with their salts, from which anyone computes the leaf; of the others, only the hashes."""

    leaf: int
    fields: dict[str, str | int]
    salts: dict[str, str]
    hidden: dict[str, str]


class ProofView(msgspec.Struct, omit_defaults=True):
    """A file with the proof that a commit holds it.

    Attributes:
        path_hex: Its path in the archive, byte for byte.
        root: The root that was signed.
        content_hash: BLAKE3 of the content; of files only.
        target_hex: Where a link leads; of links only.
    """

    path_hex: str
    path_display: str
    kind: Kind
    size: int
    mode: str
    mtime: int
    mtime_ns: str
    metadata_hash: str
    ciphertext_hash: str
    merkle_proof: MerkleProof
    commit_id: str
    leaf_count: int
    root: str
    signer_key_id: str
    content_hash: str | None = None
    filetype: str | None = None
    target_hex: str | None = None
    encryption: Encryption | None = None
    place: Place | None = None
    disclosed: Disclosed | None = None
