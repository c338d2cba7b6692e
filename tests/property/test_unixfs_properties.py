"""UnixFS: whatever is built can be read back, for any input and any small profile."""

import io
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.content.cid import CID, RAW
from muniment.content.unixfs import (
    V0_2015,
    V1_2025,
    directory_dag,
    file_dag,
    import_file,
    leaf_layout,
    list_directory,
    read_file,
    resolve,
)
from muniment.content.unixfs.node import decode_unixfs

profiles = st.builds(
    lambda profile, width, chunk: replace(profile, width=width, chunk_bytes=chunk),
    st.sampled_from([V0_2015, V1_2025]),
    st.integers(2, 5),
    st.integers(1, 8),
)


class Trickle(io.RawIOBase):
    """A stream that gives one to three bytes at a time, as sockets do."""

    def __init__(self, data):
        self._inner = io.BytesIO(data)

    def read(self, size=-1):
        return self._inner.read(min(size, 1 + self._inner.tell() % 3))


@given(st.binary(max_size=200), profiles, st.integers(0, 220), st.none() | st.integers(0, 220))
def test_files_read_back(data, profile, offset, length):
    blocks = {}
    dag = import_file(Trickle(data), blocks.__setitem__, profile)
    get = blocks.__getitem__
    end = None if length is None else offset + length
    assert b"".join(read_file(dag.root, get, offset, length)) == data[offset:end]
    assert dag.size == len(data)
    position = 0
    for _, start, size in leaf_layout(dag.root, get):
        assert start == position
        position += size
    assert position == len(data)


@given(st.binary(max_size=200), st.integers(2, 5), st.integers(1, 8))
def test_known_leaves_give_the_same_file(data, width, chunk):
    profile = replace(V1_2025, width=width, chunk_bytes=chunk)
    blocks = {}
    dag = import_file(io.BytesIO(data), blocks.__setitem__, profile)
    parts = [data[i : i + chunk] for i in range(0, len(data), chunk)]
    known = file_dag([(CID.of(RAW, part), len(part)) for part in parts], profile)
    assert (known.root, known.size, known.tsize) == (dag.root, dag.size, dag.tsize)
    assert {cid for cid, _ in known.inner} == {cid for cid in blocks if cid.codec != RAW}


@given(st.integers(0, 300), st.integers(2, 6))
def test_trees_are_balanced_and_full(leaves, width):
    dag = file_dag(
        [(CID.of(RAW, bytes([i % 7])), 1) for i in range(leaves)], replace(V1_2025, width=width)
    )
    blocks = dict(dag.inner)

    def depths(cid, depth=0):
        if cid.codec == RAW:
            return {depth}
        links = decode_unixfs(blocks[cid]).links
        assert len(links) <= width
        return set().union(*(depths(link.cid, depth + 1) for link in links))

    assert len(depths(dag.root)) == 1


names = st.binary(min_size=1, max_size=6).filter(
    lambda name: name not in (b".", b"..") and not {0, 47} & set(name)
)


@settings(max_examples=60)
@given(
    st.dictionaries(names, st.binary(max_size=2), max_size=40),
    st.booleans(),
    st.sampled_from([8, 16, 256]),
)
def test_directories_read_back_however_they_are_stored(files, sharded, fanout):
    profile = replace(V1_2025, hamt_threshold_bytes=0 if sharded else 1 << 20, hamt_fanout=fanout)
    entries = [(name, CID.of(RAW, data), len(data)) for name, data in files.items()]
    dag = directory_dag(entries, profile)
    get = dict(dag.inner).__getitem__
    assert sorted(list_directory(dag.root, get)) == sorted(entries)
    for name, cid, _ in entries:
        assert resolve(dag.root, name, get) == cid
