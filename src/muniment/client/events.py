"""Events: what happens in an organisation, followed without a gap, however often the connection breaks."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from muniment.client.calls import Caller, call, decode, stream
from muniment.client.errors import ConnectionFailedError
from muniment.client.flows import Emit, Emitting, Flow, read, sleep
from muniment.errors import FormatError

_EVENT_BYTES_MAX = 1 << 20


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


class Events(msgspec.Struct, frozen=True):
    """Some events, and the number after which to go on."""

    items: list[Event]
    next: int


class EventReader:
    """Takes events out of a stream of Server-Sent Events (HTML standard, section 9.2), as services write them."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, portion: bytes) -> Iterator[Event]:
        """Return the events that are complete now.

        Raises:
            FormatError: The stream holds something else.
        """
        *blocks, self._held = (self._held + portion).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._held) > _EVENT_BYTES_MAX:
            raise FormatError(f"expected events of at most {_EVENT_BYTES_MAX} bytes, got more")
        for block in blocks:
            lines = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield decode(b"\n".join(lines), Event)


class EventCalls(Caller):
    """Calls about events."""

    @call
    def list_events(
        self,
        *,
        after: int | None = None,
        kinds: Sequence[str] = (),
        limit: int = 100,
        wait_s: int = 0,
    ) -> Flow[Events]:
        """List some events.

        Args:
            after: The number behind which they begin; 0 for the oldest that is kept; from now on if left out.
            kinds: What is told of: nouns, as `upload`, or kinds, as `pin.created`; everything if empty.
            limit: How many at most.
            wait_s: How long to wait for one if there is none.
        """
        kind = ",".join(kinds) or None
        query = {"after": after, "kind": kind, "limit": limit, "wait_s": wait_s}
        return self.get("/v1/events", Events, query)

    @stream
    def follow_events(
        self, *, after: int | None = None, kinds: Sequence[str] = ()
    ) -> Emitting[Event]:
        """Iterate over events as they happen, without end.

        Args:
            after: The number behind which they begin; 0 for the oldest that is kept; from now on if left out.
            kinds: What is told of, as for `list_events`.

        Raises:
            ApiError: They cannot be followed, for instance as some are no longer kept.
        """
        if after is None:
            after = (yield from self.get("/v1/events", Events, {"limit": 1})).next
        headers = {"accept": "text/event-stream"}
        failures = 0
        while True:
            try:
                query = {"after": after, "kind": ",".join(kinds) or None}
                yield from self.send(
                    "GET", "/v1/events", query=query, headers=headers, is_open=True
                )
                reader = EventReader()
                while portion := (yield from read()):
                    failures = 0
                    for event in reader.feed(portion):
                        after = event.number
                        yield Emit(event)
            except ConnectionFailedError:
                failures += 1
                if failures >= self._patience.attempts:
                    raise
            yield from sleep(self._patience.wait_s(max(failures, 1), None))
