"""One run at a time on a home: a lock that the kernel drops when its holder ends, however it ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from muniment.errors import ConflictError

_RETRY_S = 0.05


@contextlib.contextmanager
def run_lock(path: Path, timeout_s: float = 5.0) -> Iterator[None]:
    """Hold the lock file at `path`; waits a little, as workers of a run that was killed take a moment to notice.

    Raises:
        ConflictError: Another run holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _acquire(descriptor, path, time.monotonic() + timeout_s)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise ConflictError(
                    f"another run (process {holder}) is at work on this archive; wait for it, nothing was changed ({path})"
                ) from error
            time.sleep(_RETRY_S)
        else:
            return
