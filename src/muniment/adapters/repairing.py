"""Repairing a stored commit: from its own parity, and what that cannot mend from the backup."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.durable import sync_file, sync_folder
from muniment.archive.backup import ObjectStorage, object_key
from muniment.archive.commit_source import check_file, read_manifest
from muniment.archive.manifest import Manifest, SealedFile, verify_signature
from muniment.archive.parity import ParityProgram
from muniment.archive.signing import VerifyKey
from muniment.errors import IntegrityError, MunimentError


@dataclass(frozen=True)
class RepairReport:
    """What was damaged in a commit and how it was mended; both empty when nothing was.

    Attributes:
        commit_id: The commit.
        from_parity: Files rebuilt from parity.
        from_backup: Files fetched from the backup.
    """

    commit_id: str
    from_parity: tuple[str, ...]
    from_backup: tuple[str, ...]


def damaged_files(folder: CommitFolder, manifest: Manifest) -> list[SealedFile]:
    """Return the sealed files that are missing or not what the manifest says."""
    damaged = []
    for file in manifest.sealed:
        try:
            check_file(folder, file)
        except IntegrityError:
            damaged.append(file)
    return damaged


def repair_commit(
    path: Path,
    parity: ParityProgram,
    trusted_signers: Sequence[VerifyKey],
    *,
    open_backup: Callable[[], ObjectStorage] | None = None,
) -> RepairReport:
    """Mend a commit in place; every mended file is checked against the signed manifest before it replaces the damaged one.

    Args:
        path: The commit's folder in the store.
        parity: What rebuilds from parity.
        trusted_signers: The organisation's keys, also those before: a manifest signed by another repairs nothing.
        open_backup: Opens the object backup, if there is one.

    Raises:
        IntegrityError: Not all of it could be mended; what could be is.
    """
    with CommitFolder(path) as folder:
        manifest = read_manifest(folder)
        verify_signature(manifest, trusted_signers)
        damaged = damaged_files(folder, manifest)
    if not damaged:
        return RepairReport(manifest.commit_id, (), ())
    workshop = path.with_name(f".repair-{manifest.commit_id}")
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir(mode=0o700)
    try:
        left, from_parity = _from_parity(path, workshop, manifest, damaged, parity)
        from_backup: tuple[str, ...] = ()
        if left and open_backup is not None:
            left, from_backup = _from_backup(path, workshop, manifest, left, open_backup())
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    if left:
        names = ", ".join(file.name for file in left)
        raise IntegrityError(
            f"commit {manifest.commit_id} still lacks {names}: there is more damage than parity, and no backup holds them"
        )
    return RepairReport(manifest.commit_id, from_parity, from_backup)


def _from_parity(
    path: Path, workshop: Path, manifest: Manifest, damaged: list[SealedFile], parity: ParityProgram
) -> tuple[list[SealedFile], tuple[str, ...]]:
    """Rebuild covered files among links to all of them, so that the program never touches the originals."""
    if manifest.packaging.par2 is None:
        return damaged, ()
    for file in manifest.sealed:
        if (path / file.name).is_file():
            os.link(path / file.name, workshop / file.name, follow_symlinks=False)
    covered = [file.name for file in manifest.sealed if not file.name.endswith(".par2")]
    try:
        if any(file.name in covered for file in damaged):
            parity.repair(workshop, manifest.commit_id)
        if any(file.name not in covered for file in damaged):
            # The same program over the same bytes writes the same parity; if not, the digests below say so.
            parity.create(workshop, manifest.commit_id, covered, manifest.packaging.par2)
    except MunimentError:
        pass  # what it could not mend is still damaged below
    return _take(path, workshop, damaged)


def _from_backup(
    path: Path,
    workshop: Path,
    manifest: Manifest,
    damaged: list[SealedFile],
    storage: ObjectStorage,
) -> tuple[list[SealedFile], tuple[str, ...]]:
    for file in damaged:
        (workshop / file.name).unlink(missing_ok=True)
        key = object_key(manifest.commit_id, file.name)
        if storage.head(key) is None:
            continue
        with open(workshop / file.name, "wb") as target:
            target.writelines(storage.get(key, 0, file.size))
    return _take(path, workshop, damaged)


def _take(
    path: Path, workshop: Path, damaged: Iterable[SealedFile]
) -> tuple[list[SealedFile], tuple[str, ...]]:
    """Move what is whole now to where it belongs; returns what is still damaged, and the names of the mended."""
    left, mended = [], []
    with CommitFolder(workshop) as folder:
        for file in damaged:
            try:
                check_file(folder, file)
            except IntegrityError:
                left.append(file)
                continue
            sync_file(workshop / file.name)
            os.replace(workshop / file.name, path / file.name)
            mended.append(file.name)
    sync_folder(path)
    return left, tuple(mended)
