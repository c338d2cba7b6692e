"""Getting archived files back one by one, or many as one stream, without a folder to restore them into."""

import hashlib
import itertools
import os
import stat
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from muniment.adapters.stored_contents import ContentKeys, StoredContents
from muniment.archive.catalog import ArchivedFile, Kind
from muniment.archive.keyring import Keyring
from muniment.archive.manifest import KEYRING_NAME
from muniment.bootstrap.archive import Archive
from muniment.errors import MunimentError

ZIP_FILES_MAX = 100_000
"""A zip's directory is written last and held in memory until then; a tar has none."""

_KEYRINGS_KEPT = 16
_KEYRING_BYTES_MAX = 16 << 20  # larger ones are opened anew each time
_NS = 1_000_000_000
_KIND_BITS = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}
_TAR_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
}
_UNIX = 3
_ZIP_TIMES = (315_532_800, 4_354_819_198)  # 1980 to 2107: what its fields can say
_PROBLEMS_NAME = "muniment-problems.txt"

Entry = tuple[ArchivedFile, bytes]
"""A file, and the path that it gets in the stream."""


class Keyrings:
    """Keeps the keyrings that were used last opened. Safe to use from several threads."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[tuple[int, int, int], Keyring]] = {}
        self._lock = threading.Lock()

    def get(self, archive: Archive, commit_id: str) -> Keyring:
        """Return a commit's keyring, opened anew if it was replaced.

        Raises:
            KeyUnavailableError, NotFoundError, IntegrityError: As `Archive.open_keyring`.
        """
        path = archive.store.path(commit_id) / KEYRING_NAME
        try:
            status = os.stat(path)
        except OSError:
            return archive.open_keyring(commit_id)  # says what is wrong
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            kept = self._kept.pop(path, None)
            if kept is not None and kept[0] == version:
                self._kept[path] = kept  # the last one again
                return kept[1]
        keyring = archive.open_keyring(commit_id)
        if status.st_size <= _KEYRING_BYTES_MAX:
            with self._lock:
                self._kept[path] = (version, keyring)
                while len(self._kept) > _KEYRINGS_KEPT:
                    self._kept.pop(next(iter(self._kept)))
        return keyring


def content(
    archive: Archive, keyrings: Keyrings, file: ArchivedFile, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """Yield the content of a file, or the bytes from `start` to `end` of it.

    Of a whole, the last piece is yielded when all was checked: whoever got as many bytes as there are got the right ones. Of a part, every
    byte was authenticated under the file's key; what lies before it is not opened, unless it is compressed, and the digest of the whole is
    not compared.

    Raises:
        KeyUnavailableError: Nobody here can open it, or it was erased.
        IntegrityError: It is damaged.
    """
    keys = ContentKeys(archive.store.commits, lambda commit_id: keyrings.get(archive, commit_id))
    contents = StoredContents(archive.store.commits)
    try:
        end = file.scanned.size if end is None else end
        yield from contents.part(file, keys.key(file), start, end)
    finally:
        contents.close()


def zip_stream(archive: Archive, keyrings: Keyrings, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield a zip of files, uncompressed, in memory bounded by the number of its entries.

    Names are UTF-8. One that is not is written with escapes and a part of its digest, so that it stays unlike any other: a tar keeps the
    bytes of names. Files that cannot be opened at all are left out, and told of in the last entry.

    Raises:
        IntegrityError: A large file turned out to be damaged half-way: the zip has no end, and no program takes it for whole.
    """
    sink = _Sink()
    with (
        _Bundle(archive, keyrings) as bundle,
        zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as target,  # type: ignore[call-overload]  # all that it needs of a file
    ):
        for file, path in entries:
            pieces = bundle.open(file, path)
            if pieces is None:
                continue
            with target.open(_zip_info(file, path), "w") as writer:
                for piece in pieces if file.scanned.target is None else [file.scanned.target]:
                    writer.write(piece)
                    yield sink.take()
            yield sink.take()
        if bundle.problems:
            target.writestr(_PROBLEMS_NAME, bundle.problem_text())
    yield sink.take()


def tar_stream(archive: Archive, keyrings: Keyrings, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield a tar (POSIX pax) of files, names byte for byte, in bounded memory; see `zip_stream` for what goes wrong."""
    with _Bundle(archive, keyrings) as bundle:
        for file, path in entries:
            pieces = bundle.open(file, path)
            if pieces is None:
                continue
            yield _tar_header(file, path)
            yield from pieces
            yield bytes(-file.scanned.size % tarfile.BLOCKSIZE)
        if bundle.problems:
            text = bundle.problem_text()
            info = tarfile.TarInfo(_PROBLEMS_NAME)
            info.size, info.mtime = len(text), int(time.time())
            yield info.tobuf(tarfile.PAX_FORMAT) + text + bytes(-len(text) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Bundle:
    """The contents of many files, one after another.

    Attributes:
        problems: What was left out, and why.
    """

    def __init__(self, archive: Archive, keyrings: Keyrings) -> None:
        commits = archive.store.commits
        self._keys = ContentKeys(commits, lambda commit_id: keyrings.get(archive, commit_id))
        self._contents = StoredContents(commits)
        self.problems: list[tuple[bytes, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._contents.close()

    def open(self, file: ArchivedFile, path: bytes) -> Iterator[bytes] | None:
        """Return the pieces of a file's content, to be read before the next is opened; None if it cannot be opened."""
        try:
            pieces = iter(self._contents.pieces(file, self._keys.key(file)))
            first = next(pieces, b"")
        except MunimentError as error:
            self.problems.append((path, str(error)))
            return None
        return itertools.chain([first], pieces)

    def problem_text(self) -> bytes:
        """Say what was left out, one path a line."""
        lines = (path + b": " + message.encode() + b"\n" for path, message in self.problems)
        return b"These files could not be read:\n" + b"".join(lines)


class _Sink:
    """What a zip is written to: it can neither be read nor sought."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held


def _zip_info(file: ArchivedFile, path: bytes) -> zipfile.ZipInfo:
    scanned = file.scanned
    name = zip_name(path) + ("/" if scanned.kind is Kind.DIRECTORY else "")
    date = time.gmtime(min(max(scanned.mtime_ns // _NS, _ZIP_TIMES[0]), _ZIP_TIMES[1]))
    info = zipfile.ZipInfo(name, date[:6])
    info.create_system = _UNIX
    info.external_attr = (_KIND_BITS[scanned.kind] | scanned.mode) << 16
    info.file_size = len(scanned.target or b"") or scanned.size
    return info


def zip_name(path: bytes) -> str:
    """Return the name of a path in a zip: text, for zips know no other names."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        digest = hashlib.sha256(path).hexdigest()[:12]
        return f"{path.decode('utf-8', 'backslashreplace')}~{digest}"


def _tar_header(file: ArchivedFile, path: bytes) -> bytes:
    scanned = file.scanned
    info = tarfile.TarInfo(os.fsdecode(path))
    info.type = _TAR_TYPES[scanned.kind]
    info.size = scanned.size if scanned.kind is Kind.FILE else 0
    info.mode, info.mtime = scanned.mode, scanned.mtime_ns // _NS
    if scanned.target is not None:
        info.linkname = os.fsdecode(scanned.target)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


Bundler = Callable[[Archive, Keyrings, Iterable[Entry]], Iterator[bytes]]
BUNDLERS: dict[str, Bundler] = {"zip": zip_stream, "tar": tar_stream}
"""The formats in which many files are handed out."""
