"""The catalogue's promises, kept by each adapter."""

import pytest

from muniment.adapters.sql.catalog import open_catalog, shared_catalog
from muniment.adapters.sql.engine import open_database
from muniment.adapters.sql.migrations import migrate
from muniment.testing.catalog import CHECKS

all_checks = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)


@all_checks
def test_catalog(check, database_url):
    opened = []

    def open_one(organization_id):
        opened.append(open_catalog(database_url, organization_id, "An organisation"))
        return opened[-1]

    try:
        check(open_one)
    finally:
        for catalog in opened:
            catalog.close()


@all_checks
@pytest.mark.engine
def test_catalog_in_a_database_that_sorts_as_people_do(check, postgres):
    """All catalogues share a service's connections, and the database has a language."""
    url = postgres.create_database("LOCALE_PROVIDER icu ICU_LOCALE 'en-US' TEMPLATE template0")
    database = open_database(url)
    migrate(database)
    try:
        check(lambda organization_id: shared_catalog(database, organization_id, "An organisation"))
    finally:
        database.close()
        postgres.drop_database(url)
