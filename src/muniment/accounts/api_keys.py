"""API keys: shown once, stored as a digest, and recognisable to scanners that look for leaked secrets.

A key reads ``mnk_<key id>_<secret><checksum>``. The prefix and the checksum let a scanner tell a key from noise without asking
anyone; the key id is not secret and finds the record; the secret has 256 bits, so that a plain SHA-256 of it is as good as a slow
hash. A rotated key goes on working until its overlap ends.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from muniment.accounts.permissions import ROLES, Permission, Role
from muniment.accounts.principals import AuthenticationError, Principal
from muniment.accounts.quotas import NO_LIMIT, NOTHING, Amount, Quota

PREFIX = "mnk"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 12  # 71 bits
_SECRET_LENGTH = 43  # 256 bits
_CHECKSUM_LENGTH = 6  # 32 bits
_PATTERN = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of an API key: all but the key itself.

    Attributes:
        key_id: Its public name.
        organization_id: Whose it is.
        name: What its owner calls it.
        role: What its owner was made.
        scopes: The part of the role that the key has; None for all of it.
        digest: SHA-256 of the secret.
        created_at: Seconds since 1970.
        expires_at: Seconds since 1970; None for never.
        max_uses: How often it can be used; None for any number.
        uses: How often it was used.
        last_used_at: Seconds since 1970, within a minute; None for never.
        revoked_at: Seconds since 1970; None while it is good.
        member_id: The member whose key it is; empty for a key of the organisation itself.
        quota: What may be held of what it brought. A key shares this, and what counts against it, with those that it replaced.
        used: What it brought and is still held.
        reserved: What was promised to its uploads that still run.
    """

    key_id: str
    organization_id: str
    name: str
    role: Role
    scopes: frozenset[Permission] | None
    digest: bytes = field(repr=False)
    created_at: int
    expires_at: int | None = None
    max_uses: int | None = None
    uses: int = 0
    last_used_at: int | None = None
    revoked_at: int | None = None
    member_id: str = ""
    quota: Quota = NO_LIMIT
    used: Amount = NOTHING
    reserved: Amount = NOTHING

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the key may do: its scopes, and never more than its role."""
        allowed = ROLES[self.role]
        return allowed if self.scopes is None else allowed & self.scopes

    def successor(self, key_id: str, digest: bytes, now: int) -> "ApiKey":
        """Return the key that takes the place of this one: it may do the same, as often as this one still could."""
        uses_left = None if self.max_uses is None else max(1, self.max_uses - self.uses)
        return replace(
            self,
            key_id=key_id,
            digest=digest,
            created_at=now,
            max_uses=uses_left,
            uses=0,
            last_used_at=None,
            revoked_at=None,
        )

    def is_usable_at(self, now: float) -> bool:
        """Tell whether the key is neither revoked, expired nor used up."""
        ends = [end for end in (self.revoked_at, self.expires_at) if end is not None]
        is_used_up = self.max_uses is not None and self.uses >= self.max_uses
        return not is_used_up and all(now < end for end in ends)

    def principal(self) -> Principal:
        """Return who acts with this key."""
        actor = f"member:{self.member_id}" if self.member_id else f"key:{self.key_id}"
        return Principal(self.organization_id, actor, self.permissions, self.key_id)


def new_token(random: Callable[[int], bytes]) -> tuple[str, str, bytes]:
    """Make a new key.

    Returns:
        The key as its owner gets it, its id, and the digest of its secret.
    """
    key_id = _text(random(16), _ID_LENGTH)
    secret = _text(random(40), _SECRET_LENGTH)
    return (
        f"{PREFIX}_{key_id}_{secret}{_checksum(key_id, secret)}",
        key_id,
        hashlib.sha256(secret.encode("ascii")).digest(),
    )


def parse_token(token: str) -> tuple[str, bytes]:
    """Return the id and the digest of the secret of a key.

    Raises:
        AuthenticationError: It is no key at all.
    """
    match = _PATTERN.fullmatch(token)
    if match is None or match[3] != _checksum(match[1], match[2]):
        raise AuthenticationError("the API key is not valid")
    return match[1], hashlib.sha256(match[2].encode("ascii")).digest()


def check_key(key: ApiKey | None, digest: bytes, now: float) -> ApiKey:
    """Return the key if it may be used now with a secret of this digest.

    Raises:
        AuthenticationError: It may not, for whatever reason: all of them read alike.
    """
    known = key.digest if key else bytes(32)
    # Compared in any case, so that the time taken tells nothing about which ids exist.
    is_good = hmac.compare_digest(known, digest)
    if key is None or not is_good or not key.is_usable_at(now):
        raise AuthenticationError("the API key is not valid")
    return key


def _text(data: bytes, length: int) -> str:
    """Spell random bytes in base 62; there are enough of them that no letter is noticeably likelier."""
    number = int.from_bytes(data, "big")
    letters = []
    for _ in range(length):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)


def _checksum(key_id: str, secret: str) -> str:
    crc = zlib.crc32(f"{PREFIX}_{key_id}_{secret}".encode("ascii"))
    return _text(crc.to_bytes(4, "big"), _CHECKSUM_LENGTH)
