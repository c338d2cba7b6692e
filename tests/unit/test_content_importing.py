"""Importing CARs: each block verified, roots pinned when complete, hostile bytes leave nothing half."""

import io
import os

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.adapters.content.exporting import write_car
from muniment.adapters.content.importing import import_car
from muniment.adapters.content.pinning import pin_roots
from muniment.content import car
from muniment.content.cid import CID, DAG_PB, IDENTITY, RAW
from muniment.content.completeness import CompletenessCheck, survey_dag
from muniment.content.dag_pb import PBLink, encode_node
from muniment.content.unixfs import V0_2015, directory_dag, import_file
from muniment.errors import FormatError, IntegrityError, NotFoundError


@pytest.fixture
def store(tmp_path):
    with EmbeddedBlockStore(tmp_path / "store") as store:
        yield store


def tree(profile=None):
    """A folder of two files and a sharded folder; returns the root and its blocks, in order."""
    blocks = {}
    more = {"profile": profile} if profile else {}
    files = [
        (name, *dag_of(import_file(io.BytesIO(data), blocks.__setitem__, **more)))
        for name, data in ((b"large", os.urandom(5_000_000)), (b"small", b"small"))
    ]
    many = directory_dag([(b"%d" % n + b"n" * 200, files[1][1], 5) for n in range(2000)], **more)
    blocks.update(many.inner)
    root = directory_dag([*files, (b"many", many.root, many.tsize)], **more)
    blocks.update(root.inner)
    return root.root, blocks


def dag_of(dag):
    return dag.root, dag.tsize


def car_of(roots, blocks):
    stream = io.BytesIO()
    car.write_car(stream, roots, blocks)
    return stream.getvalue()


def imported(data, store, name=None):
    report = import_car(io.BytesIO(data), store, worker_count=2)
    return report, pin_roots(report.roots, store, name)


@pytest.mark.parametrize("profile", [None, V0_2015])
def test_a_car_is_stored_and_its_root_pinned(store, profile):
    root, blocks = tree(profile)
    report, (settled,) = imported(car_of([root], blocks.items()), store, "tree")
    assert (report.version, report.blocks, report.new_blocks) == (1, len(blocks), len(blocks))
    assert report.size_bytes == sum(map(len, blocks.values()))
    assert settled == (root, None, True)
    assert [(pin.cid, pin.name) for pin in store.pins()] == [(root.to_v1(), "tree")]
    assert all(store.get(cid) == data for cid, data in blocks.items())
    again, _ = imported(car_of([root], blocks.items()), store)
    assert again.new_blocks == 0


def test_many_roots_each_once_and_in_order(store):
    leaves = [CID.of(RAW, b"%d" % number) for number in range(5)]
    blocks = [(leaf, b"%d" % number) for number, leaf in enumerate(leaves)]
    _report, settled = imported(car_of([*reversed(leaves), leaves[2]], blocks), store)
    assert [root.cid for root in settled] == list(reversed(leaves))
    assert len(list(store.pins())) == 5


def test_an_incomplete_root_is_named_and_not_pinned_until_the_rest_is_there(store):
    root, blocks = tree()
    lost = next(cid for cid in blocks if cid.codec == RAW and len(blocks[cid]) > 100_000)
    rest = {cid: data for cid, data in blocks.items() if cid != lost}
    _report, ((cid, missing, pinned),) = imported(car_of([root], rest.items()), store)
    assert (cid, missing.cid, pinned) == (root, lost, False)
    assert list(store.pins()) == []
    (settled,) = pin_roots([root], store, incomplete=True)
    assert settled.pinned
    store.unpin(root)
    import_car(io.BytesIO(car_of([], [(lost, blocks[lost])])), store)
    assert pin_roots([root], store)[0] == (root, None, True)


def test_a_root_that_is_in_no_car_is_incomplete(store):
    nowhere = CID.of(RAW, b"nowhere")
    _report, ((_cid, missing, pinned),) = imported(car_of([nowhere], []), store)
    assert (missing.cid, pinned) == (nowhere, False)


def test_a_block_that_is_not_what_it_says_ends_the_import(store):
    root, blocks = tree()
    good = list(blocks.items())
    cid, data = good[3]
    bad = [*good[:3], (cid, data[:-1] + bytes([data[-1] ^ 1])), *good[4:]]
    with pytest.raises(IntegrityError, match=str(cid)):
        imported(car_of([root], bad), store)
    assert not store.has(cid)
    assert list(store.pins()) == []
    for stored in store.cids():
        assert store.get(stored) == blocks[stored]


