"""A commit's folder, opened for reading by name and offset."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Self

from muniment.archive import tarball
from muniment.archive.catalog import ContentPlace
from muniment.archive.commit_source import TarView, read_manifest
from muniment.errors import FormatError, MissingDataError

_OPEN_FILES_MAX = 64


class CommitFolder:
    """Reads the files of one commit; see `muniment.archive.commit_source.CommitSource`. Links in the folder are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commit_id = path.name
        self._open: dict[str, int] = {}

    def names(self) -> list[str]:
        """Return the names of the regular files that are there, sorted."""
        return sorted(
            entry.name for entry in os.scandir(self.path) if entry.is_file(follow_symlinks=False)
        )

    def size(self, name: str) -> int:
        """Return a file's size in bytes.

        Raises:
            MissingDataError: It is not there.
        """
        return os.fstat(self._descriptor(name)).st_size

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the file's end.

        Raises:
            MissingDataError: It is not there, or the disk cannot read it.
        """
        descriptor = self._descriptor(name)
        try:
            data = os.pread(descriptor, size, offset)
            while len(data) < size and (
                more := os.pread(descriptor, size - len(data), offset + len(data))
            ):
                data += more
        except OSError as error:
            raise MissingDataError(
                f"{name} of commit {self.commit_id} cannot be read: {error.strerror}"
            ) from error
        return data

    def __reduce__(self) -> tuple[type["CommitFolder"], tuple[Path]]:
        return CommitFolder, (self.path,)

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _descriptor(self, name: str) -> int:
        descriptor = self._open.get(name)
        if descriptor is not None:
            return descriptor
        if len(self._open) >= _OPEN_FILES_MAX:
            os.close(self._open.pop(next(iter(self._open))))
        try:
            descriptor = os.open(
                self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError as error:
            raise MissingDataError(
                f"{name} of commit {self.commit_id} is missing or cannot be opened: {error.strerror}"
            ) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise MissingDataError(f"{name} of commit {self.commit_id} is not a regular file")
        self._open[name] = descriptor
        return descriptor


class SiblingCommits:
    """The commits beside one another in a folder: where the contents of copies are found."""

    def __init__(self, folder: CommitFolder) -> None:
        self._parent = folder.path.parent
        manifest = read_manifest(folder)
        self._organization_id = manifest.organization.id
        self._tars = {folder.commit_id: TarView(folder, manifest)}

    def open_member(self, place: ContentPlace) -> Callable[[int], bytes]:
        """Return a reader of the member at `place`.

        Raises:
            MissingDataError: Its commit is not beside this one.
            FormatError: That leaf's member does not lie there, or the commit is another organisation's.
        """
        tar = self._tars.get(place.commit_id)
        if tar is None:
            path = self._parent / place.commit_id
            if not path.is_dir():
                raise MissingDataError(
                    f"the content lies in commit {place.commit_id}, which is not here"
                )
            folder = CommitFolder(path)
            manifest = read_manifest(folder)
            if manifest.organization.id != self._organization_id:
                raise FormatError(
                    f"the content is said to lie in commit {place.commit_id}, but that is of organisation "
                    f"{manifest.organization.id!r}, not {self._organization_id!r}"
                )
            tar = self._tars[place.commit_id] = TarView(folder, manifest)
        start = place.offset - tarball.BLOCK_BYTES
        header = tarball.header(place.leaf, place.sealed_size)
        if start < 0 or tar.read(start, tarball.BLOCK_BYTES) != header:
            raise FormatError(
                f"the content of a copy is said to be member {place.leaf} of commit {place.commit_id}, at byte {place.offset}, "
                "but that member does not lie there"
            )
        return tar.reader(place.offset)
