"""The Python client over a network that breaks: uploads, downloads and events go on where they stopped."""

import contextlib
import os
import socket
import threading

import pytest

from muniment.client import Client
from muniment.client.retrying import Patience
from muniment.errors import IntegrityError
from muniment.testing.service import LocalService

MIB = 1 << 20


class Line:
    """A line to a server that is cut, again and again, after so many bytes either way."""

    def __init__(self, url, *, cut_after_bytes, cuts):
        self._port, self._left = int(url.rpartition(":")[2]), cuts
        self._cut_after_bytes = cut_after_bytes
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def cuts_left(self):
        return self._left

    def _accept(self):
        while True:
            try:
                client, _address = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass, args=(source, sink))
                thread.start()
                self._threads.append(thread)

    def _pass(self, source, sink):
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                passed += len(data)
                if self._left and passed > self._cut_after_bytes:
                    self._left -= 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._left = 0
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = LocalService(tmp_path_factory.mktemp("resuming") / "home")
    service.key = service.create_organization()
    with service:
        yield service


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr("muniment.client.uploads.RESUMABLE_BYTES", 1 * MIB)
    path = tmp_path / "file"
    path.write_bytes(os.urandom(24 * MIB))
    return path


def patient(url, key):
    client = Client(url, key)
    client._patience = Patience(8, first_wait_s=0.05)
    return client


def test_an_upload_goes_on_where_it_stopped(service, file):
    told = []
    with (
        Line(service.url, cut_after_bytes=7 * MIB, cuts=3) as line,
        patient(line.url, service.key) as client,
    ):
        upload = client.upload(file, progress=told.append)
        assert line.cuts_left == 0
    assert (upload.state, upload.size_bytes) == ("received", 24 * MIB)
    assert sum(told) == 24 * MIB


def test_an_upload_of_long_ago_is_completed_with_the_same_file(service, file, tmp_path):
    class StoppedError(Exception):
        pass

    def upload_a_part(client, path):
        told = []

        def stop(size_bytes):
            told.append(size_bytes)
            if sum(told) > 16 * MIB:  # more than all buffers on the way hold
                raise StoppedError

        with pytest.raises(StoppedError):
            client.upload(file, path, progress=stop)

    with patient(service.url, service.key) as client:
        upload_a_part(client, "long ago")
        (upload,) = client.list_uploads(state="receiving", prefix="long ago")
        assert client.resume_upload(upload.upload_id, file).state == "received"
        upload_a_part(client, "another")
        (upload,) = client.list_uploads(state="receiving", prefix="another")
        other = tmp_path / "other"
        other.write_bytes(bytes(24 * MIB))
        with pytest.raises(IntegrityError):
            client.resume_upload(upload.upload_id, other)
        assert not list(client.list_uploads(state="received", prefix="another"))


def test_a_download_goes_on_where_it_stopped(service, file, tmp_path):
    with patient(service.url, service.key) as client:
        client.upload(file, "for download")
        client.wait(client.archive(), timeout_s=60)
        (wanted,) = client.list_files(name="for download")
    told = []
    with (
        Line(service.url, cut_after_bytes=7 * MIB, cuts=3) as line,
        patient(line.url, service.key) as client,
    ):
        client.download(wanted, tmp_path / "back", progress=told.append)
        assert line.cuts_left == 0
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert sum(told) == 24 * MIB


def test_events_are_followed_without_a_gap(service):
    with patient(service.url, service.key) as client:
        begin = client.list_events().next
        for number in range(40):
            client.add_member(f"Ana {number}", "reader")
    with (
        Line(service.url, cut_after_bytes=2_000, cuts=3) as line,
        patient(line.url, service.key) as client,
    ):
        names = []
        for event in client.follow_events(after=begin):
            names.append(event.data["name"])
            if len(names) == 40:
                break
        assert names == [f"Ana {number}" for number in range(40)]
        assert line.cuts_left == 0
