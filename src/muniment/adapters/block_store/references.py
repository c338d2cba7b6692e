"""Blocks in place: which bytes of which files are the leaves of a directory's DAG."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from muniment.content.cid import CID, DAG_PB, RAW, verify_block
from muniment.content.dag_pb import MAX_BLOCK_BYTES
from muniment.content.unixfs import DirectoryEntry, describe, leaf_layout, list_directory
from muniment.content.unixfs.node import Kind
from muniment.errors import FormatError, IntegrityError, MunimentError, UsageError

COMMITS = "commits"

# The DAG may come from somebody else: a small one can claim endlessly many tiny leaves.
_LEAVES_MAX = 1024
_LEAF_BYTES_MIN = 1024

Reference = tuple[CID, int, int]
"""CID, offset in the file, length: one block in place."""


@dataclass(slots=True)
class Layout:
    """The leaves found of one directory.

    Attributes:
        references: For each file (relative to the store's folder), its blocks.
        problems: What is missing or does not fit, in words.
    """

    references: dict[str, list[Reference]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def relative_path(folder: str, path: str | os.PathLike[str]) -> str:
    """Return `path`, absolute or relative to the store's folder, as the store records it.

    Raises:
        UsageError: It is not below the store's `commits` folder.
    """
    full = os.path.realpath(os.path.join(folder, os.fspath(path)))
    relative = os.path.relpath(full, os.path.realpath(folder))
    if not relative.startswith(COMMITS + os.sep):
        raise UsageError(
            f"expected a path below {os.path.join(folder, COMMITS)}, got {os.fspath(path)}"
        )
    return relative


def check_references(folder: str, path: str, references: list[Reference]) -> None:
    """Check that blocks can lie in the file where they are said to.

    Raises:
        UsageError: The file does not exist or is too short, or a block is larger than a block may be.
    """
    try:
        size = os.stat(os.path.join(folder, path)).st_size
    except FileNotFoundError:
        raise UsageError(f"expected a file at {os.path.join(folder, path)}, found none") from None
    for cid, offset, length in references:
        if offset < 0 or not 0 <= length <= MAX_BLOCK_BYTES or offset + length > size:
            raise UsageError(
                f"block {cid}: bytes {offset} to {offset + length} are not in {path} ({size} bytes)"
            )


def lay_out_directory(
    root: CID, folder: str, path: str, get: Callable[[CID], bytes], *, verify: bool
) -> Layout:
    """Find the leaves of the directory `root` in the files below `path`; inner nodes come from `get`.

    Reads no file, unless `verify`: then every leaf is hashed, and left out if it is damaged.
    """
    layout = Layout()
    pending = [(root, path)]
    while pending:
        directory, here = pending.pop()
        if not os.path.isdir(os.path.join(folder, here)):
            layout.problems.append(f"{here}: the directory is missing")
            continue
        try:
            entries = list(list_directory(directory, get))
        except MunimentError as error:
            layout.problems.append(f"{here}: {error}")
            continue
        for entry in entries:
            file = f"{here}/{os.fsdecode(entry.name)}"
            try:
                if entry.cid.codec == DAG_PB and describe(entry.cid, get).kind is Kind.DIRECTORY:
                    pending.append((entry.cid, file))
                else:
                    _lay_out_file(entry, folder, file, get, layout, verify=verify)
            except MunimentError as error:
                layout.problems.append(f"{file}: {error}")
    return layout


def _lay_out_file(
    entry: DirectoryEntry,
    folder: str,
    path: str,
    get: Callable[[CID], bytes],
    layout: Layout,
    *,
    verify: bool,
) -> None:
    full = os.path.join(folder, path)
    if not os.path.isfile(full):
        raise FormatError("the file is missing")
    size, end, leaves = os.stat(full).st_size, 0, []
    for number, leaf in enumerate(_leaves(entry, get)):
        cid, offset, length = leaf
        end = offset + length
        if end > size or length > MAX_BLOCK_BYTES:
            break
        if number > _LEAVES_MAX + size // _LEAF_BYTES_MIN:
            raise FormatError(
                f"expected a file of {size} bytes in at most {number} leaves, got more"
            )
        if cid.codec == RAW:
            leaves.append(leaf)
    layout.references[path] = _whole(full, path, leaves, layout) if verify else leaves
    if end != size:
        layout.problems.append(
            f"{path}: expected {'at least ' if end > size else ''}{end} bytes, got {size}"
        )


def _leaves(entry: DirectoryEntry, get: Callable[[CID], bytes]) -> Iterator[Reference]:
    # A file of one raw leaf is that leaf, which is not in the packs: its size is only in the directory.
    return (
        iter([(entry.cid, 0, entry.tsize)])
        if entry.cid.codec == RAW
        else leaf_layout(entry.cid, get)
    )


def _whole(full: str, path: str, leaves: list[Reference], layout: Layout) -> list[Reference]:
    """Return the leaves whose bytes hash to their names."""
    whole = []
    with open(full, "rb") as file:
        for cid, offset, length in leaves:
            file.seek(offset)
            try:
                verify_block(cid, file.read(length))
            except IntegrityError as error:
                layout.problems.append(f"{path} at byte {offset}: {error}")
            else:
                whole.append((cid, offset, length))
    return whole
