"""`muniment content pin`, `unpin` and `pins` on a service, which fetches what it does not have."""

from pathlib import Path
from typing import TYPE_CHECKING

from muniment.content.cid import CID
from muniment.entrypoints.cli.content_targets import parse_cid
from muniment.entrypoints.cli.progress import Progress, progress_of
from muniment.entrypoints.cli.remote import refuse
from muniment.entrypoints.cli.remote.connecting import connect
from muniment.entrypoints.cli.session import Session
from muniment.errors import NotFoundError, UsageError
from muniment.text import count, plain, size

if TYPE_CHECKING:
    from muniment.client import Client
    from muniment.client.pins import Pin


def pin(
    session: Session,
    paths: tuple[str, ...],
    *,
    name: str | None,
    allow_incomplete: bool,
    folder: Path | None,
) -> None:
    """Have DAGs fetched and kept, and wait until they are."""
    refuse({"--allow-incomplete": allow_incomplete, "--store": folder})
    roots = [_root(path) for path in paths]
    pinned = []
    with connect(session) as client, progress_of(session) as progress:
        begun = [_begin(client, str(root), name) for root in roots]
        for pin in begun:
            done = client.wait_for_pin(pin, progress=_PinBar(progress))
            session.say(
                f"{done.cid}  {count(done.blocks or 0, 'block')}, {size(done.size_bytes or 0)}"
            )
            pinned.append(
                {
                    "cid": done.cid,
                    "complete": True,
                    "blocks": done.blocks,
                    "dag_bytes": done.size_bytes,
                    "missing_blocks": 0,
                    "first_missing": None,
                }
            )
    session.answer({"pinned": pinned})


def _begin(client: "Client", cid: str, name: str | None) -> "Pin":
    """Have a DAG pinned, unless it is already, or an earlier run has begun it."""
    for pin in client.list_pins(cid=[cid], status=["queued", "pinning", "pinned"]):
        if name is None or pin.name == name:
            return pin
    return client.add_pin(cid, name=name or "")


class _PinBar:
    """Shows how far a pin is.

    Args:
        progress: Where it is shown.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress, self._told = progress, ""

    def __call__(self, pin: "Pin") -> None:
        """Take notice of how far it is."""
        told = " ".join(filter(None, (pin.status, pin.progress, pin.detail)))
        if told != self._told:
            self._told = told
            self._progress.stage(pin.cid, told, 0)


def unpin(session: Session, cids: tuple[str, ...], *, folder: Path | None) -> None:
    """Let go of pinned DAGs."""
    refuse({"--store": folder})
    roots = [parse_cid(text) for text in cids]
    with connect(session) as client:
        found = {root: list(client.list_pins(cid=[str(root)])) for root in roots}
        for root, pins in found.items():  # all or none
            if not pins:
                raise NotFoundError(f"{root} is not pinned: `muniment content pins` lists what is")
        for pins in found.values():
            for pin in pins:
                client.remove_pin(pin.request_id)
    session.say(f"{count(len(roots), 'pin')} removed.")
    session.answer({"unpinned": [str(root) for root in roots]})


def pins(session: Session, *, folder: Path | None) -> None:
    """List what is pinned."""
    refuse({"--store": folder})
    listed = []
    with connect(session) as client:
        for pin in client.list_pins(status=["pinned"]):
            session.say(f"{pin.cid}  {pin.name or ''}".rstrip())
            listed.append({"cid": plain(pin.cid), "name": plain(pin.name or "")})
    session.answer({"pins": listed})


def _root(path: str) -> CID:
    """Return the CID that a path begins with, which has to be all of it.

    Raises:
        UsageError: It leads further.
    """
    text, _slash, rest = path.removeprefix("/ipfs/").strip("/").partition("/")
    if rest:
        raise UsageError(f"{path}: a service pins whole DAGs: name the CID itself")
    return parse_cid(text)
