"""Answers at hand: small ones to content that never changes, given again without asking anybody.

An answer is kept under everything that it depends on: method, path, query and those headers that a gateway looks at; it is shown no
others (`messages.HEADERS_READ`). Only what clients and proxies are told to keep for long themselves is kept, and for a minute. When
anything in the store or in the denylists changes, by whatever process, everything is forgotten before the next answer: what was
removed or blocked is not served again from here.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from muniment.entrypoints.gateway.contents import GENERATED, IMMUTABLE
from muniment.entrypoints.gateway.messages import HEADERS_READ, Answer
from muniment.errors import MunimentError

MAX_BYTES = 16 << 20
MAX_ANSWER_BYTES = 256 << 10
MAX_AGE_S = 60.0
"""For so long an answer is kept: no longer than what the DNS said of a host is believed."""

_ENTRY_BYTES = 2048
"""What an answer takes beyond its body and key: headers and the messages around them."""

_HEADERS = frozenset(name.encode("ascii") for name in HEADERS_READ)
_KEPT = (IMMUTABLE, GENERATED)

Message = dict[str, Any]


class Messages(NamedTuple):
    """A whole answer, as the server takes it."""

    start: Message
    body: Message

    @classmethod
    def of(cls, answer: Answer) -> "Messages":
        """Return the messages of an answer that has no rest."""
        headers = [
            (name.encode("ascii"), value.encode("latin-1", "replace"))
            for name, value in answer.headers
        ]
        return cls(
            {"type": "http.response.start", "status": answer.status, "headers": headers},
            {"type": "http.response.body", "body": answer.first, "more_body": False},
        )


class _Kept(NamedTuple):
    messages: Messages
    size_bytes: int
    expires_at: float


class HotAnswers:
    """A bounded memory of answers, for the one thread that serves.

    Args:
        generation: What changes whenever the store or a denylist does; while it is None nothing is kept.
        max_bytes: How much is kept; the answers that were not asked for longest go first.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        generation: Callable[[], Hashable],
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generation_of = generation
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: dict[Hashable, _Kept] = {}
        self._kept_bytes = 0
        self._generation: Hashable = None

    def generation(self) -> Hashable:
        """Return the generation of everything that is served; None if it cannot be told. What is kept of another is forgotten."""
        try:
            now = self._generation_of()
        except MunimentError:
            now = None
        if now != self._generation or now is None:
            self._kept.clear()
            self._kept_bytes = 0
            self._generation = now
        return now

    def find(self, key: Hashable) -> Messages | None:
        """Return what is kept of the current `generation`."""
        found = self._kept.pop(key, None)
        if found is None:
            return None
        if found.expires_at <= self._clock():
            self._kept_bytes -= found.size_bytes
            return None
        self._kept[key] = found  # to the end
        return found.messages

    def keep(self, key: Hashable, answer: Answer, messages: Messages, since: Hashable) -> None:
        """Keep an answer, if it is one to keep and nothing has changed since the generation in which it was asked for."""
        if not _is_lasting(answer) or since is None or self.generation() != since:
            return
        size_bytes = len(answer.first) + _ENTRY_BYTES + _key_bytes(key)
        if size_bytes > min(MAX_ANSWER_BYTES, self._max_bytes):
            return
        before = self._kept.pop(key, None)
        self._kept_bytes += size_bytes - (before.size_bytes if before else 0)
        self._kept[key] = _Kept(messages, size_bytes, self._clock() + MAX_AGE_S)
        while self._kept_bytes > self._max_bytes:
            self._kept_bytes -= self._kept.pop(next(iter(self._kept))).size_bytes


def request_key(scope: Mapping[str, Any]) -> Hashable:
    """Return everything in an ASGI scope that an answer to content that never changes depends on."""
    headers = tuple((name, value) for name, value in scope["headers"] if name in _HEADERS)
    return scope["method"], scope["scheme"], scope["raw_path"], scope["query_string"], headers


def _is_lasting(answer: Answer) -> bool:
    """Tell whether an answer is whole, and clients are told to keep it."""
    cached = next((value for name, value in answer.headers if name == "cache-control"), "")
    return answer.rest is None and answer.status < 400 and cached in _KEPT


def _key_bytes(key: Any) -> int:  # noqa: ANN401  # a nest of tuples
    return sum(map(_key_bytes, key)) if isinstance(key, tuple) else len(key)
