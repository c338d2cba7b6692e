"""Quotas: what an organisation may hold, reserved before an upload begins and settled when it is over.

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

    def check(self, held: Amount, wanted: Amount) -> None:
        """Check that there is room for more.

        Raises:
            QuotaExceededError: There is not.
        """
        total = held + wanted
        for limit, after, wants, unit in (
            (self.size_bytes, total.size_bytes, wanted.size_bytes, "bytes"),
            (self.files, total.files, wanted.files, "files"),
        ):
            if limit is not None and after > limit and wants > 0:
                free = max(0, limit - (after - wants))
                raise QuotaExceededError(
                    f"the quota is {limit} {unit}, of which {free} are free: there is no room for {wants}"
                )


NOTHING = Amount()
NO_LIMIT = Quota()
