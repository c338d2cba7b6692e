"""Requests that may be sent again: the answer to the first one is kept, and given to all that come later with the same key.

As draft-ietf-httpapi-idempotency-key-header-07 has it. A key belongs to the organisation and the API key that it came with. What is kept of
an answer is encrypted under the API key's own secret, which the service does not have: an answer may hold a secret itself.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from muniment.errors import ConflictError, UsageError

KEPT_S = 86_400
"""Seconds that an answer is kept."""

ANSWER_BYTES_MAX = 64 * 1024
_LENGTH_MAX = 255
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')  # RFC 8941, section 3.3.3
_BARE = re.compile(r"[A-Za-z0-9._:~-]+")


class LostRequestError(ConflictError):
    """The request took too long, and was given up for another one with its key; nothing was changed."""


class Standing(Enum):
    """What is known of a request with a key."""

    FIRST = auto()  # it has to be done now
    RUNNING = auto()
    OTHER = auto()  # the key came with another request
    DONE = auto()
    LOST = auto()  # it took effect, and its answer was lost


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What names a request.

    Attributes:
        organization_id: Whose it is.
        key_id: The API key that it came with.
        key: The value of `Idempotency-Key`.
    """

    organization_id: str
    key_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a request.

    Attributes:
        standing: What became of it.
        token: Of the first: what its end has to name.
        answer: Of one that is done: its encrypted answer.
    """

    standing: Standing
    token: str = ""
    answer: bytes = b""


Within = Any
"""A transaction, as the adapter knows it."""


class RequestStore(Protocol):
    """What idempotency needs of a database.

    Attributes:
        lease_s: Seconds after which a request that neither ended, nor changed anything, nor was renewed counts as given up.
    """

    lease_s: float

    def begin(self, key: RequestKey, fingerprint: bytes, token: str) -> Found:
        """Enter a request, or find what became of the one with its key."""

    def marker(self, key: RequestKey, token: str) -> Callable[[Within], None]:
        """Return what each transaction of the request that changes something for good has to call, so that it is known that it took effect.

        It raises `LostRequestError` where the request was given up.
        """

    def renew(self, key: RequestKey, token: str) -> None:
        """Note that the request goes on, if it was not given up."""

    def finish(self, key: RequestKey, token: str, answer: bytes) -> None:
        """Keep the answer."""

    def give_up(self, key: RequestKey, token: str) -> None:
        """Forget a request that changed nothing, so that it can be sent again; one that took effect stays."""

    def prune(self) -> int:
        """Remove what was kept for long enough, and return how many."""


def parse_key(field: str) -> str:
    """Return the key in a field `Idempotency-Key`: a string in quotes, as the draft has it, or a plain word, as many clients send it.

    Raises:
        UsageError: It is neither, or longer than 255 characters.
    """
    quoted = _QUOTED.fullmatch(field)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else field
    if not 0 < len(key) <= _LENGTH_MAX or not (quoted or _BARE.fullmatch(key)):
        raise UsageError(
            f'Idempotency-Key must be a string in quotes of 1 to {_LENGTH_MAX} characters, as in "8e03978e-40d5-43dd-bc93-6894a57f9324"'
        )
    return key


def fingerprint(*parts: bytes) -> bytes:
    """Return what two requests have in common if they are the same."""
    digest = hashlib.blake2b(digest_size=32, person=b"muniment-request")
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def answer_key(secret: str) -> bytes:
    """Return the key that answers to who has this secret are encrypted under."""
    return hashlib.blake2b(secret.encode(), digest_size=32, person=b"muniment-answers").digest()
