"""Repairing a stored commit: from its own parity, and what that cannot mend from the backup.

Parity covers neither the manifest nor the keyring. The backup's are taken if the manifest is signed by a trusted key, and the
keyring is one that our identities open, where we have any.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.durable import sync_file, sync_folder, write_durably
from muniment.archive import manifest as manifests
from muniment.archive import verify
from muniment.archive.age_keys import Identity
from muniment.archive.backup import ObjectStorage, object_key
from muniment.archive.backup.objects import copy_object
from muniment.archive.commit_source import check_file, read_manifest, read_whole
from muniment.archive.keyring import Keyring, check_sealed, max_sealed_bytes, open_keyring
from muniment.archive.manifest import (
    KEYRING_NAME,
    MANIFEST_BYTES_MAX,
    MANIFEST_NAME,
    Manifest,
    SealedFile,
    verify_signature,
)
from muniment.archive.parity import ParityProgram
from muniment.archive.signing import VerifyKey
from muniment.errors import IntegrityError, KeyUnavailableError, MunimentError


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


def damaged_names(
    folder: CommitFolder, trusted_signers: Sequence[VerifyKey], identities: Sequence[Identity] = ()
) -> list[str]:
    """Return the names of all files that a repair would mend; without a manifest nothing can be told of the others."""
    try:
        manifest = read_manifest(folder)
        verify_signature(manifest, trusted_signers)
    except IntegrityError:
        return [MANIFEST_NAME]
    names = [file.name for file in damaged_files(folder, manifest)]
    return names if _has_keyring(folder, manifest, identities) else [*names, KEYRING_NAME]


def repair_commit(
    path: Path,
    parity: ParityProgram,
    trusted_signers: Sequence[VerifyKey],
    *,
    identities: Sequence[Identity] = (),
    open_backup: Callable[[], ObjectStorage] | None = None,
) -> RepairReport:
    """Mend a commit in place; every mended file is checked against the signed manifest before it replaces the damaged one.

    Args:
        path: The commit's folder in the store.
        parity: What rebuilds from parity.
        trusted_signers: The organisation's keys, also those before: a manifest signed by another repairs nothing.
        identities: What opens keyrings, where this home may open any.
        open_backup: Opens the object backup, if there is one.

    Raises:
        IntegrityError: Not all of it could be mended; what could be is.
    """
    manifest, from_backup = _mend_manifest(path, trusted_signers, open_backup)
    with CommitFolder(path) as folder:
        damaged = damaged_files(folder, manifest)
        has_keyring = _has_keyring(folder, manifest, identities)
    left, from_parity = list[str](), tuple[str, ...]()
    if damaged:
        left, from_parity, fetched = _mend_sealed(path, manifest, damaged, parity, open_backup)
        from_backup += fetched
    if not has_keyring:
        if open_backup and _fetch_keyring(path, manifest, identities, open_backup()):
            from_backup += (KEYRING_NAME,)
        else:
            left.append(KEYRING_NAME)
    if left:
        opens = ", or only a keyring that this home does not open" if KEYRING_NAME in left else ""
        raise IntegrityError(
            f"commit {manifest.commit_id} still lacks {', '.join(left)}: parity cannot mend that, and no backup holds it whole{opens}"
        )
    return RepairReport(manifest.commit_id, from_parity, from_backup)


def _mend_manifest(
    path: Path,
    trusted_signers: Sequence[VerifyKey],
    open_backup: Callable[[], ObjectStorage] | None,
) -> tuple[Manifest, tuple[str, ...]]:
    """Return the commit's manifest, and its name if it had to be fetched."""
    try:
        with CommitFolder(path) as folder:
            manifest = read_manifest(folder)
        verify_signature(manifest, trusted_signers)
    except IntegrityError as error:
        if open_backup is None:
            raise
        data = _fetch(open_backup(), path.name, MANIFEST_NAME, MANIFEST_BYTES_MAX)
        if data is None:
            raise IntegrityError(f"{error}; no backup holds a manifest of this commit") from error
    else:
        return manifest, ()
    manifest = manifests.decode(data)
    verify_signature(manifest, trusted_signers)
    if manifest.commit_id != path.name:
        raise IntegrityError(
            f"the backup's manifest is that of commit {manifest.commit_id}, expected {path.name}"
        )
    write_durably(path / MANIFEST_NAME, data)
    return manifest, (MANIFEST_NAME,)


def _has_keyring(folder: CommitFolder, manifest: Manifest, identities: Sequence[Identity]) -> bool:
    """Whether the keyring is there and not damaged; one that was sealed to others only is none of our business."""
    try:
        verify.check_keyring(folder, manifest)
        if identities:
            size_max = max_sealed_bytes(manifest.merkle.leaf_count)
            _check_opens(read_whole(folder, KEYRING_NAME, size_max), manifest, identities)
    except IntegrityError:
        return False
    except KeyUnavailableError:
        pass
    return True


def _fetch_keyring(
    path: Path, manifest: Manifest, identities: Sequence[Identity], storage: ObjectStorage
) -> bool:
    """Take the backup's keyring, if there is a good one."""
    leaf_count = manifest.merkle.leaf_count
    data = _fetch(storage, manifest.commit_id, KEYRING_NAME, max_sealed_bytes(leaf_count))
    if data is None:
        return False
    try:
        check_sealed(data, len(data), manifest.commit_id, leaf_count)
        if identities:
            _check_opens(data, manifest, identities)
    except (IntegrityError, KeyUnavailableError):
        return False
    write_durably(path / KEYRING_NAME, data)
    return True


def _check_opens(data: bytes, manifest: Manifest, identities: Sequence[Identity]) -> None:
    leaf_count = manifest.merkle.leaf_count
    Keyring.decode(open_keyring(data, identities, leaf_count), manifest.commit_id, leaf_count)


def _fetch(storage: ObjectStorage, commit_id: str, name: str, size_max: int) -> bytes | None:
    """Return an object of the backup; None if it is not there or too large to be what it should."""
    key = object_key(commit_id, name)
    info = storage.head(key)
    if info is None or info.size > size_max:
        return None
    target = io.BytesIO()
    return None if copy_object(storage, key, info.size, target) is None else target.getvalue()


def _mend_sealed(
    path: Path,
    manifest: Manifest,
    damaged: list[SealedFile],
    parity: ParityProgram,
    open_backup: Callable[[], ObjectStorage] | None,
) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """Mend sealed files; returns the names of those still damaged, of those from parity and of those from the backup."""
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
    return [file.name for file in left], from_parity, from_backup


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
