"""Records of delegated routing: who provides a block, and where (https://specs.ipfs.tech/routing/http-routing-v1/).

Answers come as one JSON object with a list, or as newline-delimited JSON with a record on each line. Both are read here from servers
that nobody vouches for, so they are bounded, and a record that makes no sense is left out instead of spoiling the others.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from muniment.content import multiaddr, multibase, varint
from muniment.content.cid import CID, IDENTITY
from muniment.content.ipns import LIBP2P_KEY, parse_name
from muniment.errors import FormatError

GATEWAY_PROTOCOL = "transport-ipfs-gateway-http"
"""What a provider speaks that is a trustless HTTP gateway."""

MAX_ANSWER_BYTES = 1 << 20
MAX_RECORDS = 100
"""Records read from one answer: what the specification advises servers to send at most."""
MAX_ADDRS = 32
MAX_PROTOCOLS = 32
MAX_PROTOCOL_CHARS = 63
MAX_FILTERS = 32
UNKNOWN = "unknown"

ListName = Literal["Providers", "Peers"]

_PEER = "peer"
# The protobuf message `PublicKey` of libp2p: type 1 (Ed25519), then 32 bytes of data.
_ED25519_HEAD = b"\x08\x01\x12\x20"


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A node that can be reached (schema `peer`).

    Attributes:
        id: Its peer ID, as it was written.
        addrs: Multiaddrs; empty if unknown.
        protocols: What it speaks; empty if unknown.
    """

    id: str
    addrs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    @property
    def gateway_urls(self) -> tuple[str, ...]:
        """HTTP addresses at which the node is a gateway; of a node that says nothing of its protocols, all that are HTTP."""
        if self.protocols and GATEWAY_PROTOCOL not in self.protocols:
            return ()
        found = []
        for address in self.addrs:
            try:
                url = multiaddr.to_url(address)
            except FormatError:
                continue
            if url is not None and url not in found:
                found.append(url)
        return tuple(found)


def peer_id(public_key: bytes) -> CID:
    """Return the peer ID of an Ed25519 public key (32 bytes), as CIDv1 of codec libp2p-key."""
    message = _ED25519_HEAD + public_key
    head = b"\x01" + varint.encode(LIBP2P_KEY) + bytes([IDENTITY])
    return CID(head + varint.encode(len(message)) + message)


