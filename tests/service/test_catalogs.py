"""Where the catalogues of a service's organisations are: files in their homes, or tables in PostgreSQL; the same for the service and for commands."""

import json
import os
import shutil
import threading

import pytest
from litestar.testing import TestClient

from muniment.accounts.permissions import Role
from muniment.adapters.sql import engine
from muniment.adapters.sql.catalog import open_catalog
from muniment.adapters.sql.engine import open_database
from muniment.adapters.sql.rules import CATALOG_RULES, SERVICE_RULES
from muniment.adapters.sql.statements import Statements
from muniment.bootstrap.archive import Archive
from muniment.bootstrap.service import Service
from muniment.entrypoints.cli.running import run
from muniment.entrypoints.http.app import create_app
from muniment.errors import ConflictError, UsageError
from muniment.testing.catalog import claim


class Estate:
    """A service of two organisations, and what commands say in their homes."""

    def __init__(self, folder, url, capfd):
        self.home, self.url, self._capture = folder / "service", url, capfd
        self.home.mkdir()
        (self.home / "service.toml").write_text(f"database = '{url}'\n")
        self.service = Service(self.home)
        for name in ("one", "two"):
            self.service.operator.create_organization(name, f"Organisation {name}")
            with open(self.config(name), "a") as config:
                config.write("calendars = []\nworkers = 1\nchunk_bytes = 65536\n")
        self.source = folder / "source"
        self.source.mkdir()

    @property
    def is_server(self):
        return self.url.startswith("postgresql")

    def home_of(self, name):
        return self.service.organization_home(name)

    def config(self, name):
        return self.home_of(name) / "config.toml"

    def catalog(self, name):
        """The catalogue as the service has it."""
        return self.service.archives.get(name).catalog

    def write(self, name, data=b"some content"):
        path = self.source / os.fsdecode(name)
        path.write_bytes(data)
        return os.fsencode(path)[1:]

    def run(self, *arguments, home="one", code=0):
        """Run a command in the home of an organisation, or of the service, and return its answer."""
        self._capture.readouterr()
        folder = self.home_of(home) if home else self.home
        got = run([*map(str, arguments), "--home", str(folder), "--json"])
        out, error = self._capture.readouterr()
        assert got == code, error
        return json.loads(out or error.splitlines()[-1])

    def client(self):
        """Return a client of the first organisation's owner."""
        key = self.service.operator.create_key("one", "owner", Role.OWNER)
        client = TestClient(create_app(self.service), base_url="http://muniment.test")
        client.headers["authorization"] = f"Bearer {key}"
        return client

    def put(self, client, name):
        assert client.put(f"/v1/files/{name}", content=name.encode()).status_code == 201

    def work(self, client, kind):
        """Do a job of a kind to its end."""
        with self.service.worker():
            address = client.post(f"/v1/{kind}").headers["location"]
            done = client.get(address, params={"wait_s": 20}).json()
        assert done["state"] == "succeeded", done

    def sql(self, statement, *values, name="one"):
        """Change a row behind the back of everybody: in the service's database, or in a catalogue."""
        is_catalog = (
            "service_" not in statement and "pin" not in statement and "job" not in statement
        )
        file = self.home_of(name) / "catalogue.sqlite3"
        database = open_database(self.url if self.is_server or not is_catalog else file)
        with database.transaction(write=True) as connection:
            changed = Statements(connection, database.dialect).run(statement, *values)
        database.close()
        return changed


def opened(home):
    return Archive(home).catalog


@pytest.fixture
def estate(tmp_path, database_url, capfd):
    estate = Estate(tmp_path, database_url, capfd)
    yield estate
    estate.service.close()


@pytest.fixture
def on_server(tmp_path, postgres, capfd):
    """An estate whose catalogues are in PostgreSQL."""
    url = postgres.create_database()
    estate = Estate(tmp_path, url, capfd)
    yield estate
    estate.service.close()
    postgres.drop_database(url)


def test_a_command_in_a_home_and_the_service_have_one_catalogue(estate):
    path = estate.write(b"caf\xe9 \xff.txt")
    estate.run("archive", estate.source)
    assert [file.scanned.path for file in estate.catalog("one").newest()][-1] == path
    assert list(estate.catalog("two").newest()) == []
    files = {file.name for file in estate.home_of("one").iterdir()}
    assert ("catalogue.sqlite3" in files) is not estate.is_server
    assert ("catalog = " in estate.config("one").read_text()) is estate.is_server


