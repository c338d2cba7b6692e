"""Every storage that needs no server, over the conformance suite. S3: tests/integration/test_object_storage_s3.py."""

import pytest

from muniment.adapters.object_storage import open_storage
from muniment.testing.object_storage import CHECKS, Digests, MemoryStorage


@pytest.fixture(params=["folder", *Digests])
def storage(request, tmp_path):
    return (
        open_storage(str(tmp_path)) if request.param == "folder" else MemoryStorage(request.param)
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_"))
def test_storage_conforms(check, storage):
    check(storage)


class _Overwriting(MemoryStorage):
    def put(self, key, stream, size, sha256, *, replace=False):
        super().put(key, stream, size, sha256, replace=True)


class _Unchecking(MemoryStorage):
    def put(self, key, stream, size, sha256, *, replace=False):
        self.objects[key], self.recorded[key] = stream.read(), sha256


class _Unranged(MemoryStorage):
    def get(self, key, offset=0, length=None):
        return super().get(key)


class _Overlisting(MemoryStorage):
    def list(self, prefix):
        return super().list(prefix.rstrip("/"))


@pytest.mark.parametrize("broken", [_Overwriting, _Unchecking, _Unranged, _Overlisting])
def test_the_suite_finds_a_storage_that_does_not_conform(broken):
    def conforms(check):
        try:
            check(broken())
        except AssertionError:
            return False
        return True

    assert not all(conforms(check) for check in CHECKS)
