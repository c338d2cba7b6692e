"""Directories: one node of named links, or a HAMT when that node would exceed the profile's threshold."""

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from muniment.content import varint
from muniment.content.cid import CID
from muniment.content.dag_pb import PBLink
from muniment.content.unixfs import hamt
from muniment.content.unixfs.node import Metadata, encode_directory, encode_symlink
from muniment.content.unixfs.profile import V1_2025, Profile
from muniment.errors import FormatError

SORTED_BYTES = 32 * 1024 * 1024
"""Memory that the entries of a sharded directory may take before they are sorted into the spool file."""

_RECORD_OVERHEAD_BYTES = 41  # of a `bytes` object and its place in a list
_READ_BYTES = 256 * 1024


class DirectoryEntry(NamedTuple):
    """A name in a directory, the CID it stands for, and the bytes of that DAG's blocks."""

    name: bytes
    cid: CID
    tsize: int


@dataclass(frozen=True, slots=True)
class DirectoryDag:
    """The DAG of one directory, without what its entries point to.

    Attributes:
        root: CID of the directory.
        tsize: Bytes of all blocks below and including the root.
        inner: Every node of the directory, children before the root; empty where they were yielded.
    """

    root: CID
    tsize: int
    inner: list[tuple[CID, bytes]]


class DirectoryBuilder:
    """Builds a directory from entries that arrive one by one, in any order.

    Memory: a directory that stays one node is small; of a sharded one, `SORTED_BYTES` of entries, the rest lies in the spool file.

    Args:
        profile: Decides when and how it is sharded.
        open_spool: Makes an empty temporary file to read and write; without it, all entries stay in memory.
        metadata: What is stored about the directory itself.
    """

    def __init__(
        self,
        profile: Profile = V1_2025,
        open_spool: Callable[[], BinaryIO] | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        self._profile, self._metadata = profile, metadata
        self._size_bytes = len(encode_directory((), metadata)) if profile.hamt_by_block else 0
        self._links: list[PBLink] | None = []
        self._sorter = _Sorter(open_spool)

    def add(self, name: bytes, cid: CID, tsize: int) -> None:
        """Add an entry.

        Raises:
            FormatError: The name is empty, `.` or `..`, or holds `/` or a zero byte.
        """
        check_name(name)
        link = PBLink(cid, name, tsize)
        if self._links is None:
            self._sorter.add(link)
            return
        self._links.append(link)
        self._size_bytes += self._profile.directory_bytes(link)
        if self._size_bytes > self._profile.hamt_threshold_bytes:
            for early in self._links:
                self._sorter.add(early)
            self._links = None

    def finish(self) -> Generator[tuple[CID, bytes], None, DirectoryDag]:
        """Yield every node, children before the root, and return the directory.

        Raises:
            FormatError: A name occurs twice.
        """
        if self._links is None:
            root = yield from hamt.build(self._sorter.finish(), self._profile, self._metadata)
            return DirectoryDag(root.cid, root.tsize or 0, [])
        self._links.sort(key=_name)
        for one, other in zip(self._links, self._links[1:], strict=False):
            if one.name == other.name:
                raise FormatError(f"directory has the name {one.name!r} twice")
        block = encode_directory(self._links, self._metadata)
        cid = self._profile.node_cid(block)
        yield cid, block
        return DirectoryDag(cid, len(block) + sum(link.tsize or 0 for link in self._links), [])


def directory_dag(
    entries: Iterable[tuple[bytes, CID, int]], profile: Profile = V1_2025
) -> DirectoryDag:
    """Build a directory of (name, CID, tsize) entries, given in any order.

    Raises:
        FormatError: A name is empty, `.` or `..`, holds `/` or a zero byte, or occurs twice.
    """
    inner: list[tuple[CID, bytes]] = []
    builder = DirectoryBuilder(profile)
    for name, cid, tsize in entries:
        builder.add(name, cid, tsize)
    nodes = builder.finish()
    while True:
        try:
            inner.append(next(nodes))
        except StopIteration as end:
            return DirectoryDag(end.value.root, end.value.tsize, inner)


def symlink_node(
    target: bytes, profile: Profile = V1_2025, metadata: Metadata | None = None
) -> tuple[CID, bytes]:
    """Return the CID and block of a symbolic link to `target`."""
    block = encode_symlink(target, metadata)
    return profile.node_cid(block), block


def check_name(name: bytes) -> None:
    """Check that `name` can be one component of a path.

    Raises:
        FormatError: It is empty, `.` or `..`, or holds `/` or a zero byte.
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise FormatError(f"expected a file name, got {name!r}")


def _name(link: PBLink) -> bytes:
    return link.name or b""


class _Sorter:
    """Sorts links by the hashes of their names, beyond what fits into memory in a spool file.

    There a link is a record: the hash (8 bytes), varint length of the CID, CID, varint tsize, name. Sorted runs of records, each behind
    its length, lie one after another; a record of another directory's sorter never gets there.
    """

    def __init__(self, open_spool: Callable[[], BinaryIO] | None) -> None:
        self._open_spool = open_spool
        self._spool: BinaryIO | None = None
        self._records: list[bytes] = []
        self._held_bytes = 0
        self._runs: list[tuple[int, int]] = []

    def add(self, link: PBLink) -> None:
        raw, name = link.cid.raw, link.name or b""
        digest = hamt.murmur3_64(name).to_bytes(8, "big")
        record = b"".join(
            (digest, varint.encode(len(raw)), raw, varint.encode(link.tsize or 0), name)
        )
        self._records.append(record)
        self._held_bytes += len(record) + _RECORD_OVERHEAD_BYTES
        if self._held_bytes >= SORTED_BYTES and self._open_spool:
            self._spool = self._spool or self._open_spool()
            self._write_run(self._spool)

    def finish(self) -> Iterator[tuple[int, PBLink]]:
        """Yield (hash, link) in the order of the hashes; equal hashes come in the order of what else they have."""
        self._records.sort()
        if self._spool is None:
            yield from map(_decode_record, self._records)
            return
        with self._spool as spool:
            runs = [_read_run(spool, start, end) for start, end in self._runs]
            yield from map(_decode_record, heapq.merge(self._records, *runs))

    def _write_run(self, spool: BinaryIO) -> None:
        self._records.sort()
        start = spool.seek(0, 2)
        spool.writelines(len(record).to_bytes(4, "big") + record for record in self._records)
        self._runs.append((start, spool.tell()))
        self._records, self._held_bytes = [], 0


def _read_run(spool: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield the records of a run; the file's position is anybody's between two of them."""
    held = b""
    while start < end or held:
        if len(held) < 4 or len(held) < 4 + int.from_bytes(held[:4], "big"):
            spool.seek(start)
            piece = spool.read(min(_READ_BYTES, end - start))
            held, start = held + piece, start + len(piece)
        offset = 0
        while len(held) - offset >= 4:
            record_end = offset + 4 + int.from_bytes(held[offset : offset + 4], "big")
            if record_end > len(held):
                break
            yield held[offset + 4 : record_end]
            offset = record_end
        held = held[offset:]


def _decode_record(record: bytes) -> tuple[int, PBLink]:
    length, start = varint.decode(record, 8)
    end = start + length
    tsize, name_start = varint.decode(record, end)
    link = PBLink(CID(record[start:end]), record[name_start:], tsize)
    return int.from_bytes(record[:8], "big"), link
