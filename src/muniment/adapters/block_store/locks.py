"""Locks between processes (and threads), held through `flock` on small files, so that a dead process never holds one."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from muniment.errors import ConflictError

_POLL_S = 0.02


@contextmanager
def exclusive(path: str, what: str, timeout_s: float) -> Iterator[None]:
    """Hold the lock file alone; `what` says for others what it is held for.

    Raises:
        ConflictError: It was held by somebody else for all of `timeout_s`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(fd, fcntl.LOCK_EX, path, timeout_s)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()}: {what}".encode(), 0)
        yield
    finally:
        os.close(fd)


@contextmanager
def shared(path: str, timeout_s: float) -> Iterator[None]:
    """Hold the lock file together with others that hold it shared.

    Raises:
        ConflictError: It was held exclusively for all of `timeout_s`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(fd, fcntl.LOCK_SH, path, timeout_s)
        yield
    finally:
        os.close(fd)


def _acquire(fd: int, operation: int, path: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            holder = os.pread(fd, 200, 0).decode("utf-8", "replace") or "another process"
            raise ConflictError(
                f"the block store is busy ({holder} holds {path}); nothing was changed, try again when it has finished"
            ) from None
        return
