"""Reading a commit: its files by name, and the tar over its chunks."""

import hashlib
from collections.abc import Callable

from blake3 import blake3

from muniment.archive import manifest as manifests
from muniment.archive.manifest import Manifest
from muniment.archive.records_file import RecordsFile
from muniment.archive.sources import CommitSource
from muniment.errors import IntegrityError, MissingDataError

_PIECE_BYTES = 1 << 20
_BESIDE_BYTES_MAX = 4 << 30  # a keyring has 32 bytes a file: at most 3.2 GB


def read_whole(source: CommitSource, name: str, size_max: int = _BESIDE_BYTES_MAX) -> bytes:
    """Return a whole file.

    Raises:
        MissingDataError: It is not there, or larger than `size_max`.
    """
    size = source.size(name)
    if size > size_max:
        raise MissingDataError(
            f"{name} of commit {source.commit_id} has {size} bytes, expected at most {size_max}"
        )
    return source.read(name, 0, size)


def read_manifest(source: CommitSource) -> Manifest:
    """Return the manifest, checked as far as `manifest.decode` goes, and its id against the source's.

    Raises:
        MissingDataError: It is not there.
        FormatError: It is not a manifest.
        IntegrityError: It is that of another commit.
    """
    manifest = manifests.decode(
        read_whole(source, manifests.MANIFEST_NAME, manifests.MANIFEST_BYTES_MAX)
    )
    if manifest.commit_id != source.commit_id:
        raise IntegrityError(
            f"the manifest is that of commit {manifest.commit_id}, expected {source.commit_id}"
        )
    return manifest


def read_records(source: CommitSource, manifest: Manifest) -> RecordsFile:
    """Open `records.sealed`.

    Raises:
        FormatError: Its form is wrong.
        MissingDataError: It is not there.
    """
    return RecordsFile(source, manifest.merkle.leaf_count)


class TarView:
    """The tar, read through its chunks."""

    def __init__(self, source: CommitSource, manifest: Manifest) -> None:
        self._source, self._names = source, manifest.chunks
        self._chunk_bytes, self.size = manifest.packaging.chunk_bytes, manifest.packaging.tar_bytes

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`.

        Raises:
            MissingDataError: They are not there.
        """
        parts = []
        while size:
            index, within = divmod(offset, self._chunk_bytes)
            wanted = min(size, self._chunk_bytes - within)
            if index >= len(self._names):
                raise MissingDataError(
                    f"the tar of commit {self._source.commit_id} ends before byte {offset}"
                )
            data = self._source.read(self._names[index], within, wanted)
            if len(data) != wanted:
                raise MissingDataError(
                    f"{self._names[index]} is too short: it ends before byte {within + wanted}"
                )
            parts.append(data)
            offset += wanted
            size -= wanted
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def buffered(self, start: int, end: int) -> "TarView":
        """Return a view that holds the bytes from `start` to `end` in memory.

        Raises:
            MissingDataError: They are not there.
        """
        return _BufferedTar(self, start, self.read(start, end - start))

    def reader(self, offset: int) -> Callable[[int], bytes]:
        """Return a function that reads on from `offset`, so many bytes at each call."""
        position = offset

        def read(size: int) -> bytes:
            nonlocal position
            position += size
            return self.read(position - size, size)

        return read


class _BufferedTar(TarView):
    """A range of the tar in memory; what lies outside is read."""

    def __init__(self, tar: TarView, start: int, data: bytes) -> None:
        self._tar, self._start, self._data, self.size = tar, start, data, tar.size

    def read(self, offset: int, size: int) -> bytes:
        begin = offset - self._start
        if begin < 0 or begin + size > len(self._data):
            return self._tar.read(offset, size)
        return self._data[begin : begin + size]


def check_file(source: CommitSource, expected: manifests.SealedFile) -> None:
    """Check a sealed file against the manifest.

    Raises:
        MissingDataError: It is not there.
        IntegrityError: It has another size or digest.
    """
    size = source.size(expected.name)
    if size != expected.size:
        raise IntegrityError(f"{expected.name} has {size} bytes, expected {expected.size}")
    sha256, whole = hashlib.sha256(), blake3()
    for offset in range(0, size, _PIECE_BYTES):
        piece = source.read(expected.name, offset, _PIECE_BYTES)
        sha256.update(piece)
        whole.update(piece)
    if f"sha256:{sha256.hexdigest()}" != expected.sha256:
        raise IntegrityError(
            f"{expected.name} is damaged: its SHA-256 is {sha256.hexdigest()}, expected {expected.sha256[7:]}"
        )
    if f"blake3:{whole.hexdigest()}" != expected.blake3:
        raise IntegrityError(
            f"{expected.name} is damaged: its BLAKE3 is {whole.hexdigest()}, expected {expected.blake3[7:]}"
        )
