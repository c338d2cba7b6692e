"""Directories: one node of named links, or a HAMT when that node would exceed the profile's threshold."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from muniment.content.cid import CID
from muniment.content.dag_pb import PBLink
from muniment.content.unixfs import hamt
from muniment.content.unixfs.node import encode_directory, encode_symlink
from muniment.content.unixfs.profile import V1_2025, Profile
from muniment.errors import FormatError


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
        inner: Every node of the directory, children before the root.
    """

    root: CID
    tsize: int
    inner: list[tuple[CID, bytes]]


def directory_dag(
    entries: Iterable[tuple[bytes, CID, int]], profile: Profile = V1_2025
) -> DirectoryDag:
    """Build a directory of (name, CID, tsize) entries, given in any order.

    Raises:
        FormatError: A name is empty, `.` or `..`, holds `/` or a zero byte, or occurs twice.
    """
    by_name = sorted(entries, key=lambda entry: entry[0])
    links = [PBLink(cid, name, tsize) for name, cid, tsize in by_name]
    _check_names(links)
    block = encode_directory(links)
    if profile.needs_hamt(links, block):
        root, tsize, inner = hamt.build(links, profile)
        return DirectoryDag(root, tsize, inner)
    root = profile.node_cid(block)
    tsize = len(block) + sum(link.tsize or 0 for link in links)
    return DirectoryDag(root, tsize, [(root, block)])


def symlink_node(target: bytes, profile: Profile = V1_2025) -> tuple[CID, bytes]:
    """Return the CID and block of a symbolic link to `target`."""
    block = encode_symlink(target)
    return profile.node_cid(block), block


def check_name(name: bytes) -> None:
    """Check that `name` can be one component of a path.

    Raises:
        FormatError: It is empty, `.` or `..`, or holds `/` or a zero byte.
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise FormatError(f"expected a file name, got {name!r}")


def _check_names(links: list[PBLink]) -> None:
    previous = None
    for link in links:
        check_name(link.name or b"")
        if link.name == previous:
            raise FormatError(f"directory has the name {link.name!r} twice")
        previous = link.name
