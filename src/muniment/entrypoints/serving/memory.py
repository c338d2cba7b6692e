"""How the C library keeps freed memory: for a process that reads a megabyte, sends it, and frees it, many times a second."""

import contextlib
import ctypes

KEPT_BYTES = 32 << 20
"""Free memory that is kept at hand, in place of being given back to the system and taken anew, page by page, for the next block."""

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Tell glibc to keep a little freed memory, in one pool for all threads; elsewhere this does nothing.

    Python's threads allocate one at a time, so a pool for each would only hold more.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
