"""Naming a storage: what is accepted, what is refused, and that naming one costs nothing."""

import subprocess
import sys

import pytest

from muniment.adapters.object_storage import open_storage
from muniment.adapters.object_storage.folder import FolderStorage
from muniment.adapters.object_storage.s3_address import check_endpoint
from muniment.adapters.object_storage.s3_errors import explain
from muniment.errors import ExternalServiceError, UsageError
from muniment.testing.object_storage import get_bytes, put_bytes


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_folder_has_several_names(form, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    put_bytes(open_storage(form.format(folder)), "a/b", b"x")
    assert get_bytes(FolderStorage(folder), "a/b") == b"x"


@pytest.mark.parametrize(
    "target",
    [
        "", "\0", "file://", "file://elsewhere/folder", "https://bucket", "gs://bucket", "S3://bucket", "s3://", "s3:///x",
        "s3://b", "s3://user:secret@bucket", "s3://buck et", "s3://bucket/../x", "s3://bucket/a//b", "s3://bucket/./x",
        "s3://bucket/" + "x" * 500, "s3://bucket/a?b",
    ],
)  # fmt: skip
def test_targets_that_make_no_sense_are_refused(target):
    with pytest.raises(UsageError):
        open_storage(target)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8333", "http://localhost", "http://[::1]:80", "http://10.1.2.3", "http://192.168.1.9:9000",
     "http://100.64.0.7", "http://seaweedfs:8333", "http://s3.localhost", "https://s3.example.org"],
)  # fmt: skip
def test_endpoints_with_tls_or_in_private_networks_are_accepted(url):
    check_endpoint(url, allow_http=False)


@pytest.mark.parametrize(
    "url", ["http://s3.example.org", "http://8.8.8.8", "http://[2001:4860:4860::8888]:80"]
)
def test_plain_http_over_public_networks_needs_a_decision(url):
    with pytest.raises(UsageError, match="https"):
        check_endpoint(url, allow_http=False)
    check_endpoint(url, allow_http=True)


@pytest.mark.parametrize(
    "url", ["s3.example.org", "ftp://host", "https://", "http://[", "https://host:port"]
)
def test_endpoints_that_are_no_urls_are_refused(url):
    with pytest.raises(UsageError):
        check_endpoint(url, allow_http=True)


def test_credentials_in_an_endpoint_are_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        open_storage("s3://bucket", endpoint_url="https://key:hunter2@host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("XMinioStorageFull", 507, "free space"),
        ("Whatever", 507, "free space"),
        ("QuotaExceeded", 403, "quota"),
        ("SlowDown", 503, "later"),
        ("PermanentRedirect", 301, "s3_region"),
        ("RequestTimeTooSkewed", 403, "clock"),
        ("InternalError", 500, "InternalError"),
    ],
)
def test_errors_of_a_service_say_what_to_do(code, status, advice):
    error = Exception()
    error.response = {
        "Error": {"Code": code, "Message": "no\r\x1b[31m"}, "ResponseMetadata": {"HTTPStatusCode": status},
    }  # fmt: skip
    explained = explain(error, "S3 service https://host (bucket)")
    assert isinstance(explained, ExternalServiceError)
    assert advice in str(explained)
    assert str(explained).isprintable()


def test_naming_a_folder_imports_nothing_heavy(tmp_path):
    program = (
        "import sys; from muniment.adapters.object_storage import open_storage; open_storage(sys.argv[1]);"
        "print([name for name in ('boto3', 'botocore', 'httpx', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
