"""Pins by the IPFS Pinning Service API 1.0.0 (https://ipfs.github.io/pinning-services-api-spec/): the service keeps public content."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from muniment.client.calls import Caller, call, decode, segment, stream
from muniment.client.errors import error_of
from muniment.client.flows import Emit, Emitting, Flow, sleep
from muniment.errors import PendingError

_LIMIT = 1_000
_EVERY_S = 0.5
_ALL = ("queued", "pinning", "pinned", "failed")


class Pinned(msgspec.Struct, frozen=True):
    """What was asked for: a CID, a name, where it can be fetched from, and notes of the client's own."""

    cid: str
    name: str | None = None
    origins: list[str] = []
    meta: dict[str, str] = {}


class Pin(msgspec.Struct, frozen=True):
    """A pin.

    Attributes:
        requestid: Its name.
        status: `queued`, `pinning`, `pinned` or `failed`.
        created: When it was asked for, RFC 3339.
        pin: What was asked for.
        delegates: Addresses of the node that fetches it.
        info: More, as `status_details` in words, and `dag_size` in bytes once it is pinned.
    """

    requestid: str
    status: str
    created: str
    pin: Pinned
    delegates: list[str]
    info: dict[str, str] = {}


class _Results(msgspec.Struct, frozen=True):
    count: int
    results: list[Pin]


class PinCalls(Caller):
    """Calls about pins."""

    @stream
    def list_pins(
        self,
        *,
        statuses: Sequence[str] = _ALL,
        cids: Sequence[str] = (),
        name: str | None = None,
        match: str = "exact",
        meta: Mapping[str, str] | None = None,
    ) -> Emitting[Pin]:
        """Iterate over pins, newest first.

        Args:
            statuses: In one of these states.
            cids: With one of these CIDs; any if empty.
            name: With this name; any if left out.
            match: How a name is compared: `exact`, `iexact`, `partial` or `ipartial`.
            meta: With these notes.
        """
        query: dict[str, Any] = {
            "status": ",".join(statuses),
            "cid": ",".join(cids) or None,
            "name": name,
            "match": None if name is None else match,
            "meta": msgspec.json.encode(dict(meta)) if meta else None,
            "limit": _LIMIT,
        }
        seen: set[str] = set()
        while True:
            page = yield from self.get("/psa/pins", _Results, query)
            for pin in page.results:
                if pin.requestid not in seen:
                    yield Emit(pin)
            if page.count <= len(page.results) or not page.results:
                return
            seen = {pin.requestid for pin in page.results}
            query["before"] = page.results[-1].created

    @call
    def show_pin(self, requestid: str) -> Flow[Pin]:
        """Show a pin."""
        return self.get(f"/psa/pins/{segment(requestid)}", Pin)

    @call
    def add_pin(
        self,
        cid: str,
        *,
        name: str | None = None,
        origins: Sequence[str] = (),
        meta: Mapping[str, str] | None = None,
    ) -> Flow[Pin]:
        """Have a DAG pinned; it is fetched in the background: `wait_for_pin()`.

        Args:
            cid: Its root.
            name: What it is to be called.
            origins: Multiaddresses of who has it.
            meta: Notes.
        """
        return self.write(
            "POST", "/psa/pins", Pin, Pinned(cid, name, list(origins), dict(meta or {}))
        )

    @call
    def replace_pin(
        self,
        requestid: str,
        cid: str,
        *,
        name: str | None = None,
        origins: Sequence[str] = (),
        meta: Mapping[str, str] | None = None,
    ) -> Flow[Pin]:
        """Have a pin take the place of another one; what both have in common is kept."""
        value = Pinned(cid, name, list(origins), dict(meta or {}))
        return self.write("POST", f"/psa/pins/{segment(requestid)}", Pin, value)

    @call
    def remove_pin(self, requestid: str) -> Flow[None]:
        """Remove a pin."""
        yield from self.change("DELETE", f"/psa/pins/{segment(requestid)}")

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
            pin: The pin, or its `requestid`.
            timeout_s: How long at most; without end if left out.
            progress: Told of it whenever something is known.

        Raises:
            ApiError: It failed.
            PendingError: The time is over.
        """
        requestid = pin if isinstance(pin, str) else pin.requestid
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            answer = yield from self.send("GET", f"/psa/pins/{segment(requestid)}")
            found = decode(answer.body, Pin)
            if progress is not None:
                progress(found)
            details = found.info.get("status_details", "")
            if found.status == "pinned":
                return found
            if found.status == "failed":
                raise error_of("upstream-failed", f"{found.pin.cid} was not pinned: {details}")
            if until_s is not None and time.monotonic() >= until_s:
                raise PendingError(f"{found.pin.cid} is still {found.status}: {details}")
            yield from sleep(_EVERY_S)
