"""A real Kubo on this machine, for tests: its own repository, loopback and free ports only, and nobody to talk to."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from muniment.errors import ExternalServiceError
from muniment.testing.engines import Daemon, change_settings, find_engine, run_engine

_QUIET: dict[str, object] = {
    "Addresses.API": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Gateway": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0"],
    "AutoConf.Enabled": False,
    "AutoTLS.Enabled": False,
    "Bootstrap": [],
    "DNS.Resolvers": {
        ".": "https://127.0.0.1:9/dns-query",
        "eth.": "https://127.0.0.1:9/dns-query",
    },
    "Discovery.MDNS.Enabled": False,
    "Ipns.DelegatedPublishers": [],
    "Plugins.Plugins.telemetry.Config.Mode": "off",
    "Provide.Enabled": False,
    "Routing.DelegatedRouters": [],
    "Routing.Type": "none",
    "Swarm.DisableNatPortMap": True,
    "Swarm.RelayClient.Enabled": False,
    "Swarm.RelayService.Enabled": False,
    "Swarm.Transports.Network.Relay": False,
}
"""Settings of a node that listens on loopback, asks nobody and tells nobody."""


class LocalKubo:
    """A Kubo node with a repository of its own; a context manager that stops the daemon and removes everything.

    In `with LocalKubo() as kubo`, the repository exists and `run`, `add` and `import_car` work on it at once; after
    `start` they go through the daemon, and `gateway_url` and `api_url` are there. Settings that are changed
    while the daemon runs hold from its next start.

    Args:
        profile: `unixfs-v1-2025` or `unixfs-v0-2015`: what `add` makes of files where its flags do not say.
        settings: More settings, named as in `Gateway.NoFetch`.
        variables: More variables of its environment, as `IPFS_NS_MAP`, which answers for the DNS.

    Raises:
        ExternalServiceError: Kubo is not built, or cannot make a repository.
    """

    def __init__(
        self,
        profile: str = "unixfs-v1-2025",
        settings: Mapping[str, object] = MappingProxyType({}),
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._variables = dict(variables)
        self.program = find_engine("ipfs")
        self._daemon: Daemon | None = None
        self._temporary = tempfile.TemporaryDirectory(prefix="muniment-kubo-")
        self.folder = Path(self._temporary.name)
        self.repository = self.folder / "repository"
        try:
            self.run("init", "--empty-repo", f"--profile={profile}")
            change_settings(self.repository / "config", {**_QUIET, **settings})
        except BaseException:
            self._temporary.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        self._temporary.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which `ipfs` finds this node."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_")}
        own = {"IPFS_PATH": str(self.repository), "IPFS_TELEMETRY": "off"}
        return kept | own | self._variables

    def run(self, *arguments: str | Path, stdin: bytes | None = None) -> bytes:
        """Run a command of `ipfs` and return what it prints.

        Raises:
            ExternalServiceError: It fails or takes too long.
        """
        return run_engine(self.program, *arguments, environment=self.environment, stdin=stdin)

    def config(self, name: str, value: object) -> None:
        """Set a setting, named as in `Routing.Type`, to a value that JSON can say; holds from the next start."""
        change_settings(self.repository / "config", {name: value})

    def add(self, path: str | Path, *flags: str) -> str:
        """Add a file, or a folder with all that is in it, and return its CID."""
        return self.run("add", "--quieter", "--recursive", *flags, path).decode().strip()

    def import_car(self, path: str | Path) -> None:
        """Import all blocks of a CAR; nothing is pinned, and roots need not be complete."""
        self.run("dag", "import", "--pin-roots=false", "--silent", path)

    def start(self) -> Self:
        """Start the daemon and wait until its API and its gateway listen.

        Raises:
            ExternalServiceError: It does not start; shows what it logged.
        """
        if self._daemon is not None:
            raise ExternalServiceError("this Kubo daemon runs already")
        daemon = Daemon(
            self.program,
            "daemon",
            environment=self.environment,
            log=self.folder / "daemon.log",
        )
        daemon.await_ready(lambda: b"Daemon is ready" in daemon.log)
        self._daemon = daemon
        return self

    def stop(self) -> None:
        """Stop the daemon, if it runs."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None
            (self.folder / "daemon.log").unlink()

    @property
    def process_id(self) -> int:
        """The daemon's process."""
        return self._running().process_id

    @property
    def log(self) -> str:
        """What the daemon said until now."""
        return self._running().log.decode("utf-8", "replace")

    @property
    def gateway_url(self) -> str:
        """Where the daemon's gateway is, as in `http://127.0.0.1:8080`."""
        self._running()
        return (self.repository / "gateway").read_text("utf-8").strip()

    @property
    def api_address(self) -> str:
        """Where the daemon's RPC API is, as in `/ip4/127.0.0.1/tcp/5001`."""
        self._running()
        return (self.repository / "api").read_text("utf-8").strip()

    @property
    def api_url(self) -> str:
        """Where the daemon's RPC API is, as in `http://127.0.0.1:5001`."""
        return f"http://127.0.0.1:{self.api_address.rpartition('/')[2]}"

    def _running(self) -> Daemon:
        if self._daemon is None:
            raise ExternalServiceError("this Kubo daemon does not run")
        return self._daemon
