"""`PinEngine` over the organisations' own embedded block stores.

Content comes from an organisation's store, or is fetched over HTTP for it: what other organisations have plays no part, so that
nobody learns by pinning what others hold. Nothing that comes is trusted.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from muniment.adapters.block_store import EmbeddedBlockStore, OpenStores, locks
from muniment.adapters.retrieval import (
    FetchFailedError,
    FetchLimits,
    FetchProgress,
    HttpSource,
    fetch_dag,
    find_sources,
)
from muniment.content import multiaddr
from muniment.content.cid import CID, HASH_FUNCTIONS
from muniment.content.completeness import CompletenessCheck, survey_dag
from muniment.errors import FormatError, UsageError
from muniment.pinning.ports import ContentUnavailableError, Kept

PIN_NAME = "muniment:pins"
"""Name of the store's pins that this module made: only those does it remove."""

_LOCK = "pins.lock"
_LOCK_TIMEOUT_S = 60.0
_LIMITS = FetchLimits(deadline_s=6 * 3600.0, failures=3)
_LISTED = 5


class EmbeddedPins:
    """See `PinEngine`.

    Args:
        folder: Returns the folder of an organisation's block store.
        gateways: Addresses of gateways that the operator named.
        routers: Addresses of delegated routers that the operator named.
        allow_private: Whether strangers may name machines of this network: origins of pins, and what routers answer.
        size_bytes_max: How large a DAG may be that is fetched.
        limits: What one attempt to fetch may take.
    """

    def __init__(
        self,
        folder: Callable[[str], Path],
        gateways: Sequence[str] = (),
        routers: Sequence[str] = (),
        *,
        allow_private: bool = False,
        size_bytes_max: int = 1 << 40,
        limits: FetchLimits = _LIMITS,
    ) -> None:
        self._folder = folder
        self._gateways, self._routers = tuple(gateways), tuple(routers)
        self._allow_private = allow_private
        self._size_bytes_max = size_bytes_max
        self._limits = limits
        self._stores = OpenStores(_LOCK_TIMEOUT_S)

    def pin(
        self,
        organization_id: str,
        cid: CID,
        origins: Sequence[str],
        on_progress: Callable[[int, int], None],
        admit: Callable[[Kept], bool],
    ) -> Kept:
        """See `PinEngine.pin`."""
        if cid.hash_function not in HASH_FUNCTIONS:
            raise FormatError(
                f"{cid} cannot be verified: unknown hash function 0x{cid.hash_function:x}"
            )
        with self._store(organization_id) as store, store.hold():
            if CompletenessCheck(store).first_missing(cid) is not None:
                self._fetch(store, cid, origins, on_progress)
            survey = survey_dag(cid, store)
            kept = Kept(survey.blocks, survey.size_bytes)
            with self._turn(store):
                # A pin of somebody else's making (a commit's, for example) keeps the content as well, under its own name.
                name = store.pin_name(cid)
                if name in (None, PIN_NAME) and admit(kept) and name is None:
                    store.pin(cid, PIN_NAME)
        return kept

    def unpin(self, organization_id: str, cid: CID, is_wanted: Callable[[], bool]) -> bool:
        """See `PinEngine.unpin`."""
        with self._store(organization_id) as store, self._turn(store):
            if is_wanted() or store.pin_name(cid) != PIN_NAME:
                return False
            store.unpin(cid)
            return True

    def has(self, organization_id: str, cid: CID) -> bool:
        """See `PinEngine.has`."""
        with self._store(organization_id) as store:
            return store.pin_name(cid) is not None

    def close(self) -> None:
        """Close the stores, which stay open between pins."""
        self._stores.close()

    def _store(self, organization_id: str) -> AbstractContextManager[EmbeddedBlockStore]:
        return self._stores.use(self._folder(organization_id))

    @staticmethod
    @contextmanager
    def _turn(store: EmbeddedBlockStore) -> Iterator[None]:
        """Let nobody else pin or unpin between the question whether content is wanted and what follows from the answer.

        A pin is on record before anybody pins for it. So whoever unpins either sees it, or is followed by who pins.
        """
        with locks.exclusive(os.path.join(store.folder, _LOCK), "pinning", _LOCK_TIMEOUT_S):
            yield

    def _fetch(
        self,
        store: EmbeddedBlockStore,
        cid: CID,
        origins: Sequence[str],
        on_progress: Callable[[int, int], None],
    ) -> None:
        sources, notes = self._sources(cid, origins)
        if not sources:
            raise ContentUnavailableError("; ".join(["nobody is known to have it", *notes]))

        def tell(progress: FetchProgress) -> None:
            if progress.bytes > self._size_bytes_max:
                raise FormatError(f"expected a DAG of at most {self._size_bytes_max} bytes")
            on_progress(progress.blocks, progress.bytes)

        try:
            fetch_dag(store, cid, sources, progress=tell, limits=self._limits)
        except FetchFailedError as error:
            raise ContentUnavailableError("; ".join([str(error), *notes])) from error

    def _sources(self, cid: CID, origins: Sequence[str]) -> tuple[list[HttpSource], list[str]]:
        """Return whom to ask, each once, and what to say about those who cannot be asked."""
        sources: dict[str, HttpSource] = {}
        notes: list[str] = []
        for url in self._gateways:
            source = HttpSource(url, is_trusted_address=True)
            sources.setdefault(source.name, source)
        unusable = []
        for origin in origins:
            source_or_none = self._origin(origin)
            if source_or_none is None:
                unusable.append(origin)
            else:
                sources.setdefault(source_or_none.name, source_or_none)
        if unusable:
            notes.append(f"origins that are no HTTP gateways: {_some(unusable)}")
        if self._routers:
            found = find_sources(cid, self._routers, allow_private=self._allow_private)
            for source in found.sources:
                sources.setdefault(source.name, source)
            notes += found.problems
            if found.private:
                notes.append(f"left out for being on a private network: {_some(found.private)}")
        return list(sources.values()), notes

    def _origin(self, origin: str) -> HttpSource | None:
        """Return the gateway at an origin; None if it is none. Where it leads is checked when it is connected to."""
        try:
            url = multiaddr.to_url(origin)
            if url is None:
                return None
            return HttpSource(url, is_trusted_address=self._allow_private)
        except (FormatError, UsageError):
            return None


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(text[:100] for text in listed[:_LISTED]) + more
