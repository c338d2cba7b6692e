"""The files of a stored commit as its object backup wants them."""

import hashlib
from functools import partial
from pathlib import Path
from typing import BinaryIO

from muniment.adapters.commit_folder import CommitFolder
from muniment.archive.backup import LocalFile
from muniment.archive.commit_source import read_manifest, read_whole
from muniment.archive.manifest import BESIDE_NAMES, MANIFEST_NAME


def local_files(path: Path) -> dict[str, LocalFile]:
    """Return a commit's sealed files, with their digests from the manifest, and those beside them."""
    with CommitFolder(path) as folder:
        manifest = read_manifest(folder)
        files = {
            file.name: LocalFile(
                file.size, file.sha256.removeprefix("sha256:"), partial(_open, path / file.name)
            )
            for file in manifest.sealed
        }
        present = set(folder.names())
        for name in (MANIFEST_NAME, *(name for name in BESIDE_NAMES if name in present)):
            data = read_whole(folder, name)
            files[name] = LocalFile(
                len(data), hashlib.sha256(data).hexdigest(), partial(_open, path / name)
            )
    return files


def _open(path: Path) -> BinaryIO:
    return open(path, "rb")
