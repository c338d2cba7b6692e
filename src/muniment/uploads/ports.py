"""What uploads need: a table, and a disk."""

from collections.abc import Iterable
from typing import Protocol

from muniment.accounts.organizations import Act
from muniment.uploads.upload import Upload


class UploadStore(Protocol):
    """What is known of uploads."""

    def begin(self, upload: Upload) -> None:
        """Enter an upload and reserve its room, both or neither.

        Raises:
            QuotaExceededError: There is no room.
        """

    def get(self, organization_id: str, upload_id: str) -> Upload:
        """Return an upload.

        Raises:
            NotFoundError: The organisation has no such upload.
        """

    def page(self, organization_id: str, after: tuple[int, str] | None, limit: int) -> list[Upload]:
        """Return uploads, newest first, beginning behind the one of this creation time and id."""

    def move(self, upload: Upload, sha256: str, day: bytes) -> Upload:
        """Note that everything arrived, and give the file a place below `day` that no other file has."""

    def finish(self, act: Act, upload: Upload) -> Upload:
        """Note that the file is in its place, and settle its reservation. Doing so twice changes nothing."""

    def cancel(self, act: Act, upload: Upload) -> None:
        """Note that the upload is given up, and give its room back.

        Raises:
            ConflictError: It is received already.
        """

    def unfinished(self) -> Iterable[Upload]:
        """Return the uploads of all organisations that are being received or moved."""

    def mark_archived(self, act: Act, commit_id: str, places: Iterable[bytes]) -> int:
        """Note that a commit holds the files of these places; returns how many uploads that were."""
