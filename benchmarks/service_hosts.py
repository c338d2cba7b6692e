"""The services that `BENCH=service` asks: ours on each database, filled with pins, and IPFS Cluster's; each ended when the block ends."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import service_fill
from benchmarks.servers import Server
from muniment.bootstrap.service import DATABASE
from muniment.testing.ipfs_cluster import LocalCluster
from muniment.testing.kubo import LocalKubo
from muniment.testing.postgresql import LocalPostgres
from muniment.testing.service import LocalService

SQLITE, POSTGRESQL, CLUSTER = HOSTS = ("sqlite", "postgresql", "ipfs-cluster")
FILES = "files"
"""The organisation that has files and no pins."""

_SETTINGS = {"MUNIMENT_SERVICE_RATE_PER_MINUTE": "1000000000"}
"""All requests come with one key, whose limit would be measured otherwise."""


@dataclass(frozen=True, slots=True)
class Host:
    """One of our services, which runs.

    Attributes:
        server: Its processes, the database's included.
        keys: Header field with the API key of each organisation.
    """

    server: Server
    keys: Mapping[str, str]


def holder(pins: int) -> str:
    """The organisation that has so many pins."""
    return f"pins-{pins}"


@contextmanager
def muniment(name: str, folder: Path, sizes: Sequence[int], processes: int) -> Iterator[Host]:
    """`muniment serve` on a database, with an organisation for each number of pins.

    Raises:
        ExternalServiceError: It, or its database, does not start.
    """
    with ExitStack() as stack:
        settings = dict(_SETTINGS)
        database: str | Path = folder / DATABASE
        more: tuple[int, ...] = ()
        if name == POSTGRESQL:
            postgres = stack.enter_context(LocalPostgres(durable=True))
            database = postgres.create_database()
            settings["MUNIMENT_SERVICE_DATABASE"] = str(database)
            more = (postgres.process_id,)
        service = LocalService(folder, "--processes", str(processes), settings=settings)
        keys = {}
        for organization_id in (FILES, *map(holder, sizes)):
            key = service.create_organization(organization_id)
            keys[organization_id] = f"Authorization: Bearer {key}"
        for pins in sizes:
            service_fill.fill(database, holder(pins), pins)
        stack.enter_context(service)
        yield Host(Server(name, service.url, (service.process_id, *more)), keys)


@contextmanager
def cluster() -> Iterator[Server]:
    """IPFS Cluster with one peer on one Kubo, both counted.

    Raises:
        ExternalServiceError: It is not built, or does not start.
    """
    with LocalKubo() as kubo, LocalCluster(kubo.start()) as peer:
        roots = (peer.process_id, kubo.process_id)
        yield Server(CLUSTER, peer.pinning_service_url, roots)
