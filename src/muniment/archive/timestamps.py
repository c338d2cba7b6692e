"""Timestamps of a commit: ask for one, complete it, and verify it.

The digest of `manifest.json` is sent, blinded by a nonce, to several calendars, which put it into a Bitcoin block
within a day or so. A timestamp is therefore *pending* first and *complete* later, and checking a complete one takes the
header of its block, which has to come from somewhere. So a check has three answers, and raises if the proof is wrong:

- `Verified`: the bytes existed when that block was made;
- `Waiting`: nothing but promises of calendars so far;
- `Inconclusive`: there is an attestation, but no header to compare it with.

Everything here works on ports; `muniment.adapters.calendars`, `.header_sources` and `.rfc3161` talk to the world.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial, reduce
from threading import Thread
from typing import Protocol, TypeVar

from muniment.archive import ots
from muniment.archive.bitcoin import BlockHeader, WorkFloor, minimum_work, verify_work
from muniment.errors import (
    ExternalServiceError,
    FormatError,
    IntegrityError,
    MunimentError,
    NotFoundError,
    PendingError,
    UsageError,
)

NONCE_BYTES = 16
DIGEST_BYTES = 32

MAX_ANSWER_BYTES = 10_000
"""Of a calendar, as in the reference client; real ones take 0.1 to 2 KiB."""
MAX_ATTESTATIONS = 32
"""How many headers or calendars one proof can make us ask for; real ones name up to five."""

T = TypeVar("T")

_TRUSTED_HOSTS = re.compile(
    r"https://[a-z0-9-]+(\.[a-z0-9-]+)*\.calendar\.(opentimestamps\.org|eternitywall\.com|catallaxy\.com)/?",
    re.ASCII,
)


class Calendar(Protocol):
    """A server that collects digests and has them attested by Bitcoin."""

    @property
    def url(self) -> str:
        """Where it is reached."""

    def submit(self, message: bytes) -> bytes:
        """Hand in a message of at most 64 bytes; return its serialised timestamp.

        Raises:
            ExternalServiceError: The calendar cannot be reached or refuses.
        """

    def fetch(self, commitment: bytes) -> bytes | None:
        """Return what became of a commitment, as a serialised timestamp of it; None while there is nothing.

        Raises:
            ExternalServiceError: The calendar cannot be reached or refuses.
        """


class HeaderSource(Protocol):
    """Something that knows Bitcoin's block headers; it is not trusted, but asked."""

    def header(self, height: int) -> bytes:
        """Return the 80 bytes of the header at `height`.

        Raises:
            NotFoundError: There is no block at that height.
            ExternalServiceError: The source cannot answer.
        """


class TimestampAuthority(Protocol):
    """An RFC 3161 authority."""

    @property
    def url(self) -> str:
        """Where it is reached."""

    def request(self, message: bytes) -> bytes:
        """Return a DER `TimeStampResp` over the SHA-256 of `message`.

        Raises:
            ExternalServiceError: The authority cannot be reached, refuses, or answers about something else.
        """


@dataclass(frozen=True, slots=True)
class Verified:
    """The bytes existed when the block was made: the earliest block of all that the proof leads to."""

    height: int
    time: datetime
    block_hash: str
    """As explorers write it, to compare."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """No attestation yet, only promises of these calendars."""

    calendars: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """The proof leads to attestations that could not be checked; `reasons` say why, one for each."""

    reasons: tuple[str, ...]


TimestampStatus = Verified | Waiting | Inconclusive


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A timestamp after its calendars were asked; `notes` tell of each that added nothing."""

    detached: ots.DetachedTimestamp
    changed: bool
    notes: tuple[str, ...]


def is_trusted_calendar(uri: str, configured: Sequence[str] = ()) -> bool:
    """Whether a calendar named inside a proof may be asked: a public one by its host, or a configured one.

    A proof is hostile bytes; asking whatever address it names would let it make us send requests to anyone.
    """
    wanted = uri.rstrip("/")
    return bool(_TRUSTED_HOSTS.fullmatch(uri)) or wanted in {url.rstrip("/") for url in configured}


