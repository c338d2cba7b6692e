"""`muniment serve`."""

from pathlib import Path

import click

from muniment.entrypoints.cli.services import service_home
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import UsageError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command, name="serve", short_help="Run the service: the HTTP API and its background work."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default=True,
    help="Port to listen on; 0 for any.",
)
@click.option("--certificate", type=_FILE, metavar="FILE", help="TLS certificates (PEM).")
@click.option("--key", type=_FILE, metavar="FILE", help="Private key of the certificate (PEM).")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that answer requests.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    metavar="JOBS",
    help="Jobs that each process works on at once; 0 to only answer requests [default: the setting].",
)
@click.option("--only-work", is_flag=True, help="Do background work, and answer no requests.")
@pass_session
def command(
    session: Session,
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    processes: int,
    workers: int | None,
    only_work: bool,
) -> None:
    """Run the service until it is interrupted: the HTTP API for several organisations, and its background work.

    The first organisation is made by `muniment org create`. All else happens over HTTP.
    """
    from muniment.entrypoints.http.server import Listen, ServiceProcesses  # noqa: PLC0415  # costs start-up time

    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key belong together")
    running = ServiceProcesses(service_home(session), processes, workers)
    if only_work:
        if workers == 0:
            raise UsageError("--only-work and --workers 0 leave nothing to do")
        running.work(lambda: _announce(session, None))
    else:
        listen = Listen(host, port, certificate, key)
        running.serve(listen, lambda url: _announce(session, url))


def _announce(session: Session, url: str | None) -> None:
    import sys  # noqa: PLC0415

    home = service_home(session)
    if url is None:
        session.say(f"Working for the service in {home} (Ctrl+C ends it)")
    else:
        session.say(f"Serving {home} at {url}/v1 (Ctrl+C ends it)")
    session.answer({"url": url, "home": str(home)})
    sys.stdout.flush()
