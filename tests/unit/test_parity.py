"""The plan of parity: whatever the sizes, any one file can be lost whole."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.archive import parity
from muniment.errors import UsageError

SIZES = st.lists(st.integers(0, 1 << 36), min_size=1, max_size=60)


def blocks(size, block):
    return -(-size // block)


@given(SIZES, st.integers(1, 100))
@example([1], 1)
@example([0], 1)
@example([65_536] * parity.SOURCE_BLOCKS_MAX, 5)
@example([1 << 40] + [1] * 1000, 5)
def test_any_one_file_is_covered_and_so_is_the_percentage(sizes, percent):
    plan = parity.plan(sizes, percent)
    source = sum(blocks(size, plan.block_bytes) for size in sizes)
    assert plan.recovery_blocks >= max(blocks(size, plan.block_bytes) for size in sizes)
    assert plan.recovery_blocks * 100 >= source * percent
    assert source <= parity.SOURCE_BLOCKS_MAX
    assert plan.block_bytes % 4 == 0  # PAR2 2.0
    assert plan.recovery_blocks <= 65_535


@given(SIZES)
def test_there_is_no_more_than_is_wanted(sizes):
    plan = parity.plan(sizes, 5)
    source = sum(blocks(size, plan.block_bytes) for size in sizes)
    largest = max(blocks(size, plan.block_bytes) for size in sizes)
    assert plan.recovery_blocks == max(largest, blocks(source * 5, 100))


def test_none_is_wanted():
    assert parity.plan([1, 2], 0) is None


def test_more_files_than_blocks_are_refused():
    with pytest.raises(UsageError, match="use larger chunks"):
        parity.plan([65_536] * (parity.SOURCE_BLOCKS_MAX + 1), 5)
