"""Organisations of a service and their members."""

from dataclasses import dataclass
from typing import Any

from muniment.accounts.permissions import Role
from muniment.accounts.quotas import NO_LIMIT, NOTHING, Amount, Quota


@dataclass(frozen=True, slots=True)
class Organization:
    """One organisation: everything of it lies in a home of its own, with its own keys.

    Attributes:
        organization_id: Short name: a-z, 0-9 and hyphens.
        name: Full name.
        created_at: Seconds since 1970.
        quota: What it may hold.
        used: What it holds of uploads.
        reserved: What is promised to uploads that still run.
        pinned_bytes: Bytes of the content that is held for pins.
    """

    organization_id: str
    name: str
    created_at: int
    quota: Quota = NO_LIMIT
    used: Amount = NOTHING
    reserved: Amount = NOTHING
    pinned_bytes: int = 0

    @property
    def held(self) -> Amount:
        """All that counts against the quota."""
        return self.used + self.reserved + Amount(self.pinned_bytes)


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who belongs to an organisation; how people sign in is not decided here.

    Attributes:
        member_id: Stable and never used again.
        name: What the others call them.
        role: What they may do.
        created_at: Seconds since 1970.
    """

    member_id: str
    organization_id: str
    name: str
    role: Role
    created_at: int


@dataclass(frozen=True, slots=True)
class Act:
    """One change that somebody makes, as the audit log will tell it.

    Attributes:
        organization_id: In whose log it goes.
        actor: Who: `key:<id>`, `member:<id>` or `system`.
        at_us: When, microseconds since 1970.
        request_id: The HTTP request that does it; empty for none.
        origin: Where it comes from: an address, or `cli`.
    """

    organization_id: str
    actor: str
    at_us: int
    request_id: str = ""
    origin: str = ""

    @property
    def at(self) -> int:
        """When, in seconds since 1970."""
        return self.at_us // 1_000_000


Fields = dict[str, Any]
