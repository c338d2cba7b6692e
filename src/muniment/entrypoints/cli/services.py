"""What the commands of a service share: its home, and its options."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.entrypoints.cli.session import Session
from muniment.errors import UsageError

if TYPE_CHECKING:
    from muniment.bootstrap.service import Service

HOME_VARIABLE = "MUNIMENT_SERVICE_HOME"


def service_home(session: Session) -> Path:
    """Return the home of the service: `--home`, else `$MUNIMENT_SERVICE_HOME`, else `~/.muniment-service`.

    Raises:
        UsageError: It is the home of a single archive.
    """
    home = session.home or Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".muniment-service")
    if (home / "config.toml").exists():
        raise UsageError(
            f"{home} is the home of one archive: a service needs one of its own, by --home or {HOME_VARIABLE}"
        )
    return home


@contextlib.contextmanager
def open_service(session: Session) -> "Iterator[Service]":
    """Open the service of the home; it is made if there is none."""
    from muniment.bootstrap.service import Service  # noqa: PLC0415  # costs start-up time

    service = Service(service_home(session))
    try:
        yield service
    finally:
        service.close()
