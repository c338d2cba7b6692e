"""What is known of a commit's time, read from the proof and the tokens beside its manifest."""

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from muniment.archive import timestamps
from muniment.archive.commit_source import read_whole
from muniment.archive.manifest import (
    MANIFEST_BYTES_MAX,
    MANIFEST_NAME,
    RFC3161_NAME,
    TIMESTAMP_NAME,
)
from muniment.archive.ots import DetachedTimestamp
from muniment.archive.sources import CommitSource
from muniment.errors import IntegrityError
from muniment.text import moment

if TYPE_CHECKING:
    from muniment.archive.timestamps import HeaderSource, TimestampStatus


PROOF_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class TokenCheck:
    """What is known of the RFC 3161 tokens.

    Attributes:
        state: `verified` or `not checked`.
        detail: For people: who said which time, or why they were not checked.
        times: Each authority that holds under the roots, and its time in RFC 3339.
    """

    state: str
    detail: str
    times: tuple[tuple[str, str], ...] = ()

    def view(self) -> dict[str, Any]:
        """Describe it as JSON."""
        times = [{"authority": authority, "time": time} for authority, time in self.times]
        return {"state": self.state, "detail": self.detail, "times": times}


@dataclass(frozen=True)
class TimestampCheck:
    """The answer: `verified`, `pending`, `queued` or `inconclusive`.

    Attributes:
        state: One of these words.
        detail: For people: since when, which calendars, why not.
        height: Of the block that proves it, when verified.
        time_s: That block's time in seconds since 1970.
        tokens: What is known of the tokens; None where there are none.
    """

    state: str
    detail: str
    height: int | None = None
    time_s: int | None = None
    tokens: TokenCheck | None = None

    def view(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return {
            "state": self.state,
            "detail": self.detail,
            "bitcoin_height": self.height,
            "bitcoin_time": moment(self.time_s),
            "tokens": self.tokens.view() if self.tokens else None,
        }

    def __str__(self) -> str:
        proof = f"{self.state} ({self.detail})" if self.detail else self.state
        return f"{proof}; RFC 3161 {self.tokens.detail}" if self.tokens else proof


def read_proof(folder: CommitSource) -> DetachedTimestamp | None:
    """Return the proof beside a manifest, or None where there is none yet.

    Raises:
        FormatError: It is no proof.
    """
    if TIMESTAMP_NAME not in folder.names():
        return None
    return DetachedTimestamp.parse(read_whole(folder, TIMESTAMP_NAME, PROOF_BYTES_MAX))


def manifest_digest(folder: CommitSource) -> bytes:
    """Return the SHA-256 that a proof is about."""
    return hashlib.sha256(read_whole(folder, MANIFEST_NAME, MANIFEST_BYTES_MAX)).digest()


def check_timestamp(
    folder: CommitSource, source: "HeaderSource | None", roots_pem: bytes | None
) -> TimestampCheck:
    """Check the proof and the tokens beside a manifest.

    Args:
        folder: The commit.
        source: Where headers of Bitcoin's blocks come from; None for nowhere.
        roots_pem: Certificates of the authorities that are trusted; None to leave tokens unchecked.

    Raises:
        IntegrityError: The proof or the tokens are damaged, about something else, or contradicted.
        UsageError: The roots are no certificates.
    """
    proof = read_proof(folder)
    if proof is None:
        check = TimestampCheck("queued", "no calendar was reached yet")
    else:
        check = _in_words(timestamps.verify(proof, manifest_digest(folder), source))
    return replace(check, tokens=_check_tokens(folder, roots_pem))


def _check_tokens(folder: CommitSource, roots_pem: bytes | None) -> TokenCheck | None:
    if RFC3161_NAME not in folder.names():
        return None
    if roots_pem is None:
        return TokenCheck("not checked", "not checked: no roots set")
    from muniment.adapters import rfc3161  # noqa: PLC0415  # few commits have tokens, and it imports an HTTP client

    data = read_whole(folder, RFC3161_NAME, rfc3161.MAX_TOKENS * rfc3161.MAX_TOKEN_BYTES)
    try:
        found = rfc3161.verify_tokens(data, manifest_digest(folder), roots_pem)
    except IntegrityError as error:
        raise type(error)(f"{RFC3161_NAME}: {error}") from error
    times = tuple((token.authority, f"{token.time:%Y-%m-%dT%H:%M:%SZ}") for token in found.verified)
    words = [f"signed by {authority} at {time}" for authority, time in times]
    return TokenCheck("verified", "; ".join([*words, *found.unverified]), times)


def _in_words(status: "TimestampStatus") -> TimestampCheck:
    match status:
        case timestamps.Verified(height, time):
            return TimestampCheck(
                "verified",
                f"existed on {time:%Y-%m-%d %H:%M} UTC, Bitcoin block {height}",
                height,
                int(time.timestamp()),
            )
        case timestamps.Waiting(calendars):
            return TimestampCheck("pending", f"promised by {', '.join(calendars)}")
        case timestamps.Inconclusive(reasons):
            return TimestampCheck("inconclusive", "; ".join(reasons))
