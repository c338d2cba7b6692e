"""Real archives for tests: made, filled, verified and restored as the command line does, with the calendars off."""

import hashlib
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from muniment.adapters.commit_folder import CommitFolder, SiblingCommits
from muniment.adapters.restoring import restore_files
from muniment.adapters.scan import scan
from muniment.archive import restore, verify
from muniment.archive.commit_source import TarView, check_file
from muniment.archive.manifest import Organization
from muniment.bootstrap.archive import Archive
from muniment.bootstrap.new_archive import create_archive
from muniment.errors import ExternalServiceError
from muniment.testing.engines import find_engine
from muniment.testing.postgresql import LocalPostgres


class Silent:
    """Progress that nobody looks at."""

    def stage(self, commit_id, stage, total_bytes):
        pass

    def advance(self, size_bytes, files=0):
        pass


class Home:
    """An archive in `folder`, and the files that it archives in `source`."""

    def __init__(self, folder, **settings):
        self.folder, self.source = Path(folder), Path(folder) / "source"
        self.source.mkdir(parents=True)
        self.new_keys = create_archive(self.folder / "home", Organization("example", "An Example"))
        settings = {"workers": 1, "calendars": [], "chunk_bytes": 65_536} | settings
        with open(self.folder / "home/config.toml", "a") as config:
            config.writelines(f"{name} = {value!r}\n" for name, value in settings.items())
        self.archive = Archive(self.folder / "home")

    def reopen(self):
        """Go on as another process would."""
        self.archive.close()
        self.archive = Archive(self.folder / "home")

    def write(self, **files):
        """Write source files; in names, `__` stands for a slash."""
        for name, data in files.items():
            path = self.source / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def scan(self):
        problems = []
        found = scan([os.fsencode(self.source)], lambda *problem: problems.append(problem))
        self.archive.catalog.record_scan(list(found))
        return problems

    def run(self):
        """Archive what changed."""
        self.scan()
        return self.archive.pipeline(Silent()).run()

    @property
    def ids(self):
        """The commits, in the order of the chain."""
        commits = sorted(self.archive.catalog.commits(), key=lambda commit: commit.sequence or 0)
        return [commit.commit_id for commit in commits]

    def path(self, commit_id=None):
        return self.archive.store.path(commit_id or self.ids[-1])

    def keyring(self, commit_id=None):
        return self.archive.open_keyring(commit_id or self.ids[-1])

    def erase(self, commit_id, leaves):
        """Erase files: replace the keyring by one without their keys."""
        keyring = self.keyring(commit_id).without(leaves)
        (self.path(commit_id) / "keys.age").write_bytes(self.archive.seal_keyring(keyring))

    def restore(self, *patterns, overwrite=False, target=None, files=None, durable=True):
        """Restore what was archived below `source`; returns the target's copy of it and the report."""
        target = target or self.folder / "restored"
        target.mkdir(exist_ok=True)
        inside = os.fsencode(self.source)[1:]
        wanted = [inside + b"/" + os.fsencode(pattern) for pattern in patterns] or [inside]
        report = restore_files(
            restore.select(self.archive.catalog, wanted) if files is None else files,
            self.archive.store.commits,
            target,
            keyring=self.archive.open_keyring,
            worker_count=1,
            overwrite=overwrite,
            durable=durable,
        )
        return target / os.fsdecode(inside), report


def check_whole(path, *, signer=None, keyring=None, **chain):
    """Check a commit as `verify_commit` does, in this process; raises the first thing that is wrong."""
    with CommitFolder(Path(path)) as folder:
        opened = verify.open_commit(folder, expected_signer=signer, **chain)
        for file in opened.manifest.sealed:
            check_file(folder, file)
        tar, copies = TarView(folder, opened.manifest), SiblingCommits(folder)
        reports = [
            verify.check_leaves(opened, tar, span, keyring, copies.open_member)
            for span in verify.spans(opened, tar)
        ]
        verify.check_ranges(reports)
        return reports


@pytest.fixture(scope="session")
def make_home():
    """Make a `Home` in a folder, with other settings if wished."""
    return Home


@pytest.fixture
def home(tmp_path):
    """An archive without any files."""
    home = Home(tmp_path)
    yield home
    home.archive.close()


@pytest.fixture(scope="session")
def check_commit():
    """See `check_whole`."""
    return check_whole


@pytest.fixture(scope="session")
def small_home(tmp_path_factory):
    """Two small commits of a few files and several chunks; not to be changed: see `small`."""
    home = Home(tmp_path_factory.mktemp("small"), parity_percent=5)
    noise = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(2000))
    home.write(noise=noise, text=b"some text " * 900, deep__er__note=b"a note\n", empty=b"")
    home.write(tail=noise[:9000][::-1], same=b"some text " * 900)
    os.symlink("text", home.source / "link")
    home.run()
    home.write(more=b"another day " * 50, again=b"some text " * 900)
    home.run()
    yield home
    home.archive.close()


@pytest.fixture
def small(small_home, tmp_path):
    """The folder of a copy of the two small commits, to be changed."""
    shutil.copytree(small_home.archive.store.commits, tmp_path / "commits")
    return tmp_path / "commits"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip a test that names programs, as in `@pytest.mark.engine("ipfs")`, where they are not."""
    for program in (name for marker in item.iter_markers("engine") for name in marker.args):
        try:
            find_engine(program)
        except ExternalServiceError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of this test process's own."""
    with ExitStack() as running:
        try:
            server = running.enter_context(LocalPostgres())
        except ExternalServiceError as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.engine)])
def database_url(request, tmp_path):
    """The URL of an empty database, of each kind that Muniment works with."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/database.sqlite3"
    else:
        server = request.getfixturevalue("postgres")
        url = server.create_database()
        yield url
        server.drop_database(url)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """In continuous integration, a test that needs a real program and was skipped has failed."""
    report = yield
    if os.environ.get("CI") and report.skipped and item.get_closest_marker("engine"):
        report.outcome = "failed"
        report.longrepr = f"skipped where it must run: {report.longrepr}"
    return report
