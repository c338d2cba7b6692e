"""Schedules: jobs that are enqueued again and again. Ticks follow from the clock alone, so any worker can tell the next one."""

from dataclasses import dataclass, field
from typing import Any

from muniment.errors import UsageError
from muniment.jobs.model import NO_ORGANIZATION, NewJob, require_name

DAY_S = 86_400
_US = 1_000_000
_TICK_LENGTH = 24  # characters that a tick adds to the name, in its job's unique key


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job for every tick. Ticks that were missed, or came while the last one's job had not ended, become one.

    Attributes:
        name: Its name, of which a service has one schedule.
        kind: Kind of its jobs.
        every_s: Seconds from tick to tick, counted from midnight of 1 January 1970 UTC.
        offset_s: Seconds that all ticks are later: with `every_s` a day, the time of day in UTC.
        payload: Payload of its jobs.
        organization_id: Whose jobs they are.

    Raises:
        UsageError: A value is not valid.
    """

    name: str
    kind: str
    every_s: int
    offset_s: int = 0
    payload: dict[str, Any] = field(default_factory=dict)
    organization_id: str = NO_ORGANIZATION

    def __post_init__(self) -> None:
        require_name(self.name + " " * _TICK_LENGTH, "name of a schedule")
        if self.every_s < 1 or not 0 <= self.offset_s < self.every_s:
            raise UsageError(
                f"schedule {self.name!r} must have every_s >= 1 and 0 <= offset_s < every_s"
            )

    @property
    def ticks(self) -> str:
        """The rule of its ticks as text; another text means other ticks."""
        return f"{self.every_s}+{self.offset_s}"

    def next_tick(self, now: int) -> int:
        """Return the first tick after a time."""
        every, offset = self.every_s * _US, self.offset_s * _US
        return ((now - offset) // every + 1) * every + offset

    def job(self, tick: int) -> NewJob:
        """Return the job of a tick: one, however many workers enqueue it."""
        key = f"{self.name} at {tick}"
        return NewJob(self.organization_id, self.kind, self.payload, unique_key=key)


def daily(name: str, kind: str, *, hour: int, minute: int = 0, **more: Any) -> Schedule:  # noqa: ANN401  # as in `Schedule`
    """Return a schedule that ticks once a day, at a time of day in UTC."""
    return Schedule(name, kind, DAY_S, hour * 3600 + minute * 60, **more)
