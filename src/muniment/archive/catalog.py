"""The catalogue: every version of every file that was seen, and the commits that hold them.

The catalogue is an index of the archive, never its truth: `rebuild` recreates what concerns archived files from the
commits themselves. What only the catalogue knows are the versions that still wait to be archived.

What there is one of for each file is a named tuple or a `msgspec.Struct`: frozen dataclasses are built ten times slower.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from msgspec import Struct


class Kind(StrEnum):
    """What a path is; sockets, devices and pipes are not archived."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class CommitState(StrEnum):
    """How far a commit has come. The order of the members is the order of the stages.

    A state is entered when the work of its stage is durable, so a run that finds a commit in a state goes on with the
    next stage.
    """

    COLLECTED = "collected"
    SEALED = "sealed"  # hashed, encrypted, packed: these three are one pass over the data
    TREE_BUILT = "tree_built"
    PACKAGED = "packaged"
    SIGNED = "signed"
    TIMESTAMPED = "timestamped"
    STORED = "stored"


class TimestampState(StrEnum):
    """What is known of a commit's timestamp."""

    QUEUED = "queued"  # no calendar was reached yet
    PENDING = "pending"  # calendars promised; no block yet
    COMPLETE = "complete"  # holds a Bitcoin attestation


class ScannedFile(NamedTuple):
    """What a scan sees of one path without reading its content.

    A named tuple: a scan makes millions of them, and they are compared with rows of the database as they are.

    Attributes:
        path: Bytes of the absolute path without the leading slash.
        size: Bytes for a file, 0 for anything else.
        mode: Permission bits (0 to 0o7777).
        mtime_ns: Modification time, nanoseconds since 1970.
        ctime_ns: Status change time, nanoseconds since 1970.
        inode: Inode number, to notice a path that became another file; 0 where it is not known (rebuild).
        target: A symlink's target.
    """

    path: bytes
    kind: Kind
    size: int
    mode: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    target: bytes | None = None


