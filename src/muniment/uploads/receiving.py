"""Receiving files: what has to happen, in which order, so that an acknowledged file is there and any other leaves nothing.

1. Room is reserved, and the upload entered.
2. The bytes arrive in a file of the upload's own, and are made durable.
3. The upload gets its place; from now on it will be finished, even by whoever comes after a crash.
4. The file moves to its place.
5. The reservation is settled and the audit log written: only then is the file acknowledged.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from muniment.accounts.organizations import Act
from muniment.errors import ConflictError, IntegrityError
from muniment.uploads.ports import UploadStore
from muniment.uploads.upload import Upload, UploadState, check_path


class ChecksumError(IntegrityError):
    """What arrived is not what was announced."""


class Incoming(Protocol):
    """A file that arrives."""

    size_bytes: int

    def write(self, data: bytes | bytearray) -> None:
        """Append some bytes."""

    def finish(self) -> str:
        """Make the file durable; returns its SHA-256, hexadecimal."""

    def close(self) -> None:
        """Let go of the file."""


class UploadFolder(Protocol):
    """Where the files of one organisation's uploads lie."""

    def open(self, upload: Upload) -> Incoming:
        """Open the file of an upload to write on at its end."""

    def received_bytes(self, upload: Upload) -> int:
        """Return how many bytes of an upload have arrived."""

    def place(self, upload: Upload) -> None:
        """Move a durable file to its place; doing so twice changes nothing."""

    def remove(self, upload: Upload) -> None:
        """Remove what arrived of an upload."""


class Receiver:
    """Receives the files of all organisations.

    Args:
        store: What is known of uploads.
        folder: The upload folder of an organisation.
        day: The folder, below the uploads, that files of this time get their place in.
    """

    def __init__(
        self,
        store: UploadStore,
        folder: Callable[[str], UploadFolder],
        day: Callable[[int], bytes],
    ) -> None:
        self.store = store
        self._folder = folder
        self._day = day

    def begin(self, upload: Upload) -> None:
        """Reserve room for an upload and enter it.

        Raises:
            UsageError: Its path is none to store a file under.
            QuotaExceededError: There is no room.
        """
        check_path(upload.path)
        self.store.begin(upload)

    @contextlib.contextmanager
    def receiving(self, upload: Upload) -> Iterator[Incoming]:
        """Open the file of an upload to write on; what was written stays, whatever happens.

        Raises:
            ConflictError: The upload is over.
        """
        if upload.state is not UploadState.RECEIVING:
            raise ConflictError(f"the upload {upload.upload_id} is over already")
        file = self._folder(upload.organization_id).open(upload)
        try:
            yield file
        finally:
            file.close()

    def received_bytes(self, upload: Upload) -> int:
        """Return how many bytes of an upload have arrived."""
        if upload.state is UploadState.RECEIVING:
            return self._folder(upload.organization_id).received_bytes(upload)
        return 0 if upload.state is UploadState.CANCELLED else upload.size_bytes

    def finish(self, act: Act, upload: Upload, file: Incoming) -> Upload:
        """Acknowledge an upload, all of whose bytes have arrived.

        Raises:
            ChecksumError: They are not those that were announced; the upload is given up.
        """
        sha256 = file.finish()
        if file.size_bytes != upload.size_bytes or upload.sha256 not in ("", sha256):
            self.give_up(act, upload)
            raise ChecksumError(
                f"expected {upload.size_bytes} bytes with SHA-256 {upload.sha256 or 'of any value'}, got {file.size_bytes} with {sha256}"
            )
        return self._settle(act, self.store.move(upload, sha256, self._day(act.at)))

    def cancel(self, act: Act, upload: Upload) -> None:
        """Give an upload up, and give its room back.

        Raises:
            ConflictError: It is received already.
        """
        self.store.cancel(act, upload)
        self._folder(upload.organization_id).remove(upload)

    def give_up(self, act: Act, upload: Upload) -> None:
        """Give an upload up that went wrong, unless it is over already."""
        with contextlib.suppress(ConflictError):
            self.cancel(act, upload)

    def recover(self, act_for: Callable[[str], Act]) -> int:
        """Finish what a killed run left behind, and give up what waited for too long; returns how many uploads that were."""
        done = 0
        for upload in list(self.store.unfinished()):
            act = act_for(upload.organization_id)
            if upload.state is UploadState.MOVING:
                self._settle(act, upload)
            elif upload.expires_at <= act.at:
                self.give_up(act, upload)
            else:
                continue
            done += 1
        return done

    def _settle(self, act: Act, upload: Upload) -> Upload:
        self._folder(upload.organization_id).place(upload)
        return self.store.finish(act, upload)
