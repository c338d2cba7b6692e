"""A folder of IPNS records that others may publish to."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from muniment.adapters.gateway_names import RecordFolder
from muniment.adapters.private_files import PUBLIC_MODE, replace_file
from muniment.content.cid import CID


class PublishedRecords(RecordFolder):
    """The records of a folder, which can be replaced."""

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold off all others who would change records here, in any process."""
        fd = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def store(self, name: CID, record: bytes) -> None:
        """Keep the record of a name durably, in the file where the older one is or in a new one."""
        replace_file(self._path(name), record, PUBLIC_MODE)
