"""A commit's DAG from the digests of its blocks is the one that importing its bytes gives."""

import io

import pytest
from blake3 import blake3

from muniment.adapters.file_digests import BlockDigests
from muniment.archive.commit_dag import commit_dag
from muniment.content.cid import verify_block
from muniment.content.unixfs import directory_dag, import_file

MIB = 1 << 20


def digests(name, data):
    hashes = BlockDigests()
    hashes.update(data)
    return hashes.finish(name)


@pytest.mark.parametrize("sizes", [[1], [MIB], [MIB + 1], [5, 2 * MIB, 3 * MIB - 1], [33] * 40])
def test_the_root_is_that_of_importing_the_bytes(sizes):
    files = {f"f{n:02}": blake3(b"%d" % n).digest(length=size) for n, size in enumerate(sizes)}
    dag = commit_dag(digests(name, data) for name, data in files.items())
    blocks, entries = {}, []
    for name, data in files.items():
        imported = import_file(io.BytesIO(data), lambda cid, block: blocks.update({cid: block}))
        entries.append((name.encode(), imported.root, imported.tsize))
    folder = directory_dag(entries)
    assert dag.root == folder.root
    inner = dict(dag.inner)
    assert inner[dag.root]
    for cid, block in inner.items():
        verify_block(cid, block)
    leaves = {cid for cid in blocks if cid not in inner}
    assert sum(len(blocks[cid]) for cid in leaves) == sum(sizes)


def test_order_of_the_files_says_nothing():
    files = [digests("a", b"1"), digests("b", b"2")]
    assert commit_dag(files).root == commit_dag(files[::-1]).root
