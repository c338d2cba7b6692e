"""The UnixFS DAG over a commit's sealed files: what `commit_cid` names, and where its blocks lie.

The blocks of the files are the files' own bytes, so only the few inner nodes are new.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from muniment.archive.journal import FileDigests
from muniment.content.cid import CID, RAW
from muniment.content.unixfs import V1_2025, directory_dag, file_dag


@dataclass(frozen=True)
class CommitDag:
    """A commit as blocks.

    Attributes:
        root: The `commit_cid`.
        inner: Nodes that are not bytes of any file.
    """

    root: CID
    inner: list[tuple[CID, bytes]]


def commit_dag(files: Iterable[FileDigests]) -> CommitDag:
    """Build the DAG from the digests of the files' 1 MiB blocks."""
    inner: list[tuple[CID, bytes]] = []
    entries = []
    for file in files:
        dag = file_dag(_leaves(file))
        inner += dag.inner
        entries.append((file.name.encode(), dag.root, dag.tsize))
    folder = directory_dag(entries)
    return CommitDag(folder.root, inner + folder.inner)


def _leaves(file: FileDigests) -> Iterator[tuple[CID, int]]:
    for index in range(len(file.blocks) // 32):
        digest = file.blocks[index * 32 : index * 32 + 32]
        yield (
            CID.sha256(RAW, digest),
            min(V1_2025.chunk_bytes, file.size - index * V1_2025.chunk_bytes),
        )
