"""Worker processes: answers, errors, deaths, and an end without leftovers."""

import os
import signal
import time

import pytest

from muniment.adapters.processors import default_worker_count
from muniment.adapters.worker_pool import WorkerPool
from muniment.errors import FormatError, MunimentError


class Stubborn(Exception):  # noqa: N818
    """An exception that cannot be rebuilt from its arguments."""

    def __init__(self, *, needed):
        super().__init__(f"needs {needed}")


def make_handler(factor):
    def handle(request):
        if request == "format":
            raise FormatError("the sample is wrong")
        if request == "stubborn":
            raise Stubborn(needed="more")
        if request == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if request == "sleep":
            time.sleep(600)
        if request == "pid":
            return os.getpid()
        return request * factor

    return handle


@pytest.fixture
def pool():
    with WorkerPool(2, make_handler, 10) as pool:
        yield pool


def test_requests_are_spread_and_all_answered(pool):
    assert sorted(pool.map_unordered(range(50))) == [10 * number for number in range(50)]
    assert list(pool.map_unordered([])) == []
    assert pool.idle() == [0, 1]


def test_a_worker_keeps_what_it_is_told(pool):
    pids = set()
    for _ in range(3):
        pool.send(1, "pid")
        assert pool.idle() == [0]
        worker, pid = pool.receive()
        assert worker == 1
        pids.add(pid)
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_errors_of_handlers_are_raised_here_and_the_worker_lives(pool):
    pool.send(0, "format")
    with pytest.raises(FormatError, match="the sample is wrong"):
        pool.receive()
    pool.send(0, "stubborn")
    with pytest.raises(MunimentError, match="Stubborn: needs more"):
        pool.receive()
    assert list(pool.map_unordered([1])) == [10]


def test_a_death_is_told_and_nobody_waits_for_ever(pool):
    pool.send(0, "die")
    with pytest.raises(MunimentError, match=r"ended unexpectedly \(exit code -9\)"):
        pool.receive()
    pool.send(1, 4)
    assert pool.receive() == (1, 40)
    with pytest.raises(MunimentError, match="ended unexpectedly"):
        list(pool.map_unordered([1, 2, 3]))


def test_closing_stops_even_those_that_are_at_work():
    pool = WorkerPool(1, make_handler, 1)
    pool.send(0, "pid")
    pid = pool.receive()[1]
    pool.send(0, "sleep")
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_there_is_at_least_one_worker():
    assert default_worker_count() >= 1
    with WorkerPool(0, make_handler, 2) as pool:
        assert list(pool.map_unordered([3])) == [6]
