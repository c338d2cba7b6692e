"""Digests that clients announce for what they send, and the check that they hold."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping

from muniment.errors import IntegrityError, UsageError

DIGESTS = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5", "sha": "sha1"}
"""Names in the registry of RFC 9530, and what Python calls them. The older two find accidents, not forgers."""

_FIELD_LENGTH_MAX = 2_048
_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)(?:=(?::([A-Za-z0-9+/=]*):)?[^,]*)?")


class ChecksumError(IntegrityError):
    """What arrived is not what was announced."""


class Announced:
    """Digests that a client announced, computed again over what arrives.

    Args:
        digests: Digests by name as in `DIGESTS`.
    """

    def __init__(self, digests: Iterable[tuple[str, bytes]] = ()) -> None:
        self._expected = list(digests)
        names = {name for name, _ in self._expected}
        self._running = {
            name: hashlib.new(DIGESTS[name], usedforsecurity=False) for name in sorted(names)
        }

    def update(self, pieces: Iterable[bytes]) -> None:
        """Take in what arrived next."""
        for running in self._running.values():
            for piece in pieces:
                running.update(piece)

    def verify(self) -> None:
        """Check that everything arrived as announced.

        Raises:
            ChecksumError: A digest is another one.
        """
        for name, expected in self._expected:
            found = self._running[name].digest()
            if found != expected:
                raise ChecksumError(
                    f"expected content with {name} {expected.hex()}, got {found.hex()}"
                )


def parse_digest_field(value: str) -> list[tuple[str, bytes]]:
    """Return the digests of a `Content-Digest` or `Repr-Digest` field (RFC 9530); those of unknown kinds are left out.

    Raises:
        UsageError: It is not a dictionary of byte sequences.
    """
    if len(value) > _FIELD_LENGTH_MAX:
        raise UsageError(f"expected digests in at most {_FIELD_LENGTH_MAX} bytes")
    found = []
    for member in value.split(","):
        match = _MEMBER.fullmatch(member.strip())
        if match is None or match[2] is None:
            raise UsageError(f"expected digests as in `sha-256=:<base64>:`, got {value!r}")
        if match[1] in DIGESTS:
            found.append(parse_digest(match[1], match[2]))
    return found


def parse_digest(name: str, text: str) -> tuple[str, bytes]:
    """Return a digest that is given in base64.

    Args:
        name: One of `DIGESTS`.
        text: The digest.

    Raises:
        UsageError: It is none of that kind.
    """
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != hashlib.new(DIGESTS[name], usedforsecurity=False).digest_size:
        raise UsageError(f"expected a digest {name} in base64, got {text[:200]!r}")
    return name, digest


def announced(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """Return all digests that the header fields of a request announce for its content.

    Raises:
        UsageError: One is malformed.
    """
    found = []
    for field in ("content-digest", "repr-digest"):
        if value := headers.get(field):
            found += parse_digest_field(value)
    if value := headers.get("content-md5"):
        found.append(parse_digest("md5", value.strip()))
    return found
