"""Whatever gateways do, request by request: a fetch ends complete and right, or with an error, and stores nothing wrong."""

import io
from contextlib import ExitStack, nullcontext

from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.adapters.retrieval import FetchFailedError, FetchLimits, HttpSource, fetch_dag
from muniment.content.cid import verify_block
from muniment.content.links import block_links, has_links
from muniment.content.unixfs import directory_dag, import_file
from muniment.testing.block_store import MemoryBlockStore
from muniment.testing.lying_gateway import (
    FAILURES,
    LIES,
    Honest,
    LyingGateway,
    gives_no_cars,
    has_nothing,
    leaves_out_blocks,
)

LIMITS = FetchLimits(connections=2, backoff_s=0.001, max_wait_s=0.05, failures=3, deadline_s=20)

behaviours = st.sampled_from(
    [Honest.send] * 8 + [has_nothing, leaves_out_blocks, gives_no_cars, *FAILURES, *LIES]
)
gateways = st.lists(st.lists(behaviours, min_size=1, max_size=6), min_size=1, max_size=3)


class TrustingStore(MemoryBlockStore):
    """Takes blocks as they come, so that one that is wrong would be seen here."""

    def __init__(self):
        super().__init__()
        self.given = []

    def hold(self):
        return nullcontext()

    def put_many(self, blocks):
        blocks = list(blocks)
        self.given += blocks
        return super().put_many(blocks)


def _library():
    """Make a folder with a file of several leaves, and a folder of many small files."""
    blocks = []

    def add(data):
        return import_file(io.BytesIO(data), lambda *block: blocks.append(block)).root

    small = [(b"%02d" % i, add(b"file %d" % i), 7) for i in range(30)]
    inner = directory_dag(small)
    large = add(bytes(range(256)) * 4 * 2048 + b"end")
    top = directory_dag([(b"large", large, 2_097_155), (b"small", inner.root, 3000)])
    store = MemoryBlockStore()
    store.put_many([*blocks, *inner.inner, *top.inner])
    return store, top.root


LIBRARY, ROOT = _library()


def reach(root):
    found, waiting = set(), [root]
    while waiting:
        cid = waiting.pop()
        if cid not in found:
            found.add(cid)
            waiting += block_links(cid, LIBRARY.get(cid)) if has_links(cid) else ()
    return found


WHOLE = reach(ROOT)


def twisted(twists):
    """Return what misbehaves with each request as the next of `twists` does, over and over."""
    count = 0

    def twist(honest):
        nonlocal count
        count += 1
        return twists[count % len(twists)](honest)

    return twist


def run(store, scripts):
    """Fetch from gateways that behave by `scripts`; tell whether it succeeded."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(LyingGateway(LIBRARY.get, twisted(script))) for script in scripts
        ]
        sources = [
            HttpSource(server.url, is_trusted_address=True, answer_timeout_s=2)
            for server in servers
        ]
        try:
            report = fetch_dag(store, ROOT, sources, limits=LIMITS, pin_name="whole")
        except FetchFailedError as error:
            report, is_whole = error.report, False
        else:
            is_whole = True
        finally:
            for cid, data in store.given:
                verify_block(cid, data)
            assert set(store.cids()) <= WHOLE
    if is_whole:
        assert report.missing_blocks == 0
        assert set(store.cids()) == WHOLE
    else:
        assert any(source.problem for source in report.sources)
    assert [pin.cid for pin in store.pins()] == [ROOT] * is_whole
    return is_whole


@settings(max_examples=60, deadline=None)
@given(gateways)
def test_complete_and_right_or_an_error(scripts):
    run(TrustingStore(), scripts)


@settings(max_examples=40, deadline=None)
@given(gateways)
def test_one_honest_gateway_is_enough(scripts):
    assert run(TrustingStore(), [*scripts, [Honest.send]])


@settings(max_examples=25, deadline=None)
@given(gateways)
def test_what_a_failed_fetch_left_is_gone_on_from(scripts):
    store = TrustingStore()
    run(store, scripts)
    before = set(store.cids())
    store.given.clear()
    assert run(store, [[Honest.send]])
    assert not before & {cid for cid, _ in store.given}
