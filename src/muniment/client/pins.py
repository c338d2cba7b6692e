"""Pins: public content that the service fetches and keeps. Whoever speaks the IPFS Pinning Service API finds the same pins below `/psa`."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, TypedDict, Unpack

import msgspec

from muniment.client.calls import Caller, call, decode, segment, stream
from muniment.client.errors import error_of
from muniment.client.flows import Emitting, Flow, sleep
from muniment.client.operations import Operation
from muniment.client.uploads import FileBody
from muniment.errors import PendingError

_EVERY_S = 0.5
_MEDIA_TYPES = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}


class Pin(msgspec.Struct, frozen=True):
    """A pin.

    Attributes:
        status: `queued`, `pinning`, `pinned` or `failed`.
        metadata: What you note about it.
        tags: Words that it is found by.
        group: What it belongs to.
        priority: `low`, `normal` or `high`.
        origins: Multiaddrs of HTTP gateways that have it.
        created_at: When it was wanted, seconds since 1970.
        changed_at: When it changed last.
        progress: How far fetching is, in words.
        detail: What went wrong last; empty for nothing.
        size_bytes: Bytes of its blocks; None until it is pinned.
        blocks: Blocks of it; None until it is pinned.
        operation_id: The work on it.
    """

    request_id: str
    cid: str
    name: str | None
    status: str
    metadata: dict[str, str]
    tags: list[str]
    group: str
    priority: str
    origins: list[str]
    created_at: int
    changed_at: int
    progress: str
    detail: str
    size_bytes: int | None
    blocks: int | None
    operation_id: str


class PinTotals(msgspec.Struct, frozen=True):
    """How many pins there are in each state."""

    queued: int
    pinning: int
    pinned: int
    failed: int


class Label(msgspec.Struct, frozen=True):
    """A tag or a group, and how many pins have it."""

    name: str
    pins: int


class ItemResult(msgspec.Struct, frozen=True):
    """What became of an item of a batch.

    Attributes:
        number: Its place, from 1.
        state: `waiting`, `done` or `failed`.
        request_id: The pin that it made, replaced another one by, changed or removed.
        detail: Why it failed.
    """

    number: int
    state: str
    request_id: str = ""
    detail: str = ""


class PinChange(TypedDict, total=False):
    """What can be changed about a pin; what is left out stays as it is."""

    name: str
    metadata: Mapping[str, str]
    tags: Sequence[str]
    group: str
    priority: str


class PinOptions(PinChange, total=False):
    """What can be said of a new pin besides its CID; see `Pin`."""

    origins: Sequence[str]


class PinFilter(TypedDict, total=False):
    """Which pins are wanted: those of which everything holds that is given.

    `match` says how a name is compared: `exact`, `iexact`, `partial` or `ipartial`.
    """

    status: Sequence[str]
    cid: Sequence[str]
    name: str
    match: str
    tag: Sequence[str]
    group: str
    metadata: Mapping[str, str]


class PinCalls(Caller):
    """Calls about pins."""

    @stream
    def list_pins(self, **wanted: Unpack[PinFilter]) -> Emitting[Pin]:
        """Iterate over pins, newest first; all of them if nothing is asked for."""
        return self.pages("/v1/pins", Pin, _query(wanted))

    @call
    def show_pin(self, request_id: str) -> Flow[Pin]:
        """Show a pin."""
        return self.get(f"/v1/pins/{segment(request_id)}", Pin)

    @call
    def add_pin(self, cid: str, **options: Unpack[PinOptions]) -> Flow[Pin]:
        """Have a DAG pinned; it is fetched in the background: `wait_for_pin()`."""
        return self.write("POST", "/v1/pins", Pin, {"cid": cid, **options})

    @call
    def replace_pin(self, request_id: str, cid: str, **options: Unpack[PinOptions]) -> Flow[Pin]:
        """Have a pin take the place of another one, under an id of its own; what both have in common is kept."""
        path = f"/v1/pins/{segment(request_id)}"
        return self.write("PUT", path, Pin, {"cid": cid, **options})

    @call
    def change_pin(self, request_id: str, **changes: Unpack[PinChange]) -> Flow[Pin]:
        """Change what is known about a pin."""
        return self.write("PATCH", f"/v1/pins/{segment(request_id)}", Pin, dict(changes))

    @call
    def remove_pin(self, request_id: str) -> Flow[None]:
        """Remove a pin, and end the work on it."""
        yield from self.change("DELETE", f"/v1/pins/{segment(request_id)}")

    @call
    def wait_for_pin(
        self,
        pin: Pin | str,
        *,
        timeout_s: float | None = None,
        progress: Callable[[Pin], object] | None = None,
    ) -> Flow[Pin]:
        """Wait until a pin is pinned, and return it.

        Args:
            pin: The pin, or its id.
            timeout_s: How long at most; without end if left out.
            progress: Told of it whenever something is known.

        Raises:
            ApiError: It failed.
            PendingError: The time is over.
        """
        request_id = pin if isinstance(pin, str) else pin.request_id
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            found = yield from self.get(f"/v1/pins/{segment(request_id)}", Pin)
            if progress is not None:
                progress(found)
            if found.status == "pinned":
                return found
            if found.status == "failed":
                raise error_of("upstream-failed", f"{found.cid} was not pinned: {found.detail}")
            if until_s is not None and time.monotonic() >= until_s:
                raise PendingError(f"{found.cid} is still {found.status}: {found.detail}")
            yield from sleep(_EVERY_S)

    @call
    def count_pins(self) -> Flow[PinTotals]:
        """Count the pins in each state."""
        return self.get("/v1/pins/totals", PinTotals)

    @stream
    def list_pin_tags(self) -> Emitting[Label]:
        """Iterate over the tags in use, by name."""
        return self.pages("/v1/pins/tags", Label)

    @stream
    def list_pin_groups(self) -> Emitting[Label]:
        """Iterate over the groups in use, by name."""
        return self.pages("/v1/pins/groups", Label)

    @call
    def batch_pins(
        self, items: Sequence[Mapping[str, Any]], *, atomic: bool = False
    ) -> Flow[Operation]:
        """Have many pins changed as one operation.

        Args:
            items: Each with an `action` (`pin`, `replace`, `change`, `unpin`) and what that needs: `cid`, `request_id`, `PinOptions`.
            atomic: Do nothing if one of them cannot be done.
        """
        value = {"items": list(items), "atomic": atomic}
        return self.write("POST", "/v1/pins/batch", Operation, value)

    @stream
    def list_batch_items(self, operation_id: str) -> Emitting[ItemResult]:
        """Iterate over what became of each item of a batch or an import."""
        return self.pages(f"/v1/pins/batch/{segment(operation_id)}/items", ItemResult)

    @call
    def import_pins(self, file: BinaryIO, *, format: str = "jsonl") -> Flow[Operation]:  # noqa: A002  # as the API calls it
        """Have all pins of a list pinned.

        Args:
            file: The list, as `export_pins` writes one.
            format: `jsonl` or `csv`.
        """
        headers = {"content-type": _MEDIA_TYPES.get(format, "application/octet-stream")}
        answer = yield from self.send(
            "POST",
            "/v1/pins/import",
            query={"format": format},
            headers=headers,
            body=FileBody(file),
        )
        return decode(answer.body, Operation)

    @stream
    def export_pins(self, *, format: str = "jsonl", **wanted: Unpack[PinFilter]) -> Emitting[bytes]:  # noqa: A002  # likewise
        """Iterate over the pieces of a list of pins, newest first, as JSON lines or `csv`."""
        return self.pieces("GET", "/v1/pins/export", query=_query(wanted) | {"format": format})


def _query(wanted: PinFilter) -> dict[str, Any]:
    query: dict[str, Any] = dict(wanted)
    if "metadata" in wanted:
        query["metadata"] = msgspec.json.encode(wanted["metadata"])
    return query
