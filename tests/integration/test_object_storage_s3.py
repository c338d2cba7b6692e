"""S3 for real: a SeaweedFS server, and the faults of networks and services in front of it."""

import hashlib
import http.client
import io
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from signal import SIGKILL
from threading import Thread

import pytest

from muniment.adapters.object_storage import open_storage, s3
from muniment.adapters.object_storage.s3 import S3Storage
from muniment.archive.backup import (
    MANIFEST,
    Action,
    Check,
    DamagedBackupError,
    backup_commit,
    list_commits,
    object_key,
    restore_commit,
    verify_backup,
)
from muniment.errors import ConflictError, ExternalServiceError, NotFoundError
from muniment.testing.object_storage import CHECKS, get_bytes, put_bytes, sample_commit
from muniment.testing.seaweedfs import seaweedfs

pytestmark = pytest.mark.engine

COMMIT = "20260102T030405Z-abcdefgh"
CONTENTS = {
    f"{COMMIT}_aa": b"a" * 100_000,
    f"{COMMIT}_ab": b"b" * 10,
    "records.sealed": b"r" * 100,
    "keys.age": b"keys",
}
KEY = object_key(COMMIT, "records.sealed")
MIB = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("seaweedfs")


@pytest.fixture(scope="module")
def server(folder):
    with seaweedfs(folder) as running, pytest.MonkeyPatch.context() as patch:
        for name in (
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_ENDPOINT_URL",
            "HTTP_PROXY",
            "http_proxy",
        ):
            patch.delenv(name, raising=False)
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def client(server):
    """The service as its owner sees it, to look and to tamper."""
    import boto3.session  # noqa: PLC0415  # slow to import

    return boto3.session.Session().client(
        "s3", endpoint_url=server.endpoint_url, region_name="us-east-1"
    )


@pytest.fixture(scope="module")
def bucket(client):
    """One for all tests: SeaweedFS gives each bucket volumes of its own."""
    client.create_bucket(Bucket="archive")
    return "archive"


_numbers = count()


@pytest.fixture
def prefix():
    return f"deep/prefix-{next(_numbers)}"


@pytest.fixture
def storage(server, bucket, prefix):
    return S3Storage(bucket, prefix, endpoint_url=server.endpoint_url)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_"))
def test_storage_conforms(check, storage):
    check(storage)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_"))
def test_storage_conforms_in_parts(check, storage, monkeypatch):
    monkeypatch.setattr(s3, "SINGLE_PUT_BYTES_MAX", 0)
    check(storage)


def test_the_service_computes_the_digest_itself(storage, client, bucket, prefix):
    put_bytes(storage, KEY, b"content")
    info = storage.head(KEY)
    assert info.store_sha256 == info.recorded_sha256 == hashlib.sha256(b"content").hexdigest()
    assert client.get_object(Bucket=bucket, Key=f"{prefix}/{KEY}")["Body"].read() == b"content"


def test_a_large_object_goes_in_parts_and_comes_back(storage, client, bucket, prefix):
    data = bytes(range(256)) * (s3.SINGLE_PUT_BYTES_MAX // 256 + 1)
    put_bytes(storage, KEY, data)
    info = storage.head(KEY)
    assert info.etag.endswith('-5"')
    assert (info.store_sha256, info.recorded_sha256) == (None, hashlib.sha256(data).hexdigest())
    assert get_bytes(storage, KEY) == data
    with pytest.raises(ConflictError):
        put_bytes(storage, KEY, data)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_a_listing_longer_than_a_page_is_whole(storage):
    keys = {f"commits/{number}" for number in range(1_001)}  # a page has at most 1000
    for key in keys:
        put_bytes(storage, key, b"")
    assert set(storage.list("commits/")) == keys


def test_a_commit_goes_there_and_back(storage):
    files = sample_commit(COMMIT, CONTENTS)
    report = backup_commit(files, COMMIT, storage)
    assert {item.check for item in report.objects} == {Check.STORE_CHECKSUM}
    assert backup_commit(files, COMMIT, storage).sent_bytes == 0
    assert [(c.commit_id, c.complete) for c in list_commits(storage)] == [(COMMIT, True)]
    restored = {}

    @contextmanager
    def open_target(name):
        yield (target := io.BytesIO())
        restored[name] = target.getvalue()

    restore_commit(COMMIT, storage, open_target)
    assert {name: restored[name] for name in CONTENTS} == CONTENTS
    assert hashlib.sha256(restored[MANIFEST]).hexdigest() == files[MANIFEST].sha256


def test_a_flipped_bit_is_found_though_the_metadata_is_right(storage, client, bucket, prefix):
    backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    place = {"Bucket": bucket, "Key": f"{prefix}/{KEY}"}
    client.put_object(
        **place, Body=b"r" * 99 + b"s", Metadata=client.head_object(**place)["Metadata"]
    )
    with pytest.raises(DamagedBackupError) as caught:
        verify_backup(COMMIT, storage)
    assert caught.value.damaged == ("records.sealed",)


@pytest.mark.slow  # SeaweedFS itself asks its volume again and again
def test_rot_on_the_services_disk_is_named_though_the_service_says_all_is_well(
    server, folder, bucket, prefix
):
    random = hashlib.shake_256(b"incompressible").digest(100_000)
    storage = S3Storage(bucket, prefix, endpoint_url=server.endpoint_url, attempts=1)
    backup_commit(sample_commit(COMMIT, {**CONTENTS, f"{COMMIT}_ac": random}), COMMIT, storage)
    assert sum(_flip_in(path, random[:1000]) for path in folder.rglob("*.dat")) == 1
    assert (
        storage.head(object_key(COMMIT, f"{COMMIT}_ac")).store_sha256
        == hashlib.sha256(random).hexdigest()
    )
    with pytest.raises(DamagedBackupError) as caught:
        verify_backup(COMMIT, storage)
    assert (caught.value.missing, caught.value.damaged) == ((), ())
    assert caught.value.unreadable == (f"{COMMIT}_ac",)


def _flip_in(path, needle):
    at = path.read_bytes().find(needle)
    if at < 0:
        return False
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([needle[0] ^ 1]))
    return True


