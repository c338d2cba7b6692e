"""The staging folder, in which a commit grows until it is whole."""

import contextlib
import os
import queue
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from muniment.adapters.durable import sync_file, sync_folder
from muniment.adapters.file_digests import BlockDigests
from muniment.adapters.sealing_worker import SealingWorker
from muniment.adapters.worker_pool import WorkerPool
from muniment.archive import journal, tarball
from muniment.archive.journal import FileDigests, Frame
from muniment.archive.ports import Workers
from muniment.archive.sealing_messages import DigestChunk

JOURNAL_NAME = "journal"
FOLDER_NAME = "commit"
_SUBMISSIONS_MAX = 4  # a disk that cannot follow holds up the sealing, not the memory


class StagingFolder:
    """`<folder>/commit/` holds the files to be, `<folder>/journal` what is durable of them."""

    def __init__(self, folder: Path, commit_id: str, chunk_bytes: int, worker_count: int) -> None:
        self.files = folder / FOLDER_NAME
        self._folder, self._commit_id, self._chunk_bytes = folder, commit_id, chunk_bytes
        self._queue: queue.Queue[tuple[list[int], Sequence[Frame]] | None] = queue.Queue(
            _SUBMISSIONS_MAX
        )
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None
        self._journal: BinaryIO | None = None
        self._worker_count = worker_count
        self._workers: WorkerPool | None = None

    def create(self) -> None:
        """Make the folder, durably; it is no error if it is there."""
        for folder in (self._folder.parent, self._folder, self.files):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(self._folder.parent)
        sync_folder(self._folder)

    def open_journal(self) -> list[Frame]:
        """Open the journal for appending, dropping a torn end; returns the frames that are there."""
        file = open(self._folder / JOURNAL_NAME, "a+b", opener=_private)  # noqa: SIM115  # open as long as the run
        frames, end = [], 0
        for frame, position in journal.read(file):
            frames.append(frame)
            end = position
        file.truncate(end)
        file.seek(end)
        os.fsync(file.fileno())
        sync_folder(self._folder)
        self._journal = file
        return frames

    def frames(self) -> Iterator[Frame]:
        """Iterate over the journal's frames again."""
        with open(self._folder / JOURNAL_NAME, "rb") as file:
            for frame, _position in journal.read(file):
                yield frame

    def chunk_path(self, index: int) -> Path:
        """Return where a chunk lies."""
        return self.files / f"{self._commit_id}_{tarball.chunk_suffix(index)}"

    def drop_from(self, offset: int) -> None:
        """Drop all bytes of the tar from `offset` on: an earlier run wrote them, but they are not durable."""
        index, within = divmod(offset, self._chunk_bytes)
        if within:
            os.truncate(self.chunk_path(index), within)
            index += 1
        keep = {self.chunk_path(i).name for i in range(index)}
        for path in self.files.iterdir():
            if path.name.startswith(f"{self._commit_id}_") and path.name not in keep:
                path.unlink()

    def submit(self, chunks: Iterable[int], frames: Sequence[Frame]) -> None:
        """See `muniment.archive.ports.Staging`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="muniment-sync", daemon=True)
            self._thread.start()
        self._raise_failure()
        self._queue.put((list(chunks), frames))

    def wait(self) -> None:
        """See `muniment.archive.ports.Staging`."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._raise_failure()

    def end_tar(self, offset: int) -> int:
        """See `muniment.archive.ports.Staging`."""
        end = offset + len(tarball.TRAILER)
        position = offset
        while position < end:
            index, within = divmod(position, self._chunk_bytes)
            count = min(end - position, self._chunk_bytes - within)
            with open(self.chunk_path(index), "ab"):
                pass  # it may begin here
            with open(self.chunk_path(index), "r+b") as file:
                file.seek(within)
                file.write(bytes(count))
            position += count
        self.drop_from(end)
        sync_folder(self.files)
        return end

    def append(self, frames: Sequence[Frame]) -> None:
        """Append frames to the journal now, durably."""
        assert self._journal is not None
        for frame in frames:
            journal.append(self._journal, frame)
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def write(self, name: str, pieces: Iterable[bytes]) -> FileDigests:
        """Write or replace a whole file of the commit, durably."""
        temporary = self._folder / f"{name}.tmp"
        hashes = BlockDigests()
        with open(temporary, "wb") as file:
            for piece in pieces:
                file.write(piece)
                hashes.update(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.files / name)
        sync_folder(self.files)
        return hashes.finish(name)

    def digest(self, names: Sequence[str]) -> list[FileDigests]:
        """Make files that another program wrote durable and return their digests."""
        pool = self._pool()
        syncing = threading.Thread(target=self._sync_files, args=(names,), daemon=True)
        syncing.start()
        answers = list(pool.map_unordered([DigestChunk(name) for name in names]))
        syncing.join()
        self._raise_failure()
        return [answer.digests for answer in answers]

    def _sync_files(self, names: Sequence[str]) -> None:
        try:
            for name in names:
                sync_file(self.files / name)
            sync_folder(self.files)
        except OSError as error:
            self._failure = error

    def workers(self) -> Workers:
        """Start the processes that seal, or return them when they run."""
        return self._pool()

    def _pool(self) -> WorkerPool:
        if self._workers is None:
            self._workers = WorkerPool(
                self._worker_count, SealingWorker, self.files, self._commit_id, self._chunk_bytes
            )
        return self._workers

    def remove(self) -> None:
        """Remove the folder with all that it holds, the journal with the file keys included."""
        self.close()
        shutil.rmtree(self._folder)
        sync_folder(self._folder.parent)

    def close(self) -> None:
        """Stop the background work and close the journal; what was submitted is still done."""
        with contextlib.suppress(OSError):
            self.wait()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def _work(self) -> None:
        while (submission := self._queue.get()) is not None:
            if self._failure is not None:
                continue  # nothing behind a failure may be acknowledged
            chunks, frames = submission
            try:
                for index in chunks:
                    sync_file(self.chunk_path(index))
                if chunks:
                    sync_folder(self.files)
                self.append(frames)
            except OSError as error:
                self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def keep_only(staging: Path, commit_ids: Collection[str]) -> None:
    """Remove the staging folders of all commits but these."""
    if not staging.is_dir():
        return
    for entry in os.scandir(staging):
        if entry.is_dir(follow_symlinks=False) and entry.name not in commit_ids:
            shutil.rmtree(entry.path)
    sync_folder(staging)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
