"""Commands on a service: the same words, options, answers and exit codes, for an archive that is somewhere else."""

import importlib
from collections.abc import Callable

from muniment.entrypoints.cli.session import Session
from muniment.errors import UsageError

FORMS = {
    "archive": "archiving.archive",
    "status": "reading.status",
    "commits": "reading.commits",
    "show": "reading.show",
    "verify": "checking.verify",
    "restore": "restoring.restore",
    "ots upgrade": "timestamps.upgrade",
    "ots verify": "timestamps.verify",
    "ots info": "timestamps.info",
    "content pin": "pins.pin",
    "content unpin": "pins.unpin",
    "content pins": "pins.pins",
}
"""Module and function of every command that works on a service; the function takes the session and the command's parameters."""

ANYWHERE = frozenset(
    {"completion", "serve", "org", "api-key", "audit", "db", "gateway", "content cid"}
)
"""Commands, and groups of them, that are about this machine, or about no archive at all, whatever the environment says."""


def remote_form(session: Session, name: str) -> Callable[..., None] | None:
    """Return what a command is on the session's service; None for a command that the service does not concern.

    Raises:
        UsageError: It works only on an archive of this machine.
    """
    if name in FORMS:
        module, _dot, function = FORMS[name].partition(".")
        found = importlib.import_module(f"muniment.entrypoints.cli.remote.{module}")
        form: Callable[..., None] = getattr(found, function)
        return form
    if session.url is None and not ANYWHERE.isdisjoint({name, name.partition(" ")[0]}):
        return None
    raise UsageError(
        f"`muniment {name}` works only on this machine, not on {session.service_url}: leave out --url (MUNIMENT_URL)"
    )


def refuse(given: dict[str, object]) -> None:
    """Refuse options that mean nothing on a service, if they were given.

    Raises:
        UsageError: One was.
    """
    for option, value in given.items():
        if value:
            raise UsageError(f"{option} works only on an archive of this machine, not on a service")
