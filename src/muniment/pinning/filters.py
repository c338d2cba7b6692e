"""What a list of pins can be asked for."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import msgspec

from muniment.errors import UsageError
from muniment.pinning.model import META_ENTRIES, PinStatus

CIDS = 10
END_MS = 1 << 48
"""Later than every pin: what a request id has room for."""


class Match(StrEnum):
    """How a name is compared: as a whole or in part, and with or without regard to upper and lower case."""

    EXACT = "exact"
    IEXACT = "iexact"
    PARTIAL = "partial"
    IPARTIAL = "ipartial"

    @property
    def is_partial(self) -> bool:
        """Whether a part of the name is enough."""
        return self in (Match.PARTIAL, Match.IPARTIAL)

    @property
    def is_folded(self) -> bool:
        """Whether case makes no difference."""
        return self in (Match.IEXACT, Match.IPARTIAL)


@dataclass(frozen=True, slots=True)
class PinFilter:
    """Which pins are wanted: those of which all holds that is given.

    Attributes:
        statuses: Their states; empty for any.
        cid_keys: Their CIDs, as binary version 1; empty for any.
        name: Their name; None for any.
        match: How it is compared.
        meta: What is noted about them: all of it.
        tags: Their tags: all of them.
        group: Their group; None for any.
        after_ms: They were created later than this, milliseconds since 1970.
        before_ms: They were created earlier than this, milliseconds since 1970.
    """

    statuses: frozenset[PinStatus] = frozenset()
    cid_keys: tuple[bytes, ...] = ()
    name: str | None = None
    match: Match = Match.EXACT
    meta: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tags: tuple[str, ...] = ()
    group: str | None = None
    after_ms: int = -1
    before_ms: int = END_MS

    @property
    def is_counted(self) -> bool:
        """Whether it asks for nothing but what counts are kept of."""
        has_labels = bool(self.meta or self.tags or self.group is not None)
        return not (self.cid_keys or self.name is not None or has_labels)

    @property
    def scans(self) -> bool:
        """Whether no index leads to what it asks for."""
        if self.cid_keys or self.meta or self.tags or self.group is not None:
            return False
        return self.name is not None and self.match.is_partial


def fold(text: str) -> str:
    """Return a text without regard to case, and to how its accents are composed (Unicode, caseless matching D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def meta_of(text: str | None) -> dict[str, str]:
    """Read what is to be noted about pins, as a JSON object of strings.

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return {}
    try:
        meta = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise UsageError(f"expected a JSON object of strings, got {text[:80]!r}: {error}") from None
    if len(meta) > META_ENTRIES or "\0" in "".join([*meta, *meta.values()]):
        raise UsageError(f"expected at most {META_ENTRIES} entries, without NUL")
    return meta
