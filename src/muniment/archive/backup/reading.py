"""Reading a backup: finding commits in it, verifying them, and bringing them back."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec

from muniment.archive.backup.objects import Check, Nowhere, Writable, copy_object
from muniment.archive.backup.ports import (
    BESIDE,
    COMMIT_ID,
    KEY_PART,
    MANIFEST,
    PREFIX,
    ObjectStorage,
    object_key,
)
from muniment.archive.backup.sending import (
    Action,
    BackedUpObject,
    BackupReport,
    Progress,
    ignore_progress,
)
from muniment.archive.canonical import INTEGER_MAX
from muniment.errors import ExternalServiceError, FormatError, IntegrityError, NotFoundError

MANIFEST_BYTES_MAX = 64 << 20  # docs/spec/commit.md, section 2
SEALED_FILES_MAX = 100_000

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")

OpenTarget = Callable[[str], AbstractContextManager[Writable]]
"""Opens a file to restore into, by name; keeps it when the block ends well, discards it when it raises."""


@dataclass(frozen=True, slots=True)
class StoredCommit:
    """A commit that was found in a storage; complete when its manifest is there."""

    commit_id: str
    complete: bool


class DamagedBackupError(IntegrityError):
    """Objects of a backup are missing, hold other bytes, or cannot be read.

    Attributes:
        commit_id: The commit.
        missing: Names of sealed files that are not there.
        damaged: Names of files that are there with other bytes.
        unreadable: Names of files that the storage fails to give, while it answers otherwise: as a rule, rotten blocks.
    """

    def __init__(
        self,
        commit_id: str,
        *,
        missing: tuple[str, ...] = (),
        damaged: tuple[str, ...] = (),
        unreadable: tuple[str, ...] = (),
    ) -> None:
        self.commit_id = commit_id
        self.missing, self.damaged, self.unreadable = missing, damaged, unreadable
        kinds = {"missing": missing, "damaged": damaged, "unreadable": unreadable}
        lost = "; ".join(f"{kind}: {_few(names)}" for kind, names in kinds.items() if names)
        super().__init__(
            f"backup of commit {commit_id} is not whole; {lost}; "
            "delete these objects from the backup and back the commit up again from a sound copy"
        )


def verify_backup(
    commit_id: str,
    storage: ObjectStorage,
    *,
    manifest_sha256: str | None = None,
    progress: Progress = ignore_progress,
) -> BackupReport:
    """Read every object of a commit and compare it with the manifest. Signatures are not checked here.

    Args:
        commit_id: The commit.
        storage: Where its backup is.
        manifest_sha256: Hex SHA-256 that the manifest must have, if known; without it a manifest that was replaced as a
            whole is only found by its signature.
        progress: Called after each object.

    Raises:
        NotFoundError: The commit is not complete there.
        FormatError: Its manifest cannot be read.
        DamagedBackupError: Objects are missing, damaged or unreadable: all of them are named.
        ExternalServiceError: The storage failed.
    """
    manifest, sealed = _read_manifest(commit_id, storage, manifest_sha256)
    copied = _copy_objects(commit_id, storage, sealed, lambda _name: Nowhere(), progress)
    names = {**{file.name: file.size for file in copied}, MANIFEST: len(manifest)}
    return BackupReport(
        commit_id,
        tuple(
            BackedUpObject(name, size, Action.KEPT, Check.READ_BACK) for name, size in names.items()
        ),
    )


def restore_commit(
    commit_id: str,
    storage: ObjectStorage,
    open_target: OpenTarget,
    *,
    have: Collection[str] = (),
    progress: Progress = ignore_progress,
) -> tuple[str, ...]:
    """Bring a commit back, each file checked against the manifest while it is written, the manifest last.

    Sound files are restored even when others are lost, because parity may repair the rest: the error comes at the end.
    The signature of the manifest is not checked here: verify the restored commit.

    Args:
        commit_id: The commit.
        storage: Where its backup is.
        open_target: Opens each file to write.
        have: Names that the caller has already, verified; they are not read again.
        progress: Called after each object.

    Returns:
        The names of the files that were restored.

    Raises:
        NotFoundError, FormatError, DamagedBackupError, ExternalServiceError: As in `verify_backup`.
    """
    manifest, sealed = _read_manifest(commit_id, storage)
    wanted = [file for file in sealed if file.name not in have]
    damage = None
    try:
        names = [
            file.name for file in _copy_objects(commit_id, storage, wanted, open_target, progress)
        ]
    except DamagedBackupError as error:
        damage = error
    with open_target(MANIFEST) as target:
        target.write(manifest)
    if damage is not None:
        raise damage
    return (*names, MANIFEST)


def list_commits(storage: ObjectStorage) -> list[StoredCommit]:
    """Find the commits in a storage, in order of their ids. Keys that are not a commit's are none of our business."""
    found: dict[str, bool] = {}
    for key in storage.list(PREFIX):
        commit_id, _, name = key.removeprefix(PREFIX).partition("/")
        if COMMIT_ID.fullmatch(commit_id):
            found[commit_id] = found.get(commit_id, False) or name == MANIFEST
    return [StoredCommit(commit_id, complete) for commit_id, complete in sorted(found.items())]


