"""Reading and hashing files: the work that the threads of `adding` do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from muniment.adapters.source_file import ChangedError, SourceFile, UnreadableError, retrying
from muniment.archive.catalog import Kind as PathKind
from muniment.archive.catalog import ScannedFile
from muniment.content.cid import CID
from muniment.content.unixfs import V1_2025, Metadata, Profile
from muniment.content.unixfs.node import encode_wrapped_leaf


@dataclass(frozen=True, slots=True)
class AddOptions:
    """How things are added.

    Attributes:
        profile: Which DAGs are built.
        hidden: Whether names in folders that begin with a dot are added.
        preserve_mode: Store permission bits (this changes CIDs).
        preserve_mtime: Store modification times (this changes CIDs).
        skip: Folders that are left out wherever they are met.
    """

    profile: Profile = V1_2025
    hidden: bool = False
    preserve_mode: bool = False
    preserve_mtime: bool = False
    skip: tuple[bytes, ...] = ()

    @property
    def effective_profile(self) -> Profile:
        """The profile in use: raw leaves have no room for metadata, so they are wrapped where there is any (as Kubo does it)."""
        if self.preserve_mode or self.preserve_mtime:
            return replace(self.profile, raw_leaves=False)
        return self.profile


class Leaf(NamedTuple):
    """A leaf: its CID, its block, and the bytes of the file in it."""

    cid: CID
    block: bytes
    size: int


def read_batch(
    batch: Sequence[ScannedFile], profile: Profile, options: AddOptions
) -> list[tuple[ScannedFile, Leaf | str | None]]:
    """Read and hash the small files of a batch; a message stands for one that cannot be, None for what is no file."""
    return [
        (scanned, _read_small(scanned, profile, options) if scanned.kind is PathKind.FILE else None)
        for scanned in batch
    ]


def _read_small(scanned: ScannedFile, profile: Profile, options: AddOptions) -> Leaf | str:
    def attempt() -> Leaf:
        with SourceFile(scanned.path) as source:
            data = source.whole()
            now = source.unchanged(scanned)
        if len(data) != now.size or len(data) > profile.chunk_bytes:
            raise ChangedError("it changed while it was read")
        return _leaf(data, profile, metadata_of(now, options))

    try:
        return retrying(attempt)
    except UnreadableError as error:
        return str(error)


def read_span(source: SourceFile, start: int, end: int, profile: Profile) -> list[Leaf]:
    """Read and hash the bytes from `start` to `end` of a large file; `start` is where a leaf begins.

    Raises:
        UnreadableError: They cannot be read, or the file became shorter.
    """
    leaves = []
    for offset in range(start, end, profile.chunk_bytes):
        wanted = min(profile.chunk_bytes, end - offset)
        if wanted == profile.chunk_bytes and source.is_hole(offset, offset + wanted):
            leaves.append(_zero_leaf(profile))
            continue
        chunk = source.peek(offset, wanted)
        if len(chunk) != wanted:
            raise ChangedError("it changed while it was read")
        leaves.append(_leaf(chunk, profile))
    return leaves


@lru_cache(maxsize=4)
def _zero_leaf(profile: Profile) -> Leaf:
    """Return the leaf that holes of files have."""
    return _leaf(bytes(profile.chunk_bytes), profile)


def read_chunk(chunk: bytes, profile: Profile) -> list[Leaf]:
    """Hash a leaf of a stream."""
    return [_leaf(chunk, profile)]


def _leaf(data: bytes, profile: Profile, metadata: Metadata | None = None) -> Leaf:
    block = data if profile.raw_leaves else encode_wrapped_leaf(data, metadata)
    return Leaf(profile.leaf_cid(block), block, len(data))


def metadata_of(scanned: ScannedFile, options: AddOptions) -> Metadata | None:
    """Return what is to be stored about a path beside its content; None for nothing."""
    if not (options.preserve_mode or options.preserve_mtime):
        return None
    return Metadata(
        scanned.mode if options.preserve_mode else None,
        scanned.mtime_ns if options.preserve_mtime else None,
    )
