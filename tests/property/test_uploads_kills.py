"""Receiving survives being killed between any two steps: what was acknowledged is there, anything else leaves nothing."""

import hashlib
import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.accounts.audit import verify_chain
from muniment.accounts.organizations import Act, Organization
from muniment.accounts.quotas import Amount, Quota
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.service import open_service_database
from muniment.adapters.sql.uploads import SqlUploads
from muniment.adapters.upload_files import UploadHomes
from muniment.errors import MunimentError
from muniment.uploads.receiving import Receiver
from muniment.uploads.upload import Upload, UploadState

NOW = 1_800_000_000
QUOTA = Quota(4_000, 12)
ids = itertools.count(1)


class Killed(BaseException):
    """The process is no more."""


class Life:
    """How long a run lives: so many calls, and no code of it runs after that."""

    def __init__(self, calls):
        self.left, self.files = calls, []

    def wrap(self, port):
        return Mortal(self, port)

    def die(self):
        self.left = 0
        for file in self.files:
            file.close()  # the system closes what a process had open


class Mortal:
    """A port of a run that is killed just before, or just after, one of its calls."""

    def __init__(self, life, port):
        self._life, self._port = life, port

    def __getattr__(self, name):
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def call(*args, **fields):
            self._step()
            result = found(*args, **fields)
            self._note(result)
            self._step()
            return self._life.wrap(result) if name in ("of", "create", "open") else result

        return call

    def _note(self, result):
        if hasattr(result, "digest") and hasattr(result, "close"):
            self._life.files.append(result)

    def _step(self):
        if self._life.left <= 0:
            raise Killed
        self._life.left -= 1


class World:
    """An organisation's uploads on a real disk, in a real database."""

    def __init__(self, folder, url):
        self.database = open_service_database(url)
        self.accounts, self.store = SqlAccounts(self.database), SqlUploads(self.database)
        self.homes = UploadHomes(folder / "incoming", folder / "uploads")
        self.homes.of("example")
        self.uploads = folder / "uploads" / "example"
        self.incoming = folder / "incoming" / "example"
        self.accounts.create_organization(act(), Organization("example", "An Example", NOW, QUOTA))
        self.acknowledged = {}
        self.deleted = set()

    def run(self, calls, operation):
        """Do one thing in a run that lives for so many calls."""
        life = Life(calls)
        receiver = Receiver(life.wrap(self.store), life.wrap(self.homes), lambda _at: b"day")
        try:
            operation(self, receiver)
        except Killed:
            life.die()
        except MunimentError:
            pass  # refused, as some of these are to be

    def recover(self):
        receiver = Receiver(self.store, self.homes, lambda _at: b"day")
        receiver.recover(lambda _organization_id: act())
        assert receiver.recover(lambda _organization_id: act()) == 0

    def check(self):
        rows = self.store.page("example", None, 10_000)
        held = [row for row in rows if row.state in (UploadState.RECEIVED, UploadState.ARCHIVED)]
        waiting = [row for row in rows if row.state is UploadState.RECEIVING]
        assert all(row.is_resumable for row in waiting)
        assert not [r for r in rows if r.state is UploadState.DELETING]
        organization = self.accounts.organization("example")
        assert organization.used == Amount(sum(row.size_bytes for row in held), len(held))
        assert organization.reserved == Amount(sum(r.size_bytes for r in waiting), len(waiting))
        places = {os.fsdecode(row.place): row for row in held}
        files = {str(p.relative_to(self.uploads)) for p in self.uploads.rglob("*") if p.is_file()}
        assert files == set(places)
        for place, row in places.items():
            data = (self.uploads / place).read_bytes()
            assert (self.uploads / place).stat().st_mtime_ns == row.modified_at_ns
            assert (len(data), hashlib.sha256(data).hexdigest()) == (row.size_bytes, row.sha256)
        assert {p.name for p in self.incoming.iterdir()} == {row.upload_id for row in waiting}
        known = {row.upload_id: row for row in held}
        for upload_id, sha256 in self.acknowledged.items():
            assert upload_id in self.deleted or known[upload_id].sha256 == sha256
        verify_chain(self.accounts.export_audit("example"))


def act():
    return Act("example", "system", NOW * 1_000_000)


def new(path, size_bytes, **fields):
    number = next(ids)
    return Upload(
        "example",
        f"{number:032x}",
        path,
        size_bytes,
        NOW,
        NOW + 60,
        "key:k",
        modified_at_ns=(NOW - 1_000) * 1_000_000_000 + number,
        **fields,
    )


def put(path, data, announced, *, is_small=False):
    """A whole file in one request; the announced size may be wrong."""

    def operate(world, receiver):
        upload = new(path, announced, is_small=is_small)
        file = receiver.begin(upload, is_exact=announced % 2 == 0)
        try:
            file.write([data])
            file.digest([data])
            done = receiver.finish(act(), upload, file)
        except BaseException:
            receiver.give_up(act(), upload)
            raise
        finally:
            file.close()
        world.acknowledged[done.upload_id] = done.sha256

    return operate


def part(path, data):
    """A resumable file, left unfinished or finished by a second request."""

    def operate(world, receiver):
        upload = new(path, 2 * len(data), is_resumable=True)
        receiver.begin(upload).close()
        for piece in (data, data):
            file = receiver.resume(upload)
            file.write([piece])
            file.digest([piece])
            file.sync()
            if file.size_bytes == upload.size_bytes:
                done = receiver.finish(act(), upload, file)
                world.acknowledged[done.upload_id] = done.sha256
            file.close()

    return operate


def remove(number):
    """Give up, or delete, the upload that was entered as this one, or one of the last."""

    def operate(world, receiver):
        rows = world.store.page("example", None, 100)
        if rows:
            chosen = rows[number % len(rows)]
            world.deleted.add(chosen.upload_id)
            receiver.remove(act(), chosen)

    return operate


names = st.sampled_from([b"a", b"a/b", b"A", b"a/b/c", b"x" * 300, b"\xff", b"../a", b"day"])
contents = st.binary(max_size=700)
operations = st.one_of(
    st.builds(
        lambda path, data, is_small: put(path, data, len(data), is_small=is_small),
        names,
        contents,
        st.booleans(),
    ),
    st.builds(put, names, contents, st.integers(0, 800), is_small=st.booleans()),
    st.builds(part, names, contents),
    st.builds(remove, st.integers(0, 20)),
)
lives = st.integers(0, 40) | st.just(1_000)


def check_history(url, history):
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), url.replace("{folder}", folder))
        try:
            for calls, operation in history:
                world.run(calls, operation)
                if calls < 1_000:
                    world.recover()
                    world.check()
            world.recover()
            world.check()
        finally:
            world.database.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(lives, operations), min_size=1, max_size=8))
def test_any_kill_leaves_what_was_acknowledged_and_nothing_else(history):
    check_history("sqlite:///{folder}/service.sqlite3", history)


@pytest.mark.engine
def test_a_kill_at_every_step_on_postgresql(postgres):
    operations = [
        put(b"a", b"1" * 100, 100),
        put(b"s", b"1", 1, is_small=True),
        part(b"b/c", b"2" * 50),
        remove(0),
        remove(1),
    ]
    url = postgres.create_database()
    try:
        history = [(calls, one) for calls in range(0, 36, 3) for one in operations]
        check_history(url, history)
    finally:
        postgres.drop_database(url)
