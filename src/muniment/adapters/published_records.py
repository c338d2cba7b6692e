"""A folder of IPNS records that others may publish to."""

from pathlib import Path

from muniment.adapters.gateway_names import SUFFIX, RecordFolder
from muniment.adapters.private_files import PUBLIC_MODE, replace_file
from muniment.content.cid import CID
from muniment.content.ipns import name_text


class PublishedRecords(RecordFolder):
    """The records of a folder, which can be replaced."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def store(self, name: CID, record: bytes) -> None:
        """Keep the record of a name durably, in the file where the older one is or in a new one."""
        path = self._files.get(name, self._folder / f"{name_text(name)}{SUFFIX}")
        replace_file(path, record, PUBLIC_MODE)
        self._files[name] = path
