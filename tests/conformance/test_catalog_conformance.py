"""The catalogue's promises, kept by each adapter."""

import pytest

from muniment.adapters.sql.catalog import open_catalog
from muniment.testing.catalog import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
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
