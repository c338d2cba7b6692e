"""Files from a service: first the proofs of everything that is wanted, then one tar of it, compared with them while it comes."""

import contextlib
import io
import os
import tarfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Protocol, Self

from blake3 import blake3

from muniment.archive.catalog import Kind, ScannedFile
from muniment.archive.proof import ProvenFile
from muniment.entrypoints.cli.progress import Progress
from muniment.entrypoints.cli.remote.connecting import path_of
from muniment.entrypoints.cli.remote.evidence import Evidence
from muniment.errors import ConflictError, FormatError, IntegrityError

if TYPE_CHECKING:
    from muniment.client import Client

_PROBLEMS_NAME = "muniment-problems.txt"
_PROBLEM_BYTES_MAX = 16 << 20
_PORTION_BYTES = 1 << 20
_PROBLEMS_MAX = 100_000
_HEADER_BYTES_MAX = 1 << 20
_FURTHER_HEADERS = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
}


class _Reader(io.RawIOBase):
    """Pieces as a file that can only be read on."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        length = min(len(buffer), len(self._rest))
        buffer[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length


@dataclass
class Expected:
    """What the service proves that it archived.

    Attributes:
        files: What has to come, by path as it is called in the tar.
        unproven: Why a proof does not hold, by path.
        problems: Likewise, of what the service has no name for.
        erased: Number of files whose keys were erased on purpose.
    """

    files: dict[bytes, ProvenFile] = field(default_factory=dict)
    unproven: dict[bytes, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    erased: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all contents."""
        return sum(file.scanned.size for file in self.files.values())


def expect(
    client: "Client",
    evidence: Evidence,
    paths: Sequence[bytes] = (),
    *,
    commit_id: str | None = None,
    at: int | None = None,
) -> Expected:
    """Ask for the proofs of everything that is wanted, and check them; see `Client.list_proofs`."""
    expected = Expected()
    for view in client.list_proofs(paths, commit_id=commit_id, at=at):
        if view.get("erased") is True:
            expected.erased += 1
            continue
        path = path_of(str(view.get("path_bytes", "")))
        try:
            proven = evidence.prove(view)
        except IntegrityError as error:
            if path:
                expected.unproven[path] = str(error)
            else:
                expected.problems.append(str(error))
            if len(expected.unproven) + len(expected.problems) > _PROBLEMS_MAX:
                raise
        else:
            name = path or proven.scanned.path
            expected.files[name] = proven._replace(scanned=proven.scanned._replace(path=name))
    return expected


class _Header(tarfile.TarInfo):
    """A header of a tar; one that announces a huge further header, which would be read at once, is refused."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header.

        Raises:
            FormatError: It announces too much.
        """
        header = super().frombuf(buf, encoding, errors)
        if header.type in _FURTHER_HEADERS and header.size > _HEADER_BYTES_MAX:
            raise FormatError(
                f"expected headers of at most {_HEADER_BYTES_MAX} bytes in the tar, got {header.size}"
            )
        return header


class Target(Protocol):
    """Where files go; see `muniment.adapters.restore_target.RestoreTarget`."""

    def write_file(self, scanned: ScannedFile, pieces: Iterable[bytes]) -> None:
        """Take a file."""

    def write_link(self, scanned: ScannedFile) -> None:
        """Take a link."""

    def make_folder(self, path: bytes) -> None:
        """Take a folder."""

    def finish_folder(self, scanned: ScannedFile) -> None:
        """Take notice that nothing more is put into a folder."""


class Nowhere:
    """A target that keeps nothing: files are only read."""

    def write_file(self, scanned: ScannedFile, pieces: Iterable[bytes]) -> None:
        """Read a file."""
        del scanned
        for _piece in pieces:
            pass

    def write_link(self, scanned: ScannedFile) -> None:
        """Keep nothing."""

    def make_folder(self, path: bytes) -> None:
        """Keep nothing."""

    def finish_folder(self, scanned: ScannedFile) -> None:
        """Keep nothing."""


