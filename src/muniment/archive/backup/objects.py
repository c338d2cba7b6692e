"""One object at a time: reading it whole, and telling whether it holds the right bytes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Protocol, Self

from muniment.archive.backup.ports import ObjectInfo, ObjectStorage


class Writable(Protocol):
    """What a restored file is written to."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to be backed up: its size in bytes, its hex SHA-256, and how to open it for reading."""

    size: int
    sha256: str
    open: Callable[[], BinaryIO]


class Check(StrEnum):
    """How an object is known to hold the right bytes."""

    STORE_CHECKSUM = "store_checksum"  # the store computed SHA-256 over what it received
    READ_BACK = "read_back"  # the bytes were read and hashed here
    RECORDED = "recorded"  # size and recorded SHA-256, in a commit that an earlier run completed, so had verified


class Nowhere:
    """A target that keeps nothing: for reading without writing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def write(self, data: bytes, /) -> None:
        """Drop `data`."""


def copy_object(storage: ObjectStorage, key: str, size: int, target: Writable) -> str | None:
    """Copy `size` bytes and return their hex SHA-256; None if the storage gave more or fewer."""
    digest, seen_bytes = hashlib.sha256(), 0
    for block in storage.get(key, 0, size):
        seen_bytes += len(block)
        if seen_bytes > size:
            return None
        digest.update(block)
        target.write(block)
    return digest.hexdigest() if seen_bytes == size else None


def compare(
    file: LocalFile,
    info: ObjectInfo,
    key: str,
    storage: ObjectStorage,
    *,
    trust_recorded: bool = False,
) -> Check | None:
    """Tell how the object is known to equal the file, or None if it differs."""
    if info.size != file.size:
        return None
    if info.store_sha256 is not None:
        return Check.STORE_CHECKSUM if info.store_sha256 == file.sha256 else None
    if trust_recorded and info.recorded_sha256 == file.sha256:
        return Check.RECORDED
    return (
        Check.READ_BACK if copy_object(storage, key, file.size, Nowhere()) == file.sha256 else None
    )
