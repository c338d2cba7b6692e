"""Several callers' changes in one transaction: a commit waits for the disk, and those that come meanwhile share the next one."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

TOGETHER = 100
"""Changes of one transaction at most, which bounds how long others wait for it."""


class GroupCommit(Generic[T, R]):
    """Commits what several threads bring at once; who comes alone waits for nobody.

    The first one to come commits for all who wait, and whoever came meanwhile is led by the first of them. Should a transaction of
    several fail, each is tried by itself, so that nobody suffers from what another one brought.

    Args:
        transact: Makes changes in one transaction, all or none, and returns the result of each.
    """

    def __init__(self, transact: Callable[[list[T]], list[R]]) -> None:
        self._transact = transact
        self._lock = threading.Lock()
        self._waiting: list[_Waiting[T, R]] = []
        self._is_led = False

    def commit(self, change: T) -> R:
        """Make a change; returns its result when it is on the disk, or raises what it raised."""
        mine = _Waiting[T, R](change)
        with self._lock:
            self._waiting.append(mine)
            leads, self._is_led = not self._is_led, True
        if not leads:
            mine.is_next.wait()
        if not mine.future.done():
            self._lead()
        return mine.future.result()

    def _lead(self) -> None:
        """Commit for the first of those who wait, and leave the rest to one of them."""
        with self._lock:
            group, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        try:
            self._settle(group)
        finally:
            with self._lock:
                self._is_led = bool(self._waiting)
                woken = group + self._waiting[:1]
            for waiting in woken:
                waiting.is_next.set()

    def _settle(self, group: list["_Waiting[T, R]"]) -> None:
        try:
            results = self._transact([waiting.change for waiting in group])
        except BaseException as error:  # noqa: BLE001  # whoever brought the change is told
            if len(group) == 1 or not isinstance(error, Exception):
                for waiting in group:
                    waiting.future.set_exception(error)
                return
            for waiting in group:
                self._settle([waiting])
        else:
            for waiting, result in zip(group, results, strict=True):
                waiting.future.set_result(result)


class _Waiting(Generic[T, R]):
    """A change, its result, and when its thread is to look for it, or to lead."""

    def __init__(self, change: T) -> None:
        self.change = change
        self.future: Future[R] = Future()
        self.is_next = threading.Event()