class Unpacking:
    """Takes what is in a tar, if it is what was archived; of the tar, only names and contents are used.

    Args:
        target: Where it goes.
        expected: What has to come; everything else is refused.
        progress: Told of what came.

    Attributes:
        files: Files, links and folders taken.
        contents: Files with a content among them.
        size_bytes: Bytes of these contents.
        problems: Path and reason of everything that was not taken.
    """

    def __init__(self, target: Target, expected: Expected, progress: Progress) -> None:
        self._target, self._expected, self._progress = target, expected, progress
        self._folders: list[ScannedFile] = []
        self.files = self.contents = self.size_bytes = 0
        self.problems: list[tuple[bytes, str]] = []

    def take(self, pieces: Generator[bytes, None, None]) -> None:
        """Take every entry of a tar, which comes in pieces.

        Raises:
            FormatError: It is none.
            ConnectionFailedError: It broke off; what came is there.
        """
        reader = io.BufferedReader(_Reader(pieces), _PORTION_BYTES)
        try:
            with (
                contextlib.closing(pieces),
                tarfile.open(fileobj=reader, mode="r|", tarinfo=_Header) as tar,
            ):
                for member in tar:
                    self._entry(tar, member)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise FormatError(f"expected a tar from the service: {error}") from error
        for folder in reversed(self._folders):
            self._target.finish_folder(folder)
        self._tell_missing()

    def _tell_missing(self) -> None:
        missing = dict.fromkeys(self._expected.files, "the service did not send it")
        told = {path for path, _message in self.problems}
        for path, why in (missing | self._expected.unproven).items():
            if path not in told:
                self.problems.append((path, why))

    def _entry(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = os.fsencode(member.name)
        source = tar.extractfile(member) if member.isreg() else None
        if (
            source is not None
            and member.name == _PROBLEMS_NAME
            and path not in self._expected.files
        ):
            self._left_out(source)
            return
        try:
            proven = self._proven(path, member)
            self._write(proven, source)
        except (ConflictError, IntegrityError) as error:
            self.problems.append((path, str(error)))
            return
        self.files += 1
        self.contents += proven.scanned.size > 0
        self.size_bytes += proven.scanned.size
        self._progress.advance(proven.scanned.size, 1)

    def _proven(self, path: bytes, member: tarfile.TarInfo) -> ProvenFile:
        proven = self._expected.files.pop(path, None)
        if proven is None:
            why = self._expected.unproven.get(path, "the service sent it without a proof")
            raise IntegrityError(why)
        size_bytes = member.size if member.isreg() else 0
        if (_KINDS.get(member.type), size_bytes) != (proven.scanned.kind, proven.scanned.size):
            raise IntegrityError("the service sent something else than what was archived")
        return proven

    def _write(self, proven: ProvenFile, source: IO[bytes] | None) -> None:
        if source is not None:
            self._target.write_file(proven.scanned, _checked(source, proven))
        elif proven.scanned.kind is Kind.SYMLINK:
            self._target.write_link(proven.scanned)
        else:
            self._target.make_folder(proven.scanned.path)
            self._folders.append(proven.scanned)

    def _left_out(self, source: IO[bytes]) -> None:
        """Take notice of what the service could not open."""
        for line in source.read(_PROBLEM_BYTES_MAX).splitlines()[1:]:
            path, _colon, message = line.partition(b": ")
            self._expected.files.pop(path, None)
            self.problems.append((path, message.decode("utf-8", "replace")))


def _checked(source: IO[bytes], proven: ProvenFile) -> Iterator[bytes]:
    """Yield content as it comes.

    Raises:
        IntegrityError: At its end: it was not what was archived.
    """
    assert proven.digest is not None
    found = blake3()
    while piece := source.read(_PORTION_BYTES):
        found.update(piece)
        yield piece
    if found.digest() != proven.digest:
        raise IntegrityError(
            f"expected content with the digest blake3:{proven.digest.hex()}, got blake3:{found.hexdigest()}"
        )
