"""Walking folders: what is there, without reading any content.

Paths are bytes from end to end: a name on a file system is not text. Links are never followed. Nothing is sorted or
collected, so a folder with a million entries costs no more memory than one with ten. Paths longer than the kernel takes
(4,095 bytes on Linux) are problems; so records never see them.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator

from muniment.archive.catalog import Kind, ScannedFile

OnProblem = Callable[[bytes, str], None]
"""Is told of a path that cannot be archived, and why."""

_OPEN_FOLDERS = 100
"""Folders that are read step by step, each with an open descriptor; deeper ones are read whole."""

_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK}
_OTHERS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}
_TIME_LIMIT = 2**63 - 1  # nanoseconds in a signed 64-bit integer: the years 1678 to 2261
_INODE_MASK = 2**63 - 1  # some file systems use all 64 bits of a number that is only ever compared

_make = ScannedFile._make  # a third of the time that calling the class takes


def scan(
    roots: Iterable[bytes],
    on_problem: OnProblem,
    skip: Collection[bytes] = (),
    *,
    hidden: bool = True,
) -> Iterator[ScannedFile]:
    """Iterate over the roots and everything below them, each path once.

    A folder comes before what it holds; otherwise the order is the file system's. Whatever cannot be archived is told to
    `on_problem`, and the walk goes on. A path that vanishes meanwhile is left out; so is a folder that cannot be listed,
    for its problem must stand until it can.

    Args:
        roots: Absolute paths, with or without the leading slash. Their parents are not recorded.
        on_problem: Called with a path (without leading slash) and a message.
        skip: Absolute paths of folders that are never entered nor recorded, by whatever path they are reached.
        hidden: Whether names below the roots that begin with a dot are looked at.
    """
    skipped = _Skipped(skip, hidden=hidden)
    for root in _outermost(roots):
        yield from _scan_root(root, on_problem, skipped)


def scanned_file(path: bytes, status: os.stat_result, target: bytes | None = None) -> ScannedFile:
    """Describe a path by its status, as a scan does.

    Args:
        path: Absolute path without the leading slash.
        status: Of the path itself, not of what a link points to.
        target: What a link points to.

    Raises:
        KeyError: It is neither a file nor a folder nor a link.
    """
    mode = status.st_mode
    kind = _KINDS[mode & 0o170000]
    size = status.st_size if kind is Kind.FILE else 0
    mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
    if not (-_TIME_LIMIT < mtime_ns < _TIME_LIMIT and -_TIME_LIMIT < ctime_ns < _TIME_LIMIT):
        mtime_ns, ctime_ns = _within_limit(mtime_ns), _within_limit(ctime_ns)
    inode = status.st_ino & _INODE_MASK
    return _make((path, kind, size, mode & 0o7777, mtime_ns, ctime_ns, inode, target))


class _Skipped:
    """What is left out: folders, known by device and inode so that no other path leads into them; perhaps hidden names."""

    def __init__(self, paths: Iterable[bytes], *, hidden: bool) -> None:
        self.hidden = hidden
        self._real = [os.path.realpath(b"/" + path.lstrip(b"/")) for path in paths]
        self.identities: set[tuple[int, int]] = set()
        for path in self._real:
            try:
                status = os.stat(path)
            except OSError:
                continue  # not there yet, or not reachable: then not for this walk either
            self.identities.add((status.st_dev, status.st_ino))

    def contains(self, root: bytes) -> bool:
        """Tell whether a root is one of these folders, or lies in one."""
        real = os.path.realpath(root)
        return any(real == path or real.startswith(path.rstrip(b"/") + b"/") for path in self._real)


def _outermost(roots: Iterable[bytes]) -> Iterator[bytes]:
    """Iterate over the roots as absolute paths, without those that are reached from another one."""
    reached: list[bytes] = []
    for root in sorted({os.path.normpath(b"/" + root.lstrip(b"/")) for root in roots}):
        # A root below another one may still be reached only through a link, which the walk does not follow.
        real = os.path.join(os.path.realpath(os.path.dirname(root)), os.path.basename(root))
        below = any(
            root.startswith(above.rstrip(b"/") + b"/") and real == _under(above, root)
            for above in reached
        )
        if not below:
            reached.append(root)
            yield root


def _under(above: bytes, root: bytes) -> bytes:
    """Return where a root below `above` really lies if no link is between them."""
    real = os.path.join(os.path.realpath(os.path.dirname(above)), os.path.basename(above))
    return os.path.join(real, root[len(above) :].lstrip(b"/"))


def _scan_root(root: bytes, on_problem: OnProblem, skipped: _Skipped) -> Iterator[ScannedFile]:
    path = root[1:]
    if skipped.contains(root):
        on_problem(path, "belongs to Muniment itself, which is not archived")
        return
    try:
        status = os.lstat(root)
    except OSError as error:
        on_problem(path, _reason(error))
        return
    if not stat.S_ISDIR(status.st_mode):
        yield from _leaf(path, status, on_problem)
        return
    stack: list[_Entries] = []
    try:
        if _enter(root, stack, on_problem):
            if path:  # `/` itself has no name to be recorded by
                yield scanned_file(path, status)
            yield from _walk(stack, on_problem, skipped)
    finally:
        for entries in stack:
            entries.close()


class _Entries:
    """What remains to be read of one folder."""

    def __init__(self, folder: bytes, *, whole: bool) -> None:
        self.folder = folder
        self._open = os.scandir(folder)
        self.rest: Iterator[os.DirEntry[bytes]] = self._open
        if whole:
            with self._open:
                self.rest = iter(list(self._open))

    def close(self) -> None:
        self._open.close()


def _enter(folder: bytes, stack: list[_Entries], on_problem: OnProblem) -> bool:
    """Put a folder on the stack; tell whether it can be listed."""
    try:
        stack.append(_Entries(folder, whole=len(stack) >= _OPEN_FOLDERS))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        on_problem(folder[1:], _reason(error))
        return False
    return True


def _walk(stack: list[_Entries], on_problem: OnProblem, skipped: _Skipped) -> Iterator[ScannedFile]:
    """Iterate over what is below the folder on the stack, always going on with the deepest folder."""
    while stack:
        entries = stack[-1]
        try:
            for entry in entries.rest:
                if not skipped.hidden and entry.name.startswith(b"."):
                    continue
                status = _status(entry, on_problem)
                if status is None:
                    continue
                kind = status.st_mode & 0o170000
                if kind == stat.S_IFREG:
                    yield scanned_file(entry.path[1:], status)
                elif kind != stat.S_IFDIR:
                    yield from _leaf(entry.path[1:], status, on_problem)
                elif (status.st_dev, status.st_ino) not in skipped.identities and _enter(
                    entry.path, stack, on_problem
                ):
                    yield scanned_file(entry.path[1:], status)
                    break
            else:
                stack.pop().close()
        except OSError as error:
            on_problem(entries.folder[1:], _reason(error))
            stack.pop().close()


def _status(entry: os.DirEntry[bytes], on_problem: OnProblem) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None  # it vanished since the folder was listed
    except OSError as error:
        on_problem(entry.path[1:], _reason(error))
        return None


def _leaf(path: bytes, status: os.stat_result, on_problem: OnProblem) -> Iterator[ScannedFile]:
    """Describe what is not a folder."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        yield scanned_file(path, status)
    elif kind == stat.S_IFLNK:
        try:
            target = os.readlink(b"/" + path)
        except FileNotFoundError:
            return
        except OSError as error:
            on_problem(path, _reason(error))
            return
        yield scanned_file(path, status, target)
    else:
        on_problem(path, f"is {_OTHERS.get(kind, 'of an unknown kind')}, which cannot be archived")


def _within_limit(time_ns: int) -> int:
    return max(-_TIME_LIMIT, min(time_ns, _TIME_LIMIT))


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
