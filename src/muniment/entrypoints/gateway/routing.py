"""Delegated routing over HTTP, `/routing/v1` (https://specs.ipfs.tech/routing/http-routing-v1/): where this node's blocks are to be had.

The node answers for itself alone. It names itself as the provider of what its store holds, at the addresses that its operator gave:
never at the address that a request came to, which whoever sends the request can choose.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Protocol

from muniment.content.cid import CID
from muniment.content.denylist import BlockedError, Denylist
from muniment.content.ipns import (
    MAX_RECORD_BYTES,
    IpnsRecord,
    name_text,
    parse_name,
    verify_record,
)
from muniment.content.ports import BlockStore
from muniment.content.routing import (
    Filters,
    ListName,
    PeerRecord,
    encode_json,
    encode_ndjson,
)
from muniment.entrypoints.gateway.messages import Headers, HttpError, Request, Response
from muniment.entrypoints.gateway.names import Records
from muniment.errors import FormatError, IntegrityError

PREFIX = "/routing/"
_JSON, _NDJSON = "application/json", "application/x-ndjson"
_IPNS_RECORD = "application/vnd.ipfs.ipns-record"

# Seconds: how long an answer is fresh, how long it may serve while a new one is fetched, and how long when there is none to be had.
_FOUND_CACHE = (300, 600, 172_800)
_NOTHING_CACHE = (15, 60, 3_600)
_DEFAULT_TTL_S = 60

_NOT_HERE = ("content-type", "text/plain; charset=utf-8")


class WritableRecords(Records, Protocol):
    """IPNS records that can be replaced."""

    def changing(self) -> AbstractContextManager[None]:
        """Hold off all others who would change records here, in any process."""
        ...

    def store(self, name: CID, record: bytes) -> None:
        """Keep the record of a name durably, in place of an older one."""
        ...


@dataclass(frozen=True, slots=True)
class RoutingOptions:
    """What the node says of itself.

    Attributes:
        node: The node, as it is to be reached; None: nobody is ever named as a provider.
        writable: Where records that others publish are kept; None: none are accepted.
        names: The IPNS names whose records are accepted.
    """

    node: PeerRecord | None = None
    writable: WritableRecords | None = None
    names: frozenset[CID] = field(default_factory=frozenset)


class Routing:
    """Answers routing requests from one block store and one collection of IPNS records."""

    def __init__(
        self,
        store: BlockStore,
        records: Records,
        denylist: Denylist,
        options: RoutingOptions,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._records = records
        self._denylist = denylist
        self._options = options
        self._clock = clock

    @property
    def cors_headers(self) -> Headers:
        """What lets scripts of any origin ask."""
        methods = "GET, PUT, OPTIONS" if self._options.writable else "GET, OPTIONS"
        return [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", "Accept, Content-Type, User-Agent"),
            ("access-control-expose-headers", "Content-Type, Etag, Expires, Last-Modified"),
        ]

    def accepts_body(self, request: Request) -> bool:
        """Tell whether the body of a request is worth reading."""
        return (
            request.method == "PUT"
            and self._options.writable is not None
            and request.path.startswith(f"{PREFIX}v1/ipns/")
        )

    def respond(self, request: Request) -> Response:
        """Answer a request whose path begins with `PREFIX`.

        Raises:
            HttpError: The request is wrong, or not supported.
        """
        if request.method == "OPTIONS":
            return Response(204)
        match request.path.removeprefix(PREFIX).split("/"):
            case ["v1", "providers", cid] if request.method in ("GET", "HEAD"):
                return self._providers(request, cid)
            case ["v1", "peers", peer] if request.method in ("GET", "HEAD"):
                return self._peers(request, peer)
            case ["v1", "ipns", name] if request.method in ("GET", "HEAD"):
                return self._record(request, _parse_ipns_name(name))
            case ["v1", "ipns", name] if self.accepts_body(request):
                return self._publish(request, _parse_ipns_name(name))
            case ["v1", "providers" | "peers" | "ipns", *_] | ["v1", "dht", "closest", *_]:
                raise HttpError(501, f"{request.method} of this is not supported here")
        raise HttpError(400, "expected /routing/v1/providers, peers or ipns")

    def _providers(self, request: Request, text: str) -> Response:
        try:
            cid = CID.parse(text)
        except FormatError as error:
            raise HttpError(422, str(error)) from None
        node = self._options.node
        held = node is not None and self._is_served(cid)
        return self._records_response(request, "Providers", [node] if node and held else [])

    def _is_served(self, cid: CID) -> bool:
        try:
            self._denylist.check_block(cid)
        except BlockedError:
            return False
        return self._store.has(cid)

    def _peers(self, request: Request, text: str) -> Response:
        try:
            peer = parse_name(text)
        except FormatError as error:
            raise HttpError(422, str(error)) from None
        node = self._options.node
        is_node = node is not None and peer == parse_name(node.id)
        return self._records_response(request, "Peers", [node] if node and is_node else [])

    def _records_response(
        self, request: Request, name: ListName, records: Sequence[PeerRecord]
    ) -> Response:
        streamed = _wants_ndjson(request)
        try:
            filters = Filters.parse(
                request.fields.get("filter-addrs", ""), request.fields.get("filter-protocols", "")
            )
        except FormatError as error:
            raise HttpError(422, str(error)) from None
        found = list(filters.apply(records))
        body = encode_ndjson(found) if streamed else encode_json(name, found)
        headers = [
            ("content-type", _NDJSON if streamed else _JSON),
            ("content-length", str(len(body))),
            _cache_control(*(_FOUND_CACHE if found else _NOTHING_CACHE)),
            *self._dated(),
        ]
        return Response(200, headers, (body,))

    def _dated(self) -> Headers:
        return [("last-modified", _http_date(self._clock())), ("vary", "Accept")]

    def _record(self, request: Request, name: CID) -> Response:
        accepted = _media_types(request.header("accept"))
        if accepted and not {_IPNS_RECORD, "*/*"} & set(accepted):
            raise HttpError(406, f"retry with Accept: {_IPNS_RECORD}")
        data = self._records.find(name)
        record = None if data is None else self._verified(data, name)
        if data is None or record is None:
            body = f"no record is known for {name_text(name)}\n".encode("ascii")
            cache = _cache_control(*_NOTHING_CACHE)
            length = ("content-length", str(len(body)))
            return Response(200, [_NOT_HERE, length, cache, *self._dated()], (body,))
        left_s = max(int(record.expires_at - self._clock()), 0)
        fresh_s = min(record.ttl_s or _DEFAULT_TTL_S, left_s)
        headers = [
            ("content-type", _IPNS_RECORD),
            ("content-length", str(len(data))),
            ("content-disposition", f'attachment; filename="{name_text(name)}.ipns-record"'),
            ("etag", f'"{hashlib.sha256(data).hexdigest()[:32]}"'),
            _cache_control(fresh_s, left_s - fresh_s, left_s - fresh_s),
            ("expires", _http_date(record.expires_at)),
            *self._dated(),
        ]
        return Response(200, headers, (data,))

    def _verified(self, data: bytes, name: CID) -> IpnsRecord | None:
        """Return what a stored record says; None if it is not valid, for example not any more."""
        try:
            return verify_record(data, name, self._clock())
        except IntegrityError:
            return None

    def _publish(self, request: Request, name: CID) -> Response:
        """Keep a record that somebody publishes, if it is newer than what is there."""
        writable = self._options.writable
        assert writable is not None
        if _IPNS_RECORD not in _media_types(request.header("content-type")):
            raise HttpError(406, f"retry with Content-Type: {_IPNS_RECORD}")
        if name not in self._options.names:
            raise HttpError(403, f"records of {name_text(name)} are not kept here")
        if len(request.body) > MAX_RECORD_BYTES:
            raise HttpError(400, f"expected a record of at most {MAX_RECORD_BYTES} bytes, got more")
        try:
            record = verify_record(request.body, name, self._clock())
        except IntegrityError as error:
            raise HttpError(400, str(error)) from None
        with writable.changing():
            known = writable.find(name)
            before = None if known is None else self._verified(known, name)
            if before is not None and _age(before) > _age(record):
                raise HttpError(400, "a newer record of this name is known")
            if known != request.body:
                writable.store(name, request.body)
        return Response(200, [("content-length", "0")])


def _age(record: IpnsRecord) -> tuple[int, int]:
    """Return what orders the records of a name: the higher sequence, then the later end of validity (IPNS specification)."""
    return record.sequence, record.expires_at


def _parse_ipns_name(text: str) -> CID:
    try:
        return parse_name(text)
    except FormatError as error:
        raise HttpError(400, str(error)) from None


def _wants_ndjson(request: Request) -> bool:
    """Say which form an answer is to have: lines only for who asks for them.

    Raises:
        HttpError: 406: the client wants neither.
    """
    accepted = _media_types(request.header("accept"))
    if _NDJSON in accepted:
        return True
    if accepted and not {_JSON, "*/*", "application/*"} & set(accepted):
        raise HttpError(406, f"retry with Accept: {_JSON} or {_NDJSON}")
    return False


def _media_types(value: str) -> list[str]:
    types: Iterable[str] = (item.partition(";")[0].strip().lower() for item in value.split(","))
    return [media_type for media_type in types if media_type]


def _cache_control(fresh_s: int, stale_s: int, failing_s: int) -> tuple[str, str]:
    return (
        "cache-control",
        f"public, max-age={fresh_s}, stale-while-revalidate={stale_s}, stale-if-error={failing_s}",
    )


def _http_date(at_s: float) -> str:
    return formatdate(at_s, usegmt=True)
