"""The folder that files are restored into: nothing is ever written outside of it, nor half.

Every step goes through descriptors of the folders on the way, opened without following links, so a link that somebody puts
there (or that the archive itself restores) leads nowhere. A file gets its name when it is whole; until then it is called
`.muniment-restore-<process id>`, and what a killed process left under such a name is removed by the next restore.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from muniment.archive.catalog import Kind, ScannedFile
from muniment.archive.record import check_path
from muniment.errors import ConflictError, IntegrityError

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDERS_MAX = 64
_TEMPORARY = ".muniment-restore-%d"
_LEFTOVER = re.compile(r"\.muniment-restore-([1-9][0-9]{0,6})")  # Linux counts to 4,194,304
_RESTORED_MODE_BITS = 0o1777
"""All but set-user-ID and set-group-ID: a restored file belongs to whoever restores it, and must not lend their rights to others."""


class RestoreTarget:
    """Puts files back below `folder`; with `overwrite`, in place of files and links that are there."""

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.folder, self.overwrite = folder, overwrite
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folders: dict[bytes, int] = {}
        self._temporary = os.fsencode(_TEMPORARY % os.getpid())
        _drop_leftovers(self._root)

    def close(self) -> None:
        """Close the folders."""
        for descriptor in [*self._folders.values(), self._root]:
            os.close(descriptor)
        self._folders.clear()

    def make_folder(self, path: bytes) -> None:
        """Make a folder and those above it; it is no error if it is there."""
        check_path(path, "a folder to restore")
        self._folder(path)

    def write_file(self, scanned: ScannedFile, pieces: Iterable[bytes]) -> None:
        """Write a file with its mode and times.

        Args:
            scanned: Its path, mode and times.
            pieces: Its bytes; what they raise leaves nothing behind.

        Raises:
            ConflictError: Something is there already.
            IntegrityError: The way to it leads over a link.
        """
        parent, name = self._parent(scanned.path)
        self._refuse_existing(parent, name, scanned.path)
        descriptor = self._create_temporary(parent)
        try:
            try:
                for piece in pieces:
                    _write_all(descriptor, piece)
                os.fchmod(descriptor, scanned.mode & _RESTORED_MODE_BITS)
                os.utime(descriptor, ns=(scanned.mtime_ns, scanned.mtime_ns))
            finally:
                os.close(descriptor)
            os.rename(self._temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            self._drop_temporary(parent)
            raise

    def write_link(self, scanned: ScannedFile) -> None:
        """Make a symbolic link; where it leads is not looked at."""
        parent, name = self._parent(scanned.path)
        self._refuse_existing(parent, name, scanned.path)
        assert scanned.target is not None
        self._drop_temporary(parent)
        os.symlink(scanned.target, self._temporary, dir_fd=parent)
        try:
            times = (scanned.mtime_ns, scanned.mtime_ns)
            os.utime(self._temporary, ns=times, dir_fd=parent, follow_symlinks=False)
            os.rename(self._temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            self._drop_temporary(parent)
            raise

    def finish_folder(self, scanned: ScannedFile) -> None:
        """Give a folder its mode and times; to be done when nothing more is put into it."""
        descriptor = self._folder(scanned.path)
        os.fchmod(descriptor, scanned.mode & _RESTORED_MODE_BITS)
        os.utime(descriptor, ns=(scanned.mtime_ns, scanned.mtime_ns))

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        check_path(path, "a file to restore")
        folder, _slash, name = path.rpartition(b"/")
        return self._folder(folder), name

    def _folder(self, path: bytes) -> int:
        """Return a descriptor of a folder, making it and those above it (2,048 at most: too many to recurse)."""
        missing = []
        while path and path not in self._folders:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        descriptor = self._folders[path] if path else self._root
        for below in reversed(missing):
            descriptor = self._open_folder(descriptor, below)
        return descriptor

    def _open_folder(self, parent: int, path: bytes) -> int:
        """Open, or make, the folder at `path`, whose parent folder is open as `parent`."""
        name = path.rpartition(b"/")[2]
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            was_there = False
        except FileExistsError:
            was_there = True
        try:
            descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        except OSError as error:
            raise IntegrityError(
                f"{os.fsdecode(path)} in the target is a link or not a folder: nothing was written through it"
            ) from error
        if was_there:
            _drop_leftovers(descriptor)
        while len(self._folders) >= _OPEN_FOLDERS_MAX:
            os.close(self._folders.pop(next(iter(self._folders))))
        self._folders[path] = descriptor
        return descriptor

    def _create_temporary(self, parent: int) -> int:
        try:
            return os.open(self._temporary, _NEW_FILE_FLAGS, 0o600, dir_fd=parent)
        except FileExistsError:
            self._drop_temporary(parent)
            return os.open(self._temporary, _NEW_FILE_FLAGS, 0o600, dir_fd=parent)

    def _drop_temporary(self, parent: int) -> None:
        """Remove what a killed run left, or somebody put there: it is never written into, as it may be a link."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary, dir_fd=parent)

    def _refuse_existing(self, parent: int, name: bytes, path: bytes) -> None:
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not self.overwrite or stat.S_ISDIR(found.st_mode):
            raise ConflictError(f"{os.fsdecode(path)} exists in the target already")


def restore_entry(target: RestoreTarget, scanned: ScannedFile, pieces: Iterable[bytes]) -> None:
    """Put back one file, link or folder."""
    if scanned.kind is Kind.FILE:
        target.write_file(scanned, pieces)
    elif scanned.kind is Kind.SYMLINK:
        target.write_link(scanned)
    else:
        target.make_folder(scanned.path)


def _drop_leftovers(folder: int) -> None:
    """Remove half files of processes that no longer live; what cannot be looked at or removed stays, and harms nobody."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in list(entries):
            match = _LEFTOVER.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False) and not _lives(int(match[1])):
                with contextlib.suppress(OSError):
                    os.unlink(entry.name, dir_fd=folder)


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])
