"""The eight stages that turn pending files into a commit, each resumable (the states are `CommitState`).

collect: the catalogue claims a batch. hash, encrypt: `sealing` reads each file once and packs it into the tar. build tree:
`records.sealed` and the Merkle root. package: parity. sign: the keyring and the signed manifest. timestamp: the calendars'
promise, or a place in the queue. upload: the commit moves into the store as one UnixFS DAG, and is copied to the backup.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from msgspec import UNSET

from muniment import __version__
from muniment.archive import manifest as manifests
from muniment.archive import parity, sealing, tarball
from muniment.archive import record as records
from muniment.archive.catalog import (
    ArchivedFile,
    Catalog,
    CommitRow,
    CommitState,
    Problem,
    TimestampState,
)
from muniment.archive.commit_dag import commit_dag
from muniment.archive.disclosure import DisclosedFile, disclose
from muniment.archive.journal import Batch, Entry, FileDigests, Frame
from muniment.archive.keyring import Keyring
from muniment.archive.manifest import (
    Chain,
    Keys,
    Manifest,
    Merkle,
    Organization,
    Packaging,
    Previous,
    Software,
)
from muniment.archive.merkle import MerkleTree, leaf_hash
from muniment.archive.ports import CommitStaging, CommitStore, Progress, Timestamper
from muniment.archive.records_file import NAME as RECORDS_NAME
from muniment.archive.records_file import write_records
from muniment.archive.sealing import SealingRun
from muniment.archive.sealing_messages import Copy, Failure
from muniment.archive.signing import SigningKey
from muniment.errors import ConflictError, KeyUnavailableError, MunimentError

MIB = 1 << 20
_CHUNKS_WANTED = 20  # of a commit smaller than that many chunks of full size: then one lost chunk costs 5 % of parity
_CHUNKS_MAX = parity.SOURCE_BLOCKS_MAX // 2  # padding may add an eighth to what is expected
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True)
class Policy:
    """What the owner wants of every commit; see the settings of the same names."""

    organization: Organization
    batch_bytes: int
    batch_files: int
    chunk_bytes: int
    parity_percent: int
    compression: str
    claim_timeout_s: int
    disclose_files: bool = False


@dataclass
class ArchiveResult:
    """What one run did.

    Attributes:
        commits: Finished in this run, in order.
        problems: Files that could not be archived.
        vanished: Number of files that were gone before they could be read.
    """

    commits: list[CommitRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    vanished: int = 0


def new_commit_id(now: float, random: Callable[[int], bytes]) -> str:
    """Return a fresh commit id for this time (seconds since 1970)."""
    bits = int.from_bytes(random(5), "big")
    suffix = "".join(_ID_ALPHABET[bits >> shift & 31] for shift in range(35, -5, -5))
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)) + "-" + suffix


class Pipeline:
    """Archives what the catalogue has pending; see the module's description."""

    def __init__(
        self,
        *,
        policy: Policy,
        catalog: Catalog,
        store: CommitStore,
        staging: Callable[[CommitRow], CommitStaging],
        keep_staging: Callable[[Collection[str]], object],
        parity_program: parity.ParityProgram,
        timestamper: Timestamper,
        signing_key: Callable[[], SigningKey],
        seal_keyring: Callable[[Keyring], bytes],
        open_keyring: Callable[[str], Keyring | None],
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        progress: Progress,
    ) -> None:
        self._policy, self._catalog, self._store = policy, catalog, store
        self._staging, self._keep_staging = staging, keep_staging
        self._parity, self._timestamper = parity_program, timestamper
        self._signing_key, self._seal_keyring = signing_key, seal_keyring
        self._known = _KnownContent(catalog, open_keyring)
        self._clock, self._random, self._progress = clock, random, progress

    def run(self) -> ArchiveResult:
        """Finish what earlier runs began, then archive all that is pending, commit by commit."""
        result = self.resume()
        # What could not be read is not claimed again before the next run, so this ends.
        while (claimed := self._claim()) is not None:
            self._finish(claimed, result)
        return result

    def resume(self) -> ArchiveResult:
        """Finish what earlier runs began, and nothing else."""
        self._refuse_unknown_commits()
        self._signing_key()  # a locked key is better asked for now than after an hour of sealing
        result = ArchiveResult()
        states = [state for state in CommitState if state is not CommitState.STORED]
        unfinished = list(self._catalog.commits(*states))
        # A run that was killed at its very end left a journal with the file keys of a commit that is finished.
        self._keep_staging({commit.commit_id for commit in unfinished})
        for commit in unfinished:
            self._finish(commit, result)
        return result

    def _refuse_unknown_commits(self) -> None:
        """A catalogue that lost commits would sign a second commit number 1: a fork that no later run could mend."""
        known = {commit.commit_id for commit in self._catalog.commits()}
        unknown = [commit_id for commit_id in self._store.ids() if commit_id not in known]
        if unknown:
            raise ConflictError(
                f"the store holds {len(unknown)} commits that the catalogue does not know, the first is {unknown[0]}: "
                "was the database lost? Nothing was changed; run `muniment rebuild` first, and `muniment repair` if it asks for it"
            )

    def _claim(self) -> CommitRow | None:
        now = self._clock()
        return self._catalog.claim(
            new_commit_id(now, self._random),
            created_at=int(now),
            chunk_bytes_for=self._chunk_bytes_for,
            max_bytes=self._policy.batch_bytes,
            max_files=self._policy.batch_files,
            expires_at=int(now) + self._policy.claim_timeout_s,
        )

    def _chunk_bytes_for(self, source_bytes: int, files: int) -> int:
        """Cut a small commit into smaller chunks, so that parity for any one of them is not parity for all.

        A file so large that it would need more chunks than parity can cover gets larger ones.
        """
        expected = source_bytes + files * 2 * tarball.BLOCK_BYTES
        wanted = -(-expected // (_CHUNKS_WANTED * MIB)) * MIB
        least = -(-expected // (_CHUNKS_MAX * MIB)) * MIB
        chosen = min(self._policy.chunk_bytes, max(wanted, MIB))
        return chosen if chosen * _CHUNKS_MAX >= expected else least

    def _finish(self, commit: CommitRow, result: ArchiveResult) -> None:
        """Run the stages that are left for one commit."""
        stages: dict[CommitState, Callable[[CommitRow, CommitStaging, _Sealed], CommitRow]] = {
            CommitState.SEALED: self._build_tree,
            CommitState.TREE_BUILT: self._package,
            CommitState.PACKAGED: self._sign,
            CommitState.SIGNED: self._timestamp,
            CommitState.TIMESTAMPED: self._upload,
        }
        staging = self._staging(commit)
        try:
            staging.create()
            frames = staging.open_journal()
            if commit.state is CommitState.COLLECTED and not self._seal(
                commit, staging, frames, result
            ):
                self._catalog.drop_commit(commit.commit_id)
                staging.remove()
                return
            sealed = _Sealed(staging.frames())
            if not sealed.tar_bytes:
                self._begin_again(commit)
                staging.remove()
                return
            if commit.state is CommitState.COLLECTED:
                commit = self._catalog.advance(
                    commit.commit_id,
                    CommitState.SEALED,
                    leaf_count=len(sealed.entries),
                    source_bytes=sum(entry.scanned.size for entry in sealed.entries),
                )
            while commit.state is not CommitState.STORED:
                commit = stages[commit.state](commit, staging, sealed)
        finally:
            staging.close()
        staging.remove()
        result.commits.append(commit)

    def _begin_again(self, commit: CommitRow) -> None:
        """Give up a sealed commit whose staging folder somebody removed: its files are pending again.

        Raises:
            ConflictError: It lies in the store already, so that archiving its files again would give two commits one place.
        """
        if self._store.has(commit.commit_id):
            raise ConflictError(
                f"commit {commit.commit_id} is in the store, but its staging folder is gone; nothing is lost: "
                "`muniment rebuild` enters it into the catalogue"
            )
        self._catalog.drop_commit(commit.commit_id)

    def _seal(
        self,
        commit: CommitRow,
        staging: CommitStaging,
        frames: Iterable[Frame],
        result: ArchiveResult,
    ) -> bool:
        """Seal what is not sealed yet; returns whether anything is."""
        resumed = sealing.replay(frames, commit.commit_id)
        if resumed.ended is not None:
            return True
        claimed_bytes = sum(file.scanned.size for file in self._catalog.claimed(commit.commit_id))
        self._progress.stage(commit.commit_id, "seal", claimed_bytes)
        staging.drop_from(resumed.offset)
        run = SealingRun(
            commit_id=commit.commit_id,
            chunk_bytes=commit.chunk_bytes,
            compression=self._policy.compression,
            workers=staging.workers(),
            staging=staging,
            known=self._known,
            random=self._random,
            resumed=resumed,
            on_progress=lambda files, size_bytes: self._progress.advance(size_bytes, files),
        )
        end = run.run(self._catalog.claimed(commit.commit_id))
        self._report(run.failures, result)
        return end.leaf_count > 0

    def _report(self, failures: list[Failure], result: ArchiveResult) -> None:
        now = int(self._clock())
        vanished = [failure.file_id for failure in failures if failure.vanished]
        failed = [failure for failure in failures if not failure.vanished]
        problems = [Problem(failure.path, failure.message, now) for failure in failed]
        if vanished:
            self._catalog.forget(vanished)
        if failed:
            self._catalog.unclaim([failure.file_id for failure in failed], problems)
        result.problems += problems
        result.vanished += len(vanished)

    def _build_tree(
        self, commit: CommitRow, staging: CommitStaging, sealed: "_Sealed"
    ) -> CommitRow:
        self._progress.stage(commit.commit_id, "build tree", 0)
        leaves = [
            leaf_hash(entry.fields_digest, entry.ciphertext_digest) for entry in sealed.entries
        ]
        sealed.add(staging, [staging.write(RECORDS_NAME, write_records(sealed.entries))])
        return self._catalog.advance(
            commit.commit_id, CommitState.TREE_BUILT, merkle_root=MerkleTree(leaves).root
        )

    def _package(self, commit: CommitRow, staging: CommitStaging, sealed: "_Sealed") -> CommitRow:
        self._progress.stage(commit.commit_id, "package", 0)
        covered = sealed.covered  # a run that was killed here may have journaled parity already
        sizes = [file.size for file in covered]
        par2 = parity.plan(sizes, self._policy.parity_percent)
        if par2 is not None:
            names = sorted(file.name for file in covered)
            names = self._parity.create(staging.files, commit.commit_id, names, par2)
            sealed.add(staging, staging.digest(names))
        return self._catalog.advance(commit.commit_id, CommitState.PACKAGED)

    def _sign(self, commit: CommitRow, staging: CommitStaging, sealed: "_Sealed") -> CommitRow:
        self._progress.stage(commit.commit_id, "sign", 0)
        keyring = Keyring(commit.commit_id, b"".join([entry.file_key for entry in sealed.entries]))
        staging.write(manifests.KEYRING_NAME, [self._seal_keyring(keyring)])
        head = self._catalog.chain_head()
        signed = manifests.sign(self._manifest(commit, sealed, head), self._signing_key())
        digests = staging.write(manifests.MANIFEST_NAME, [signed])
        sealed.add(staging, [digests])
        return self._catalog.advance(
            commit.commit_id,
            CommitState.SIGNED,
            sequence=1 if head is None or head.sequence is None else head.sequence + 1,
            manifest_sha256=digests.sha256,
            sealed_bytes=sum(file.size for file in sealed.files.values()),
        )

    def _manifest(self, commit: CommitRow, sealed: "_Sealed", head: CommitRow | None) -> Manifest:
        # A run that was killed after writing the manifest has it in its journal.
        files = {
            name: file for name, file in sealed.files.items() if name != manifests.MANIFEST_NAME
        }
        covered = [file.size for file in sealed.covered if file.name in files]
        tar_bytes = sealed.tar_bytes
        assert commit.merkle_root is not None
        return Manifest(
            format="muniment-commit/1",
            commit_id=commit.commit_id,
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(commit.created_at)),
            organization=self._policy.organization,
            chain=_chain(head),
            merkle=Merkle(
                "blake3-rfc9162", commit.leaf_count, f"blake3:{commit.merkle_root.hex()}"
            ),
            packaging=Packaging(
                format="tar+split+par2",
                tar_bytes=tar_bytes,
                chunk_bytes=commit.chunk_bytes,
                chunk_count=-(-tar_bytes // commit.chunk_bytes),
                chunk_prefix=f"{commit.commit_id}_",
                par2=parity.plan(covered, self._policy.parity_percent)
                if len(covered) < len(files)
                else None,
            ),
            sealed=[
                manifests.SealedFile(
                    name, file.size, f"sha256:{file.sha256.hex()}", f"blake3:{file.blake3.hex()}"
                )
                for name, file in sorted(files.items())
            ],
            keys=Keys(manifests.signer(self._signing_key().verify_key)),
            software=Software("muniment", __version__),
            files=_disclosed(sealed.entries) if self._policy.disclose_files else UNSET,
        )

    def _timestamp(
        self, commit: CommitRow, staging: CommitStaging, _sealed: "_Sealed"
    ) -> CommitRow:
        self._progress.stage(commit.commit_id, "timestamp", 0)
        beside = self._timestamper.stamp((staging.files / manifests.MANIFEST_NAME).read_bytes())
        for name, data in beside.items():
            staging.write(name, [data])
        stamped = manifests.TIMESTAMP_NAME in beside
        state = TimestampState.PENDING if stamped else TimestampState.QUEUED
        return self._catalog.advance(commit.commit_id, CommitState.TIMESTAMPED, timestamp=state)

    def _upload(self, commit: CommitRow, staging: CommitStaging, sealed: "_Sealed") -> CommitRow:
        self._progress.stage(commit.commit_id, "upload", 0)
        dag = commit_dag(sealed.files.values())
        self._store.adopt(commit.commit_id, staging.files, dag)
        archived = (
            ArchivedFile(
                entry.file_id,
                commit.commit_id,
                leaf,
                entry.scanned,
                entry.digest,
                entry.media_type,
                entry.place,
            )
            for leaf, entry in enumerate(sealed.entries)
        )
        return self._catalog.finish(commit.commit_id, archived, commit_cid=str(dag.root))


def _disclosed(entries: Sequence[Entry]) -> list[DisclosedFile]:
    opened = (
        records.open_record(entry.file_key, entry.sealed_record, what=f"record {leaf}")[1]
        for leaf, entry in enumerate(entries)
    )
    return [
        disclose(leaf, entry.file_key, fields)
        for leaf, (entry, fields) in enumerate(zip(entries, opened, strict=True))
    ]


class _Sealed:
    """What the journal of a sealed commit says; a batch is bounded, so it is held in memory.

    Attributes:
        entries: The leaves, in order.
        files: The sealed files that are complete, by name.
        tar_bytes: Size of the tar.
    """

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.entries: list[Entry] = []
        self.files: dict[str, FileDigests] = {}
        self.tar_bytes = 0
        for frame in frames:
            if isinstance(frame, Batch):
                self.entries += frame.entries
            elif isinstance(frame, FileDigests):
                self.files[frame.name] = frame  # one that was written again has its last digests
            else:
                self.tar_bytes = frame.tar_bytes

    @property
    def covered(self) -> list[FileDigests]:
        """The files that parity is to cover, or covers."""
        return [file for name, file in self.files.items() if not name.endswith(".par2")]

    def add(self, staging: CommitStaging, files: Sequence[FileDigests]) -> None:
        """Journal files that are complete now."""
        staging.append(files)
        self.files.update({file.name: file for file in files})


def _chain(head: CommitRow | None) -> Chain:
    if head is None or head.sequence is None:
        return Chain(1, None)
    assert head.manifest_sha256 is not None
    assert head.merkle_root is not None
    previous = Previous(
        head.commit_id, f"sha256:{head.manifest_sha256.hex()}", f"blake3:{head.merkle_root.hex()}"
    )
    return Chain(head.sequence + 1, previous)


class _KnownContent:
    """Contents of finished commits that can be copied: those whose keyrings this machine can open."""

    def __init__(self, catalog: Catalog, open_keyring: Callable[[str], Keyring | None]) -> None:
        self._catalog, self._open_keyring = catalog, open_keyring
        self._keyrings: dict[str, Keyring | None] = {}

    @cached_property
    def _is_first(self) -> bool:
        """Whether nothing is archived yet, so that asking for every file would find nothing."""
        return self._catalog.totals().archived_files == 0

    def sizes(self, sizes: list[int]) -> set[int]:
        return self._catalog.known_sizes(sizes)

    def find(self, digests: list[bytes]) -> dict[bytes, Copy]:
        copies: dict[bytes, Copy] = {}
        if not digests or self._is_first:
            return copies
        for digest, place in self._catalog.find_content(digests).items():
            keyring = self._keyring(place.commit_id)
            if keyring is not None:
                try:
                    copies[digest] = Copy(place, records.content_key(keyring.key(place.leaf)))
                except KeyUnavailableError:  # erased: it has to be stored again
                    continue
        return copies

    def _keyring(self, commit_id: str) -> Keyring | None:
        if commit_id not in self._keyrings:
            if len(self._keyrings) >= 8:
                self._keyrings.pop(next(iter(self._keyrings)))
            try:
                self._keyrings[commit_id] = self._open_keyring(commit_id)
            except (
                MunimentError
            ):  # a write-only archiver cannot open any: it stores the content again
                self._keyrings[commit_id] = None
        return self._keyrings[commit_id]
