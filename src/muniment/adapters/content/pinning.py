"""Pinning roots: those whose DAGs are complete in the store, and never at the cost of a name that a pin has."""

from collections.abc import Iterable
from typing import NamedTuple

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID, IDENTITY
from muniment.content.completeness import CompletenessCheck, Missing
from muniment.content.links import has_links


class ImportedRoot(NamedTuple):
    """A root, a block that its DAG lacks in the store (None: it is complete), and whether it was pinned."""

    cid: CID
    missing: Missing | None
    pinned: bool


class Pinner:
    """Pins roots in a store."""

    def __init__(self, store: EmbeddedBlockStore) -> None:
        self._store = store
        self._pinned = {pin.cid for pin in store.pins()}

    def pin(self, cid: CID, name: str | None) -> None:
        """Pin a root under a name; without one, a pin that is there stays as it is."""
        if cid.hash_function == IDENTITY and not has_links(cid):
            return  # it holds itself
        if name is None and cid.to_v1() in self._pinned:
            return
        self._store.pin(cid, name or "")
        self._pinned.add(cid.to_v1())


def pin_roots(
    roots: Iterable[CID],
    store: EmbeddedBlockStore,
    name: str | None = None,
    *,
    pin: bool = True,
    incomplete: bool = False,
) -> list[ImportedRoot]:
    """Look which roots are complete in the store, and pin those.

    Args:
        roots: The roots.
        store: Where they are.
        name: Name of the pins; without one, pins that are there keep theirs.
        pin: Whether to pin at all.
        incomplete: Pin the others as well.
    """
    check, pinner = CompletenessCheck(store), Pinner(store)
    imported = []
    for root in dict.fromkeys(roots):
        missing = check.first_missing(root)
        pinned = pin and (missing is None or incomplete)
        if pinned:
            pinner.pin(root, name)
        imported.append(ImportedRoot(root, missing, pinned))
    return imported
