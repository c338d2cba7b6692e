"""The stores that the servers of the gateway benchmark serve, made once and kept beside the corpus."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID
from muniment.content.unixfs import directory_dag, import_file


def make_muniment_store(store: Path, *folders: Path) -> list[CID]:
    """A block store of `folders`, made unless it is there; their CIDs."""
    names = store.with_name(f"{store.name}.cids")
    if not names.exists():
        shutil.rmtree(store, ignore_errors=True)
        with EmbeddedBlockStore(store) as blocks:
            roots = [_add(blocks, folder) for folder in folders]
        names.write_text("".join(f"{root}\n" for root in roots), "ascii")
    return [CID.parse(line) for line in names.read_text("ascii").splitlines()]


def _add(store: EmbeddedBlockStore, folder: Path) -> CID:
    roots: list[tuple[CID, int]] = []
    store.put_many(_blocks(folder, roots), verify=False)
    return roots[-1][0]


def _blocks(path: Path, roots: list[tuple[CID, int]]) -> Iterator[tuple[CID, bytes]]:
    """Every block of a file or folder, children first; its own CID and size are the last of `roots`."""
    if path.is_dir():
        entries = []
        for child in sorted(path.iterdir()):
            yield from _blocks(child, roots)
            entries.append((os.fsencode(child.name), *roots[-1]))
        dag = directory_dag(entries)
        yield from dag.inner
        roots.append((dag.root, dag.tsize))
        return
    made: list[tuple[CID, bytes]] = []
    with open(path, "rb") as file:
        built = import_file(file, lambda cid, block: made.append((cid, block)))
    yield from made
    roots.append((built.root, built.tsize))