KILLED = """
import io, os, signal, sys
from dataclasses import replace
from muniment.adapters.object_storage import open_storage
from muniment.archive.backup import backup_commit
from muniment.testing.object_storage import sample_commit

class Deadly(io.BytesIO):
    def read(self, size=-1):
        if self.tell() >= 17 << 20:  # one part is sent
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(size)

commit, target, endpoint_url = sys.argv[1:]
contents = {f"{commit}_aa": b"a", f"{commit}_ab": bytes(65 << 20), f"{commit}_ac": b"c"}
files = sample_commit(commit, contents)
files[f"{commit}_ab"] = replace(files[f"{commit}_ab"], open=lambda: Deadly(contents[f"{commit}_ab"]))
backup_commit(files, commit, open_storage(target, endpoint_url=endpoint_url))
"""


def test_a_killed_backup_sends_only_what_is_missing(server, bucket, prefix):
    target = f"s3://{bucket}/{prefix}"
    command = [sys.executable, "-c", KILLED, COMMIT, target, server.endpoint_url]
    assert subprocess.run(command, check=False).returncode == -SIGKILL
    storage = open_storage(target, endpoint_url=server.endpoint_url)
    assert not list_commits(storage)[0].complete
    contents = {f"{COMMIT}_aa": b"a", f"{COMMIT}_ab": bytes(65 << 20), f"{COMMIT}_ac": b"c"}
    report = backup_commit(sample_commit(COMMIT, contents), COMMIT, storage)
    assert report.names(Action.KEPT) == (f"{COMMIT}_aa",)
    assert report.names(Action.SENT) == (f"{COMMIT}_ab", f"{COMMIT}_ac", MANIFEST)
    assert {item.name: item.check for item in report.objects}[f"{COMMIT}_ab"] is Check.READ_BACK
    verify_backup(COMMIT, storage)


def _uses(storage):
    yield lambda: put_bytes(storage, KEY, b"x")
    yield lambda: get_bytes(storage, KEY)
    yield lambda: list(storage.list(""))
    yield lambda: storage.head(KEY)


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_say_what_to_check(server, bucket, monkeypatch, variable):
    monkeypatch.setenv(variable, "wrong")
    storage = S3Storage(bucket, endpoint_url=server.endpoint_url, attempts=1)
    for use in _uses(storage):
        with pytest.raises(ExternalServiceError, match="credentials") as caught:
            use()
        assert server.secret_access_key not in str(caught.value)


def test_missing_credentials_say_what_to_set(server, bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ExternalServiceError, match="AWS_ACCESS_KEY_ID"):
        S3Storage(bucket, endpoint_url=server.endpoint_url).head(KEY)


def test_an_unknown_profile_is_no_traceback(server, bucket, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ExternalServiceError, match="AWS_PROFILE"):
        S3Storage(bucket, endpoint_url=server.endpoint_url)


def test_a_missing_bucket_says_so(server):
    storage = S3Storage("no-such-bucket", endpoint_url=server.endpoint_url, attempts=1)
    for use in (
        lambda: put_bytes(storage, KEY, b"x"),
        lambda: get_bytes(storage, KEY),
        lambda: list(storage.list("")),
    ):
        with pytest.raises(ExternalServiceError, match="no such bucket"):
            use()


def test_a_server_that_is_down_says_so(server):
    storage = S3Storage("bucket", endpoint_url="http://127.0.0.1:1", attempts=1)
    for use in _uses(storage):
        with pytest.raises(ExternalServiceError, match="cannot be reached"):
            use()


def test_a_server_without_tls_says_so(server, bucket):
    storage = S3Storage(
        bucket, endpoint_url=server.endpoint_url.replace("http:", "https:"), attempts=1
    )
    for use in _uses(storage):
        with pytest.raises(ExternalServiceError, match="TLS"):
            use()


