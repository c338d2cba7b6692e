"""What is known of a commit's timestamp, read from the proof beside its manifest."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from muniment.adapters.commit_folder import CommitFolder
from muniment.archive import timestamps
from muniment.archive.commit_source import read_whole
from muniment.archive.manifest import MANIFEST_BYTES_MAX, MANIFEST_NAME, TIMESTAMP_NAME
from muniment.archive.ots import DetachedTimestamp
from muniment.entrypoints.cli.text import moment

if TYPE_CHECKING:
    from muniment.archive.timestamps import HeaderSource, TimestampStatus


PROOF_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class TimestampCheck:
    """The answer: `verified`, `pending`, `queued` or `inconclusive`.

    Attributes:
        state: One of these words.
        detail: For people: since when, which calendars, why not.
        height: Of the block that proves it, when verified.
        time_s: That block's time in seconds since 1970.
    """

    state: str
    detail: str
    height: int | None = None
    time_s: int | None = None

    def view(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return {
            "state": self.state,
            "detail": self.detail,
            "bitcoin_height": self.height,
            "bitcoin_time": moment(self.time_s),
        }

    def __str__(self) -> str:
        return f"{self.state} ({self.detail})" if self.detail else self.state


def read_proof(folder: CommitFolder) -> DetachedTimestamp | None:
    """Return the proof beside a manifest, or None where there is none yet.

    Raises:
        FormatError: It is no proof.
    """
    if TIMESTAMP_NAME not in folder.names():
        return None
    return DetachedTimestamp.parse(read_whole(folder, TIMESTAMP_NAME, PROOF_BYTES_MAX))


def manifest_digest(folder: CommitFolder) -> bytes:
    """Return the SHA-256 that a proof is about."""
    return hashlib.sha256(read_whole(folder, MANIFEST_NAME, MANIFEST_BYTES_MAX)).digest()


def check_timestamp(folder: CommitFolder, source: "HeaderSource | None") -> TimestampCheck:
    """Check the proof beside a manifest.

    Raises:
        IntegrityError: The proof is damaged, about something else, or contradicted.
    """
    proof = read_proof(folder)
    if proof is None:
        return TimestampCheck("queued", "no calendar was reached yet")
    return _in_words(timestamps.verify(proof, manifest_digest(folder), source))


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
