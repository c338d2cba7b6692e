"""Sequences of what clients and workers do to jobs, against a model of them."""

import itertools
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.service import open_service_database
from muniment.testing.jobs import Clock, Office
from muniment.testing.jobs_machine import JobsMachine


class SqlMachine(JobsMachine):
    def new_url(self):
        self.folder = tempfile.mkdtemp(prefix="muniment-jobs-")
        return f"{self.folder}/service.sqlite3"

    def open_office(self):
        url = self.new_url()
        self.databases = [open_service_database(url), open_service_database(url)]
        clock, numbers = Clock(), itertools.count()
        stores = [
            SqlJobs(
                database,
                clock=lambda _statements: clock.now,
                entropy=lambda size: next(numbers).to_bytes(size),
            )
            for database in self.databases
        ]
        return Office(*stores, clock, None)

    def teardown(self):
        try:
            super().teardown()
        finally:
            for database in getattr(self, "databases", ()):
                database.close()
            self.remove()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def postgres_machine(server):
    class PostgresMachine(SqlMachine):
        def new_url(self):
            self.url = server.create_database()
            return self.url

        def remove(self):
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


def test_jobs_on_sqlite_follow_the_model():
    run(SqlMachine, examples=25, steps=40)


@pytest.mark.engine
def test_jobs_on_postgresql_follow_the_model(postgres):
    run(postgres_machine(postgres), examples=12, steps=40)


@pytest.mark.slow
def test_jobs_on_sqlite_follow_the_model_for_long():
    run(SqlMachine, examples=250, steps=80)


@pytest.mark.slow
@pytest.mark.engine
def test_jobs_on_postgresql_follow_the_model_for_long(postgres):
    run(postgres_machine(postgres), examples=100, steps=80)
