"""The loads of the gateway benchmark, and the servers that each is put on in turn."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import LARGE_MIB, MIB
from benchmarks.holdings import Holdings
from benchmarks.loads import HTTP2, Ask, Served, download, fetch, request_many
from benchmarks.measure import CommandFailedError
from benchmarks.servers import Server

REQUESTS, LARGE, BLOCKS, CAR, HTTP_2 = PARTS = ("requests", "large", "blocks", "car", "http2")
MUNIMENT, KUBO, NGINX = TOOLS = ("muniment", "kubo", "nginx")

SMALL_CLIENTS, FEW_CLIENTS = (16, 64), 16
LARGE_TIMES, CAR_TIMES = {64: 8, 256: 4}, 1
"""How often one curl gets a large file (by its MiB), and the CAR of the corpus, in a round."""

SMALL_STEPS = tuple(f"23 KB file, {clients} clients" for clients in SMALL_CLIENTS)
MANY_STEP = f"many files by path, {FEW_CLIENTS} clients"
LARGE_STEPS = tuple(f"{mib} MiB file" for mib in LARGE_MIB)
RAW_STEP = f"raw 1 MiB blocks, {FEW_CLIENTS} clients"
CAR_STEP = "CAR of the corpus"
HTTP2_STEP = f"{LARGE_MIB[-1]} MiB file, HTTP/2"


@dataclass(frozen=True, slots=True)
class Step:
    """One load, and the servers that are put under it."""

    part: str
    name: str
    servers: Sequence[Server]
    run: Callable[[Server], Served]


@dataclass(frozen=True, slots=True)
class Loads:
    """All loads on all servers.

    Attributes:
        holdings: What the servers hold.
        plain: The servers over HTTP/1.1 without TLS.
        tls: The servers over HTTP/2 with TLS.
        duration_s: How long a load of many requests lasts.
        scratch: Folder for what the clients write down.
    """

    holdings: Holdings
    plain: Sequence[Server]
    tls: Sequence[Server]
    duration_s: float
    scratch: Path

    def steps(self) -> Iterator[Step]:
        """Every step, in order."""
        held = self.holdings
        size_bytes = held.size_bytes(held.small)
        for name, clients in zip(SMALL_STEPS, SMALL_CLIENTS, strict=True):
            yield self._requests(REQUESTS, name, Ask([held.small_path], size_bytes, clients))
        paths = [held.path(file) for file in held.many]
        ask = Ask(paths, held.size_bytes(*held.many), FEW_CLIENTS)
        yield self._requests(REQUESTS, MANY_STEP, ask)
        for name, mib in zip(LARGE_STEPS, LARGE_MIB, strict=True):
            yield self._large(LARGE, name, self.plain, mib)
        yield self._requests(BLOCKS, RAW_STEP, Ask(held.block_paths, MIB, FEW_CLIENTS))
        yield Step(CAR, CAR_STEP, self._ipfs, self._get_car)
        yield self._large(HTTP_2, HTTP2_STEP, self.tls, LARGE_MIB[-1], *HTTP2)

    def check(self) -> None:
        """Let every server answer before anything is measured, and compare what it says with the files.

        Raises:
            CommandFailedError: It answers something else.
        """
        mib = LARGE_MIB[0]
        large = (self.holdings.large / f"large{mib}.bin").read_bytes()
        small = (self.holdings.corpus / self.holdings.small).read_bytes()
        for server in (*self.plain, *self.tls):
            if fetch(server, self._large_path(server, mib)) != large:
                raise CommandFailedError(f"{server.url} does not serve the large file as it is")
            if server.name != NGINX and fetch(server, self.holdings.small_path) != small:
                raise CommandFailedError(f"{server.url} does not serve the small file as it is")

    def _large_path(self, server: Server, mib: int) -> str:
        return f"/large{mib}.bin" if server.name == NGINX else self.holdings.large_path(mib)

    @property
    def _ipfs(self) -> list[Server]:
        return [server for server in self.plain if server.name != NGINX]

    def _requests(self, part: str, name: str, ask: Ask) -> Step:
        def run(server: Server) -> Served:
            return request_many(server, ask, self.duration_s, self.scratch)

        return Step(part, name, self._ipfs, run)

    def _large(
        self, part: str, name: str, servers: Sequence[Server], mib: int, *options: str
    ) -> Step:
        def run(server: Server) -> Served:
            path = self._large_path(server, mib)
            return download(server, path, LARGE_TIMES[mib], *options, size_bytes=mib * MIB)

        return Step(part, name, servers, run)

    def _get_car(self, server: Server) -> Served:
        return download(server, f"/ipfs/{self.holdings.corpus_cid}?format=car", CAR_TIMES)


Results = dict[str, dict[str, list[Served]]]
"""What was measured in each round: by step, by server."""


def run_round(steps: Sequence[Step], number: int, results: Results) -> None:
    """Run every step; each round begins with another server."""
    for step in steps:
        start = number % max(1, len(step.servers))
        for server in (*step.servers[start:], *step.servers[:start]):
            print(f"benchmarks: {step.name}: {server.name}", file=sys.stderr, flush=True)
            row = results.setdefault(step.name, {})
            row.setdefault(server.name, []).append(step.run(server))
