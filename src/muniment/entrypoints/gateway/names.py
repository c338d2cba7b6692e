"""Mutable names: from `/ipns/<key or domain>` to immutable content, through signed records and DNSLinks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from muniment.content.cid import CID
from muniment.content.dnslink import check_domain
from muniment.content.gateway_path import ContentPath, parse_content_path, parse_root
from muniment.content.ipns import name_text, parse_name, verify_record
from muniment.entrypoints.gateway.messages import HttpError
from muniment.errors import FormatError, IntegrityError, NotFoundError

MAX_HOPS = 8
"""Names that may point to one another until they reach content."""
MAX_TTL_S = 7 * 86_400


class Records(Protocol):
    """Where signed IPNS records come from."""

    def find(self, name: CID) -> bytes | None:
        """Return the record of a name, unverified, or None."""
        ...


class DnsLinks(Protocol):
    """Where the DNSLinks of domains come from."""

    def find(self, domain: str) -> tuple[str, int | None] | None:
        """Return the content path that a domain names and for how many seconds it holds (None: unknown), or None if it names none."""
        ...


class NoRecords:
    """Knows no IPNS record."""

    def find(self, name: CID) -> bytes | None:
        """Return None."""
        del name
        return None


class NoDnsLinks:
    """Knows no DNSLink."""

    def find(self, domain: str) -> tuple[str, int | None] | None:
        """Return None."""
        del domain
        return None


@dataclass(frozen=True, slots=True)
class Target:
    """What a path stands for now.

    Attributes:
        root: The immutable root.
        segments: The whole path below it: that of the names' values, then that of the request.
        ttl_s: For how many seconds that may be cached; None if unknown.
    """

    root: CID
    segments: tuple[bytes, ...]
    ttl_s: int | None


@dataclass(frozen=True, slots=True)
class Names:
    """Resolves mutable names."""

    records: Records
    dnslinks: DnsLinks
    clock: Callable[[], float] = time.time

    def resolve(self, path: ContentPath) -> Target:
        """Follow a path through mutable names to immutable content.

        Raises:
            NotFoundError: Nothing is known by a name.
            FormatError: The immutable root is not a CID.
            HttpError: 400: it is no name. 502: a record is not valid, or the names go in circles.
        """
        ttls: list[int | None] = []
        for _ in range(MAX_HOPS):
            if path.namespace == "ipfs":
                known = [ttl for ttl in ttls if ttl is not None]
                ttl_s = min(known) if len(known) == len(ttls) and known else None
                return Target(parse_root(path), path.segments, ttl_s)
            value, ttl = self._value(path.root)
            ttls.append(ttl)
            try:
                path = parse_content_path(value).below(path.segments)
            except FormatError as error:
                raise _bad_name(path.root, error) from None
        raise _bad_name(path.root, f"expected at most {MAX_HOPS} names on the way, got more")

    def record(self, name: CID) -> tuple[bytes, int]:
        """Return the verified record of a name, and for how many seconds it may be cached.

        Raises:
            NotFoundError: There is none.
            HttpError: 502: it is not valid.
        """
        data = self.records.find(name)
        if data is None:
            raise NotFoundError(f"no record is known for the IPNS name {name_text(name)}")
        return data, self._verify(data, name)[1]

    def has_dnslink(self, domain: str) -> bool:
        """Tell whether a domain names content."""
        try:
            return self.dnslinks.find(check_domain(domain)) is not None
        except FormatError:
            return False

    def _value(self, root: str) -> tuple[str, int | None]:
        try:
            name = parse_name(root)
        except FormatError:
            return self._dnslink(root)
        data = self.records.find(name)
        if data is None:
            raise NotFoundError(f"no record is known for the IPNS name {root}")
        return self._verify(data, name)

    def _verify(self, data: bytes, name: CID) -> tuple[str, int]:
        """Return what a record points to, and for how many seconds that may be cached."""
        now_s = self.clock()
        try:
            record = verify_record(data, name, now_s)
        except IntegrityError as error:
            raise _bad_name(name_text(name), error) from None
        return record.value, min(record.ttl_s, int(record.expires_at - now_s), MAX_TTL_S)

    def _dnslink(self, root: str) -> tuple[str, int | None]:
        try:
            domain = check_domain(root)
        except FormatError:
            message = f'invalid path "/ipns/{root[:200]}": neither an IPNS name nor a domain'
            raise HttpError(400, message) from None
        found = self.dnslinks.find(domain)
        if found is None:
            raise NotFoundError(f"no DNSLink is known for {domain}")
        return found


def _bad_name(name: str, reason: object) -> HttpError:
    return HttpError(502, f"{name} cannot be resolved: {reason}", ("retry-after", "60"))
