"""How many processes work at a time."""

import os


def default_worker_count() -> int:
    """Return one worker for each processor core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
