"""A folder as storage: what a real disk does to it."""

import errno
import hashlib
import io
import os
import resource
import subprocess
import sys

import pytest

from muniment.adapters.object_storage.folder import FolderStorage
from muniment.errors import ConflictError, ExternalServiceError, IntegrityError
from muniment.testing.object_storage import get_bytes, put_bytes

KEY = "commits/20260102T030405Z-abcdefgh/part_aa"


def test_an_object_is_a_file_under_its_own_key(tmp_path):
    put_bytes(FolderStorage(tmp_path), KEY, b"plain")
    assert (tmp_path / KEY).read_bytes() == b"plain"
    assert [path.name for path in (tmp_path / KEY).parent.iterdir()] == ["part_aa"]


@pytest.mark.parametrize(
    "use",
    [
        lambda storage: put_bytes(storage, KEY, b"x"),
        lambda storage: storage.head(KEY),
        lambda storage: get_bytes(storage, KEY),
        lambda storage: list(storage.list("")),
        lambda storage: storage.delete(KEY),
    ],
)
def test_a_disk_that_is_not_mounted_is_not_an_empty_one(tmp_path, use):
    with pytest.raises(ExternalServiceError, match="mount"):
        use(FolderStorage(tmp_path / "not mounted"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_invisible_and_then_removed(tmp_path):
    storage = FolderStorage(tmp_path)
    leftover = tmp_path / KEY
    leftover = leftover.with_name(f".{leftover.name}.0123456789abcdef.part")
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    assert storage.head(KEY) is None
    assert list(storage.list("")) == []
    put_bytes(storage, KEY, b"whole")
    assert not leftover.exists()
    assert list(storage.list("")) == [KEY]


def test_a_second_writer_of_an_object_stops_without_harm(tmp_path):
    storage = FolderStorage(tmp_path)

    class Overtaken(io.BytesIO):
        def read(self, size=-1):
            block = super().read(size)
            if not block:
                put_bytes(storage, KEY, b"the same bytes")
            return block

    data = b"the same bytes"
    with pytest.raises(ConflictError):
        storage.put(KEY, Overtaken(data), len(data), hashlib.sha256(data).hexdigest())
    assert get_bytes(storage, KEY) == data
    assert list((tmp_path / KEY).parent.iterdir()) == [tmp_path / KEY]


def test_a_full_disk_keeps_the_old_and_says_what_to_do(tmp_path):
    """A limit on the size of files stands for the full disk: the kernel refuses the write in the same place."""
    storage = FolderStorage(tmp_path)
    put_bytes(storage, KEY, b"old")
    program = f"""
import resource, signal, sys
from pathlib import Path
from muniment.adapters.object_storage.folder import FolderStorage
from muniment.errors import ExternalServiceError
from muniment.testing.object_storage import put_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, {resource.RLIM_INFINITY}))
try:
    put_bytes(FolderStorage(Path(sys.argv[1])), {KEY!r}, bytes(3 << 20), replace=True)
except ExternalServiceError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True
    )
    assert "free some space" in done.stdout
    assert get_bytes(storage, KEY) == b"old"
    assert list((tmp_path / KEY).parent.iterdir()) == [tmp_path / KEY]


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(
            errno.EPERM, "Operation not permitted"
        )  # what FAT and exFAT answer on Linux

    monkeypatch.setattr(os, "link", no_links)
    storage = FolderStorage(tmp_path)
    put_bytes(storage, KEY, b"first")
    with pytest.raises(ConflictError):
        put_bytes(storage, KEY, b"second")
    assert get_bytes(storage, KEY) == b"first"
    assert list((tmp_path / KEY).parent.iterdir()) == [tmp_path / KEY]


def test_a_link_or_folder_in_place_of_an_object_is_not_followed(tmp_path):
    storage = FolderStorage(tmp_path / "backup")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    target = tmp_path / "backup" / KEY
    target.parent.mkdir(parents=True)
    target.symlink_to(secret)
    with pytest.raises(IntegrityError, match="regular"):
        storage.head(KEY)
    with pytest.raises(ExternalServiceError):
        get_bytes(storage, KEY)
    with pytest.raises(ConflictError):
        put_bytes(storage, KEY, b"x")
    put_bytes(storage, KEY, b"x", replace=True)
    assert secret.read_bytes() == b"secret"
    assert get_bytes(storage, KEY) == b"x"
    with pytest.raises(IntegrityError, match="regular"):
        storage.head("commits")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_says_so(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ExternalServiceError, match="right to write"):
        put_bytes(FolderStorage(tmp_path), KEY, b"x")