def stamp(
    digest: bytes, calendars: Sequence[Calendar], nonce: bytes, *, minimum_answers: int = 1
) -> ots.DetachedTimestamp:
    """Ask all `calendars` at once to timestamp a SHA-256 digest, and merge what they answer.

    They see only the digest of `digest` and `nonce` (16 random bytes), so they cannot recognise the file, nor can
    anyone who sees what they publish.

    Raises:
        UsageError: There is no calendar, or fewer than the answers wanted.
        ExternalServiceError: Fewer than `minimum_answers` calendars gave a usable answer; the message names each.
    """
    if not 1 <= minimum_answers <= len(calendars):
        raise UsageError(
            f"expected at least {max(minimum_answers, 1)} calendars, got {len(calendars)}"
        )
    if (len(digest), len(nonce)) != (DIGEST_BYTES, NONCE_BYTES):
        raise UsageError(f"expected a digest of {DIGEST_BYTES} and a nonce of {NONCE_BYTES} bytes")
    blinding = (ots.Operation(ots.APPEND, nonce), ots.Operation(ots.SHA256))
    blinded = hashlib.sha256(digest + nonce).digest()
    answers = _ask_all([partial(_submit, calendar, blinded) for calendar in calendars])
    timestamps = [answer for answer in answers if isinstance(answer, ots.Timestamp)]
    if len(timestamps) < minimum_answers:
        failures = "; ".join(str(answer) for answer in answers if isinstance(answer, MunimentError))
        raise ExternalServiceError(
            f"{len(timestamps)} of {len(calendars)} calendars answered, "
            f"{minimum_answers} needed: {failures}"
        )
    merged = reduce(ots.Timestamp.merge, timestamps).after(*blinding)
    return ots.DetachedTimestamp(ots.Operation(ots.SHA256), digest, merged)


def _submit(calendar: Calendar, message: bytes) -> ots.Timestamp:
    answer = _parse_answer(calendar, calendar.submit(message), len(message))
    if all(isinstance(path.attestation, ots.Unknown) for path in answer.paths):
        raise ExternalServiceError(f"calendar {calendar.url} answered with no known attestation")
    return answer


def _parse_answer(calendar: Calendar, answer: bytes, message_bytes: int) -> ots.Timestamp:
    if len(answer) > MAX_ANSWER_BYTES:
        raise ExternalServiceError(
            f"calendar {calendar.url} answered with more than {MAX_ANSWER_BYTES} bytes"
        )
    try:
        return ots.Timestamp.parse(answer, message_bytes)
    except FormatError as error:
        raise ExternalServiceError(
            f"calendar {calendar.url} did not answer with a timestamp: {error}"
        ) from error


