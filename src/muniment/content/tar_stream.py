"""A UnixFS file or directory as a TAR stream (IPIP-288): POSIX pax format, no owners; modes and times where the nodes say them.

Where they do not, modes are 0755 for directories and 0644 for files (0777 for all links, whose modes mean nothing); the time is 1970,
so that equal content is equal bytes.

Entries of hostile directories can be called `..` or `a/b`. A name that leads to a place inside the root is written as that place;
one that leads outside, to the directory itself or one above it, or through a symbolic link of the same archive, ends the stream.
"""

import posixpath
import tarfile
from collections.abc import Callable, Iterator

from muniment.content.cid import CID
from muniment.content.open_links import OpenLinks
from muniment.content.unixfs import Info, describe, list_directory, read_file
from muniment.content.unixfs.node import Kind
from muniment.decimal_time import format_time
from muniment.errors import FormatError

Get = Callable[[CID], bytes]

MAX_DEPTH = 128
MAX_PATH_CHARS = 8192
"""Longest path in an archive; file systems stop at half of it."""
MAX_SYMLINKS = 100_000
MAX_SYMLINK_CHARS = 32 << 20
"""Characters of the places of all symbolic links of one archive, which have to be remembered."""
_BLOCK_BYTES = tarfile.BLOCKSIZE
_RECORD_BYTES = tarfile.RECORDSIZE
_LINK_MODE = 0o777
_DEFAULT_MODES = {Kind.DIRECTORY: 0o755, Kind.FILE: 0o644}
_NS = 1_000_000_000


def tar_stream(root: CID, name: str, get: Get) -> Iterator[bytes]:
    """Yield a TAR of what `root` stands for, in which it is called `name`.

    Work is proportional to what is yielded, which has no bound of its own: a few blocks can stand for any number of files. Memory is
    that of the directories on the way down, and of the places of symbolic links.

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
        self._symlink_chars = 0
        self._open_links = OpenLinks()

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
        if info.kind is Kind.SYMLINK:
            self._remember_symlink(path)
        yield self._header(path, info)
        if info.kind is Kind.DIRECTORY:
            entries = list_directory(cid, self._get, unsafe_names=True, open_links=self._open_links)
            for entry in entries:
                yield from self._entry(entry.cid, self._place(path, entry.name), depth + 1)
        elif info.kind is Kind.FILE:
            yield from self._content(cid, info.size)

    def _content(self, cid: CID, size: int) -> Iterator[bytes]:
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
        is_above = f"{parent}/".startswith(f"{path}/")
        if "\0" in text or is_above or not path.startswith(self._name + "/"):
            raise FormatError(f"the name {name[:80]!r} leads outside of the archive's root")
        if len(path) > MAX_PATH_CHARS:
            raise FormatError(f"expected paths of at most {MAX_PATH_CHARS} characters, got more")
        return path

    def _remember_symlink(self, path: str) -> None:
        self._symlinks.add(path)
        self._symlink_chars += len(path)
        if len(self._symlinks) > MAX_SYMLINKS or self._symlink_chars > MAX_SYMLINK_CHARS:
            raise FormatError(f"expected at most {MAX_SYMLINKS} symbolic links, got more")

    def _check_parents(self, path: str) -> None:
        """Refuse to write through a symbolic link, or over one."""
        place = path
        while self._symlinks and place:
            if place in self._symlinks:
                raise FormatError(
                    f"{path[:80]!r} leads through a symbolic link of the same archive"
                )
            place = posixpath.dirname(place)

    def _header(self, path: str, info: Info) -> bytes:
        member = tarfile.TarInfo(path)
        member.type, member.size = _TYPES[info.kind], info.size
        member.mode = _mode(info)
        member.linkname = info.target.decode("utf-8", "surrogateescape")
        if info.metadata.mtime_ns is not None:
            member.mtime, fraction_ns = divmod(info.metadata.mtime_ns, _NS)
            if fraction_ns:
                member.pax_headers = {"mtime": format_time(info.metadata.mtime_ns)}
        header = member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        self._written_bytes += len(header)
        return header


def _mode(info: Info) -> int:
    if info.kind is Kind.SYMLINK:
        return _LINK_MODE
    return info.metadata.mode or _DEFAULT_MODES[info.kind]


_TYPES = {
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.FILE: tarfile.REGTYPE,
}