@pytest.mark.parametrize("cut", [1, 30, 60, 100_000, 1_048_700, 2_000_000])
def test_a_car_that_is_cut_off_pins_nothing(store, cut):
    root, blocks = tree()
    with pytest.raises(FormatError):
        imported(car_of([root], blocks.items())[:cut], store)
    assert list(store.pins()) == []
    assert all(store.get(cid) == blocks[cid] for cid in store.cids())


@pytest.mark.parametrize("data", [b"", b"\0", b"not a car", b"\x0aa" * 100, b"\xff" * 100])
def test_what_is_no_car_is_refused(store, data):
    with pytest.raises(FormatError):
        import_car(io.BytesIO(data), store)


def test_a_root_of_an_unknown_codec_is_not_taken_for_complete(store):
    strange = CID.from_bytes(b"\x01\x78" + CID.of(RAW, b"x").multihash)  # git-raw
    _report, ((_cid, missing, pinned),) = imported(car_of([strange], [(strange, b"x")]), store)
    assert "codec" in missing.reason
    assert not pinned


def test_an_identity_root_is_complete_by_itself(store):
    empty = CID.parse("bafkqaaa")
    _report, ((cid, missing, _pinned),) = imported(car_of([empty], []), store)
    assert (cid, missing) == (empty, None)
    assert list(store.pins()) == []


def test_blocks_are_checked_before_any_of_their_job_is_stored(store):
    """The last block of a CAR is wrong: the ones read along with it are not acknowledged by what is raised."""
    good = [(CID.of(RAW, b"%d" % n), b"%d" % n) for n in range(100)]
    with pytest.raises(IntegrityError):
        import_car(io.BytesIO(car_of([], [*good, (CID.of(RAW, b"a"), b"b")])), store)
    assert list(store.cids()) == []


def test_exporting_writes_what_the_plain_writer_does():
    root, blocks = tree()
    stream = io.BytesIO()
    number, size = write_car(stream, root, blocks.items())
    assert stream.getvalue() == car_of([root], blocks.items())
    assert (number, size) == (len(blocks), len(stream.getvalue()))


# Completeness


class Blocks(dict):
    """Blocks by CID that counts how often they are read."""

    reads = 0

    def get(self, cid):
        self.reads += 1
        if cid.hash_function == IDENTITY:
            return cid.digest
        if cid not in self:
            raise NotFoundError("gone")
        return self[cid]

    def size(self, cid):
        return len(self.get(cid))

    def node(self, *links):
        block = encode_node([PBLink(cid) for cid in links], None)
        cid = CID.of(DAG_PB, block)
        self[cid] = block
        return cid

    def leaf(self, data):
        cid = CID.of(RAW, data)
        self[cid] = data
        return cid


def test_a_survey_counts_each_block_once_and_all_that_are_missing():
    blocks = Blocks()
    shared = blocks.leaf(b"shared")
    gone = [CID.of(RAW, b"gone %d" % number) for number in range(3)]
    inner = blocks.node(shared, shared, gone[0])
    root = blocks.node(inner, inner, shared, *gone[1:], CID.parse("bafkqaaa"))
    survey = survey_dag(root, blocks)
    assert (survey.blocks, survey.missing_blocks) == (3, 3)
    assert survey.size_bytes == sum(len(blocks[cid]) for cid in (root, inner, shared))
    assert survey.first_missing.cid == gone[0]


def test_roots_that_share_a_dag_are_looked_at_once():
    """A header of thousands of roots over one deep DAG would take for ever otherwise."""
    blocks = Blocks()
    cid = blocks.leaf(b"end")
    chain = [cid := blocks.node(cid) for _ in range(2000)]
    broken = [cid := blocks.node(CID.of(RAW, b"gone"))]
    broken += [cid := blocks.node(cid) for _ in range(2000)]
    check = CompletenessCheck(blocks)
    assert [check.first_missing(root) for root in reversed(chain)] == [None] * 2000
    assert {check.first_missing(root).cid for root in broken} == {CID.of(RAW, b"gone")}
    assert blocks.reads <= 4100


def test_what_is_whole_beside_what_is_not_stays_so():
    blocks = Blocks()
    good, bad = blocks.node(blocks.leaf(b"x")), blocks.node(CID.of(RAW, b"gone"))
    root = blocks.node(good, bad)
    check = CompletenessCheck(blocks)
    assert check.first_missing(root) is not None
    assert check.first_missing(good) is None
    assert check.first_missing(blocks.node(good, good)) is None
    assert check.first_missing(blocks.node(good, root)) is not None


def test_a_dag_of_exponentially_many_paths_is_walked_once():
    blocks = Blocks()
    cid = blocks.leaf(b"x")
    for _ in range(200):
        cid = blocks.node(cid, cid)
    assert survey_dag(cid, blocks).blocks == 201
    assert CompletenessCheck(blocks).first_missing(cid) is None
