"""Sequences of operations on a catalogue, against a model of it."""

import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from muniment.adapters.sql.catalog import open_catalog
from muniment.testing.catalog_machine import CatalogMachine


class SqliteMachine(CatalogMachine):
    def open_catalog(self, organization_id):
        if not hasattr(self, "folder"):
            self.folder = tempfile.mkdtemp(prefix="muniment-catalog-")
        return open_catalog(f"{self.folder}/catalog.sqlite3", organization_id, "An organisation")

    def teardown(self):
        super().teardown()
        shutil.rmtree(self.folder, ignore_errors=True)


def postgres_machine(server):
    class PostgresMachine(CatalogMachine):
        def open_catalog(self, organization_id):
            if not hasattr(self, "url"):
                self.url = server.create_database()
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
