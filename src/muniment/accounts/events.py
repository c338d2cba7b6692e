"""Events: what happened in an organisation, in one order, for whoever wants to follow it.

An event says that something changed, and what it is now; nothing secret is in it. Its number grows by commits: when an event can be read, so can all
before it, and none will appear in between. So whoever remembers the last number that it saw misses nothing.
"""

from typing import Any, Protocol

import msgspec

from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.errors import MunimentError, UsageError


class EventsGoneError(MunimentError):
    """The events that were asked for are no longer kept."""


class Event(msgspec.Struct, frozen=True):
    """One event.

    Attributes:
        number: Its place among the organisation's events: grows, not always by one.
        at: When, microseconds since 1970.
        kind: What happened, as `<noun>.<verb>`: `upload.received`.
        subject: To what: `<noun>:<id>`.
        actor: Who did it: `key:<id>`, `member:<id>` or `system`.
        data: What the subject is now, as far as it changed; empty where that is large.
    """

    number: int
    at: int
    kind: str
    subject: str
    actor: str
    data: dict[str, Any]


PERMISSIONS = {
    "organization": Permission.ORGANIZATION_READ,
    "member": Permission.MEMBERS_READ,
    "key": Permission.KEYS_READ,
    "upload": Permission.FILES_LIST,
    "commit": Permission.ARCHIVE_READ,
    "operation": Permission.OPERATIONS_READ,
    "pin": Permission.PINS_READ,
}
"""What a principal needs to learn of the events of each noun. Those of any other noun are told to nobody."""


Kinds = frozenset[str]
"""Kinds of events, as `upload.received`, and nouns, as `upload`, for all kinds that begin with them."""


def kinds_for(principal: Principal, wanted: str = "") -> Kinds:
    """Return what may be told to a principal: all that it may ask for itself, or what it wants of that.

    Args:
        principal: Who is to be told.
        wanted: Nouns and kinds with commas between; empty for all.

    Raises:
        UsageError: One of them begins with no noun that there are events of.
        PermissionDeniedError: It may not be told of one of them.
    """
    if not wanted:
        return frozenset(
            noun for noun, needed in PERMISSIONS.items() if needed in principal.permissions
        )
    kinds = frozenset(wanted.split(","))
    for kind in sorted(kinds):
        noun = kind.partition(".")[0]
        if noun not in PERMISSIONS:
            raise UsageError(
                f"expected kinds of events of {', '.join(sorted(PERMISSIONS))}, got {kind!r:.80}"
            )
        principal.require(PERMISSIONS[noun])
    return kinds


class EventStore(Protocol):
    """What events need of a database."""

    def last(self, organization_id: str) -> int:
        """Return the number of the last event; 0 for none."""

    def last_of(self, organization_ids: list[str]) -> dict[str, int]:
        """Return the numbers of the last events of several organisations, as far as they have any."""

    def events(
        self, organization_id: str, after: int, limit: int, kinds: Kinds
    ) -> tuple[list[Event], int]:
        """Return events of some kinds in order, beginning behind number `after`; with 0, at the first that is kept.

        Returns:
            The events, and the number after which to go on: all events up to it were looked at.

        Raises:
            EventsGoneError: Some behind `after` are no longer kept.
            UsageError: There is no event with that number yet.
        """

    def prune(self, older_than: int) -> int:
        """Remove the events of all organisations from before a time, microseconds since 1970, and return how many."""
