"""What uploads need: a table, and a disk."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from muniment.accounts.organizations import Act
from muniment.errors import ConflictError, MunimentError
from muniment.uploads.upload import Upload, UploadState


class BusyUploadError(ConflictError):
    """Another request brings bytes of the same upload."""


class PlaceTakenError(ConflictError):
    """Something lies in the place that an upload was given."""


class StorageFullError(MunimentError):
    """The disk has no room for it."""


class PathExistsError(ConflictError):
    """Another upload has that path, where it must not."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which uploads a list shows.

    Attributes:
        state: Those of this state; None for all.
        prefix: Those whose path begins so.
    """

    state: UploadState | None = None
    prefix: bytes = b""


EVERYTHING = Selection()


class UploadStore(Protocol):
    """What is known of uploads."""

    def check_room(self, upload: Upload, *, is_new_path: bool = False) -> None:
        """Check that there is room for an upload now, which is not reserved; see `begin`."""

    def begin(self, upload: Upload, *, is_new_path: bool = False) -> None:
        """Enter an upload and reserve its room, both or neither.

        Args:
            upload: The upload.
            is_new_path: Whether no other upload of that path may wait to be archived.

        Raises:
            QuotaExceededError: There is no room.
            ConflictError: Its path needs a folder where a file is, or a file where a folder is.
            PathExistsError: There is one of that path.
        """

    def get(self, organization_id: str, upload_id: str) -> Upload:
        """Return an upload.

        Raises:
            NotFoundError: The organisation has no such upload.
        """

    def page(
        self,
        organization_id: str,
        after: tuple[int, str] | None,
        limit: int,
        selection: Selection = EVERYTHING,
    ) -> list[Upload]:
        """Return uploads, newest first, beginning behind the one of this creation time and id."""

    def receive(
        self, act: Act, upload: Upload, sha256: str, day: bytes, *, is_new_path: bool = False
    ) -> Upload:
        """Note that everything arrived, give the file a place below `day` that no other file ever had, and count it as used.

        A small upload is entered by this; of any other, the reservation is settled.

        Args:
            act: On whose behalf.
            upload: The upload, with the size that it has.
            sha256: Its digest.
            day: The folder.
            is_new_path: As for `begin`.

        Raises:
            QuotaExceededError: There is no room for a small one.
            ConflictError: It was given up meanwhile, or its path needs a folder where a file is, or the other way round.
            PathExistsError: There is one of that path.
        """

    def move(self, upload: Upload, first_number: int) -> Upload:
        """Give a received upload another place below the same folder, whose name has at least this number.

        Raises:
            ConflictError: Its path needs a folder where a file is, or the other way round.
        """

    def cancel(self, act: Act, upload: Upload, *, is_wanted: bool = True) -> None:
        """Note that the upload is given up, and give its room back.

        Args:
            act: On whose behalf.
            upload: The upload.
            is_wanted: Whether somebody asked for that, and it did not only go wrong.

        Raises:
            ConflictError: It is over already.
        """

    def delete(self, act: Act, upload: Upload) -> Upload:
        """Note that a received file is to be removed, and give its room back. Doing so twice changes nothing.

        Raises:
            ConflictError: It is not received, or archived already.
        """

    def deleted(self, upload: Upload) -> None:
        """Note that a file that was to be removed is."""

    def unfinished(self) -> Iterable[Upload]:
        """Return the uploads of all organisations that are being received or removed."""

    def mark_archived(self, act: Act, commit_id: str, places: Iterable[bytes]) -> int:
        """Note that a commit holds the files of these places; returns how many uploads that were."""


class Incoming(Protocol):
    """A file that arrives. Nobody else can open it to write until it is closed."""

    size_bytes: int

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append some bytes."""

    def digest(self, pieces: Sequence[bytes]) -> None:
        """Take the same bytes into the file's digest; may go on at the same time in another thread."""

    def sync(self) -> None:
        """Make durable what was written."""

    def hold(self) -> None:
        """Drop what is written from now on, even if this process is killed, unless `keep` is called."""

    def keep(self) -> None:
        """Make durable, and keep, what was written since `hold`."""

    def drop(self) -> None:
        """Drop what was written since `hold`, if it was called."""

    def pieces(self) -> Iterator[bytes]:
        """Read what has arrived, some megabytes at a time."""

    def finish(self, modified_at_ns: int | None) -> str:
        """Make the file durable, with this time of modification if there is one; returns its SHA-256, hexadecimal."""

    def close(self) -> None:
        """Let go of the file."""


class UploadFolder(Protocol):
    """Where the files of one organisation's uploads lie."""

    def create(self, upload: Upload, *, is_exact: bool) -> Incoming:
        """Make the file of a new upload, having checked that the disk has room for it.

        Args:
            upload: The upload.
            is_exact: Whether it will have exactly its `size_bytes`: then they are taken from the disk at once.

        Raises:
            StorageFullError: The disk has no room.
            UsageError: The disk cannot keep its time of modification.
        """

    def open(self, upload_id: str) -> Incoming:
        """Open the file of an upload to write on at its end.

        Raises:
            BusyUploadError: Somebody else has it open.
            MissingDataError: It is gone.
        """

    def durable_bytes(self, upload_id: str) -> int:
        """Return how many bytes of an upload have arrived for good: they are made durable before they are counted."""

    def place(self, upload: Upload) -> None:
        """Move a durable file to its place; doing so twice changes nothing.

        Raises:
            PlaceTakenError: Something else is there.
            MissingDataError: It is neither where it arrived nor in its place.
        """

    def remove(self, upload: Upload) -> None:
        """Remove what arrived of an upload, and the file in its place if it has one."""

    def arriving(self) -> Iterable[str]:
        """Return the ids of uploads of which something arrived that was not moved to its place."""


class UploadFolders(Protocol):
    """The upload folders of all organisations."""

    def of(self, organization_id: str) -> UploadFolder:
        """Return the folder of one."""

    def organizations(self) -> Iterable[str]:
        """Return which organisations have one."""
