"""A pin: what is wanted, and what has become of it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from muniment.content.cid import CID
from muniment.content.multiaddr import MAX_CHARS
from muniment.errors import FormatError, NotFoundError, UsageError

NAME_CHARS = 255
META_ENTRIES = 1_000
META_KEY_CHARS = 255
META_VALUE_CHARS = 4_096
META_CHARS = 65_536
"""Characters of all keys and values together."""
ORIGINS = 20
TAGS = 32
TAG_CHARS = 100
CID_CHARS = 512


class PinStatus(StrEnum):
    """What has become of a pin."""

    QUEUED = "queued"
    PINNING = "pinning"
    PINNED = "pinned"
    FAILED = "failed"

    @property
    def is_end(self) -> bool:
        """Whether nobody works on it any more."""
        return self in (PinStatus.PINNED, PinStatus.FAILED)


class Priority(StrEnum):
    """Which of an organisation's pins are fetched first."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def of_job(self) -> int:
        """The priority of the pin's job."""
        return {Priority.LOW: -10, Priority.NORMAL: 0, Priority.HIGH: 10}[self]


@dataclass(frozen=True, slots=True)
class NewPin:
    """A pin that is wanted.

    Attributes:
        cid: Root of the DAG, as the client wrote it.
        name: What its owner calls it; None for nothing.
        origins: Multiaddrs of those who are said to have it.
        meta: What its owner notes about it.
        tags: Words that it is found by.
        group: What it belongs to; empty for nothing.
        priority: Whether it is fetched before others.

    Raises:
        UsageError: A value is not valid.
    """

    cid: str
    name: str | None = None
    origins: Sequence[str] = ()
    meta: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tags: Sequence[str] = ()
    group: str = ""
    priority: Priority = Priority.NORMAL

    def __post_init__(self) -> None:
        parse_cid(self.cid)
        _check_text("name", self.name or "", NAME_CHARS)
        _check_text("group", self.group, NAME_CHARS)
        _check_meta(self.meta)
        _check_list("tags", self.tags, TAGS, TAG_CHARS)
        _check_list("origins", self.origins, ORIGINS, MAX_CHARS)
        for origin in self.origins:
            if not origin.startswith("/"):
                raise UsageError(f"origins: expected a multiaddr, got {origin[:80]!r}")

    @property
    def key(self) -> bytes:
        """The CID as version 1: what content is told apart by."""
        return parse_cid(self.cid).to_v1().raw


@dataclass(frozen=True, slots=True)
class Pin:
    """A pin as it is stored.

    Attributes:
        organization_id: Whose it is.
        request_id: Its name: a UUID of version 7 (RFC 9562) that holds `created_ms`.
        created_ms: When it was wanted, milliseconds since 1970. No other pin of the organisation has the same, so that even clients whose
            clocks know no more than milliseconds can page by it; many that come at once get times that run ahead.
        status: What has become of it.
        wanted: What is wanted.
        job_id: The job that works on it.
        detail: What went wrong last; empty for nothing.
        size_bytes: Bytes of the DAG's blocks; None until it is pinned.
        blocks: Blocks of the DAG; None until it is pinned.
        changed_ms: When it changed last, milliseconds since 1970.
        actor: Who wanted it.
        progress: How far fetching is, in words; empty while nobody fetches.
    """

    organization_id: str
    request_id: str
    created_ms: int
    status: PinStatus
    wanted: NewPin
    job_id: str
    detail: str
    size_bytes: int | None
    blocks: int | None
    changed_ms: int
    actor: str
    progress: str = ""


@dataclass(frozen=True, slots=True)
class PinChange:
    """What is to change about a pin, but not what it pins; None leaves a value as it is."""

    name: str | None = None
    meta: Mapping[str, str] | None = None
    tags: Sequence[str] | None = None
    group: str | None = None
    priority: Priority | None = None


@dataclass(frozen=True, slots=True)
class PinTotals:
    """How many pins there are in each state."""

    queued: int = 0
    pinning: int = 0
    pinned: int = 0
    failed: int = 0


def parse_cid(text: str) -> CID:
    """Read the CID of a pin.

    Raises:
        UsageError: It is none.
    """
    if len(text) > CID_CHARS:
        raise UsageError(f"expected a CID, got {len(text)} characters")
    try:
        return CID.parse(text)
    except FormatError as error:
        raise UsageError(f"expected a CID, got {text[:80]!r}: {error}") from None


def new_request_id(created_ms: int, entropy: bytes) -> str:
    """Return a UUID of version 7 (RFC 9562, section 5.7) from a time and ten random bytes."""
    chance = int.from_bytes(entropy)
    value = (created_ms & (1 << 48) - 1) << 80 | 7 << 76 | (chance >> 62 & 0xFFF) << 64
    return str(uuid.UUID(int=value | 2 << 62 | chance & (1 << 62) - 1))


def created_ms_of(request_id: str) -> int:
    """Return the time that a request id holds.

    Raises:
        NotFoundError: No pin can have that id.
    """
    try:
        value = uuid.UUID(request_id)
    except ValueError:
        value = uuid.UUID(int=0)
    if str(value) != request_id or value.version != 7:
        raise NotFoundError(f"there is no pin {request_id[:80]!r}")
    return value.int >> 80


def _check_text(what: str, text: str, chars_max: int) -> None:
    if len(text) > chars_max:
        raise UsageError(f"{what}: expected at most {chars_max} characters, got {len(text)}")
    # Databases keep no NUL, and half a surrogate pair is no text.
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError(f"{what}: expected text without NUL and lone surrogates")


def _check_list(what: str, texts: Sequence[str], count_max: int, chars_max: int) -> None:
    if len(texts) > count_max:
        raise UsageError(f"{what}: expected at most {count_max}, got {len(texts)}")
    if len(set(texts)) != len(texts):
        raise UsageError(f"{what}: expected each one once")
    for text in texts:
        if not text:
            raise UsageError(f"{what}: expected no empty text among them")
        _check_text(what, text, chars_max)


def _check_meta(meta: Mapping[str, str]) -> None:
    if len(meta) > META_ENTRIES:
        raise UsageError(f"meta: expected at most {META_ENTRIES} entries, got {len(meta)}")
    for key, value in meta.items():
        _check_text("key of meta", key, META_KEY_CHARS)
        _check_text("value of meta", value, META_VALUE_CHARS)
    size = sum(len(key) + len(value) for key, value in meta.items())
    if size > META_CHARS:
        raise UsageError(f"meta: expected at most {META_CHARS} characters in all, got {size}")
