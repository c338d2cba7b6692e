"""Receiving files: what has to happen, in which order, so that an acknowledged file is there and any other leaves nothing.

1. A file of the upload's own is made and locked, and room on the disk taken. The upload is entered, and its room in the quota reserved; of a
   small one, it is only checked that there is room.
2. The bytes arrive in the file; it gets the time of modification that the client gave, and is made durable with it.
3. In one transaction the upload gets its place, is counted, and told of in the audit log. From now on it is received: whoever comes after
   a crash goes on here.
4. The file moves to its place: only then is it acknowledged.

Whoever has the file locked is its receiver. A lock ends with the process that holds it, so whoever gets the lock knows that
nobody receives any more.
"""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from muniment.accounts.organizations import Act
from muniment.errors import ConflictError, MissingDataError, MunimentError, NotFoundError
from muniment.uploads.digests import ChecksumError
from muniment.uploads.ports import (
    BusyUploadError,
    Incoming,
    PlaceTakenError,
    UploadFolders,
    UploadStore,
)
from muniment.uploads.upload import Upload, UploadState, check_path

__all__ = ["ChecksumError", "Receiver"]

_PLACES_TRIED_MAX = 1_000

_log = logging.getLogger(__name__)


class Receiver:
    """Receives the files of all organisations.

    Args:
        store: What is known of uploads.
        folders: Where the files lie.
        day: The folder, below the uploads, that files of this time get their place in.
    """

    def __init__(
        self, store: UploadStore, folders: UploadFolders, day: Callable[[int], bytes]
    ) -> None:
        self.store = store
        self._folders = folders
        self._day = day

    def begin(
        self, upload: Upload, *, is_exact: bool = True, is_new_path: bool = False
    ) -> Incoming:
        """Reserve room for an upload and enter it; whoever calls closes what is returned.

        Args:
            upload: The upload.
            is_exact: Whether `size_bytes` is its size, and not only the most that it can be.
            is_new_path: Whether no other upload of that path may wait to be archived.

        Raises:
            UsageError: Its path is none to store a file under, or the disk cannot keep its time of modification.
            QuotaExceededError: There is no room in the quota.
            StorageFullError: There is no room on the disk.
            ConflictError: Its path needs a folder where a file is, or a file where a folder is.
            PathExistsError: There is one of that path.
        """
        check_path(upload.path)
        folder = self._folders.of(upload.organization_id)
        file = folder.create(upload, is_exact=is_exact)
        try:
            if upload.is_small:
                self.store.check_room(upload, is_new_path=is_new_path)
            else:
                self.store.begin(upload, is_new_path=is_new_path)
        except BaseException:
            folder.remove(upload)
            file.close()
            raise
        return file

    def resume(self, upload: Upload) -> Incoming:
        """Open the file of an upload to write on at its end; whoever calls closes it.

        Raises:
            ConflictError: The upload is over.
            BusyUploadError: Another request brings bytes of it.
        """
        try:
            file = self._folders.of(upload.organization_id).open(upload.upload_id)
        except MissingDataError:  # it was moved to its place
            self._check_receiving(upload)
            raise
        try:
            self._check_receiving(upload)
        except BaseException:
            file.close()
            raise
        return file

    def durable_bytes(self, upload: Upload) -> int:
        """Return how many bytes of an upload have arrived for good."""
        if upload.is_over:
            return upload.size_bytes
        return self._folders.of(upload.organization_id).durable_bytes(upload.upload_id)

    def complete(self, act: Act, upload: Upload) -> int:
        """Finish an upload whose bytes are all there, if its request died before it could; returns how many bytes are there for good.

        Whoever was told that all have arrived sends no more: nobody else would finish it.

        Raises:
            ChecksumError: They are not those that were announced; the upload is given up.
            ConflictError: Its place is needed for a folder.
        """
        size_bytes = self.durable_bytes(upload)
        if size_bytes == upload.size_bytes and not upload.is_over and not upload.is_part:
            self._complete(act, upload)
        return size_bytes

    def finish(
        self, act: Act, upload: Upload, file: Incoming, *, is_new_path: bool = False
    ) -> Upload:
        """Acknowledge an upload, all of whose bytes have arrived.

        Raises:
            ChecksumError: They are not those that were announced; the upload is given up.
            ConflictError: Its place is needed for a folder, or the upload was given up meanwhile.
            PathExistsError: Another one of that path arrived first.
            QuotaExceededError: There is no room for it any more.
        """
        sha256 = file.finish(upload.modified_at_ns)
        if file.size_bytes != upload.size_bytes or upload.sha256 not in ("", sha256):
            self.give_up(act, upload)
            raise ChecksumError(
                f"expected {upload.size_bytes} bytes with SHA-256 {upload.sha256 or 'of any value'}, got {file.size_bytes} with {sha256}"
            )
        day = self._day(act.at)
        return self._place(self.store.receive(act, upload, sha256, day, is_new_path=is_new_path))

    def finish_shorter(self, act: Act, upload: Upload, file: Incoming) -> Upload:
        """Acknowledge an upload that has at most the bytes for which room was reserved."""
        size_bytes = min(file.size_bytes, upload.size_bytes)
        return self.finish(act, replace(upload, size_bytes=size_bytes), file)

    def cancel(self, act: Act, upload: Upload) -> None:
        """Give an upload up, and give its room back.

        Raises:
            ConflictError: It is over already.
        """
        self.store.cancel(act, upload)
        self._folders.of(upload.organization_id).remove(upload)

    def give_up(self, act: Act, upload: Upload) -> None:
        """Give an upload up that went wrong, unless it is over already."""
        folder = self._folders.of(upload.organization_id)
        if upload.is_small:
            if self._known(upload.organization_id, upload.upload_id) is None:
                folder.remove(upload)
            return
        with contextlib.suppress(ConflictError):
            self.store.cancel(act, upload, is_wanted=False)
            folder.remove(upload)

    def remove(self, act: Act, upload: Upload) -> None:
        """Give an upload up that has not arrived, or delete the file of one that is not archived yet.

        Raises:
            ConflictError: It is archived.
        """
        if upload.state is UploadState.RECEIVING:
            self.cancel(act, upload)
        elif upload.state not in (UploadState.CANCELLED, UploadState.DELETED):
            self._delete(self.store.delete(act, upload))

    def recover(self, act_for: Callable[[str], Act]) -> int:
        """Finish what a killed run left behind, and give up what waited for too long; returns how many uploads that were.

        Runs that still receive are left alone.
        """
        done = 0
        for upload in self.store.unfinished():
            act = act_for(upload.organization_id)
            if upload.state is UploadState.DELETING:
                self._delete(upload)
                done += 1
            elif not upload.is_resumable or act.at >= upload.expires_at:
                done += self._give_up_abandoned(act, upload)
            elif not upload.is_part:
                done += self._complete_abandoned(act, upload)
        return done + sum(map(self._sweep, self._folders.organizations()))

    def _check_receiving(self, upload: Upload) -> None:
        if self.store.get(upload.organization_id, upload.upload_id).is_over:
            raise ConflictError(f"the upload {upload.upload_id} is over already")

    def _complete(self, act: Act, upload: Upload) -> bool:
        """Finish an upload whose bytes are all there; tell whether nobody else does, or has."""
        try:
            file = self.resume(upload)
        except ConflictError:
            return False
        with contextlib.closing(file):
            self.finish(act, upload, file)
        return True

    def _complete_abandoned(self, act: Act, upload: Upload) -> int:
        try:
            is_all_there = self.durable_bytes(upload) == upload.size_bytes
            return int(is_all_there and self._complete(act, upload))
        except (MunimentError, OSError):  # the others are not to wait for this one
            _log.exception("the upload %s cannot be finished", upload.upload_id)
            return 0

    def _give_up_abandoned(self, act: Act, upload: Upload) -> int:
        folder = self._folders.of(upload.organization_id)
        try:
            file = folder.open(upload.upload_id)
        except BusyUploadError:
            return 0
        except MissingDataError:
            self.give_up(act, upload)
            return 1
        try:
            self.give_up(act, upload)
        finally:
            file.close()
        return 1

    def _sweep(self, organization_id: str) -> int:
        """Move files to their places that are still where they arrived, and remove those of no upload; returns how many were moved."""
        folder, placed = self._folders.of(organization_id), 0
        for upload_id in list(folder.arriving()):
            try:
                file = folder.open(upload_id)
            except (BusyUploadError, MissingDataError):
                continue
            with contextlib.closing(file):  # asked while nobody else can have it
                placed += self._sweep_one(organization_id, upload_id)
        return placed

    def _sweep_one(self, organization_id: str, upload_id: str) -> int:
        upload = self._known(organization_id, upload_id)
        if upload is None or upload.state in (UploadState.CANCELLED, UploadState.ARCHIVED):
            gone = upload or _nameless(organization_id, upload_id)
            self._folders.of(organization_id).remove(gone)
        elif upload.state is UploadState.RECEIVED:
            try:
                self._place(upload)
            except (MunimentError, OSError):  # the others are not to wait for this one
                _log.exception("the upload %s cannot be moved to its place", upload_id)
            else:
                return 1
        return 0

    def _known(self, organization_id: str, upload_id: str) -> Upload | None:
        try:
            return self.store.get(organization_id, upload_id)
        except NotFoundError:
            return None

    def _place(self, upload: Upload) -> Upload:
        """Move a received file to its place, or to the next one where something else lies there."""
        folder = self._folders.of(upload.organization_id)
        for number in range(2, _PLACES_TRIED_MAX):
            try:
                folder.place(upload)
            except PlaceTakenError:
                # A file system on which two names are one, or a file of somebody else's.
                upload = self.store.move(upload, number)
            except MissingDataError:
                now = self.store.get(upload.organization_id, upload.upload_id)
                if now.state is UploadState.RECEIVED:
                    raise
                raise ConflictError(f"the upload {upload.upload_id} was deleted") from None
            else:
                return upload
        raise ConflictError(f"there is no place for the upload {upload.upload_id}")

    def _delete(self, upload: Upload) -> None:
        self._folders.of(upload.organization_id).remove(upload)
        self.store.deleted(upload)


def _nameless(organization_id: str, upload_id: str) -> Upload:
    return Upload(organization_id, upload_id, b"", 0, 0, 0, "")
