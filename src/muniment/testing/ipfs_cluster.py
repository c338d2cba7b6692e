"""A real IPFS Cluster peer on this machine, for tests: over one Kubo, on loopback and free ports, without other peers."""

import os
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from muniment.testing.engines import Daemon, change_settings, find_engine, run_engine
from muniment.testing.kubo import LocalKubo

_READY = b"IPFS Cluster is READY"
_SMALL_CACHE_BYTES = 8 << 20


class LocalCluster:
    """A cluster of one peer that pins on a Kubo whose daemon runs; a context manager that stops it and removes its state.

    In `with LocalKubo() as kubo, LocalCluster(kubo.start()) as cluster`, the peer is ready. Its pinning service
    (IPFS Pinning Service API) is at `pinning_service_url`, its own REST API at `api_url`; both ask for no credentials.

    Raises:
        ExternalServiceError: IPFS Cluster is not built, or does not start.
    """

    def __init__(self, kubo: LocalKubo) -> None:
        self.program = find_engine("ipfs-cluster-service")
        self._api_port, self._pinning_port = _free_ports(2)
        with ExitStack() as made:
            self._temporary = made.enter_context(
                tempfile.TemporaryDirectory(prefix="muniment-cluster-")
            )
            self.folder = Path(self._temporary)
            self._run("init", "--consensus", "crdt")
            change_settings(self.folder / "service.json", self._settings(kubo))
            self._daemon = Daemon(
                self.program,
                *self._options,
                "daemon",
                environment=self.environment,
                log=self.folder / "daemon.log",
            )
            made.callback(self._daemon.stop)
            self._daemon.await_ready(lambda: _READY in self._daemon.log)
            self._running = made.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._running.close()

    @property
    def process_id(self) -> int:
        """The peer's process."""
        return self._daemon.process_id

    @property
    def api_url(self) -> str:
        """Where the REST API is."""
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def pinning_service_url(self) -> str:
        """Where the pinning service is: `/pins` is below it."""
        return f"http://127.0.0.1:{self._pinning_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which the peer runs: none that would change its settings."""
        return {
            name: value for name, value in os.environ.items() if not name.startswith("CLUSTER_")
        }

    @property
    def log(self) -> str:
        """What the peer said until now."""
        return self._daemon.log.decode("utf-8", "replace")

    def ctl(self, *arguments: str | Path) -> bytes:
        """Run a command of `ipfs-cluster-ctl` and return what it prints, as JSON.

        Raises:
            ExternalServiceError: It fails or takes too long.
        """
        host = f"/ip4/127.0.0.1/tcp/{self._api_port}"
        return run_engine(
            find_engine("ipfs-cluster-ctl"),
            "--host",
            host,
            "--enc=json",
            *arguments,
            environment=self.environment,
        )

    @property
    def _options(self) -> tuple[str, ...]:
        return ("--config", str(self.folder))

    def _run(self, *arguments: str) -> bytes:
        return run_engine(self.program, *self._options, *arguments, environment=self.environment)

    def _settings(self, kubo: LocalKubo) -> dict[str, object]:
        loopback = "/ip4/127.0.0.1/tcp"
        return {
            "cluster.listen_multiaddress": [f"{loopback}/0"],
            "cluster.mdns_interval": "0s",
            "cluster.enable_relay_hop": False,
            "cluster.monitor_ping_interval": "1s",
            "api.ipfsproxy.listen_multiaddress": f"{loopback}/0",
            "api.ipfsproxy.node_multiaddress": kubo.api_address,
            "api.pinsvcapi.http_listen_multiaddress": f"{loopback}/{self._pinning_port}",
            "api.restapi.http_listen_multiaddress": f"{loopback}/{self._api_port}",
            "ipfs_connector.ipfshttp.node_multiaddress": kubo.api_address,
            "datastore.pebble.pebble_options.cache_size_bytes": _SMALL_CACHE_BYTES,
            "datastore.pebble.pebble_options.mem_table_size": _SMALL_CACHE_BYTES,
        }


def _free_ports(count: int) -> list[int]:
    """Find ports that are free now; all are held until the last is found, so that they differ."""
    with ExitStack() as probes:
        found = []
        for _ in range(count):
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(probe.getsockname()[1])
        return found