def test_the_address_of_the_database_is_nowhere_but_in_the_settings_of_the_service(estate):
    estate.write(b"a")
    estate.run("archive", estate.source)
    holding = {
        path.relative_to(estate.home)
        for path in estate.home.rglob("*")
        if path.is_file() and estate.url.encode() in path.read_bytes()
    }
    assert {str(path) for path in holding} == {"service.toml"}


def test_a_trial_changes_nothing(estate):
    estate.write(b"a")
    estate.run("archive", estate.source)
    before = estate.catalog("one").totals()
    estate.write(b"b\xff")
    tried = estate.run("archive", estate.source, "--dry-run")
    assert (tried["dry_run"], tried["scan"]["new"]) == (True, 1)
    assert estate.catalog("one").totals() == before
    assert not [entry for entry in estate.home_of("one").iterdir() if "dry" in entry.name]


def test_a_copy_holds_what_the_catalogue_holds_and_nothing_of_others(estate, tmp_path):
    for name in ("two", "one"):
        estate.write(b"\xff" + name.encode())
        estate.run("archive", estate.source, home=name)
    catalog, copy = estate.catalog("one"), tmp_path / "copy.sqlite3"
    catalog.copy_to(copy)
    names = Archive(estate.home_of("one")).organization
    copied = open_catalog(copy, names.id, names.name)
    assert copied.totals() == catalog.totals() == copied.recount()
    assert list(copied.newest()) == list(catalog.newest())
    assert list(copied.commits()) == list(catalog.commits())
    copied.close()
    stray = open_catalog(copy, "two", "Organisation two")
    assert list(stray.commits()) == []
    stray.close()


@pytest.mark.engine
def test_an_organisation_moves_from_a_file_to_the_database_by_a_rebuild(on_server):
    config = on_server.config("one")
    text = config.read_text()
    config.write_text(text.replace('catalog = "service"\n', ""))
    path = on_server.write(b"before")
    on_server.run("archive", on_server.source)
    assert (on_server.home_of("one") / "catalogue.sqlite3").exists()
    config.write_text(text)
    assert on_server.run("rebuild")["commits"] == 1
    assert [file.scanned.path for file in on_server.catalog("one").newest()][-1] == path
    assert on_server.run("archive", on_server.source)["scan"]["changed"] == 0
    on_server.write(b"behind")
    on_server.run("archive", on_server.source)
    commits = list(on_server.catalog("one").commits())
    assert [commit.sequence for commit in commits] == [1, 2]
    assert on_server.run("db", "check", home=None)["catalogs"]["one"]["commits"] == 2


@pytest.mark.engine
def test_a_home_without_its_service_does_not_begin_a_second_catalogue(
    on_server, tmp_path, monkeypatch
):
    moved = tmp_path / "elsewhere"
    shutil.copytree(on_server.home_of("one"), moved)
    with pytest.raises(UsageError, match="must be SERVICE/organizations/one"):
        opened(moved)
    (on_server.home / "service.toml").unlink()
    with pytest.raises(UsageError, match="MUNIMENT_SERVICE_DATABASE"):
        opened(on_server.home_of("one"))
    monkeypatch.setenv("MUNIMENT_SERVICE_DATABASE", on_server.url)
    archive = Archive(on_server.home_of("one"))
    assert archive.catalog.totals().commits == 0
    archive.close()
    assert not (moved / "catalogue.sqlite3").exists()


@pytest.mark.engine
def test_a_home_opens_the_catalogue_of_its_own_organisation_only(on_server):
    config = on_server.config("one")
    config.write_text(config.read_text().replace('"one"', '"two"'))
    with pytest.raises(UsageError, match="organizations/two"):
        opened(on_server.home_of("one"))


def test_the_catalogues_of_many_organisations_share_connections(estate):
    for _ in range(3):
        for name in ("one", "two"):
            assert estate.catalog(name).totals().commits == 0
    database = estate.service.database
    catalogs = {estate.catalog(name)._database for name in ("one", "two")}
    assert catalogs == {database} if estate.is_server else database not in catalogs


