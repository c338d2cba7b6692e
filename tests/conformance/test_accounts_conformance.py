"""The account store's promises, on each database."""

import pytest

from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.service import open_service_database
from muniment.testing.accounts import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_accounts(check, database_url):
    database = open_service_database(database_url)
    try:
        check(SqlAccounts(database))
    finally:
        database.close()
