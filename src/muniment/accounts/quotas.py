"""Quotas: what an organisation may hold, and what one key may bring, reserved before an upload begins and settled when it is over.

What was promised to uploads that still run counts like what is there, so two uploads can never both take the last free byte.
"""

from dataclasses import dataclass

from muniment.errors import MunimentError


class QuotaExceededError(MunimentError):
    """There is no room for it."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many bytes in so many files."""

    size_bytes: int = 0
    files: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.size_bytes + other.size_bytes, self.files + other.files)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.size_bytes - other.size_bytes, self.files - other.files)


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that may be held; None for no limit."""

    size_bytes: int | None = None
    files: int | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """A quota, and what counts against it.

    Attributes:
        whose: Whose it is, for the message that it is used up.
        quota: The most that may be held.
        held: What is held, with what was promised.
    """

    whose: str
    quota: Quota
    held: Amount

    def shortages(self, wanted: Amount) -> list[str]:
        """Return a sentence for each limit that leaves no room for more."""
        total = self.held + wanted
        return [
            f"the quota of the {self.whose} is {limit} {unit}, of which {max(0, limit - (after - wants))} are free:"
            f" there is no room for {wants}"
            for limit, after, wants, unit in (
                (self.quota.size_bytes, total.size_bytes, wanted.size_bytes, "bytes"),
                (self.quota.files, total.files, wanted.files, "files"),
            )
            if limit is not None and after > limit and wants > 0
        ]


def check_room(wanted: Amount, *allowances: Allowance) -> None:
    """Check that every quota has room for more.

    Raises:
        QuotaExceededError: One has not; the message names all of those.
    """
    if shortages := [line for allowance in allowances for line in allowance.shortages(wanted)]:
        raise QuotaExceededError("; ".join(shortages))


NOTHING = Amount()
NO_LIMIT = Quota()