@pytest.mark.engine
def test_uploads_and_claims_live_through_the_move(on_server):
    """One upload is archived, one is claimed by a run that was killed, one only waits: each is archived once, and settled."""
    config = on_server.config("one")
    text = config.read_text()
    config.write_text(text.replace('catalog = "service"\n', ""))
    with on_server.client() as client:
        on_server.put(client, "archived")
        on_server.work(client, "archive")
        on_server.put(client, "claimed")
        on_server.work(client, "catalog")
        assert claim(on_server.catalog("one"), 1) is not None
        on_server.put(client, "waiting")
        on_server.work(client, "catalog")
    on_server.service.close()
    config.write_text(text)
    assert on_server.run("rebuild")["commits"] == 1

    on_server.service = Service(on_server.home)
    assert on_server.catalog("one").totals().unfinished_commits == 0
    with on_server.client() as client:
        for _ in range(2):
            on_server.work(client, "archive")
        uploads = client.get("/v1/uploads").json()["items"]
    assert [upload["state"] for upload in uploads] == ["archived"] * 3
    names = [f.scanned.path.rpartition(b"/")[2] for f in on_server.catalog("one").newest()]
    assert sorted(names) == [b"archived", b"claimed", b"waiting"]
    assert on_server.catalog("one").totals().commits == 2
    on_server.run("db", "check", home=None)


# `muniment db check`


def test_a_check_looks_at_every_catalogue(estate):
    assert set(estate.run("db", "check", home=None)["catalogs"]) == {"one", "two"}
    estate.write(b"a")
    estate.run("archive", estate.source)
    checked = estate.run("db", "check", home=None)
    assert checked["catalogs"]["one"] == {"commits": 1, "files": 2}
    assert checked["catalogs"]["two"] in (None, {"commits": 0, "files": 0})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE totals SET archived_files = archived_files + 1", "its totals do not add up"),
        ("UPDATE files SET sequence = 7 WHERE leaf = 0", "place of its commit in the chain"),
        ("UPDATE files SET latest = 0 WHERE leaf = 1", "latest version"),
    ],
)
def test_a_damaged_catalogue_is_found_and_a_rebuild_mends_it(estate, change, told):
    estate.write(b"a")
    estate.run("archive", estate.source)
    assert estate.sql(change)
    message = estate.run("db", "check", home=None, code=4)["error"]["message"]
    assert told in message
    assert "catalogue of one" in message
    assert "muniment rebuild" in message
    estate.run("rebuild")
    assert estate.run("db", "check", home=None)["catalogs"]["one"]["files"] == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE service_organizations SET used_bytes = 7", "room used"),
        ("UPDATE service_organizations SET reserved_files = 1", "room reserved"),
        ("UPDATE service_organizations SET pinned_bytes = 1", "pinned content"),
        ("INSERT INTO pin_counts VALUES ('one', 5, 1, 0, 0, 0)", "pins are not as many"),
        ("INSERT INTO pin_counts VALUES ('one', 5, 1, 0, 0, 0)", "the totals of pins"),
        ("INSERT INTO pin_label_names VALUES ('one', 'tag', 'x', 1)", "a tag has not"),
        ("INSERT INTO pin_heads VALUES ('nobody', 1, 1, 1)", "belong to no organisation"),
    ],
)
def test_wrong_counts_of_a_service_are_found_and_no_rebuild_is_advised(estate, change, told):
    estate.run("db", "check", home=None)
    assert estate.sql(change)
    message = estate.run("db", "check", home=None, code=4)["error"]["message"]
    assert told in message
    assert "restore the database from its backup" in message
    assert "rebuild" not in message


def test_every_rule_is_a_query_of_both_databases(estate):
    with estate.service.database.transaction() as connection:
        statements = Statements(connection, estate.service.database.dialect)
        assert [rule.broken for rule in SERVICE_RULES if statements.rows(rule.sql)] == []
    catalog = estate.catalog("one")
    with catalog._reading() as transaction:
        broken = [r.broken for r in CATALOG_RULES if transaction.rows(r.sql, transaction.org_id)]
    assert broken == []


def test_a_service_database_that_is_damaged_is_not_to_be_rebuilt(tmp_path, capfd):
    estate = Estate(tmp_path, f"sqlite:///{tmp_path}/service.sqlite3", capfd)
    estate.service.close()
    with open(tmp_path / "service.sqlite3", "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))
    message = estate.run("db", "check", home=None, code=4)["error"]["message"]
    assert engine.RESTORE in message
    assert "rebuild" not in message


@pytest.mark.engine
def test_two_processes_that_enter_an_organisation_do_not_collide(on_server):
    problems = []

    def enter():
        try:
            open_catalog(on_server.url, "three", "Organisation three").close()
        except ConflictError as error:
            problems.append(error)

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
