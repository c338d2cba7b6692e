"""Changes that wait for a commit share the next one, and each gets what is its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from muniment.adapters.sql import group_commit
from muniment.adapters.sql.group_commit import GroupCommit


class Slow:
    """Commits doubled numbers, the first time when it is let; refuses negative ones."""

    def __init__(self):
        self.groups = []
        self.is_let = threading.Event()

    def __call__(self, numbers):
        self.groups.append(list(numbers))
        if len(self.groups) == 1:
            self.is_let.wait(30)
        if min(numbers) < 0:
            raise ValueError(str(min(numbers)))
        return [2 * number for number in numbers]


def committed(slow, numbers):
    """Commit numbers, all but the first one while that one is being committed."""
    group = GroupCommit(slow)
    with ThreadPoolExecutor(len(numbers)) as pool:
        futures = [pool.submit(group.commit, numbers[0])]
        while not slow.groups:
            pass
        futures += [pool.submit(group.commit, number) for number in numbers[1:]]
        while len(group._waiting) < len(numbers) - 1:
            pass
        slow.is_let.set()
    return futures


def test_who_comes_meanwhile_shares_the_next_commit():
    slow = Slow()
    futures = committed(slow, list(range(10)))
    assert [future.result() for future in futures] == [2 * n for n in range(10)]
    first, second = slow.groups
    assert first == [0]
    assert sorted(second) == list(range(1, 10))


def test_nobody_suffers_from_what_another_one_brought():
    slow = Slow()
    futures = committed(slow, [1, 2, -3, 4, -5])
    assert [future.exception() is None for future in futures] == [True, True, False, True, False]
    assert [futures[n].result() for n in (0, 1, 3)] == [2, 4, 8]
    with pytest.raises(ValueError, match="-5"):
        futures[4].result()
    assert GroupCommit(slow).commit(7) == 14


def test_a_group_is_no_larger_than_allowed(monkeypatch):
    monkeypatch.setattr(group_commit, "TOGETHER", 2)
    slow = Slow()
    futures = committed(slow, list(range(6)))
    assert [future.result() for future in futures] == [2 * n for n in range(6)]
    assert [len(group) for group in slow.groups] == [1, 2, 2, 1]
