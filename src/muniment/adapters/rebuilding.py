"""Recreating everything from commits: the promise that the archive is the truth and the database its index."""

import calendar
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.commit_store import EmbeddedCommitStore
from muniment.adapters.durable import sync_folder
from muniment.adapters.file_digests import digest_file
from muniment.adapters.worker_pool import WorkerPool
from muniment.archive import ots, verify
from muniment.archive.catalog import Catalog, CommitRow, CommitState, TimestampState
from muniment.archive.commit_dag import commit_dag
from muniment.archive.commit_source import check_file, read_manifest, read_whole
from muniment.archive.journal import FileDigests
from muniment.archive.keyring import Keyring
from muniment.archive.manifest import BESIDE_NAMES, MANIFEST_NAME, TIMESTAMP_NAME, Manifest
from muniment.archive.signing import VerifyKey
from muniment.archive.verify import OpenedCommit
from muniment.errors import FormatError, KeyUnavailableError, MissingDataError, MunimentError


@dataclass
class RebuildReport:
    """What a rebuild found.

    Attributes:
        commits: Commits that are in the catalogue and the store now.
        files: Files in them that could be read.
        imported: Commits that were copied from elsewhere.
        problems: Commits that could not be used, and why.
    """

    commits: int = 0
    files: int = 0
    imported: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def import_commits(
    source: Path,
    store: EmbeddedCommitStore,
    trusted_signers: Sequence[VerifyKey],
    report: RebuildReport,
    *,
    organization_id: str,
) -> None:
    """Copy commits from a folder of commit directories into the store, verified; those that are there already stay."""
    present = set(store.ids())
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        if not entry.is_dir(follow_symlinks=False) or entry.name in present:
            continue
        try:
            with CommitFolder(Path(entry.path)) as folder:
                _import_commit(folder, store, trusted_signers, organization_id)
        except (MunimentError, OSError) as error:
            report.problems.append((entry.name, str(error)))
        else:
            report.imported.append(entry.name)


