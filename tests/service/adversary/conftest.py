"""Services with several organisations, attacked through the door that everybody uses."""

import pytest
from tests.service.adversary.house import House


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.engine)]
)
def house(request, tmp_path_factory):
    """A service without organisations, on each kind of database."""
    folder = tmp_path_factory.mktemp("house") / "home"
    if request.param == "sqlite":
        server, url = None, ""
    else:
        server = request.getfixturevalue("postgres")
        url = server.create_database()
    house = House(folder, url)
    try:
        yield house
    finally:
        house.close()
        if server:
            server.drop_database(url)
