"""Sequences of operations on a catalogue, against a model of it."""

import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from muniment.adapters.sql.catalog import open_catalog
from muniment.adapters.sql.rules import broken_in_catalog
from muniment.archive.catalog import Problem
from muniment.testing.catalog import claim, commit_name, seen
from muniment.testing.catalog_machine import PATHS, CatalogMachine


class SharedMachine(CatalogMachine):
    """Beside another organisation in the same database, which stays as it was."""

    def begin_beside(self, catalog):
        catalog.record_scan([seen(path, 3) for path in PATHS])
        claim(catalog, 1, max_files=3)
        catalog.record_problems([Problem(PATHS[0], "unreadable", 1)])
        self.beside, self.was = catalog, self.told_of(catalog)

    @staticmethod
    def told_of(catalog):
        return catalog.totals(), list(catalog.claimed(commit_name(1))), list(catalog.problems())

    def teardown(self):
        if hasattr(self, "beside"):
            assert self.told_of(self.beside) == self.was
            for catalog in (self.beside, self.catalog):
                with catalog._reading() as transaction:
                    assert broken_in_catalog(transaction) == []
            self.beside.close()
        super().teardown()


class SqliteMachine(SharedMachine):
    def open_catalog(self, organization_id):
        if not hasattr(self, "folder"):
            self.folder = tempfile.mkdtemp(prefix="muniment-catalog-")
            self.begin_beside(self.opened("two"))
        return self.opened(organization_id)

    def opened(self, organization_id):
        return open_catalog(f"{self.folder}/catalog.sqlite3", organization_id, "An organisation")

    def teardown(self):
        super().teardown()
        shutil.rmtree(self.folder, ignore_errors=True)


def postgres_machine(server):
    class PostgresMachine(SharedMachine):
        def open_catalog(self, organization_id):
            if not hasattr(self, "url"):
                self.url = server.create_database()
                self.begin_beside(open_catalog(self.url, "two", "An organisation"))
            return open_catalog(self.url, organization_id, "An organisation")

        def teardown(self):
            super().teardown()
            server.drop_database(self.url)

    return PostgresMachine


def run(machine, examples, steps):
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(machine, settings=chosen)


def test_sqlite_catalog_follows_the_model():
    run(SqliteMachine, examples=15, steps=30)


@pytest.mark.engine
def test_postgresql_catalog_follows_the_model(postgres):
    run(postgres_machine(postgres), examples=15, steps=30)


@pytest.mark.slow
def test_sqlite_catalog_follows_the_model_for_long():
    run(SqliteMachine, examples=150, steps=60)


@pytest.mark.slow
@pytest.mark.engine
def test_postgresql_catalog_follows_the_model_for_long(postgres):
    run(postgres_machine(postgres), examples=80, steps=60)
