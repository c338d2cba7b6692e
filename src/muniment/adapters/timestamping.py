"""Stamping manifests with the configured calendars and authorities."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from muniment.archive import timestamps
from muniment.archive.manifest import RFC3161_NAME, TIMESTAMP_NAME
from muniment.errors import ExternalServiceError

_log = logging.getLogger(__name__)


class Stamper(NamedTuple):
    """See `muniment.archive.ports.Timestamper`; what cannot be reached now stays in the queue."""

    calendars: Sequence[str]
    authorities: Sequence[str]
    timeout_s: float
    random: Callable[[int], bytes]

    def stamp(self, manifest: bytes) -> dict[str, bytes]:
        """Return the files to put beside the manifest."""
        beside = {}
        proof = self._ask_calendars(manifest)
        if proof is not None:
            beside[TIMESTAMP_NAME] = proof
        tokens = [
            token for url in self.authorities if (token := self._ask_authority(url, manifest))
        ]
        if tokens:
            beside[RFC3161_NAME] = b"".join(tokens)
        return beside

    def _ask_calendars(self, manifest: bytes) -> bytes | None:
        if not self.calendars:
            return None
        from muniment.adapters.calendars import HttpCalendar  # noqa: PLC0415  # imports an HTTP client

        calendars = [HttpCalendar(url, self.timeout_s) for url in self.calendars]
        digest = hashlib.sha256(manifest).digest()
        try:
            detached = timestamps.stamp(digest, calendars, self.random(timestamps.NONCE_BYTES))
        except ExternalServiceError as error:
            _log.warning("the timestamp stays queued: %s", error)
            return None
        return detached.serialize()

    def _ask_authority(self, url: str, manifest: bytes) -> bytes | None:
        from muniment.adapters.rfc3161 import HttpTimestampAuthority  # noqa: PLC0415  # imports an HTTP client

        try:
            return HttpTimestampAuthority(url, self.timeout_s).request(manifest)
        except ExternalServiceError as error:
            _log.warning("no RFC 3161 timestamp: %s", error)
            return None
