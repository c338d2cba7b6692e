"""The files of uploads: received where nobody looks, and moved in one step to where the catalogue finds them."""

import contextlib
import hashlib
import os
from pathlib import Path

from muniment.adapters.durable import sync_folder
from muniment.errors import MissingDataError
from muniment.uploads.upload import Upload

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


class UploadFiles:
    """The upload folders of one organisation's home.

    Args:
        incoming: Where files arrive.
        uploads: Where they lie afterwards.
    """

    def __init__(self, incoming: Path, uploads: Path) -> None:
        self._incoming = incoming
        self._uploads = uploads
        for folder in (incoming, uploads):
            folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)

    def open(self, upload: Upload) -> "IncomingFile":
        """Open the file of an upload to write on at its end; it is made if need be."""
        return IncomingFile(self._incoming / upload.upload_id)

    def received_bytes(self, upload: Upload) -> int:
        """Return how many bytes of an upload have arrived."""
        try:
            return os.stat(self._incoming / upload.upload_id).st_size
        except FileNotFoundError:
            return 0

    def place(self, upload: Upload) -> None:
        """Move a durable file to its place; where a killed run has moved it already, nothing is left to do.

        Raises:
            MissingDataError: It is neither where it arrived nor in its place.
        """
        source = self._incoming / upload.upload_id
        target = self._uploads / os.fsdecode(upload.place)
        self._make_folders(target.parent)
        try:
            os.link(source, target)
        except FileExistsError:
            pass  # moved by a run that was killed: places are given to one upload only
        except FileNotFoundError:
            if not target.exists():
                raise MissingDataError(f"the file of upload {upload.upload_id} is gone") from None
        sync_folder(target.parent)
        source.unlink(missing_ok=True)

    def remove(self, upload: Upload) -> None:
        """Remove what arrived of an upload that was given up."""
        (self._incoming / upload.upload_id).unlink(missing_ok=True)

    def _make_folders(self, folder: Path) -> None:
        """Make folders, durably."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir(_FOLDER_MODE)
            sync_folder(path.parent)


class IncomingFile:
    """A file that arrives: written at its end.

    Attributes:
        size_bytes: How many bytes have arrived.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, _FILE_MODE)
        self.size_bytes = os.fstat(self._file).st_size
        # What arrives in one request is hashed on the way; of what took several, all is read again at the end.
        self._sha256 = hashlib.sha256() if self.size_bytes == 0 else None

    def write(self, data: bytes | bytearray) -> None:
        """Append some bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.size_bytes += len(data)
        if self._sha256 is not None:
            self._sha256.update(data)

    def finish(self) -> str:
        """Make the file durable; returns the SHA-256 of its content, hexadecimal."""
        os.fsync(self._file)
        sync_folder(self._path.parent)
        if self._sha256 is None:
            with open(self._path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
