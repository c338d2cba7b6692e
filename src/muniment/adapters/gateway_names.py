"""Where a gateway's mutable names come from: a folder of IPNS records, a table of DNSLinks, and the DNS."""

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from muniment.content.cid import CID
from muniment.content.dnslink import check_domain, find_link
from muniment.content.ipns import MAX_RECORD_BYTES, name_text, parse_name
from muniment.errors import ExternalServiceError, FormatError, UsageError

SUFFIX = ".ipns-record"
DNS_TIMEOUT_S = 5.0
MIN_CACHE_S = 60
"""For how long an answer of the DNS is kept at least, also that there is none: requests must not make it busy."""
MAX_CACHED_DOMAINS = 10_000


class RecordFolder:
    """A folder of signed IPNS records in files called `<name>.ipns-record`, or `<name>_<anything>.ipns-record`.

    The folder is looked through once for names that are written in other ways than ours; files are read anew for each request, so
    that a record can come or be replaced at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[CID, Path] = {}
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise UsageError(
                f"cannot read the folder of IPNS records {folder}: {error.strerror}"
            ) from error
        for file in names:
            if file.endswith(SUFFIX):
                text = file.removesuffix(SUFFIX).partition("_")[0]
                try:
                    self._files[parse_name(text)] = folder / file
                except FormatError as error:
                    raise UsageError(
                        f"{folder / file} is not called by an IPNS name: {error}"
                    ) from None

    def find(self, name: CID) -> bytes | None:
        """Return the record of a name, unverified, or None."""
        try:
            with open(self._path(name), "rb") as file:
                return file.read(MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            return None

    def _path(self, name: CID) -> Path:
        return self._files.get(name) or self._folder / f"{name_text(name)}{SUFFIX}"


class LinkTable:
    """A fixed table of DNSLinks, before another source if there is one.

    Args:
        links: Content paths by domain.
        more: Asked for domains that are not in the table.
    """

    def __init__(self, links: Mapping[str, str], more: "DnsResolver | None" = None) -> None:
        self._links = {check_domain(domain): path for domain, path in links.items()}
        self._more = more

    def find(self, domain: str) -> tuple[str, int | None] | None:
        """Return the content path that a domain names, and for how long (None: unknown), or None."""
        path = self._links.get(domain)
        if path is not None:
            return path, None
        return self._more.find(domain) if self._more else None


class DnsResolver:
    """Asks the DNS for TXT records of `_dnslink.<domain>`, then of the domain itself, and keeps the answers for a while.

    Args:
        nameserver: Address and port of the server to ask; None for those of this machine.
        timeout_s: How long to wait for an answer.
    """

    def __init__(
        self, nameserver: tuple[str, int] | None = None, timeout_s: float = DNS_TIMEOUT_S
    ) -> None:
        self._nameserver = nameserver
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, str | None]] = {}

    def find(self, domain: str) -> tuple[str, int | None] | None:
        """Return the content path that a domain names, and for how many seconds, or None.

        Raises:
            ExternalServiceError: The DNS does not answer.
        """
        now = time.monotonic()
        with self._lock:
            kept = self._kept.get(domain)
        if kept is None or kept[0] <= now:
            kept = self._ask(domain, now)
            with self._lock:
                if len(self._kept) >= MAX_CACHED_DOMAINS:
                    self._kept.clear()
                self._kept[domain] = kept
        expires_at, path = kept
        return None if path is None else (path, int(expires_at - now))

    def _ask(self, domain: str, now: float) -> tuple[float, str | None]:
        for name in (f"_dnslink.{domain}", domain):
            texts, ttl_s = self._query(name)
            path = find_link(texts)
            if path is not None:
                return now + max(ttl_s, MIN_CACHE_S), path
        return now + MIN_CACHE_S, None

    def _query(self, name: str) -> tuple[list[str], int]:
        """Return the texts of a name's TXT records, and for how many seconds they hold."""
        import dns.exception  # noqa: PLC0415  # only gateways with DNSLink need it
        import dns.resolver  # noqa: PLC0415

        try:
            resolver = dns.resolver.Resolver(configure=self._nameserver is None)
            if self._nameserver is not None:
                resolver.nameservers, resolver.port = [self._nameserver[0]], self._nameserver[1]
            answer = resolver.resolve(name, "TXT", lifetime=self._timeout_s, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return [], 0
        except dns.exception.DNSException as error:
            raise ExternalServiceError(f"the DNS does not answer for {name}: {error}") from error
        texts = [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
        return texts, int(answer.rrset.ttl if answer.rrset is not None else 0)
