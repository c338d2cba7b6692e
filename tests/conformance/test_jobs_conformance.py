"""The job store's promises, kept on each database."""

from contextlib import contextmanager

import pytest

from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.service import open_service_database
from muniment.adapters.sql.statements import Statements
from muniment.testing.jobs import CHECKS, LIMITED, QUEUE_LIMIT, Clock, Office


@pytest.fixture
def office(database_url):
    databases = [open_service_database(database_url), open_service_database(database_url)]
    clock = Clock()

    @contextmanager
    def writing():
        with databases[0].transaction(write=True) as connection:
            yield Statements(connection, databases[0].dialect)

    def listen(*change):
        office.listen(*change)

    stores = [
        SqlJobs(
            database,
            on_change,
            clock=lambda _statements: clock.now,
            queue_limits={LIMITED: QUEUE_LIMIT},
        )
        for database, on_change in zip(databases, (listen, None), strict=True)
    ]
    office = Office(*stores, clock, writing)
    yield office
    for database in databases:
        database.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_jobs(check, office):
    check(office)
