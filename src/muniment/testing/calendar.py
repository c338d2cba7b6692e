"""An OpenTimestamps calendar in this process, for tests and for trying things out offline.

It speaks the calendars' HTTP protocol to any client, ours and the reference one, and puts what it was handed into
blocks of a `LocalChain` when told to.
"""

import hashlib
import threading
from collections.abc import Iterator

from muniment.archive import ots
from muniment.testing.bitcoin_node import LocalChain
from muniment.testing.loopback import LoopbackServer, Response

_Steps = tuple[ots.Operation, ...]
_SHA256 = ots.Operation(ots.SHA256)
_SHA256D = (_SHA256, _SHA256)


class LocalCalendar(LoopbackServer):
    """A calendar on a loopback port. `mine` puts all commitments that wait into one block.

    `behaviour` makes it misbehave: "offline" refuses, "stalled" sends one byte and no more, "endless" never stops,
    "nonsense" sends bytes that are no timestamp, "elsewhere" redirects, "pending" claims to have nothing.
    """

    def __init__(self, chain: LocalChain) -> None:
        super().__init__(self._respond)
        self.chain = chain
        self.behaviour = "honest"
        self.submitted: list[bytes] = []
        self._waiting: dict[bytes, None] = {}
        self._attested: dict[bytes, ots.Timestamp] = {}
        self._closing = threading.Event()

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        super().__exit__(*exc)

    def submit(self, message: bytes) -> ots.Timestamp:
        """Promise to have `message` attested."""
        self.submitted.append(message)
        steps = (_prepend(len(self.submitted).to_bytes(4, "big")), _SHA256)
        self._waiting[_apply(steps, message)] = None
        return _attested_by(ots.Pending(self.url)).after(*steps)

    def attested(self, commitment: bytes) -> ots.Timestamp | None:
        """Return how a block attests a commitment; None before one does."""
        return self._attested.get(commitment)

    def mine(self) -> int:
        """Put everything that waits into one block, in a transaction that has a neighbour; return its height."""
        root, paths = _merkle(list(self._waiting) or [bytes(32)])
        transaction = (_prepend(b"a transaction that pays "), _append(b" to nobody"), *_SHA256D)
        neighbour = hashlib.sha256(b"another transaction").digest()
        steps = (*transaction, _prepend(neighbour), *_SHA256D)
        height = self.chain.append(_apply(steps, root))
        block = _attested_by(ots.Block(ots.Chain.BITCOIN, height))
        for commitment in self._waiting:
            self._attested[commitment] = block.after(*paths[commitment], *steps)
        self._waiting.clear()
        return height

    def _respond(self, method: str, path: str, body: bytes) -> Response:
        match self.behaviour:
            case "offline":
                return 503, {}, [b"Service Unavailable"]
            case "stalled":
                return 200, {}, self._stall()
            case "endless":
                return 200, {}, self._repeat()
            case "nonsense":
                return 200, {}, [b"<html>Please log in</html>"]
            case "elsewhere":
                return 302, {"location": f"{self.url}/elsewhere"}, []
        if (method, path) == ("POST", "/digest"):
            return 200, {}, [self.submit(body).serialize()]
        timestamp = self.attested(bytes.fromhex(path.removeprefix("/timestamp/")))
        if timestamp is None or self.behaviour == "pending":
            return 404, {}, [b"Pending confirmation in Bitcoin blockchain"]
        return 200, {}, [timestamp.serialize()]

    def _stall(self) -> Iterator[bytes]:
        yield b"\0"
        self._closing.wait()

    def _repeat(self) -> Iterator[bytes]:
        while not self._closing.is_set():
            yield bytes(4096)


def _append(suffix: bytes) -> ots.Operation:
    return ots.Operation(ots.APPEND, suffix)


def _prepend(prefix: bytes) -> ots.Operation:
    return ots.Operation(ots.PREPEND, prefix)


def _attested_by(attestation: ots.Attestation) -> ots.Timestamp:
    return ots.Timestamp(frozenset({ots.Path((), attestation)}))


def _apply(steps: _Steps, message: bytes) -> bytes:
    for step in steps:
        result = step.apply(message)
        assert result is not None, "a calendar uses only operations that every machine has"
        message = result
    return message


def _merkle(messages: list[bytes]) -> tuple[bytes, dict[bytes, _Steps]]:
    """Return the root of a tree over the messages, and the steps from each of them to it."""
    if len(messages) == 1:
        return messages[0], {messages[0]: ()}
    middle = len(messages) // 2
    left, left_paths = _merkle(messages[:middle])
    right, right_paths = _merkle(messages[middle:])
    paths = {message: (*steps, _append(right), _SHA256) for message, steps in left_paths.items()}
    paths |= {message: (*steps, _prepend(left), _SHA256) for message, steps in right_paths.items()}
    return hashlib.sha256(left + right).digest(), paths