def _import_commit(
    folder: CommitFolder,
    store: EmbeddedCommitStore,
    trusted_signers: Sequence[VerifyKey],
    organization_id: str,
) -> None:
    manifest = verify.open_commit(
        folder, expected_signer=trusted_signers, organization_id=organization_id
    ).manifest
    store.commits.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = store.commits / f".import-{manifest.commit_id}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    names = [file.name for file in manifest.sealed] + [MANIFEST_NAME]
    present = set(folder.names())
    for name in names + [name for name in BESIDE_NAMES if name in present]:
        if name not in present:
            continue  # parity may rebuild it
        with open(folder.path / name, "rb") as original, open(partial / name, "wb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
    sync_folder(partial)
    os.replace(partial, store.path(manifest.commit_id))
    sync_folder(store.commits)


def rebuild(
    store: EmbeddedCommitStore,
    catalog: Catalog,
    trusted_signers: Sequence[VerifyKey],
    open_keyring: Callable[[str], Keyring],
    report: RebuildReport,
    *,
    organization_id: str,
    worker_count: int,
    advance: Callable[[str], object] = lambda _commit_id: None,
) -> None:
    """Enter every commit of the store into the catalogue and the block store, from its own files alone.

    Args:
        store: The store.
        catalog: The catalogue, empty or not.
        trusted_signers: The organisation's keys: the one in use, and those before.
        open_keyring: Opens a commit's keys.
        report: Filled with what was found.
        organization_id: Whose catalogue it is: commits of others are not entered, and are problems.
        worker_count: How many processes read.
        advance: Told of each commit when it is done.
    """
    for commit_id in _in_order(store):
        try:
            with store.open(commit_id) as folder:
                opened = verify.open_commit(
                    folder, expected_signer=trusted_signers, organization_id=organization_id
                )
                dag_root = _serve(store, folder, opened.manifest, worker_count)
                counted = _enter(catalog, folder, opened, dag_root, open_keyring)
        except (MunimentError, OSError) as error:
            report.problems.append((commit_id, str(error)))
        else:
            report.commits += 1
            report.files += counted.files
        advance(commit_id)


def _in_order(store: EmbeddedCommitStore) -> list[str]:
    """Return the ids of the store's commits in the order of their chain, those that cannot be read first."""

    def sequence(commit_id: str) -> int:
        try:
            with store.open(commit_id) as folder:
                return read_manifest(folder).chain.sequence
        except MunimentError:
            return 0

    return sorted(store.ids(), key=sequence)


def _enter(
    catalog: Catalog,
    folder: CommitFolder,
    opened: OpenedCommit,
    dag_root: str,
    open_keyring: Callable[[str], Keyring],
) -> "_Counted":
    """Enter a commit and its files; without its keys the commit alone, unless it is known: the chain goes on behind it.

    Raises:
        KeyUnavailableError: No identity opens its keys; the commit is entered all the same.
    """
    try:
        keyring = open_keyring(folder.commit_id)
    except KeyUnavailableError:
        if folder.commit_id not in {commit.commit_id for commit in catalog.commits()}:
            catalog.insert_commit(_row(folder, opened, dag_root, 0), ())
        raise
    counted = _Counted(opened, keyring)
    # The sums come first: the row is entered with them.
    for _file in counted:
        pass
    row = _row(folder, opened, dag_root, counted.size_bytes)
    catalog.insert_commit(row, verify.archived_files(opened, keyring))
    return counted


class _Counted:
    """Counts what a commit holds while its files go by."""

    def __init__(self, opened: OpenedCommit, keyring: Keyring) -> None:
        self._opened, self._keyring = opened, keyring
        self.files = self.size_bytes = 0

    def __iter__(self) -> Iterator[None]:
        for file in verify.archived_files(self._opened, self._keyring):
            self.files += 1
            self.size_bytes += file.scanned.size
            yield


def _serve(
    store: EmbeddedCommitStore, folder: CommitFolder, manifest: Manifest, worker_count: int
) -> str:
    """Hash the sealed files, check them, and serve them as blocks; returns the root CID."""
    names = [file.name for file in manifest.sealed] + [MANIFEST_NAME]
    with WorkerPool(worker_count, _Digester, folder.path) as pool:
        digests = {digest.name: digest for digest in pool.map_unordered(names)}
    for file in manifest.sealed:
        found = digests[file.name]
        if (found.size, f"sha256:{found.sha256.hex()}") != (file.size, file.sha256):
            check_file(folder, file)  # says what is wrong
            raise MissingDataError(f"{file.name} changed while it was read")
    dag = commit_dag(digests.values())
    store.adopt(manifest.commit_id, store.path(manifest.commit_id), dag)
    return str(dag.root)


class _Digester:
    """What a worker does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, name: str) -> FileDigests:
        try:
            return digest_file(self._path / name)
        except OSError as error:
            raise MissingDataError(f"{name} cannot be read: {error.strerror}") from error


def _row(folder: CommitFolder, opened: OpenedCommit, root: str, source_bytes: int) -> CommitRow:
    manifest = opened.manifest
    data = read_whole(folder, MANIFEST_NAME)
    state, height = _timestamp(folder)
    return CommitRow(
        commit_id=manifest.commit_id,
        state=CommitState.STORED,
        created_at=calendar.timegm(time.strptime(manifest.created_at, "%Y-%m-%dT%H:%M:%SZ")),
        chunk_bytes=manifest.packaging.chunk_bytes,
        sequence=manifest.chain.sequence,
        merkle_root=manifest.root,
        manifest_sha256=hashlib.sha256(data).digest(),
        leaf_count=manifest.merkle.leaf_count,
        source_bytes=source_bytes,
        sealed_bytes=sum(file.size for file in manifest.sealed) + len(data),
        commit_cid=root,
        timestamp=state,
        bitcoin_height=height,
    )


def _timestamp(folder: CommitFolder) -> tuple[TimestampState, int | None]:
    """Tell from the proof beside the manifest how far the timestamp is; whether it holds is for `ots verify`."""
    try:
        detached = ots.DetachedTimestamp.parse(read_whole(folder, TIMESTAMP_NAME, 1 << 20))
    except MissingDataError:
        return TimestampState.QUEUED, None
    except FormatError:
        return TimestampState.QUEUED, None
    heights = [
        path.attestation.height
        for _commitment, path in detached.commitments()
        if isinstance(path.attestation, ots.Block) and path.attestation.chain is ots.Chain.BITCOIN
    ]
    return (TimestampState.COMPLETE, min(heights)) if heights else (TimestampState.PENDING, None)
