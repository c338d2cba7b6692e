"""Opening a catalogue's database: what is created, what is refused, and that the schema is what it is said to be."""

import os
import sqlite3
import stat

import pytest
from sqlalchemy import create_engine, inspect

from muniment.adapters.sql import engine, migrations, schema
from muniment.adapters.sql.catalog import open_catalog
from muniment.errors import ConflictError, FormatError, IntegrityError, MunimentError, UsageError
from muniment.testing.catalog import archive, seen


@pytest.fixture
def file(tmp_path):
    return tmp_path / "catalog.sqlite3"


def opened(file):
    return open_catalog(file, "one", "An organisation")


def test_the_database_is_private(file):
    catalog = opened(file)
    catalog.record_scan([seen(b"a")])
    modes = {stat.S_IMODE(os.stat(path).st_mode) for path in file.parent.iterdir()}
    assert modes == {0o600}
    catalog.close()


def test_a_url_works_as_well(file):
    catalog = open_catalog(f"sqlite:///{file}", "one", "An organisation")
    catalog.add_root(b"a")
    catalog.close()
    catalog = opened(os.fspath(file))
    assert catalog.roots() == [b"a"]
    catalog.close()


@pytest.mark.parametrize(
    "url", ["mysql://host/name", "sqlite://", "nonsense://x", "://", "sqlite:///:memory:"]
)
def test_other_databases_are_refused(url):
    with pytest.raises(UsageError):
        open_catalog(url, "one", "An organisation")


def test_a_file_that_cannot_be_created_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be created"):
        opened(tmp_path / "absent" / "catalog.sqlite3")


def test_a_file_that_is_no_database_is_refused(file):
    file.write_bytes(b"certainly not a database, whatever its name says" * 100)
    with pytest.raises(IntegrityError, match="no Muniment database"):
        opened(file)
    assert file.read_bytes().startswith(b"certainly")


def test_a_damaged_database_is_told(file):
    catalog = opened(file)
    catalog.record_scan([seen(b"%d" % number) for number in range(3_000)])
    archive(catalog, 1)
    catalog.close()
    with file.open("r+b") as stream:
        stream.seek(8192)
        stream.write(b"\xaa" * (os.path.getsize(file) - 8192))
    with pytest.raises(IntegrityError, match="rebuild"):
        opened(file)


def test_a_newer_schema_is_refused(file):
    opened(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    with pytest.raises(FormatError, match=r"schema version 99.*use the newer Muniment"):
        opened(file)


def test_an_older_schema_is_led_on(file, monkeypatch):
    catalog = opened(file)
    catalog.record_scan([seen(b"a")])
    catalog.close()
    step = (
        "CREATE TABLE notes (org_id BIGINT NOT NULL, note {bytes})",
        "INSERT INTO notes VALUES (1, NULL)",
    )
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, step))
    for _ in range(2):
        catalog = opened(file)
        assert catalog.totals().pending_files == 1
        catalog.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT COUNT(*) FROM notes").fetchone() == (1,)
        assert connection.execute("SELECT version FROM schema_version").fetchone() == (
            len(migrations.MIGRATIONS),
        )
    connection.close()


def test_a_failed_step_leaves_the_schema_as_it_was(file, monkeypatch):
    opened(file).close()
    with monkeypatch.context() as patch:
        patch.setattr(
            migrations,
            "MIGRATIONS",
            (*migrations.MIGRATIONS, ("CREATE TABLE notes (a TEXT)", "NO SQL")),
        )
        with pytest.raises(MunimentError):
            opened(file)
    opened(file).close()
    with sqlite3.connect(file) as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'notes'").fetchall()
    connection.close()


def test_the_schema_is_what_the_migrations_make(file):
    opened(file).close()
    reader = create_engine(f"sqlite:///{file}")
    made = {
        table: [column["name"] for column in inspect(reader).get_columns(table)]
        for table in inspect(reader).get_table_names()
    }
    reader.dispose()
    assert made.pop("schema_version") == ["version"]
    assert made == {
        name: [column.name for column in table.columns]
        for name, table in schema.metadata.tables.items()
    }
    assert all("org_id" in columns for columns in made.values())


def test_an_organisation_can_be_renamed(file):
    for name in ("An organisation", "Another name"):
        open_catalog(file, "one", name).close()
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT id, name FROM organizations").fetchall()
    connection.close()
    assert rows == [("one", "Another name")]


def test_a_writer_that_never_ends_is_told(file, monkeypatch):
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
    catalog = opened(file)
    blocker = sqlite3.connect(file, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConflictError, match="another run"):
        catalog.record_scan([seen(b"a")])
    assert catalog.totals().pending_files == 0
    blocker.close()
    catalog.close()


def test_unknown_columns_are_a_mistake_of_the_caller(file):
    catalog = opened(file)
    catalog.record_scan([seen(b"a")])
    archive(catalog, 1)
    (row,) = catalog.commits()
    for columns in ({"number": 1}, {"commit_id": "x"}, {"state": "stored"}, {"nonsense": 1}):
        with pytest.raises(TypeError):
            catalog.update_commit(row.commit_id, **columns)
    catalog.close()


def test_iterating_holds_nothing_open(file, monkeypatch):
    monkeypatch.setattr("muniment.adapters.sql.catalog._PAGE", 2)
    catalog = opened(file)
    catalog.record_scan([seen(b"%d" % number) for number in range(9)])
    archive(catalog, 1)
    assert [f.scanned.path for f in catalog.newest()] == [b"%d" % number for number in range(9)]
    assert len(list(catalog.files_of(next(catalog.commits()).commit_id))) == 9
    walk = catalog.newest()
    next(walk)
    catalog.record_scan([seen(b"3", 5)])
    archive(catalog, 2)
    assert [file.scanned.size for file in walk] == [1, 1, 5, 1, 1, 1, 1, 1]
    catalog.close()
