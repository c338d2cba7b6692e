"""Sending a commit to a storage: resumable, verified, the manifest last."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from muniment.archive.backup.objects import Check, LocalFile, compare
from muniment.archive.backup.ports import BESIDE, MANIFEST, ObjectStorage, object_key
from muniment.errors import ConflictError, IntegrityError, NotFoundError, UsageError

Progress = Callable[[str, int, int], None]
"""Called after each object with its name, the bytes done and the bytes in all."""


class Action(StrEnum):
    """What a backup did with one object."""

    KEPT = "kept"
    SENT = "sent"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class BackedUpObject:
    """One object of a backup, what was done with it and how it was checked."""

    name: str
    size: int
    action: Action
    check: Check


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a run did for one commit; every object in it is verified in the way that it says."""

    commit_id: str
    objects: tuple[BackedUpObject, ...]

    @property
    def sent_bytes(self) -> int:
        """Bytes that this run had to send."""
        return sum(item.size for item in self.objects if item.action is not Action.KEPT)

    def names(self, action: Action) -> tuple[str, ...]:
        """Return the names of the objects that this was done with."""
        return tuple(item.name for item in self.objects if item.action is action)


def ignore_progress(_name: str, _done_bytes: int, _total_bytes: int) -> None:
    """Tell nobody."""


def backup_commit(
    files: Mapping[str, LocalFile],
    commit_id: str,
    storage: ObjectStorage,
    progress: Progress = ignore_progress,
) -> BackupReport:
    """Copy a commit, sending only what is not there yet, and verify every object; the manifest goes last.

    It can be stopped at any moment and run again. An object that is sent is verified by the store's own SHA-256 of the
    content, or else by reading it back. One that is there already is verified in the same way, or, once the commit is
    complete, by its size and recorded SHA-256.

    Raises:
        UsageError: `files` has no manifest.
        IntegrityError: A sealed file is there with other bytes (it is never overwritten), a local file changed while it
            was read, or the storage gave back other bytes than it was sent.
        ExternalServiceError: The storage failed. What was reported before is safe; run again.
    """
    if MANIFEST not in files:
        raise UsageError(
            f"commit {commit_id} has no {MANIFEST}: only a signed commit can be backed up"
        )
    keys = {name: object_key(commit_id, name) for name in files}
    complete = _is_complete(files[MANIFEST], keys[MANIFEST], storage)
    objects = []
    done_bytes, total_bytes = 0, sum(file.size for file in files.values())
    for name in sorted(files, key=_manifest_last):
        objects.append(_back_up(name, files[name], keys[name], storage, complete=complete))
        done_bytes += files[name].size
        progress(name, done_bytes, total_bytes)
    return BackupReport(commit_id, tuple(objects))


def refresh_beside(
    files: Mapping[str, LocalFile], commit_id: str, storage: ObjectStorage
) -> BackupReport:
    """Replace what differs of the files beside a commit that is backed up already, without looking at the sealed ones.

    Names in `files` that are not beside-files are ignored. For timestamps that were upgraded and keyrings rewritten.

    Raises:
        NotFoundError: The commit is not complete in this storage: use `backup_commit`.
        IntegrityError, ExternalServiceError: As in `backup_commit`.
    """
    if storage.head(object_key(commit_id, MANIFEST)) is None:
        raise NotFoundError(f"commit {commit_id} is not complete in the backup; back it up first")
    return BackupReport(
        commit_id,
        tuple(
            _back_up(name, files[name], object_key(commit_id, name), storage, complete=True)
            for name in sorted(BESIDE & files.keys())
        ),
    )


def _manifest_last(name: str) -> tuple[int, str]:
    return (2 if name == MANIFEST else 1 if name in BESIDE else 0), name


def _is_complete(manifest: LocalFile, key: str, storage: ObjectStorage) -> bool:
    info = storage.head(key)
    if info is None:
        return False
    if compare(manifest, info, key, storage) is None:
        raise _other_bytes(key)
    return True


def _back_up(
    name: str, file: LocalFile, key: str, storage: ObjectStorage, *, complete: bool
) -> BackedUpObject:
    info = storage.head(key)
    replaceable = name in BESIDE
    if info is not None:
        check = compare(file, info, key, storage, trust_recorded=complete and not replaceable)
        if check is not None:
            return BackedUpObject(name, file.size, Action.KEPT, check)
        if not replaceable:
            raise _other_bytes(key)
    try:
        with file.open() as stream:
            storage.put(key, stream, file.size, file.sha256, replace=replaceable)
    except (
        ConflictError
    ):  # it came meanwhile: from a request whose answer was lost, or from another run
        if storage.head(key) is None:
            raise
    action = Action.SENT if info is None else Action.REPLACED
    return BackedUpObject(name, file.size, action, _check_written(file, key, storage))


def _check_written(file: LocalFile, key: str, storage: ObjectStorage) -> Check:
    info = storage.head(key)
    check = compare(file, info, key, storage) if info is not None else None
    if check is None:
        raise IntegrityError(
            f"{key}: the storage does not hold the bytes that it was just sent; "
            "delete this object there, check that storage's disks, and back up again"
        )
    return check


def _other_bytes(key: str) -> IntegrityError:
    return IntegrityError(
        f"{key} is in the backup with other bytes than here; it was left as it is: verify both copies, "
        "and delete the wrong one by hand"
    )
