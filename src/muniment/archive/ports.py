"""What archiving asks of the world outside, each port as small as its need."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from muniment.archive.commit_dag import CommitDag
from muniment.archive.journal import FileDigests, Frame
from muniment.archive.sealing_messages import Answer, Copy, Request


class Workers(Protocol):
    """Processes that seal. Each answers its requests one by one."""

    @property
    def count(self) -> int:
        """How many workers there are."""
        ...

    def idle(self) -> list[int]:
        """Return the workers that have nothing to do."""
        ...

    def send(self, worker: int, request: Request) -> None:
        """Give an idle worker something to do."""
        ...

    def receive(self) -> tuple[int, Answer]:
        """Wait for the next answer; returns it behind the number of its worker."""
        ...


class Staging(Protocol):
    """The folder in which a commit grows."""

    def submit(self, chunks: Iterable[int], frames: Sequence[Frame]) -> None:
        """Make these chunks durable in the background, then append frames to the journal, durably.

        Submissions are worked off in order, so a frame is in the journal only when everything before it is durable.
        """
        ...

    def wait(self) -> None:
        """Wait until everything submitted is done; raises what went wrong."""
        ...

    def end_tar(self, offset: int) -> int:
        """Write the tar's end at `offset`, drop what lies behind it, and return the tar's size."""
        ...


class KnownContent(Protocol):
    """What is stored already in other commits."""

    def sizes(self, sizes: list[int]) -> set[int]:
        """Tell which of these plaintext sizes some stored content has."""
        ...

    def find(self, digests: list[bytes]) -> Mapping[bytes, Copy]:
        """Find stored contents that can be copied, by BLAKE3 digest."""
        ...


class SealProgress(Protocol):
    """Told how sealing advances."""

    def __call__(self, files: int, size_bytes: int) -> None:
        """Note that so many files with so many plaintext bytes were placed."""
        ...


class CommitStaging(Staging, Protocol):
    """The staging folder of one commit."""

    @property
    def files(self) -> Path:
        """The folder that becomes the commit's."""
        ...

    def create(self) -> None:
        """Make the folder, durably; it is no error if it is there."""
        ...

    def open_journal(self) -> list[Frame]:
        """Open the journal for appending; returns the frames that are there."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Iterate over the journal's frames again."""
        ...

    def append(self, frames: Sequence[Frame]) -> None:
        """Append frames to the journal, durably."""
        ...

    def drop_from(self, offset: int) -> None:
        """Drop all bytes of the tar from `offset` on."""
        ...

    def write(self, name: str, pieces: Iterable[bytes]) -> FileDigests:
        """Write or replace a whole file of the commit, durably."""
        ...

    def digest(self, names: Sequence[str]) -> list[FileDigests]:
        """Make files that another program wrote durable and return their digests."""
        ...

    def workers(self) -> Workers:
        """Start the processes that seal."""
        ...

    def close(self) -> None:
        """Release everything; the folder stays for a later run."""
        ...

    def remove(self) -> None:
        """Remove the folder with all that it holds."""
        ...


class CommitStore(Protocol):
    """Where finished commits live."""

    def has(self, commit_id: str) -> bool:
        """Tell whether a commit lies here."""
        ...

    def ids(self) -> Iterator[str]:
        """Iterate over the ids of all commits that lie here."""
        ...

    def adopt(self, commit_id: str, files: Path, dag: CommitDag) -> None:
        """Move a whole commit into the store and pin its DAG, durably; doing it again is no error."""
        ...


class Timestamper(Protocol):
    """Gets timestamps."""

    def stamp(self, manifest: bytes) -> Mapping[str, bytes]:
        """Return the files to put beside the manifest, by name; without the `.ots` when no calendar answered."""
        ...


class Progress(Protocol):
    """Told how a commit advances."""

    def stage(self, commit_id: str, stage: str, total_bytes: int) -> None:
        """Note that a stage begins; it will handle so many bytes (0 when that says nothing)."""
        ...

    def advance(self, size_bytes: int, files: int = 0) -> None:
        """Note that the stage has done so much more."""
        ...
