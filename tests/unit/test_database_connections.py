"""Connections to PostgreSQL that died: while nobody used them, and in the middle of a transaction."""

from contextlib import ExitStack

import pytest

from muniment.adapters.sql.engine import DatabaseUnavailableError, open_database
from muniment.adapters.sql.statements import SqlStore

pytestmark = pytest.mark.engine
CONNECTIONS = 3


class Numbers(SqlStore):
    def make(self):
        with self._writing() as statements:
            statements.run("CREATE TABLE numbers (number BIGINT)")

    def add(self, number, meanwhile=lambda: None):
        with self._writing() as statements:
            statements.run("INSERT INTO numbers VALUES (?)", number)
            meanwhile()

    def all_at_once(self):
        """Read over all connections that are kept open."""
        with ExitStack() as stack:
            readers = [stack.enter_context(self._reading()) for _ in range(CONNECTIONS)]
            return [reader.rows("SELECT number FROM numbers") for reader in readers]


@pytest.fixture
def url(postgres):
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def numbers(url):
    database = open_database(url, connections=CONNECTIONS)
    numbers = Numbers(database)
    numbers.make()
    yield numbers
    database.close()


@pytest.fixture
def cut(postgres, url):
    """Ends all connections to the database."""
    name = url.partition("@/")[2].partition("?")[0]
    sql = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    return lambda: postgres.run_sql(sql)


def test_those_that_died_unused_are_replaced(numbers, cut):
    numbers.all_at_once()
    cut()
    numbers.add(1)
    cut()
    assert numbers.all_at_once() == CONNECTIONS * [[(1,)]]


def test_one_that_dies_in_a_transaction_takes_it_along(numbers, cut):
    with pytest.raises(DatabaseUnavailableError):
        numbers.add(1, cut)
    numbers.add(2)
    assert numbers.all_at_once() == CONNECTIONS * [[(2,)]]