class Faults:
    """What a proxy does to requests instead of passing them on."""

    def __init__(self):
        self.busy = 0  # so many requests are answered with SlowDown
        self.cut = 0  # so many answers lose their second half
        self.lost = 0  # so many writes are done, and their answers lost
        self.refused_headers = ()  # requests with one of these are "not implemented"


@pytest.fixture
def faults(server):
    faults = Faults()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _proxy_handler(server.endpoint_url, faults))
    proxy.daemon_threads = True
    thread = Thread(target=proxy.serve_forever)
    thread.start()
    faults.endpoint_url = f"http://127.0.0.1:{proxy.server_port}"
    yield faults
    proxy.shutdown()
    proxy.server_close()
    thread.join()


def _proxy_handler(upstream, faults):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if faults.busy:
                faults.busy -= 1
                return self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
            if any(name in self.headers for name in faults.refused_headers):
                return self._answer(501, [], b"<Error><Code>NotImplemented</Code></Error>")
            connection = http.client.HTTPConnection(upstream.removeprefix("http://"))
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            if faults.lost and self.command == "PUT":
                faults.lost -= 1
                self.close_connection = True
                return None
            return self._answer(answer.status, answer.getheaders(), data)

        def _answer(self, status, headers, data):
            self.send_response_only(status)
            length = str(len(data))
            for name, value in headers:
                if name.lower() == "content-length":
                    length = value
                elif name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if faults.cut and self.command == "GET" and len(data) > MIB:
                faults.cut -= 1
                self.close_connection = True
                data = data[: len(data) // 2]
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815  # names that http.server wants

    return Handler


def test_a_busy_service_is_asked_again(faults, bucket, prefix):
    storage = S3Storage(bucket, prefix, endpoint_url=faults.endpoint_url, attempts=3)
    faults.busy = 2
    put_bytes(storage, KEY, b"patience")
    assert get_bytes(storage, KEY) == b"patience"
    faults.busy = 3
    with pytest.raises(ExternalServiceError, match="later"):
        storage.head(KEY)


def test_reading_goes_on_where_the_connection_broke(faults, bucket, prefix):
    storage = S3Storage(bucket, prefix, endpoint_url=faults.endpoint_url)
    data = hashlib.sha256(b"seed").digest() * (MIB // 4)
    put_bytes(storage, KEY, data)
    faults.cut = 2
    assert get_bytes(storage, KEY) == data
    assert faults.cut == 0
    faults.cut = 1
    assert get_bytes(storage, KEY, 100, 5 * MIB) == data[100 : 100 + 5 * MIB]


def test_a_write_whose_answer_was_lost_is_done(faults, bucket, prefix):
    storage = S3Storage(bucket, prefix, endpoint_url=faults.endpoint_url)
    faults.lost = 1
    report = backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    assert faults.lost == 0
    assert list_commits(storage)[0].complete
    assert {item.check for item in report.objects} == {Check.STORE_CHECKSUM}


@pytest.mark.parametrize("parts", [False, True])
def test_a_service_without_conditions_overwrites_nothing_either(
    faults, bucket, prefix, monkeypatch, parts
):
    if parts:
        monkeypatch.setattr(s3, "SINGLE_PUT_BYTES_MAX", 0)
    faults.refused_headers = ("if-none-match",)
    put_bytes(S3Storage(bucket, prefix, endpoint_url=faults.endpoint_url), KEY, b"first")
    with pytest.raises(ConflictError):  # by a client that does not know the service's limits yet
        put_bytes(S3Storage(bucket, prefix, endpoint_url=faults.endpoint_url), KEY, b"other")
    assert get_bytes(S3Storage(bucket, prefix, endpoint_url=faults.endpoint_url), KEY) == b"first"


@pytest.mark.parametrize("parts", [False, True])
def test_a_service_without_checksums_and_conditions_is_read_back(
    faults, bucket, prefix, monkeypatch, parts
):
    if parts:
        monkeypatch.setattr(s3, "SINGLE_PUT_BYTES_MAX", 0)
    faults.refused_headers = ("x-amz-checksum-sha256", "x-amz-checksum-algorithm", "if-none-match")
    storage = S3Storage(bucket, prefix, endpoint_url=faults.endpoint_url)
    report = backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    assert {item.check for item in report.objects} == {Check.READ_BACK}
    with pytest.raises(ConflictError):
        put_bytes(storage, KEY, b"other")
    verify_backup(COMMIT, storage)


def test_an_object_that_goes_away_while_it_is_read_is_no_traceback(storage):
    put_bytes(storage, KEY, bytes(4 * MIB))
    blocks = storage.get(KEY)
    next(blocks)
    storage.delete(KEY)
    with pytest.raises(NotFoundError):
        get_bytes(storage, KEY)
    blocks.close()
