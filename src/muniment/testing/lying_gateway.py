"""A trustless gateway on a loopback port that can be made to fail and to lie, in every way that `LIES` and `FAILURES` name."""

import io
import itertools
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import NamedTuple, Self

from muniment.content import car
from muniment.content.cid import CID, RAW
from muniment.content.dag_scope import select_blocks
from muniment.content.path_resolution import Get
from muniment.errors import FormatError, NotFoundError
from muniment.testing.loopback import LoopbackServer, Response

_MIB = 1 << 20
_FOREIGN = b"a block that belongs to nothing"


class Honest(NamedTuple):
    """The right answer to a request: its path and query, and what there is to say."""

    target: str
    status: int
    body: bytes

    @property
    def is_car(self) -> bool:
        """Whether a CAR was asked for."""
        return "format=car" in self.target

    def send(self) -> Response:
        """Return the answer as it is."""
        return answer(self.status, self.body)


Twist = Callable[[Honest], Response]
"""Makes of the right answer what is sent."""


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    """Return an answer of one piece, of the length that it says."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"content-length": str(len(body))} | named, [body]


class LyingGateway:
    """Serves single blocks and CARs while it is open as a context manager.

    Args:
        get: Where its blocks come from.
        twist: What it makes of the right answers; nothing by default.

    Attributes:
        url: Its address.
        asked: Path and query of every request.
    """

    def __init__(self, get: Get, twist: Twist = Honest.send) -> None:
        self.asked: list[str] = []
        self._get = get
        self._twist = twist
        self._server = LoopbackServer(self._respond)
        self.url = self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, traceback)

    def _respond(self, _method: str, target: str, _body: bytes) -> Response:
        self.asked.append(target)
        return self._twist(self._honest(target))

    def _honest(self, target: str) -> Honest:
        path, _, query = target.partition("?")
        try:
            cid = CID.parse(path.rpartition("/")[2])
            body = self._car(cid) if "format=car" in query else self._get(cid)
        except (NotFoundError, FormatError):
            return Honest(target, 404, b"")
        return Honest(target, 200, body)

    def _car(self, cid: CID) -> bytes:
        return _write_car([cid], select_blocks([], cid, self._get, "all"))


def _write_car(roots: list[CID], blocks: Iterable[tuple[CID, bytes]]) -> bytes:
    out = io.BytesIO()
    car.write_car(out, roots, blocks)
    return out.getvalue()


def _damaged(honest: Honest) -> Response:
    """One bit of the last block is another."""
    body = bytearray(honest.body or b"\0")
    body[-1] ^= 1
    return answer(200, bytes(body))


def _zeros(honest: Honest) -> Response:
    """The right length, and nothing in it."""
    return answer(200, bytes(len(honest.body)))


def _garbage(_honest: Honest) -> Response:
    return answer(200, b"\xff" * 1000)


def _shortened(honest: Honest) -> Response:
    """Half of it, which says that it is all."""
    return answer(200, honest.body[: len(honest.body) // 2])


def _endless(_honest: Honest) -> Response:
    return 200, {}, itertools.repeat(bytes(_MIB), 64)


def _foreign_block(_honest: Honest) -> Response:
    """A block that is right in itself, and was not asked for."""
    cid = CID.of(RAW, _FOREIGN)
    return answer(200, _write_car([cid], [(cid, _FOREIGN)]))


def _redirects_in_circles(honest: Honest) -> Response:
    return answer(302, location=honest.target)


def _redirects_inward(_honest: Honest) -> Response:
    """A server-side request forgery: somewhere else on the machine of whoever fetches."""
    return answer(302, location="http://127.0.0.1:9/ipfs/bafkqaaa")


def _redirects_to_a_file(_honest: Honest) -> Response:
    return answer(302, location="file:///etc/passwd")


def _breaks_off(honest: Honest) -> Response:
    """The connection ends in the middle."""
    size = {"content-length": str(len(honest.body) + 1)}
    return 200, size, [honest.body[: len(honest.body) // 2]]


def _fails(_honest: Honest) -> Response:
    return answer(500)


def _is_overloaded(_honest: Honest) -> Response:
    return answer(503, retry_after="3600")


def _is_something_else(_honest: Honest) -> Response:
    return answer(418, b"<html>", content_type="text/html")


def has_nothing(_honest: Honest) -> Response:
    """Say that the block is not here."""
    return answer(404)


def leaves_out_blocks(honest: Honest) -> Response:
    """Leave every third block out of CARs."""
    if not honest.is_car or honest.status != 200:
        return honest.send()
    reader = car.CarReader(io.BytesIO(honest.body))
    kept = (block for number, block in enumerate(reader) if number % 3 != 2)
    return answer(200, _write_car(list(reader.roots), kept))


def gives_no_cars(honest: Honest) -> Response:
    """Give single blocks only."""
    return answer(406) if honest.is_car else honest.send()


LIES: tuple[Twist, ...] = (
    _damaged,
    _zeros,
    _garbage,
    _shortened,
    _endless,
    _foreign_block,
    _redirects_in_circles,
    _redirects_inward,
    _redirects_to_a_file,
)
"""What no honest gateway does. Each is noticed at the first answer to a request for a block that is not empty."""

FAILURES: tuple[Twist, ...] = (_breaks_off, _fails, _is_overloaded, _is_something_else)
"""What happens to honest gateways, too."""