@dataclass(frozen=True, slots=True)
class ScanCounts:
    """What recording a batch of scanned files changed."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0

    def __add__(self, other: "ScanCounts") -> "ScanCounts":
        return ScanCounts(
            self.new + other.new, self.changed + other.changed, self.unchanged + other.unchanged
        )


class ClaimedFile(Struct, frozen=True, array_like=True, gc=False):
    """One version that a commit is to hold, by its number in the catalogue."""

    file_id: int
    scanned: ScannedFile


class ContentPlace(Struct, frozen=True, array_like=True, gc=False):
    """Where a content lies: a member of some commit's tar.

    Attributes:
        commit_id: The commit.
        leaf: The leaf whose member it is.
        offset: Where in the tar the member's bytes begin, behind its header.
        sealed_size: The member's size in bytes.
        packed_size: Bytes of the (compressed) content before padding.
        compression: `none`, `zstd` or `lz4`.
    """

    commit_id: str
    leaf: int
    offset: int
    sealed_size: int
    packed_size: int
    compression: str


class ArchivedFile(Struct, frozen=True, array_like=True, gc=False):
    """One archived version: a leaf of a commit.

    Attributes:
        file_id: Its number in the catalogue, or None where the catalogue is being rebuilt.
        commit_id: The commit that holds it.
        leaf: Its leaf number there.
        scanned: What was seen of it (as it was when it was read).
        digest: BLAKE3 of the content; None for folders and links.
        media_type: As of RFC 6838; empty for folders and links.
        place: Where its content lies; None when it has none (empty file, folder, link).
    """

    file_id: int | None
    commit_id: str
    leaf: int
    scanned: ScannedFile
    digest: bytes | None
    media_type: str
    place: ContentPlace | None


@dataclass(frozen=True, slots=True)
class CommitRow:
    """What the catalogue knows of a commit.

    Attributes:
        commit_id: Its name.
        state: How far it has come.
        created_at: Seconds since 1970, by the owner's clock.
        chunk_bytes: Size of its chunks.
        sequence: Place in the organisation's chain, from 1; None until it is signed.
        merkle_root: 32 bytes; None until the tree is built.
        manifest_sha256: 32 bytes; None until it is signed.
        leaf_count: Number of leaves; 0 until it is sealed.
        source_bytes: Sum of the plaintext sizes; 0 until it is sealed.
        sealed_bytes: Sum of the sealed files' sizes, the manifest included; 0 until it is signed.
        commit_cid: Root of the sealed files' UnixFS directory; None until it is stored.
        timestamp: State of its timestamp.
        bitcoin_height: Height of the earliest attested block, when complete.
        bitcoin_time: That block's time where a header source confirmed it, seconds since 1970.
        backed_up_at: When its object backup was last verified, seconds since 1970; None if never.
    """

    commit_id: str
    state: CommitState
    created_at: int
    chunk_bytes: int
    sequence: int | None = None
    merkle_root: bytes | None = None
    manifest_sha256: bytes | None = None
    leaf_count: int = 0
    source_bytes: int = 0
    sealed_bytes: int = 0
    commit_cid: str | None = None
    timestamp: TimestampState = TimestampState.QUEUED
    bitcoin_height: int | None = None
    bitcoin_time: int | None = None
    backed_up_at: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A path that could not be archived, and why; it is tried again on the next run."""

    path: bytes
    message: str
    noticed_at: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts for `status`; they are kept with every change, so reading them is free of the archive's size.

    Attributes:
        pending_files: Versions that were seen and are not archived yet, claimed or not.
        pending_bytes: Their sizes.
        archived_files: Archived versions.
        archived_bytes: Their sizes.
        sealed_bytes: Sealed bytes of the stored commits.
        commits: Stored commits.
        unfinished_commits: Commits in any state before STORED.
        timestamps_queued: Stored commits whose timestamp is QUEUED.
        timestamps_pending: Stored commits whose timestamp is PENDING.
        not_backed_up: Stored commits without a verified object backup.
        problems: Paths that could not be archived.
        last_commit: The stored commit with the highest sequence.
    """

    pending_files: int
    pending_bytes: int
    archived_files: int
    archived_bytes: int
    sealed_bytes: int
    commits: int
    unfinished_commits: int
    timestamps_queued: int
    timestamps_pending: int
    not_backed_up: int
    problems: int
    last_commit: CommitRow | None


class Catalog(Protocol):
    """The catalogue of one organisation. Every method is one durable transaction.

    A version is *pending* until a commit claims it, *claimed* while that commit is unfinished, then *archived*. Of one
    path at most one version is pending: the newest.

    Iterators read page by page and hold nothing open between pages: they may be left at any point, and the catalogue may
    be written to while they run.
    """

    def record_scan(self, scanned: Sequence[ScannedFile]) -> ScanCounts:
        """Compare with the newest version of each path and add what is new or changed as a pending version.

        A pending version that was never claimed is replaced by the newer one, so a path is never archived in a state that
        no longer exists. A changed path compares unequal in any of kind, size, mode, mtime, ctime, inode or target.
        """
        ...

    def claim(
        self,
        commit_id: str,
        *,
        created_at: int,
        chunk_bytes_for: "ChunkBytesFor",
        max_bytes: int,
        max_files: int,
        expires_at: int,
    ) -> CommitRow | None:
        """Create a commit and give it the next pending versions, in order of path; None if nothing can be claimed.

        Stops before `max_bytes` or `max_files` would be passed, but takes at least one file. `chunk_bytes_for` maps the
        batch's source bytes and files to the size of a chunk. Not claimed are versions that were put back with a problem
        (until the next `expire_claims`), and versions of a path of which an older one is still claimed, so that the
        order of commits is the order of versions.

        Raises:
            ConflictError: There is a commit with that id.
        """
        ...

    def claimed(self, commit_id: str) -> Iterator[ClaimedFile]:
        """Iterate over what an unfinished commit has claimed, in order of path, in bounded memory."""
        ...

    def unclaim(self, file_ids: Iterable[int], problems: Sequence[Problem] = ()) -> None:
        """Give claimed versions back: they are pending again. Their problems, if any, are recorded.

        A version whose path has a problem is claimed again only after the next `expire_claims`, so a run does not meet it
        twice. A version of which a newer one is pending is dropped instead: what it describes no longer exists.
        """
        ...

    def forget(self, file_ids: Iterable[int], problems: Sequence[Problem] = ()) -> None:
        """Drop claimed versions whose path vanished before it could be read. Their problems, if any, are recorded."""
        ...

    def expire_claims(self, now: int) -> list[str]:
        """Drop commits still COLLECTED whose claim expired, making their files pending again; return their ids.

        Called when a run begins: what earlier runs put back with a problem may be claimed again from now on.
        """
        ...

    def drop_commit(self, commit_id: str) -> None:
        """Forget an unfinished commit; what it claimed is pending again.

        Raises:
            ConflictError: The commit is STORED.
        """
        ...

    def advance(self, commit_id: str, state: CommitState, **columns: object) -> CommitRow:
        """Enter a state (STORED is entered by `finish`), setting other columns of `CommitRow` by name with it.

        Raises:
            ConflictError: The commit is not in the state before.
        """
        ...

    def update_commit(self, commit_id: str, **columns: object) -> CommitRow:
        """Set columns of `CommitRow` other than the state."""
        ...

    def chain_head(self) -> CommitRow | None:
        """Return the commit with the highest sequence, or None before the first one is signed."""
        ...

    def finish(
        self, commit_id: str, archived_files: Iterable[ArchivedFile], **columns: object
    ) -> CommitRow:
        """Mark the claimed versions as archived and the commit as STORED, in one transaction.

        `archived_files` are in leaf order; rows without `file_id` (rebuild) are inserted. Problems of these paths are cleared.
        Claimed versions that `archived` does not name are pending again.

        Raises:
            ConflictError: The commit is not TIMESTAMPED, or a version named is not claimed by it.
        """
        ...

    def insert_commit(self, row: CommitRow, archived_files: Iterable[ArchivedFile]) -> None:
        """Add a whole commit that was found elsewhere (rebuild) as STORED, replacing what was known of it."""
        ...

    def commit(self, commit_id: str) -> CommitRow:
        """Return one commit by its id, or by an unambiguous beginning of it.

        Raises:
            NotFoundError: No commit, or more than one, has that id.
        """
        ...

    def commits(self, *states: CommitState) -> Iterator[CommitRow]:
        """Iterate over commits, oldest first; all of them, or those in the given states."""
        ...

    def files_of(self, commit_id: str) -> Iterator[ArchivedFile]:
        """Iterate over a STORED commit's leaves in order, in bounded memory."""
        ...

    def newest(
        self, *, prefix: bytes = b"", at: int | None = None, commit_id: str | None = None
    ) -> Iterator[ArchivedFile]:
        """Iterate over the newest archived version of each path, ordered by path, in bounded memory.

        The newest version is the one in the commit with the highest sequence.

        Args:
            prefix: Only this path and what lies below it; all when empty.
            at: Only versions of commits created at or before this time, seconds since 1970.
            commit_id: Only versions of this commit.
        """
        ...

    def find_content(self, digests: Sequence[bytes]) -> dict[bytes, ContentPlace]:
        """Find where contents with these BLAKE3 digests are stored already (never the place of an empty file)."""
        ...

    def known_sizes(self, sizes: Sequence[int]) -> set[int]:
        """Tell which of these plaintext sizes some stored content has."""
        ...

    def record_problems(self, problems: Sequence[Problem]) -> None:
        """Remember paths that could not be scanned or read; a later problem of a path replaces the earlier."""
        ...

    def clear_problems(self, before: int) -> int:
        """Drop problems noticed before this time, and return how many: a whole run since then did not meet them again."""
        ...

    def problems(self) -> Iterator[Problem]:
        """Iterate over the paths that could not be archived, newest first."""
        ...

    def totals(self) -> Totals:
        """Count for `status`, in a few milliseconds whatever the archive's size."""
        ...

    def recount(self) -> Totals:
        """Count everything anew, row by row: slow, and always equal to `totals`."""
        ...

    def roots(self) -> list[bytes]:
        """Return the folders and files that were added, which `archive` scans again, in order."""
        ...

    def add_root(self, path: bytes) -> None:
        """Remember a folder or file to be scanned by `archive`; adding it twice is no error."""
        ...

    def close(self) -> None:
        """Release the database."""
        ...


class ChunkBytesFor(Protocol):
    """Chooses a commit's chunk size."""

    def __call__(self, source_bytes: int, files: int) -> int:
        """Return the size of a chunk in bytes."""
        ...
