"""Crashes: whatever was acknowledged is there again, whenever the store is torn down and whatever the disk kept of the rest."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from muniment.adapters.block_store import EmbeddedBlockStore, packs
from muniment.adapters.block_store.journal import Journal
from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.dag_pb import PBLink, encode_node

PACK_BYTES = 400


def leaf(number):
    data = b"block %d " % number * (number % 7)
    return CID.of(RAW, data), data


def leaves_of(numbers):
    return [leaf(number) for number in numbers]


class CrashMachine(RuleBasedStateMachine):
    """A store against two dicts: the blocks that must be there, and the pins."""

    pinned = Bundle("pinned")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="muniment-store-")
        self.blocks, self.pins = {}, {}
        self.store = None
        self.open()

    def open(self):
        self.store = EmbeddedBlockStore(self.folder, pack_bytes=PACK_BYTES).__enter__()

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(numbers=st.lists(st.integers(0, 60), max_size=8))
    def put(self, numbers):
        self.store.put_many(leaves_of(numbers))
        self.blocks |= dict(leaves_of(numbers))

    @rule(
        target=pinned,
        numbers=st.lists(st.integers(0, 60), min_size=1, max_size=4),
        name=st.text(max_size=5),
    )
    def put_and_pin(self, numbers, name):
        children = leaves_of(numbers)
        node = encode_node([PBLink(cid, b"", len(data)) for cid, data in children], None)
        root = CID.of(DAG_PB, node)
        self.store.put_many([*children, (root, node)])
        self.store.pin(root, name)
        self.blocks |= {**dict(children), root: node}
        self.pins[root] = (name, {root, *(cid for cid, _ in children)})
        return root

    @rule(root=pinned)
    def unpin(self, root):
        if root in self.pins:
            self.store.unpin(root)
            del self.pins[root]

    @rule()
    def collect(self):
        if self.pins:
            self.store.gc()
            reachable = set().union(*(below for _, below in self.pins.values()))
            self.blocks = {cid: data for cid, data in self.blocks.items() if cid in reachable}
            assert set(self.store.cids()) == set(self.blocks)

    @rule()
    def rebuild(self):
        self.store.rebuild_index()

    @rule(lose_index=st.booleans())
    def reopen(self, lose_index):
        self.store.close()
        if lose_index:
            self.lose_index()
        self.open()

    @rule(
        numbers=st.lists(st.integers(61, 99), min_size=1, max_size=4, unique=True),
        kept=st.floats(0, 1),
        garbage=st.binary(max_size=40),
        lose_index=st.booleans(),
        stay_open=st.booleans(),
    )
    def crash_while_appending(self, numbers, kept, garbage, lose_index, stay_open):
        """Blocks reach a pack, but not the index; the disk keeps some of their bytes, and perhaps others."""
        path, start = self.store._pack_to_append()
        _, end = packs.append(self.folder, path, start, leaves_of(numbers))
        full = os.path.join(self.folder, path)
        os.truncate(full, start + int((end - start) * kept))
        with open(full, "ab") as file:
            file.write(garbage)
        if lose_index or not stay_open:
            self.reopen(lose_index=lose_index)

    @rule(
        line=st.binary(max_size=30).filter(lambda line: b"\n" not in line), lose_index=st.booleans()
    )
    def crash_while_pinning(self, line, lose_index):
        """The beginning of a line reaches the journal."""
        self.store.close()
        journal = Journal(self.folder)
        with open(os.path.join(self.folder, "roots.journal"), "ab") as file:
            file.write(line)
        assert journal.size() is not None
        if lose_index:
            self.lose_index()
        self.open()

    def lose_index(self):
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(path := os.path.join(self.folder, "blocks.sqlite3" + suffix)):
                os.unlink(path)

    @invariant()
    def everything_acknowledged_is_there(self):
        for cid, data in self.blocks.items():
            assert self.store.get(cid) == data
        assert {pin.cid: pin.name for pin in self.store.pins()} == {
            root: name for root, (name, _) in self.pins.items()
        }


CrashMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=16, deadline=None)
TestCrashes = CrashMachine.TestCase


WRITER = """
import sys
from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID, RAW

with EmbeddedBlockStore(sys.argv[1], pack_bytes=20_000) as store:
    for number in range(int(sys.argv[2]), 10**9, 3):
        batch = [b"%d" % n * 100 for n in range(number, number + 3)]
        store.put_many([(CID.of(RAW, data), data) for data in batch])
        store.pin(CID.of(RAW, batch[0]), str(number))
        print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path):
    """Kill a writer five times, each time somewhere else; what it had printed before must be there."""
    acknowledged, start = [], 0
    for lines in (1, 7, 2, 12, 4):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            for _ in range(lines):
                acknowledged.append(int(process.stdout.readline()))
            process.send_signal(signal.SIGKILL)
            acknowledged += [
                int(line)
                for line in process.stdout.read().splitlines(keepends=True)
                if line[-1:] == b"\n"
            ]
        start = acknowledged[-1] + 3
        with EmbeddedBlockStore(tmp_path) as store:
            for number in acknowledged:
                for data in (b"%d" % n * 100 for n in range(number, number + 3)):
                    assert store.get(CID.of(RAW, data)) == data
            assert {str(number) for number in acknowledged} <= {pin.name for pin in store.pins()}
            assert store.verify().blocks >= 3 * len(acknowledged)
    with EmbeddedBlockStore(tmp_path) as store:
        held = set(store.cids())
        assert set(store.cids()) == held
        assert store.rebuild_index().damage == ()
        assert set(store.cids()) == held