class _SealedFile(msgspec.Struct):
    name: str
    size: int
    sha256: str


class _Manifest(msgspec.Struct):
    """The part of a manifest that says which files a commit has; all of it is checked by `verify`."""

    commit_id: str
    sealed: list[_SealedFile]


@dataclass(frozen=True, slots=True)
class _Expected:
    name: str
    size: int
    sha256: str | None


def _read_manifest(
    commit_id: str, storage: ObjectStorage, sha256: str | None = None
) -> tuple[bytes, list[_Expected]]:
    key = object_key(commit_id, MANIFEST)
    info = storage.head(key)
    try:
        data = b"".join(storage.get(key, 0, MANIFEST_BYTES_MAX + 1))
    except NotFoundError as error:
        raise NotFoundError(
            f"commit {commit_id} is not in the backup, or not complete there"
        ) from error
    if len(data) > MANIFEST_BYTES_MAX:
        raise FormatError(f"{key} has more than {MANIFEST_BYTES_MAX} bytes")
    recorded = info and (info.store_sha256 or info.recorded_sha256)
    if {sha256, recorded} - {None, hashlib.sha256(data).hexdigest()}:
        raise DamagedBackupError(commit_id, damaged=(MANIFEST,))
    return data, _parse_manifest(commit_id, key, data)


def _parse_manifest(commit_id: str, key: str, data: bytes) -> list[_Expected]:
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise FormatError(f"{key} is not a manifest: {error}") from error
    if manifest.commit_id != commit_id:
        raise FormatError(f"{key} is the manifest of another commit")
    return _sealed_files(key, manifest.sealed)


def _sealed_files(key: str, listed: list[_SealedFile]) -> list[_Expected]:
    names = {file.name for file in listed}
    if (
        not 0 < len(listed) <= SEALED_FILES_MAX
        or len(names) != len(listed)
        or names & {MANIFEST, *BESIDE}
    ):
        raise FormatError(f"{key} lists no files, too many, or one twice")
    expected = []
    for file in listed:
        digest = _DIGEST.fullmatch(file.sha256)
        if digest is None or not 0 <= file.size <= INTEGER_MAX or not KEY_PART.fullmatch(file.name):
            raise FormatError(
                f"{key} lists a file with an impossible name, size or digest: {file.name[:80]!r}"
            )
        expected.append(_Expected(file.name, file.size, digest[1]))
    return expected


def _copy_objects(
    commit_id: str,
    storage: ObjectStorage,
    sealed: list[_Expected],
    open_target: OpenTarget,
    progress: Progress,
) -> list[_Expected]:
    """Read the sealed files and what lies beside them; raise at the end if any was lost."""
    lost: dict[str, list[str]] = {"missing": [], "damaged": [], "unreadable": []}
    files = [*sealed, *_beside_files(commit_id, storage)]
    done_bytes, total_bytes = 0, sum(file.size for file in files)
    for file in files:
        how = _check_and_copy(commit_id, storage, file, open_target)
        if how is not None:
            lost[how].append(file.name)
        done_bytes += file.size
        progress(file.name, done_bytes, total_bytes)
    if any(lost.values()):
        raise DamagedBackupError(commit_id, **{how: tuple(names) for how, names in lost.items()})
    return files


def _beside_files(commit_id: str, storage: ObjectStorage) -> Iterator[_Expected]:
    for name in sorted(BESIDE):
        info = storage.head(object_key(commit_id, name))
        if info is not None:
            yield _Expected(name, info.size, info.store_sha256 or info.recorded_sha256)


def _check_and_copy(
    commit_id: str, storage: ObjectStorage, file: _Expected, open_target: OpenTarget
) -> str | None:
    """Copy one file; return how it was lost, or None if it is sound."""
    key = object_key(commit_id, file.name)
    info = storage.head(key)
    if info is None:
        return "missing"
    if info.size != file.size:
        return "damaged"
    try:
        with open_target(file.name) as target:
            _copy_expected(storage, key, file, target)
    except IntegrityError:
        return "damaged"
    except ExternalServiceError:
        storage.head(key)  # raises if the whole storage fails, and not this object alone
        return "unreadable"
    return None


def _copy_expected(storage: ObjectStorage, key: str, file: _Expected, target: Writable) -> None:
    sha256 = copy_object(storage, key, file.size, target)
    if sha256 is None or file.sha256 not in (None, sha256):
        raise IntegrityError(f"{key} has other bytes than expected")


def _few(names: tuple[str, ...], shown: int = 5) -> str:
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