def _ask_all(asks: Sequence[Callable[[], T]]) -> list[T | MunimentError]:
    """Call all at once, for each may wait for a server; return results and failures in the same order.

    Daemon threads, so that whoever interrupts the program does not wait for the slowest server.
    """
    answers: dict[int, T | Exception] = {}

    def ask(number: int, call: Callable[[], T]) -> None:
        try:
            answers[number] = call()
        except Exception as error:  # noqa: BLE001  # raised below, in the thread that asked
            answers[number] = error

    threads = [Thread(target=ask, args=item, daemon=True) for item in enumerate(asks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results: list[T | MunimentError] = []
    for number in range(len(asks)):
        answer = answers[number]
        if isinstance(answer, Exception) and not isinstance(answer, MunimentError):
            raise answer
        results.append(answer)
    return results


def upgrade(
    detached: ots.DetachedTimestamp, calendar_for: Callable[[str], Calendar | None]
) -> Upgrade:
    """Ask the calendar of every promise that is still open for the attestation, and merge what they have.

    `calendar_for` returns the calendar at an address, or None if it is not to be asked (`is_trusted_calendar`).
    The promises stay in the proof: a calendar may have more to say later. A calendar that cannot be reached, refuses,
    or answers nonsense is noted and stops no other.

    Raises:
        FormatError: The proof names more calendars than any real one.
    """
    asks: list[Callable[[], ots.Timestamp]] = []
    notes: list[str] = []
    for commitment, path, uri in _open_promises(detached):
        calendar = calendar_for(uri)
        if calendar is None:
            notes.append(f"calendar {uri} is not trusted: add it to the setting 'calendars'")
        elif commitment is None:
            notes.append(f"calendar {uri} cannot be asked: a hash function is missing here")
        else:
            asks.append(partial(_fetch, calendar, commitment, path))
    upgraded = detached
    for answer in _ask_all(asks):
        try:
            upgraded = _merged(upgraded, answer)
        except MunimentError as error:
            notes.append(str(error))
    return Upgrade(upgraded, upgraded != detached, tuple(notes))


def _open_promises(
    detached: ots.DetachedTimestamp,
) -> list[tuple[bytes | None, ots.Path, str]]:
    """Return the pending paths that no Bitcoin attestation continues yet, with commitment and calendar."""
    complete = [p.operations for p in detached.timestamp.paths if _is_bitcoin(p.attestation)]
    promises = [
        (commitment, path, path.attestation.uri)
        for commitment, path in detached.commitments()
        if isinstance(path.attestation, ots.Pending)
        and not any(done[: len(path.operations)] == path.operations for done in complete)
    ]
    _check_count(len(promises))
    return promises


def _fetch(calendar: Calendar, commitment: bytes, path: ots.Path) -> ots.Timestamp:
    answer = calendar.fetch(commitment)
    if answer is None:
        raise PendingError(f"calendar {calendar.url} has no attestation yet")
    timestamp = _parse_answer(calendar, answer, len(commitment))
    if not any(_is_bitcoin(found.attestation) for found in timestamp.paths):
        raise PendingError(f"calendar {calendar.url} has no attestation by Bitcoin yet")
    return timestamp.after(*path.operations)


def _merged(
    detached: ots.DetachedTimestamp, addition: ots.Timestamp | MunimentError
) -> ots.DetachedTimestamp:
    if isinstance(addition, MunimentError):
        raise addition
    merged = replace(detached, timestamp=detached.timestamp.merge(addition))
    merged.serialize()  # raises where the answers would make the file larger than a reader accepts
    return merged


def _is_bitcoin(attestation: ots.Attestation) -> bool:
    return isinstance(attestation, ots.Block) and attestation.chain is ots.Chain.BITCOIN


def _check_count(count: int) -> None:
    if count > MAX_ATTESTATIONS:
        raise FormatError(
            f"expected a timestamp with at most {MAX_ATTESTATIONS} attestations to ask about, got {count}"
        )


def verify(
    detached: ots.DetachedTimestamp,
    digest: bytes,
    source: HeaderSource | None,
    *,
    least_work: WorkFloor = minimum_work,
) -> TimestampStatus:
    """Check that `detached` is about the SHA-256 `digest`, and when that existed at the latest.

    Every Bitcoin attestation is considered, the earliest block first; one that holds is enough, as each is a proof by
    itself. A header counts only if it shows the work that `least_work` asks for at its height.

    Raises:
        IntegrityError: The proof is about another digest, or none of its attestations holds and at least one is
            contradicted by the header of its block.
    """
    _verify_digest(detached, digest)
    blocks: list[tuple[int, bytes | None]] = []
    calendars: list[str] = []
    reasons: list[str] = []
    for commitment, path in detached.commitments():
        match path.attestation:
            case ots.Block(ots.Chain.BITCOIN, height):
                blocks.append((height, commitment))
            case ots.Pending(uri):
                calendars.append(uri)
            case other:
                reasons.append(f"{other} is of a kind that this software does not check")
    _check_count(len(blocks))
    if not blocks:
        return Waiting(tuple(calendars)) if calendars else Inconclusive(tuple(reasons))
    return _verify_blocks(blocks, source, least_work)


def _verify_digest(detached: ots.DetachedTimestamp, digest: bytes) -> None:
    if detached.digest_operation.tag != ots.SHA256:
        raise IntegrityError(
            f"expected a timestamp of a sha256 digest, got {detached.digest_operation}"
        )
    if detached.digest != digest:
        raise IntegrityError(
            f"the timestamp is about another file: expected digest {digest.hex()}, "
            f"got {detached.digest.hex()}"
        )


def _verify_blocks(
    blocks: list[tuple[int, bytes | None]], source: HeaderSource | None, least_work: WorkFloor
) -> Verified | Inconclusive:
    wrong: list[str] = []
    reasons: list[str] = []
    for height, commitment in sorted(blocks, key=lambda block: block[0]):
        try:
            header = _header(source, height, least_work)
        except MunimentError as error:  # says nothing about the proof: the source is at fault
            reasons.append(f"block {height}: {error}")
            continue
        if commitment is None:
            reasons.append(f"block {height}: a hash function is missing here")
        elif commitment == header.merkle_root:
            return Verified(height, header.time, header.hash_hex)
        else:
            wrong.append(
                f"expected Merkle root {header.merkle_root_hex} in block {height}, "
                f"got {commitment[::-1].hex()}"
            )
    if wrong:
        raise IntegrityError(f"the timestamp does not hold: {'; '.join(wrong)}")
    return Inconclusive(tuple(reasons))


def _header(source: HeaderSource | None, height: int, least_work: WorkFloor) -> BlockHeader:
    if source is None:
        raise NotFoundError("no source of block headers is set up")
    header = BlockHeader.parse(source.header(height))
    verify_work(header, least_work(height))
    return header


def info(detached: ots.DetachedTimestamp) -> list[str]:
    """Describe a proof for people, one line for each step, deeper where it branches."""
    lines = [f"{detached.digest_operation} of the file: {detached.digest.hex()}"]
    commitments = detached.commitments()
    for visit in detached.timestamp.walk():
        indent = "  " * (visit.forks + 1)
        lines.append(f"{indent}{visit.item}")
        if isinstance(visit.item, ots.Operation):
            continue
        commitment, _ = next(commitments)
        if isinstance(visit.item, ots.Block) and commitment is not None:
            lines.append(f"{indent}  Merkle root {commitment[::-1].hex()}")
    return lines