def peer_id_text(peer: CID) -> str:
    """Return a peer ID as most tools write it: the bare multihash in base58 (`12D3KooW...`)."""
    return multibase.encode_base58(peer.multihash)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a client wants to see of records (IPIP-484); empty tuples want everything.

    Attributes:
        addrs: Names of multiaddr protocols; with `!`, those that must not be in an address. `unknown` keeps records without any.
        protocols: Names of transfer protocols; `unknown` keeps records without any.
    """

    addrs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    @classmethod
    def parse(cls, addrs: str, protocols: str) -> "Filters":
        """Read the values of `filter-addrs` and `filter-protocols`.

        Raises:
            FormatError: There are too many names, or one is too long.
        """
        return cls(_parse_names(addrs), _parse_names(protocols))

    def apply(self, records: Iterable[PeerRecord]) -> Iterator[PeerRecord]:
        """Yield the records that pass, with the addresses that pass."""
        for record in records:
            if not self._wants_protocols(record):
                continue
            if not self.addrs or (not record.addrs and UNKNOWN in self.addrs):
                yield record
                continue
            addrs = tuple(address for address in record.addrs if self._wants_address(address))
            if addrs:
                yield replace(record, addrs=addrs)

    def _wants_protocols(self, record: PeerRecord) -> bool:
        if not self.protocols or (not record.protocols and UNKNOWN in self.protocols):
            return True
        return any(protocol.lower() in self.protocols for protocol in record.protocols)

    def _wants_address(self, address: str) -> bool:
        try:
            names = multiaddr.protocols(address)
        except FormatError:
            return False
        unwanted = {name[1:] for name in self.addrs if name.startswith("!")}
        wanted = {name for name in self.addrs if not name.startswith("!")}
        return not names & unwanted and (not wanted or bool(names & wanted))


def _parse_names(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.lower().split(",") if name)
    if len(names) > MAX_FILTERS:
        raise FormatError(f"expected at most {MAX_FILTERS} names in a filter, got {len(names)}")
    for name in names:
        if len(name) > MAX_PROTOCOL_CHARS + 1:
            raise FormatError(
                f"expected a name of at most {MAX_PROTOCOL_CHARS} characters, got {name[:80]!r}"
            )
    return names


def encode_json(name: ListName, records: Iterable[PeerRecord]) -> bytes:
    """Return the JSON object of an answer."""
    return json.dumps({name: [_encode(record) for record in records]}).encode("ascii")


def encode_ndjson(records: Iterable[PeerRecord]) -> bytes:
    """Return an answer in newline-delimited JSON."""
    return b"".join(json.dumps(_encode(record)).encode("ascii") + b"\n" for record in records)


def _encode(record: PeerRecord) -> dict[str, Any]:
    return {
        "Schema": _PEER,
        "ID": record.id,
        "Addrs": list(record.addrs),
        "Protocols": list(record.protocols),
    }


def decode_json(name: ListName, body: bytes) -> list[PeerRecord]:
    """Read an answer in JSON; records of other schemas and senseless ones are left out.

    Raises:
        FormatError: It is larger than is read, not JSON, or not an object with that list.
    """
    answer = _load(body)
    records = answer.get(name) if isinstance(answer, dict) else None
    if records is None and isinstance(answer, dict) and name in answer:
        return []  # some servers write null for an empty list
    if not isinstance(records, list):
        raise FormatError(f"expected a JSON object with a list of {name}")
    return _known(records)


def decode_ndjson(body: bytes) -> list[PeerRecord]:
    """Read an answer in newline-delimited JSON; records of other schemas and senseless ones are left out.

    Raises:
        FormatError: It is larger than is read, or a line is not JSON.
    """
    if len(body) > MAX_ANSWER_BYTES:
        raise _too_large(body)
    records = []
    for line in body.split(b"\n"):
        if line.strip():
            records.append(_load(line))
            if len(records) > MAX_RECORDS:
                break
    return _known(records)


def _known(records: Sequence[object]) -> list[PeerRecord]:
    found = []
    for value in records[:MAX_RECORDS]:
        record = _decode(value) if isinstance(value, dict) else None
        if record is not None:
            found.append(record)
    return found


def _decode(value: Mapping[str, object]) -> PeerRecord | None:
    """Read one record; None if it is of another schema, or makes no sense."""
    peer, schema = value.get("ID"), value.get("Schema")
    if schema not in (_PEER, "bitswap") or not isinstance(peer, str):
        return None
    try:
        parse_name(peer)
    except FormatError:
        return None
    protocols = _strings(value.get("Protocols"), MAX_PROTOCOLS, MAX_PROTOCOL_CHARS)
    if schema == "bitswap":  # the older schema, which names one
        protocols = _strings([value.get("Protocol")], MAX_PROTOCOLS, MAX_PROTOCOL_CHARS)
    return PeerRecord(peer, _strings(value.get("Addrs"), MAX_ADDRS, multiaddr.MAX_CHARS), protocols)


def _strings(value: object, max_count: int, max_chars: int) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    texts = (text for text in value[:max_count] if isinstance(text, str))
    return tuple(text for text in texts if len(text) <= max_chars)


def _load(body: bytes) -> object:
    if len(body) > MAX_ANSWER_BYTES:
        raise _too_large(body)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise FormatError(f"expected JSON, got {body[:40]!r}") from None


def _too_large(body: bytes) -> FormatError:
    return FormatError(f"expected an answer of at most {MAX_ANSWER_BYTES} bytes, got {len(body)}")
