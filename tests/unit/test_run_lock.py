"""The lock of a home: one holder, dropped when it ends, however it ends."""

import os
import signal
import subprocess
import sys

import pytest

from muniment.adapters.run_lock import run_lock
from muniment.errors import ConflictError


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "lock"


def test_one_at_a_time(lock):
    with run_lock(lock), pytest.raises(ConflictError, match=f"process {os.getpid()}"), run_lock(lock, timeout_s=0):  # fmt: skip
        pytest.fail("two runs held the lock")
    with run_lock(lock, timeout_s=0):
        pass


def test_an_error_inside_drops_it(lock):
    with pytest.raises(RuntimeError), run_lock(lock):
        raise RuntimeError
    with run_lock(lock, timeout_s=0):
        assert lock.stat().st_mode & 0o777 == 0o600


def test_a_killed_holder_drops_it(lock):
    program = f"import time\nfrom pathlib import Path\nfrom muniment.adapters.run_lock import run_lock\nwith run_lock(Path({str(lock)!r})):\n    print('held', flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConflictError, match=f"process {holder.pid}"), run_lock(lock, timeout_s=0.1):  # fmt: skip
            pytest.fail("two runs held the lock")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with run_lock(lock):
            pass


def test_a_link_in_its_place_is_not_followed(lock, tmp_path):
    other = tmp_path / "other"
    other.write_text("untouched")
    lock.symlink_to(other)
    with pytest.raises(OSError, match="symbolic"), run_lock(lock, timeout_s=0):
        pytest.fail("a link was followed")
    assert other.read_text() == "untouched"
