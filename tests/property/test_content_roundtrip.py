"""Any tree that is added comes out again as it was, by a CAR as well; any bytes that are imported are refused or whole."""

import io
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.adapters.content.adding import ContentAdder
from muniment.adapters.content.exporting import write_car
from muniment.adapters.content.getting import get_to
from muniment.adapters.content.importing import import_car
from muniment.adapters.content.leaves import AddOptions
from muniment.adapters.content.pinning import pin_roots
from muniment.content import car
from muniment.content.cid import CID, RAW, verify_block
from muniment.content.completeness import CompletenessCheck, survey_dag
from muniment.content.dag_pb import PBLink, encode_node
from muniment.content.dag_scope import select_blocks
from muniment.content.unixfs import V0_2015, V1_2025, DirectoryBuilder, directory, directory_dag
from muniment.errors import IntegrityError, MunimentError, NotFoundError

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)
SIZES = st.sampled_from([0, 1, 17, 262_143, 262_144, 262_145, 1_048_576, 1_048_577, 2_500_000])
CONTENTS = st.tuples(st.just("file"), SIZES, st.binary(max_size=3))
TARGETS = st.tuples(
    st.just("link"), st.binary(min_size=1, max_size=30).filter(lambda target: b"\0" not in target)
)
TREES = st.recursive(
    CONTENTS | TARGETS, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)


def plant(tree, path):
    if isinstance(tree, dict):
        os.mkdir(path)
        for name, below in tree.items():
            plant(below, path + b"/" + name)
    elif tree[0] == "link":
        os.symlink(tree[1], path)
    else:
        with open(path, "wb") as file:
            file.write((tree[2] or b"x") * tree[1])
            file.truncate(tree[1])


def seen(path):
    if os.path.islink(path):
        return ("link", os.readlink(path))
    if os.path.isdir(path):
        return {name: seen(path + b"/" + name) for name in os.listdir(path)}
    with open(path, "rb") as file:
        return file.read()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES, st.sampled_from([V1_2025, V0_2015]), st.booleans(), st.booleans())
def test_a_tree_comes_back(tree, profile, mode, mtime):
    with tempfile.TemporaryDirectory() as folder:
        here = os.fsencode(folder)
        plant(tree, here + b"/in")
        options = AddOptions(profile, hidden=True, preserve_mode=mode, preserve_mtime=mtime)
        with (
            EmbeddedBlockStore(f"{folder}/one") as one,
            EmbeddedBlockStore(f"{folder}/two") as two,
        ):
            with ContentAdder(options, worker_count=2) as adder:
                one.put_many(adder.blocks(here + b"/in"))
            root = adder.added[0].cid
            stream = io.BytesIO()
            write_car(stream, root, select_blocks([], root, one.get, "all"))
            report = import_car(io.BytesIO(stream.getvalue()), two)
            assert pin_roots(report.roots, two, "")[0].pinned
            get_to(root, Path(f"{folder}/out"), two.get)
        assert seen(here + b"/out") == seen(here + b"/in")


@settings(max_examples=40, deadline=None)
@given(st.sets(NAMES, max_size=60), st.integers(1, 3000), st.sampled_from([1, 400, 10**9]))
def test_directories_are_the_same_however_they_are_sorted(names, threshold, sorted_bytes):
    profile = replace(V1_2025, hamt_threshold_bytes=threshold, hamt_fanout=8)
    entries = [(name, CID.of(RAW, name), len(name)) for name in names]
    expected = directory_dag(sorted(entries), profile)
    before, directory.SORTED_BYTES = directory.SORTED_BYTES, sorted_bytes
    try:
        builder = DirectoryBuilder(profile, io.BytesIO)
        for entry in entries:
            builder.add(*entry)
        blocks = dict(builder.finish())
    finally:
        directory.SORTED_BYTES = before
    assert blocks == dict(expected.inner)


LEAVES = [(CID.of(RAW, b"%d" % n), b"%d" % n) for n in range(6)]
WHOLE = io.BytesIO()
car.write_car(WHOLE, [LEAVES[0][0]], LEAVES)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_car_is_refused_or_what_is_stored_is_whole(data):
    damaged = bytearray(WHOLE.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    damaged = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    with tempfile.TemporaryDirectory() as folder, EmbeddedBlockStore(folder) as store:
        try:
            report = import_car(io.BytesIO(damaged), store)
        except IntegrityError:
            assert list(store.pins()) == []
        else:
            for root in pin_roots(report.roots, store):
                assert root.pinned == (root.missing is None)
        for cid in store.cids():
            verify_block(cid, store.get(cid))


class Blocks(dict):
    def get(self, cid):
        try:
            return self[cid]
        except KeyError:
            raise NotFoundError("gone") from None

    def size(self, cid):
        return len(self.get(cid))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=25),
    st.sets(st.integers(0, 30)),
)
def test_both_walks_agree_on_what_is_complete(shape, lost):
    """A random DAG, of which some blocks are lost: complete is what a plain recursion says."""
    blocks, nodes = Blocks(), []
    for number, links in enumerate(shape):
        children = [nodes[link % number] for link in links] if number else []
        block = encode_node([PBLink(child) for child in children], b"%d" % number)
        nodes.append(V1_2025.node_cid(block))
        blocks[nodes[-1]] = block
    below = {}
    for number in range(len(nodes)):
        children = {link % number for link in shape[number]} if number else set()
        below[number] = {number}.union(*(below[child] for child in children))
    for number in lost & set(range(len(nodes))):
        del blocks[nodes[number]]
    check = CompletenessCheck(blocks)
    for number, cid in enumerate(nodes):
        complete = not (below[number] & lost)
        assert (check.first_missing(cid) is None) == complete
        survey = survey_dag(cid, blocks)
        assert (survey.missing_blocks == 0) == complete
        assert survey.blocks <= len(below[number] - lost)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_getting_whatever_a_block_holds_ends_in_words(block):
    cid = V1_2025.node_cid(block)
    with tempfile.TemporaryDirectory() as folder:
        try:
            get_to(cid, Path(folder) / "out", Blocks({cid: block}).get)
        except MunimentError:
            assert os.listdir(folder) == []
