"""The archive of an organisation: its status, its commits, and the operations on them."""

from typing import Any

import msgspec

from muniment.client.calls import call, segment, stream
from muniment.client.contents import ContentCalls
from muniment.client.downloading import Checker
from muniment.client.flows import Emitting, Flow
from muniment.client.operations import Operation


class Commit(msgspec.Struct, frozen=True):
    """A commit. Times are seconds since 1970.

    Attributes:
        state: How far it has come; `stored` when it is finished.
        sequence: Its place in the organisation's chain; None until it is signed.
        files: Files, folders and links in it.
        source_bytes: Bytes of the files.
        sealed_bytes: Bytes of the commit.
        merkle_root: Root of the tree over its files, `blake3:<hex>`.
        manifest_sha256: What is signed and timestamped, `sha256:<hex>`.
        commit_cid: CID of its sealed part.
        timestamp: `queued`, `pending` or `complete`.
        bitcoin_height: The block that proves it.
        backed_up_at: When its backup was last verified; None for never.
        verified_at: When the service last read every byte of it; None for never.
        problem: What was wrong with it then; None for nothing.
    """

    commit_id: str
    state: str
    sequence: int | None
    created_at: int
    files: int
    source_bytes: int
    sealed_bytes: int
    merkle_root: str | None
    manifest_sha256: str | None
    commit_cid: str | None
    timestamp: str
    bitcoin_height: int | None
    bitcoin_time: int | None
    backed_up_at: int | None
    verified_at: int | None
    problem: str | None


class Timestamp(msgspec.Struct, frozen=True):
    """What is known of a commit's time.

    Attributes:
        state: `verified`, `pending`, `queued` or `inconclusive`.
        detail: In words.
        bitcoin_height: The block that proves it, where the service can tell.
        bitcoin_time: That block's time, seconds since 1970.
        tokens: What is known of its RFC 3161 tokens; None where there are none.
    """

    state: str
    detail: str
    bitcoin_height: int | None
    bitcoin_time: int | None
    tokens: dict[str, Any] | None


class ProblemPath(msgspec.Struct, frozen=True):
    """A path that could not be archived; it is tried again on the next run."""

    path: str
    path_bytes: str
    message: str
    noticed_at: int


class Status(msgspec.Struct, frozen=True):
    """The state of an archive.

    Attributes:
        pending_files: Versions that were catalogued and are not archived yet.
        archived_files: Archived versions.
        sealed_bytes: What the stored commits take, parity included.
        timestamps_queued: Commits that no calendar was reached for yet.
        timestamps_pending: Commits whose timestamp waits for its block.
        not_backed_up: Commits without a verified backup; counts where there is a backup.
        unfinished: Commits that were begun.
        problem_count: Paths that could not be archived.
        problems: The newest of them.
    """

    pending_files: int
    pending_bytes: int
    archived_files: int
    archived_bytes: int
    sealed_bytes: int
    commits: int
    timestamps_queued: int
    timestamps_pending: int
    has_backup: bool
    not_backed_up: int
    last_commit: Commit | None
    unfinished: list[Commit]
    problem_count: int
    problems: list[ProblemPath]


class ArchiveCalls(ContentCalls):
    """Calls about the archive and its commits. Those that return an `Operation` have only begun it: `wait()` for its end."""

    @call
    def show_status(self) -> Flow[Status]:
        """Show what waits, what is archived, and what went wrong."""
        return self.get("/v1/status", Status)

    @call
    def catalog(self) -> Flow[Operation]:
        """Have the service look at what was uploaded, and enter it in the catalogue; nothing is archived yet."""
        return self.write("POST", "/v1/catalog", Operation)

    @call
    def archive(self, *, batch_size_gb: float | None = None) -> Flow[Operation]:
        """Have the service archive everything that is new, in commits of at most so many GB (10^9 bytes)."""
        query = None if batch_size_gb is None else {"batch_size_gb": str(batch_size_gb)}
        return self.write("POST", "/v1/archive", Operation, query=query)

    @call
    def upgrade_timestamps(self) -> Flow[Operation]:
        """Have the service ask the calendars for what they have by now."""
        return self.write("POST", "/v1/archive/ots-upgrade", Operation)

    @call
    def resume_commit(self, commit_id: str) -> Flow[Operation]:
        """Have a commit finished that was begun, and those before it."""
        return self.write("POST", f"/v1/archive/resume/{segment(commit_id)}", Operation)

    @stream
    def list_commits(self) -> Emitting[Commit]:
        """Iterate over the commits, newest first; those that are not finished as well."""
        return self.pages("/v1/commits", Commit)

    @call
    def show_commit(self, commit_id: str) -> Flow[Commit]:
        """Show a commit."""
        return self.get(f"/v1/commits/{segment(commit_id)}", Commit)

    @call
    def show_document(self, commit_id: str, name: str = "manifest.json") -> Flow[bytes]:
        """Return the signed manifest, its OpenTimestamps proof (`manifest.json.ots`) or its RFC 3161 tokens (`manifest.json.tsr`)."""
        path = f"/v1/commits/{segment(commit_id)}/documents/{segment(name)}"
        return (yield from self.send("GET", path)).body

    @stream
    def read_document(
        self, commit_id: str, name: str, *, digest: str, size_bytes: int
    ) -> Emitting[bytes]:
        """Iterate over one of a commit's sealed files, as the manifest names them; it is checked, and resumed where the connection breaks.

        Args:
            commit_id: The commit.
            name: The file: `records.sealed`, a chunk, parity.
            digest: Its BLAKE3, `blake3:<hex>`, from the manifest.
            size_bytes: Its size, from the manifest.

        Raises:
            ApiNotFoundError: The service does not have it.
            IntegrityError: It is not what was sealed.
        """
        address = f"/v1/commits/{segment(commit_id)}/documents/{segment(name)}"
        return self.checked_content(Checker(digest, size_bytes), address)

    @call
    def show_timestamp(self, commit_id: str) -> Flow[Timestamp]:
        """Have a commit's timestamp checked, and say what it proves."""
        return self.get(f"/v1/commits/{segment(commit_id)}/timestamp", Timestamp)

    @call
    def verify_commit(self, commit_id: str, *, deep: bool = True) -> Flow[Operation]:
        """Have every byte of a commit compared with what was signed; with `deep`, every file opened as well."""
        path = f"/v1/commits/{segment(commit_id)}/verify"
        return self.write("POST", path, Operation, query={"deep": deep})
