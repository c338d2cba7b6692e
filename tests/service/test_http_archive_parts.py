"""Parts of the archive API: what threads share, and what travels in header fields."""

import asyncio
import contextlib
import random
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar.response import Stream

from muniment.adapters.commit_folder import CommitFolder
from muniment.entrypoints.http import streaming
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.ranges import is_known, wanted_range
from muniment.entrypoints.http.streaming import attachment, safe_media_type
from muniment.errors import IntegrityError, KeyUnavailableError, UsageError
from muniment.service_jobs.archives import Archives
from muniment.tasks.downloads import Keyrings, content


def test_threads_share_one_archive_and_one_catalogue(home):
    archives = Archives(lambda _name: home.folder / "home", workers_max=2)
    found, ready = [], threading.Barrier(16)

    def open_it():
        ready.wait()
        archive = archives.get("example")
        archive.catalog.totals()
        found.append((id(archive), id(archive.catalog)))

    threads = [threading.Thread(target=open_it) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    assert archives.get("example").worker_count == 1  # its settings ask for less than it may have
    archives.close()


def test_an_organisation_without_an_archive_has_none(tmp_path):
    with pytest.raises(UsageError):
        Archives(lambda name: tmp_path / name, 1).get("nobody")


def test_a_replaced_keyring_is_opened_anew(home):
    home.write(a=b"a", b=b"b")
    home.run()
    files = {file.scanned.path[-1:]: file for file in home.archive.catalog.newest()}
    keyrings = Keyrings()
    assert b"".join(content(home.archive, keyrings, files[b"a"])) == b"a"
    assert keyrings.get(home.archive, home.ids[0]) is keyrings.get(home.archive, home.ids[0])
    home.erase(home.ids[0], [files[b"a"].leaf])
    with pytest.raises(KeyUnavailableError):
        list(content(home.archive, keyrings, files[b"a"]))
    assert b"".join(content(home.archive, keyrings, files[b"b"])) == b"b"


MIB = 1 << 20


def test_a_part_of_a_large_file_is_read_where_it_lies(home, monkeypatch):
    noise = random.Random(5).randbytes(5 * MIB + 100)  # nothing to compress
    text = b"the same line again\n" * (3 * MIB // 20)
    home.write(noise=noise, text=text)
    home.run()
    files = {file.scanned.path.rpartition(b"/")[2]: file for file in home.archive.catalog.newest()}
    read = []
    monkeypatch.setattr(CommitFolder, "read", counting(CommitFolder.read, read))
    for name, data in ((b"noise", noise), (b"text", text)):
        size = len(data)
        for start, end in [
            (0, 1), (0, size), (1, size), (MIB - 1, MIB + 1), (2 * MIB, 3 * MIB), (size - 1, size), (2 * MIB + 7, size),
        ]:  # fmt: skip
            read.clear()
            part = content(home.archive, Keyrings(), files[name], start, end)
            assert b"".join(part) == data[start:end]
            if name == b"noise" and end - start < size:
                assert sum(n for n in read if n > 100) < end - start + 3 * MIB
    place = files[b"noise"].place
    damage(home, place.offset + 24 + 3 * (MIB + 17) + 1000)  # in the fourth message
    assert (
        b"".join(content(home.archive, Keyrings(), files[b"noise"], 10, 3 * MIB))
        == noise[10 : 3 * MIB]
    )
    got = []
    with pytest.raises(IntegrityError):
        got.extend(content(home.archive, Keyrings(), files[b"noise"], 2 * MIB + 5, 4 * MIB))
    assert b"".join(got) == noise[2 * MIB + 5 : 3 * MIB]  # nothing that is not right
    damage(home, place.offset + 24 + 2 * (MIB + 17) - 16)  # in the tag of the second one
    with pytest.raises(IntegrityError):
        list(content(home.archive, Keyrings(), files[b"noise"], 2 * MIB, 2 * MIB + 1))


def counting(function, counts):
    def counted(self, name, offset, size):
        counts.append(size)
        return function(self, name, offset, size)

    return counted


def damage(home, offset):
    """Change a bit of the tar's byte at this offset."""
    chunks = sorted(home.path().glob("*_??"))
    index, within = divmod(offset, chunks[0].stat().st_size)
    data = bytearray(chunks[index].read_bytes())
    data[within] ^= 1
    chunks[index].chmod(0o600)
    chunks[index].write_bytes(data)


def request(**headers):
    return SimpleNamespace(headers={name.replace("_", "-"): text for name, text in headers.items()})


@given(st.integers(1, 100), st.integers(0, 120), st.integers(0, 120))
def test_a_range_is_what_lies_between_its_ends(size, first, last):
    data = bytes(range(size))
    expected = data[first : last + 1]
    asked = request(range=f"bytes={first}-{last}")
    if last < first:
        assert wanted_range(asked, size, '"e"') is None
    elif not expected:
        with pytest.raises(ProblemError):
            wanted_range(asked, size, '"e"')
    else:
        start, end = wanted_range(asked, size, '"e"')
        assert data[start:end] == expected


@given(st.text(max_size=40))
def test_ranges_that_make_no_sense_are_passed_over(text):
    with contextlib.suppress(ProblemError):
        found = wanted_range(request(range=text), 10, '"e"')
        assert found is None or set(range(*found)) <= set(range(10))
    assert is_known(request(if_none_match=text), '"e"') is (text.strip() == "*" or '"e"' in text)


@given(st.binary(max_size=60))
def test_names_of_attachments_cannot_end_the_field(name):
    value = attachment(name)
    assert value.isascii()
    assert value.isprintable()
    plain = value.partition("; filename*=")[0]
    assert plain.startswith('attachment; filename="')
    assert plain.count('"') == 2


def test_files_are_closed_when_the_client_goes_away(monkeypatch):
    closed = threading.Event()

    def pieces():
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            closed.set()

    @get("/endless")
    async def endless() -> Stream:
        return await streaming.stream(pieces(), {}, media_type="text/plain")

    async def visit():
        left, sent = asyncio.Event(), []

        async def receive():
            if not sent:
                return {"type": "http.request", "body": b"", "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(len(message.get("body", b"")))
            if len(sent) > 20:
                left.set()
                await asyncio.Event().wait()  # as a client does that reads no more

        scope = {"type": "http", "method": "GET", "path": "/endless", "raw_path": b"/endless"}
        scope |= {"query_string": b"", "headers": [], "root_path": "", "http_version": "1.1"}
        async with asyncio.timeout(30):
            await app(scope, receive, send)
        assert max(sent) == streaming.SENT_BYTES

    app = Litestar([endless], openapi_config=None, logging_config=None)
    asyncio.run(visit())
    assert closed.is_set()
    monkeypatch.setattr(streaming, "STREAMS_MAX", 0)
    with pytest.raises(ProblemError, match="try again"):
        asyncio.run(streaming.stream(pieces(), {}, media_type="text/plain"))


@given(st.text(max_size=60))
def test_media_types_are_media_types(text):
    assert safe_media_type(text) in (text, "application/octet-stream")
    assert "\n" not in safe_media_type(text + "\n")
    assert safe_media_type("text/html; charset=x") == "application/octet-stream"
