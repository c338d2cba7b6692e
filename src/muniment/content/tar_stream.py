"""A UnixFS file or directory as a TAR stream (IPIP-288): POSIX pax format, no owners, no times, modes 0755 and 0644.

Entries of hostile directories can be called `..` or `a/b`. A name that leads to a place inside the root is written as that place;
one that leads outside, or through a symbolic link of the same archive, ends the stream.
"""

import posixpath
import tarfile
from collections.abc import Callable, Iterator

from muniment.content.cid import CID
from muniment.content.unixfs import describe, list_directory, read_file
from muniment.content.unixfs.node import Kind
from muniment.errors import FormatError

Get = Callable[[CID], bytes]

MAX_DEPTH = 128
MAX_SYMLINKS = 100_000
_BLOCK_BYTES = tarfile.BLOCKSIZE
_RECORD_BYTES = tarfile.RECORDSIZE


def tar_stream(root: CID, name: str, get: Get) -> Iterator[bytes]:
    """Yield a TAR of what `root` stands for, in which it is called `name`.

    Raises:
        FormatError: Something in it is not UnixFS, or would be extracted outside of `name`.
    """
    return _TarStream(name, get).run(root)


class _TarStream:
    def __init__(self, name: str, get: Get) -> None:
        self._name = name
        self._get = get
        self._written_bytes = 0
        self._symlinks: set[str] = set()

    def run(self, root: CID) -> Iterator[bytes]:
        """Yield the whole archive."""
        yield from self._entry(root, self._name, 0)
        end = 2 * _BLOCK_BYTES
        yield bytes(end + -(self._written_bytes + end) % _RECORD_BYTES)

    def _entry(self, cid: CID, path: str, depth: int) -> Iterator[bytes]:
        if depth > MAX_DEPTH:
            raise FormatError(f"expected directories of at most {MAX_DEPTH} levels, got more")
        self._check_parents(path)
        info = describe(cid, self._get)
        if info.kind is Kind.DIRECTORY:
            yield self._header(path, tarfile.DIRTYPE, 0)
            for entry in list_directory(cid, self._get, unsafe_names=True):
                yield from self._entry(entry.cid, self._place(path, entry.name), depth + 1)
        elif info.kind is Kind.SYMLINK:
            self._symlinks.add(path)
            if len(self._symlinks) > MAX_SYMLINKS:
                raise FormatError(f"expected at most {MAX_SYMLINKS} symbolic links, got more")
            yield self._header(path, tarfile.SYMTYPE, 0, info.target)
        else:
            yield from self._file(cid, path, info.size)

    def _file(self, cid: CID, path: str, size: int) -> Iterator[bytes]:
        yield self._header(path, tarfile.REGTYPE, size)
        sent = 0
        for piece in read_file(cid, self._get):
            sent += len(piece)
            yield piece
        if sent != size:
            raise FormatError(f"expected {size} bytes in {cid}, got {sent}")
        padding = -size % _BLOCK_BYTES
        self._written_bytes += size + padding
        if padding:
            yield bytes(padding)

    def _place(self, parent: str, name: bytes) -> str:
        """Return where an entry goes, whatever it is called."""
        text = name.decode("utf-8", "surrogateescape")
        path = posixpath.normpath(f"{parent}/{text}")
        if "\0" in text or not path.startswith(self._name + "/"):
            raise FormatError(f"the name {name[:80]!r} leads outside of the archive's root")
        return path

    def _check_parents(self, path: str) -> None:
        """Refuse to write through a symbolic link, or over one."""
        place = path
        while self._symlinks and place:
            if place in self._symlinks:
                raise FormatError(
                    f"{path[:80]!r} leads through a symbolic link of the same archive"
                )
            place = posixpath.dirname(place)

    def _header(self, path: str, kind: bytes, size: int, target: bytes = b"") -> bytes:
        member = tarfile.TarInfo(path)
        member.type, member.size = kind, size
        member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
        member.linkname = target.decode("utf-8", "surrogateescape")
        header = member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        self._written_bytes += len(header)
        return header
