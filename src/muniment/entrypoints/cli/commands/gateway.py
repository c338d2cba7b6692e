"""`muniment gateway`."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Network, IPv6Network

    from muniment.adapters.block_store import EmbeddedBlockStore
    from muniment.content.cid import CID
    from muniment.content.denylist import Denylist
    from muniment.content.routing import PeerRecord
    from muniment.entrypoints.gateway.names import DnsLinks, Records
    from muniment.entrypoints.gateway.routing import WritableRecords

_THREADS = 8
_MAX_DEFAULT_WORKERS = 4

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    cls=Command, name="gateway", short_help="Serve the store over HTTP, to IPFS tools and browsers."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 for any.",
)
@click.option(
    "--store",
    "folder",
    type=_FOLDER,
    metavar="FOLDER",
    help="Block store to serve [default: that of the home].",
)
@click.option("--certificate", type=_FILE, metavar="FILE", help="TLS certificates (PEM).")
@click.option("--key", type=_FILE, metavar="FILE", help="Private key of the certificate (PEM).")
@click.option(
    "--trustless",
    is_flag=True,
    help="Serve only what a client can verify: blocks, CARs, IPNS records.",
)
@click.option(
    "--subdomains",
    multiple=True,
    metavar="HOST",
    help="Give every root an origin of its own: <cid>.ipfs.HOST.",
)
@click.option(
    "--ipns-records",
    type=_FOLDER,
    metavar="FOLDER",
    help="Folder of signed records, <name>.ipns-record.",
)
@click.option(
    "--dnslink",
    multiple=True,
    metavar="DOMAIN=PATH",
    help="Serve PATH at DOMAIN, whatever the DNS says.",
)
@click.option("--dns", is_flag=True, help="Ask the DNS for the DNSLinks of other domains.")
@click.option(
    "--denylist",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="Do not serve what this list names (IPIP-383).",
)
@click.option(
    "--announce",
    multiple=True,
    metavar="URL",
    help="Tell who asks at /routing/v1 that this node's blocks are to be had at URL.",
)
@click.option(
    "--node-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Key that this node is known by [default: node-key.pem of the home, made at first use].",
)
@click.option(
    "--accept-record",
    multiple=True,
    metavar="NAME",
    help="Let the owner of this IPNS name publish its record here, into --ipns-records.",
)
@click.option("--http-proxy", is_flag=True, help="Also be an HTTP proxy to the own hosts.")
@click.option(
    "--max-requests",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Requests answered at once.",
)
@click.option(
    "--max-client-requests",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Requests of one client answered at once.",
)
@click.option(
    "--max-client-rate",
    type=click.FloatRange(min=0),
    default=0,
    show_default=True,
    help="Requests of one client in a second, on average; 0 for any number.",
)
@click.option(
    "--trusted-proxy",
    multiple=True,
    metavar="ADDRESS",
    help="Proxy, or network of them, whose X-Forwarded-For names the client.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    help="Processes that serve; 0 for one per processor core, at most four.",
)
@click.option(
    "--reverify-after",
    "reverify_after_s",
    type=click.IntRange(min=0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Hash a block anew only after so long, unless its file was written to; 0 for every time.",
)
@pass_session
def command(
    session: Session,
    host: str,
    port: int,
    folder: Path | None,
    certificate: Path | None,
    key: Path | None,
    trustless: bool,
    subdomains: tuple[str, ...],
    ipns_records: Path | None,
    dnslink: tuple[str, ...],
    dns: bool,
    denylist: tuple[Path, ...],
    announce: tuple[str, ...],
    node_key: Path | None,
    accept_record: tuple[str, ...],
    http_proxy: bool,
    max_requests: int,
    max_client_requests: int,
    max_client_rate: float,
    trusted_proxy: tuple[str, ...],
    workers: int,
    reverify_after_s: int,
) -> None:
    """Serve the block store over HTTP until it is interrupted: an IPFS gateway that reads and never writes.

    Blocks, CARs and IPNS records can be verified by whoever gets them. Files, directories and archives are for browsers. What is
    served of commits is encrypted, except what was published.
    """
    from muniment.entrypoints.gateway.asgi import GatewayApp, Limits  # noqa: PLC0415
    from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions  # noqa: PLC0415
    from muniment.entrypoints.gateway.hot import HotAnswers  # noqa: PLC0415
    from muniment.entrypoints.gateway.routing import RoutingOptions  # noqa: PLC0415
    from muniment.entrypoints.serving.active import Active  # noqa: PLC0415  # costs start-up time
    from muniment.entrypoints.serving.clients import ClientLimits, Clients  # noqa: PLC0415
    from muniment.entrypoints.serving.server import Listen, serve  # noqa: PLC0415

    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key belong together")
    records = _records(ipns_records)
    options = GatewayOptions(
        hosts={name.lower(): True for name in subdomains},
        records=records,
        routing=RoutingOptions(
            node=_node(session, announce, node_key),
            writable=_writable(records, accept_record),
            names=_names(accept_record),
        ),
        dnslinks=_dnslinks(dnslink, asks_dns=dns),
        denylist=_denylist(denylist),
        deserialized=not trustless,
    )
    listen = Listen(host, port, certificate, key, is_proxy=http_proxy)
    client_limits = ClientLimits(max_client_requests, max_client_rate)
    proxies = _networks(trusted_proxy)
    workers = min(workers or _default_workers(), max_requests)
    limits = Limits(requests=max_requests, threads=max(_THREADS // workers, 2))
    with _store(session, folder) as path:
        with _blocks(path, reverify_after_s):
            pass  # there is one: this says so in this process

        @contextlib.contextmanager
        def open_app(active: Active) -> "Iterator[GatewayApp]":
            with _blocks(path, reverify_after_s) as blocks:
                hot = HotAnswers(lambda: (blocks.generation(), options.denylist.generation))
                clients = Clients(client_limits, proxies)
                app = GatewayApp(Gateway(blocks, options), limits, hot, active, clients)
                with contextlib.closing(app):
                    yield app

        serve(open_app, listen, lambda url: _announce(session, url, path), workers)


def _networks(addresses: tuple[str, ...]) -> "list[IPv4Network | IPv6Network]":
    from muniment.entrypoints.serving.clients import parse_networks  # noqa: PLC0415  # costs start-up time

    try:
        return parse_networks(addresses)
    except FormatError as error:
        raise UsageError(f"--trusted-proxy: {error}") from None


def _default_workers() -> int:
    import os  # noqa: PLC0415

    return min(os.cpu_count() or 1, _MAX_DEFAULT_WORKERS)


def _announce(session: Session, url: str, folder: Path) -> None:
    import sys  # noqa: PLC0415

    session.say(f"Serving {folder} at {url}/ipfs/<cid> (Ctrl+C ends it)")
    session.answer({"url": url, "store": str(folder)})
    sys.stdout.flush()


@contextlib.contextmanager
def _store(session: Session, folder: Path | None) -> "Iterator[Path]":
    from muniment.adapters.block_store import EmbeddedBlockStore  # noqa: PLC0415  # costs start-up time

    if folder is not None:
        yield folder
        return
    with session.archive() as archive:
        with EmbeddedBlockStore(archive.store.folder):
            pass  # the store of a new home is made, and what a killed run left is finished
        yield archive.store.folder


@contextlib.contextmanager
def _blocks(folder: Path, reverify_after_s: int) -> "Iterator[EmbeddedBlockStore]":
    from muniment.adapters.block_store import EmbeddedBlockStore  # noqa: PLC0415  # costs start-up time

    with EmbeddedBlockStore.open_reader(folder, reverify_after_s=reverify_after_s) as blocks:
        yield blocks


def _records(folder: Path | None) -> "Records":
    from muniment.adapters.published_records import PublishedRecords  # noqa: PLC0415  # costs start-up time
    from muniment.entrypoints.gateway.names import NoRecords  # noqa: PLC0415

    return PublishedRecords(folder) if folder else NoRecords()


def _writable(records: "Records", names: tuple[str, ...]) -> "WritableRecords | None":
    from muniment.adapters.published_records import PublishedRecords  # noqa: PLC0415  # costs start-up time

    if not names:
        return None
    if not isinstance(records, PublishedRecords):
        raise UsageError("--accept-record needs --ipns-records FOLDER, where the records are kept")
    return records


def _names(texts: tuple[str, ...]) -> "frozenset[CID]":
    from muniment.content.ipns import parse_name  # noqa: PLC0415  # costs start-up time

    try:
        return frozenset(map(parse_name, texts))
    except FormatError as error:
        raise UsageError(f"--accept-record: {error}") from None


def _node(session: Session, urls: tuple[str, ...], key: Path | None) -> "PeerRecord | None":
    """Return what this node says of itself; None if it is not to be found."""
    from muniment.adapters.node_key import NODE_KEY, node_id  # noqa: PLC0415  # costs start-up time
    from muniment.content import multiaddr, routing  # noqa: PLC0415

    if not urls:
        return None
    try:
        addrs = tuple(map(multiaddr.from_url, urls))
    except FormatError as error:
        raise UsageError(f"--announce: {error}") from None
    peer = node_id(key or session.home_folder / NODE_KEY)
    return routing.PeerRecord(routing.peer_id_text(peer), addrs, (routing.GATEWAY_PROTOCOL,))


def _dnslinks(pairs: tuple[str, ...], *, asks_dns: bool) -> "DnsLinks":
    from muniment.adapters.gateway_names import DnsResolver, LinkTable  # noqa: PLC0415  # costs start-up time

    links = {}
    for pair in pairs:
        domain, equals, path = pair.partition("=")
        if not equals or not path.startswith(("/ipfs/", "/ipns/")):
            raise UsageError(f"expected --dnslink DOMAIN=/ipfs/<cid>, got {pair!r}")
        links[domain] = path
    try:
        return LinkTable(links, DnsResolver() if asks_dns else None)
    except FormatError as error:
        raise UsageError(f"--dnslink: {error}") from None


def _denylist(files: tuple[Path, ...]) -> "Denylist":
    from muniment.content.denylist import Denylist  # noqa: PLC0415  # costs start-up time

    denylist = Denylist()
    for file in files:
        try:
            denylist.add(file.read_bytes())
        except FormatError as error:
            raise UsageError(f"{file}: {error}") from None
    return denylist
