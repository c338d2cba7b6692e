"""Getting files, folders and links out of the store into the file system.

Nothing is written outside of the target, whatever a DAG calls its entries and wherever its links point: names are checked, and every
folder on the way is opened without following links (`RestoreTarget`). A new target appears when it is whole. A folder that is there
already is only added to, each file whole or not at all.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from muniment.adapters.content.new_file import (
    give_name,
    new_file,
    refuse_existing,
    temporary_beside,
)
from muniment.adapters.durable import sync_folder
from muniment.adapters.restore_target import RestoreTarget
from muniment.archive.catalog import Kind as PathKind
from muniment.archive.catalog import ScannedFile
from muniment.content.cid import CID
from muniment.content.open_links import OpenLinks
from muniment.content.unixfs import Info, describe, list_directory, read_file
from muniment.content.unixfs.node import NO_METADATA, Kind
from muniment.errors import ConflictError, FormatError, MunimentError

MAX_PATHS = 10_000_000
"""Most paths that one DAG is written out to: folders that are linked again and again make any number of a few blocks."""

MAX_FOLDER_DEPTH = 512
"""Deepest folder that is written: what removes an unfinished target again goes down level by level, as other programs do."""

_CHECKED_BYTES = 64 * 1024 * 1024
_MODE_BITS = 0o1777  # not set-user-ID and set-group-ID: see RestoreTarget

Get = Callable[[CID], bytes]
Advance = Callable[[int, int], None]
"""Is told of (bytes, paths) that are done."""


@dataclass(slots=True)
class GetReport:
    """What was written: paths, and the bytes of files."""

    paths: int = 0
    size_bytes: int = 0


def get_to(
    root: CID,
    target: Path,
    get: Get,
    *,
    force: bool = False,
    advance: Advance = lambda _bytes, _paths: None,
) -> GetReport:
    """Write what `root` stands for to `target`.

    Args:
        root: A file, directory or link.
        target: Where it goes; its parent folder must be there.
        get: Returns blocks, verified.
        force: Replace a file or link that is there by one; add to a folder that is there, replacing files and links in it.
        advance: Told of progress.

    Raises:
        ConflictError: Something is in the way, which was left as it is.
        FormatError: A block is malformed, or an entry's name is no file name.
        NotFoundError: A block is missing.
        MunimentError: The disk has no room for a file.
    """
    return _Getter(get, advance).run(root, target, force=force)


class _Getter:
    def __init__(self, get: Get, advance: Advance) -> None:
        self._get, self._advance = _LastBlock(get), advance
        self._report = GetReport()
        self._open_links = OpenLinks()
        self._now_ns = time.time_ns()
        self._mask = _umask()

    def run(self, root: CID, target: Path, *, force: bool) -> GetReport:
        info = describe(root, self._get)
        if info.kind is Kind.FILE:
            self._write_single(root, info, target, force=force)
        elif info.kind is Kind.SYMLINK:
            self._link_single(info, target, force=force)
        elif force and target.is_dir() and not target.is_symlink():
            self._fill(root, info, target, overwrite=True)
        else:
            self._make_folder(root, info, target)
        return self._report

    def _write_single(self, root: CID, info: Info, target: Path, *, force: bool) -> None:
        with new_file(target, replace=force) as file:
            self._check_room(info.size, file.fileno())
            for piece in self._pieces(root):
                file.write(piece)
            if info.metadata.mode is not None:
                os.fchmod(file.fileno(), info.metadata.mode & _MODE_BITS)
            file.flush()
            if (mtime_ns := _mtime_ns(info)) is not None:
                os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
        self._count()

    def _link_single(self, info: Info, target: Path, *, force: bool) -> None:
        refuse_existing(target, replace=force)
        temporary = temporary_beside(target)
        os.symlink(_link_target(info), temporary)
        try:
            give_name(temporary, target, replace=force)
        except BaseException:
            temporary.unlink()
            raise
        sync_folder(target.parent)
        self._count()

    def _make_folder(self, root: CID, info: Info, target: Path) -> None:
        """Write a new folder under another name, which it loses when it is whole."""
        _refuse(target)
        temporary = temporary_beside(target)
        os.mkdir(temporary, 0o700)
        try:
            self._fill(root, info, temporary, overwrite=False)
            _refuse(target)
            os.rename(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.chmod(temporary, 0o700)
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(target.parent)

    def _fill(self, root: CID, info: Info, folder: Path, *, overwrite: bool) -> None:
        target = RestoreTarget(folder, overwrite=overwrite)
        try:
            self._write_below(root, target)
        finally:
            target.close()
        if not overwrite or info.metadata.mode is not None:
            os.chmod(folder, self._mode(info, 0o777))
        if (mtime_ns := _mtime_ns(info)) is not None:
            os.utime(folder, ns=(mtime_ns, mtime_ns))
        self._count()

    def _write_below(self, root: CID, target: RestoreTarget) -> None:
        """Write all entries, depth first; a folder gets the mode and time that it says when nothing more goes into it."""
        levels: list[tuple[ScannedFile | None, Iterator[tuple[bytes, CID]]]]
        levels = [(None, self._entries(root, b""))]
        while levels:
            folder, entries = levels[-1]
            entry = next(entries, None)
            if entry is None:
                levels.pop()
                if folder is not None:
                    target.finish_folder(folder)
                continue
            path, cid = entry
            info = describe(cid, self._get)
            scanned = self._scanned(path, info)
            if info.kind is Kind.DIRECTORY:
                if len(levels) > MAX_FOLDER_DEPTH:
                    raise FormatError(
                        f"expected folders of at most {MAX_FOLDER_DEPTH} levels, got more"
                    )
                target.make_folder(path)
                told = scanned if info.metadata != NO_METADATA else None
                levels.append((told, self._entries(cid, path + b"/")))
            elif info.kind is Kind.SYMLINK:
                target.write_link(scanned)
            else:
                self._check_room(info.size, target.folder)
                target.write_file(scanned, self._pieces(cid))
            self._count()

    def _entries(self, directory: CID, prefix: bytes) -> Iterator[tuple[bytes, CID]]:
        for entry in list_directory(directory, self._get, open_links=self._open_links):
            yield prefix + entry.name, entry.cid

    def _pieces(self, cid: CID) -> Iterator[bytes]:
        for piece in read_file(cid, self._get):
            self._report.size_bytes += len(piece)
            self._advance(len(piece), 0)
            yield piece

    def _scanned(self, path: bytes, info: Info) -> ScannedFile:
        kind = _PATH_KINDS[info.kind]
        mode = self._mode(info, 0o777 if kind is PathKind.DIRECTORY else 0o666)
        mtime_ns = _mtime_ns(info)
        mtime_ns = self._now_ns if mtime_ns is None else mtime_ns
        target = _link_target(info) if kind is PathKind.SYMLINK else None
        return ScannedFile(path, kind, info.size, mode, mtime_ns, 0, 0, target)

    def _mode(self, info: Info, default: int) -> int:
        mode = info.metadata.mode
        return default & ~self._mask if mode is None else mode & _MODE_BITS

    def _count(self) -> None:
        self._report.paths += 1
        self._advance(0, 1)
        if self._report.paths > MAX_PATHS:
            raise FormatError(f"expected a DAG of at most {MAX_PATHS:,} paths, got more")

    def _check_room(self, size: int, place: int | Path) -> None:
        """Refuse before writing what cannot fit: a few blocks can claim an exabyte."""
        if size < _CHECKED_BYTES:
            return
        space = os.statvfs(place)
        free = space.f_bavail * space.f_frsize
        if size > free:
            raise MunimentError(
                f"the disk has no room for a file of {size:,} bytes: {free:,} are free"
            )


class _LastBlock:
    """Blocks, the last of them kept at hand: a file is asked what it is, and then for its bytes, which most often are that block."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._cid: CID | None = None
        self._data = b""

    def __call__(self, cid: CID) -> bytes:
        if cid != self._cid:
            self._data = self._get(cid)
            self._cid = cid
        return self._data


_PATH_KINDS = {
    Kind.FILE: PathKind.FILE,
    Kind.DIRECTORY: PathKind.DIRECTORY,
    Kind.SYMLINK: PathKind.SYMLINK,
}


def _refuse(target: Path) -> None:
    if os.path.lexists(target):
        raise ConflictError(f"{target} exists already; nothing was written")


def _link_target(info: Info) -> bytes:
    if not info.target or b"\0" in info.target:
        raise FormatError(f"expected a link's target, got {info.target[:80]!r}")
    return info.target


def _mtime_ns(info: Info) -> int | None:
    """Return the stored time, if there is one that a file system can have."""
    mtime_ns = info.metadata.mtime_ns
    return mtime_ns if mtime_ns is not None and abs(mtime_ns) < 1 << 63 else None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
