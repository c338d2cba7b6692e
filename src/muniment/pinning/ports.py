"""What pins need of a database, and of whatever keeps their content."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from muniment.accounts.organizations import Act
from muniment.content.cid import CID
from muniment.errors import ExternalServiceError, UsageError
from muniment.pinning.filters import PinFilter
from muniment.pinning.model import NewPin, Pin, PinChange, PinTotals


class TooBroadError(UsageError):
    """A list would have to look at more pins than one request may."""


class ContentUnavailableError(ExternalServiceError):
    """Nobody who was asked gives all of the content now; what came is kept, and trying again goes on from there."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Content that is whole and kept: how many blocks it has, and their bytes."""

    blocks: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Label:
    """A tag or a group, and how many pins have it."""

    name: str
    pins: int


Check = Callable[[Pin], None]
"""Called within the transaction of a change with the pin as `get` returns it, which cannot change any more; raises if it is not to be changed."""


class PinStore(Protocol):
    """Pins of all organisations. Every change is written together with its audit entry, its event and its job, or not at all."""

    def create(self, act: Act, wanted: NewPin) -> Pin:
        """Add a pin, and queue the work on it."""

    def get(self, organization_id: str, request_id: str) -> Pin:
        """Return a pin.

        Raises:
            NotFoundError: The organisation has no such pin.
        """

    def change(
        self, act: Act, request_id: str, change: PinChange, check: Check | None = None
    ) -> Pin:
        """Change what is known about a pin; raises as `get`."""

    def replace(self, act: Act, request_id: str, wanted: NewPin, check: Check | None = None) -> Pin:
        """Put a pin in the place of another one, whose content is kept until the work on the new one has ended; raises as `get`."""

    def remove(self, act: Act, request_id: str, check: Check | None = None) -> None:
        """Remove a pin, end the work on it, and let go of what no other one wants; raises as `get`."""

    def page(self, organization_id: str, wanted: PinFilter, limit: int) -> tuple[list[Pin], int]:
        """Return the newest pins that are wanted, newest first, and how many there are in all.

        The count is exact where all are asked for, or states and times only, or where the page is not full; else it ends at 10,000, and
        where too many pins would have to be looked at, it says that there are more than those returned.

        Raises:
            TooBroadError: It would take looking at too many pins.
        """

    def part(
        self, organization_id: str, wanted: PinFilter, limit: int
    ) -> tuple[list[Pin], int | None]:
        """Return the newest pins that are wanted among as many as one request may look at.

        Returns:
            The pins, newest first; and, where more may be found than these if they are fewer than `limit`, before which time to go on.
        """

    def totals(self, organization_id: str) -> PinTotals:
        """Count the pins by state."""

    def labels(self, organization_id: str, kind: str, after: str, limit: int) -> list[Label]:
        """Return the names in use behind one, in order; `kind` is `tag` or `group`."""

    def is_wanted(self, organization_id: str, cid_key: bytes) -> bool:
        """Tell whether a pin wants this content, or replaces one that did and is not done yet."""

    def hold(self, organization_id: str, cid_key: bytes, size_bytes: int) -> bool:
        """Count content against the organisation's quota, once, until no pin wants it.

        Returns:
            Whether it is still wanted; if not, nothing is counted.

        Raises:
            QuotaExceededError: There is no room for it.
        """

    def check_room(self, organization_id: str, size_bytes: int) -> None:
        """Check that the organisation's quota would have room for so much more.

        Raises:
            QuotaExceededError: It has none.
        """


class PinEngine(Protocol):
    """Keeps the content of pins, of each organisation for itself: what another one has is not there."""

    def pin(
        self,
        organization_id: str,
        cid: CID,
        origins: Sequence[str],
        on_progress: Callable[[int, int], None],
        admit: Callable[[Kept], bool],
    ) -> Kept:
        """Bring the DAG below a CID here, and keep it.

        Args:
            organization_id: For whom.
            cid: The root.
            origins: Multiaddrs of strangers who are said to have it.
            on_progress: Told of blocks and bytes that came; whatever it raises ends the work.
            admit: Asked at the end, when all of the DAG is here, whether it is to be kept; whatever it raises ends the work.

        Raises:
            ContentUnavailableError: It is not to be had now.
            FormatError: The DAG is malformed, or larger than is accepted.
        """

    def unpin(self, organization_id: str, cid: CID, is_wanted: Callable[[], bool]) -> bool:
        """Stop keeping a DAG for pins, unless it turns out to be wanted; returns whether that was so. What commits need stays."""

    def has(self, organization_id: str, cid: CID) -> bool:
        """Tell whether a DAG is kept for pins."""
