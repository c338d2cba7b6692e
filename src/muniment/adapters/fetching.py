"""Bringing commits back from the object backup into the store: what `muniment rebuild --from-backup` begins with."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.commit_store import EmbeddedCommitStore
from muniment.adapters.durable import sync_folder
from muniment.adapters.rebuilding import RebuildReport
from muniment.archive import verify
from muniment.archive.backup import (
    DamagedBackupError,
    ObjectStorage,
    list_commits,
    restore_commit,
)
from muniment.archive.signing import VerifyKey
from muniment.errors import IntegrityError, NotFoundError

_WORKSHOP = ".fetch"  # a leading dot: no commit


def fetch_commits(
    storage: ObjectStorage,
    store: EmbeddedCommitStore,
    trusted_signers: Sequence[VerifyKey],
    report: RebuildReport,
    begin: Callable[[str], object] = lambda _commit_id: None,
    *,
    organization_id: str,
) -> list[str]:
    """Fetch the commits that the store lacks, verified; those that are there already stay as they are.

    A commit of which something is lost comes all the same, as long as its manifest and records hold, because its parity may
    mend it: it is imported, and a problem.

    Args:
        storage: The backup.
        store: The store.
        trusted_signers: The organisation's keys: commits of others are left where they are.
        report: Filled with what was imported and what could not be.
        begin: Told of each commit before it is fetched.
        organization_id: The organisation's id.

    Returns:
        The ids of those that came whole: every byte of their backup was read and compared.

    Raises:
        ExternalServiceError: The storage failed; what was fetched is safe, run again.
    """
    whole = []
    present = set(store.ids())
    for commit in list_commits(storage):
        if commit.commit_id in present:
            continue
        begin(commit.commit_id)
        try:
            _fetch_commit(
                commit.commit_id, storage, store, trusted_signers, organization_id, report
            )
        except (IntegrityError, NotFoundError) as error:
            report.problems.append((commit.commit_id, str(error)))
        else:
            whole.append(commit.commit_id)
    return whole


def _fetch_commit(
    commit_id: str,
    storage: ObjectStorage,
    store: EmbeddedCommitStore,
    trusted_signers: Sequence[VerifyKey],
    organization_id: str,
    report: RebuildReport,
) -> None:
    workshop = store.commits / _WORKSHOP
    shutil.rmtree(workshop, ignore_errors=True)  # of a run that was killed
    folder = workshop / commit_id
    folder.mkdir(mode=0o700, parents=True)
    damage: DamagedBackupError | None = None
    try:
        try:
            restore_commit(commit_id, storage, lambda name: _new_file(folder / name))
        except DamagedBackupError as error:
            damage = error
        try:
            with CommitFolder(folder) as fetched:
                verify.open_commit(
                    fetched, expected_signer=trusted_signers, organization_id=organization_id
                )
        except IntegrityError as error:
            raise damage or error from error
        sync_folder(folder)
        os.replace(folder, store.path(commit_id))
        sync_folder(store.commits)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    report.imported.append(commit_id)
    if damage is not None:
        raise damage


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write: durable when the block ends well, gone when it does not."""
    try:
        with open(path, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
