"""Memory that the gateway frees and takes again."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from muniment.entrypoints.serving.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def turn():
    blocks = [bytes([i]) * (1 << 20) for i in range(1, 9)]
turn()
before = faults()
for _ in range(20):
    turn()
print(hasattr(ctypes.CDLL(None), "mallopt"), faults() - before)
"""


def faults(how):
    command = [sys.executable, "-c", PROGRAM, how]
    has_mallopt, count = subprocess.check_output(command, text=True).split()
    if has_mallopt == "False":
        pytest.skip("the C library is not glibc")
    return int(count)


def test_freed_blocks_are_used_again():
    """Twenty times eight blocks of 1 MiB are 40,000 pages; next to none of them must be asked of the system anew."""
    assert faults("kept") < 1_000
    assert faults("as it was") > 10_000  # else this test shows nothing
