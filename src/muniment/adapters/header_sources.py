"""Where block headers come from: a Bitcoin Core node, an Esplora explorer, or a file.

None of them is trusted: `timestamps.verify` checks the work of every header that it is given. What these check in
addition is what only they can: that a server answered about the block it was asked for, and that a header in a
complete file is buried under all that follow it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muniment.adapters.bounded_http import Answer, exchange, without_credentials
from muniment.archive.bitcoin import (
    HEADER_BYTES,
    MAX_LISTED_HEADERS_BYTES,
    BlockHeader,
    WorkFloor,
    minimum_work,
    parse_listed_headers,
    verify_chain,
)
from muniment.archive.timestamps import HeaderSource
from muniment.errors import ExternalServiceError, FormatError, IntegrityError, NotFoundError

GENESIS_HASH = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
"""Hash of Bitcoin's block 0."""

_MAX_ANSWER_BYTES = 10_000
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEADER = re.compile(r"[0-9a-f]{160}", re.ASCII)
_RPC_OUT_OF_RANGE = -8


@dataclass(frozen=True, slots=True)
class BitcoinCore:
    """A Bitcoin Core node at `url`, which carries the credentials: `http://user:password@127.0.0.1:8332`."""

    url: str
    timeout_s: float

    def header(self, height: int) -> bytes:
        """Ask the node for the header at `height`."""
        block_hash = _matching(_HASH, self._call("getblockhash", height), self._name)
        verbose = False
        text = self._call("getblockheader", block_hash, verbose)
        return _checked_header(block_hash, text, self._name)

    @property
    def _name(self) -> str:
        return f"Bitcoin node {without_credentials(self.url)}"

    def _call(self, method: str, *params: object) -> Any:  # noqa: ANN401  # any JSON
        request = {"jsonrpc": "1.0", "id": "muniment", "method": method, "params": params}
        answer = exchange(
            "POST",
            self.url,
            timeout_s=self.timeout_s,
            max_bytes=_MAX_ANSWER_BYTES,
            headers={"content-type": "application/json"},
            content=json.dumps(request).encode(),
        )
        if answer.status in (401, 403):
            raise ExternalServiceError(f"{self._name} refused the credentials in its address")
        return self._result(answer)

    def _result(self, answer: Answer) -> Any:  # noqa: ANN401  # any JSON
        try:
            document = json.loads(answer.body)
            error, result = document.get("error"), document.get("result")
        except (ValueError, AttributeError, RecursionError) as cause:
            raise ExternalServiceError(
                f"{self._name} answered with HTTP status {answer.status} and no JSON-RPC"
            ) from cause
        if error is None:
            return result
        if isinstance(error, dict) and error.get("code") == _RPC_OUT_OF_RANGE:
            raise NotFoundError(f"{self._name} has no block at that height yet")
        raise ExternalServiceError(f"{self._name} answered with an error: {str(error)[:200]!r}")


@dataclass(frozen=True, slots=True)
class Esplora:
    """A block explorer with the Esplora API at `url`, for example `https://blockstream.info/api`."""

    url: str
    timeout_s: float

    def header(self, height: int) -> bytes:
        """Ask the explorer for the header at `height`."""
        block_hash = _matching(_HASH, self._get(f"block-height/{height}"), self._name)
        return _checked_header(block_hash, self._get(f"block/{block_hash}/header"), self._name)

    @property
    def _name(self) -> str:
        return f"explorer {without_credentials(self.url)}"

    def _get(self, path: str) -> str:
        url = f"{self.url.rstrip('/')}/{path}"
        answer = exchange("GET", url, timeout_s=self.timeout_s, max_bytes=_MAX_ANSWER_BYTES)
        if answer.status == 404:
            raise NotFoundError(f"{self._name} does not know {path}")
        if answer.status != 200:
            raise ExternalServiceError(f"{self._name} answered with HTTP status {answer.status}")
        return answer.body.decode("ascii", "replace").strip()


def _matching(pattern: re.Pattern[str], text: object, name: str) -> str:
    if not (isinstance(text, str) and pattern.fullmatch(text)):
        raise ExternalServiceError(f"{name} answered with {str(text)[:100]!r} instead of hex")
    return text


def _checked_header(block_hash: str, text: object, name: str) -> bytes:
    header = BlockHeader.parse(bytes.fromhex(_matching(_HEADER, text, name)))
    if header.hash_hex != block_hash:
        raise ExternalServiceError(
            f"{name} answered with another block's header: expected {block_hash}, got {header.hash_hex}"
        )
    return header.raw


@dataclass(frozen=True, slots=True)
class ListedHeaders:
    """A few headers by height, as they are shipped with a proof."""

    headers: dict[int, BlockHeader]
    name: str

    def header(self, height: int) -> bytes:
        """Return the header at `height`, if it is listed."""
        if height not in self.headers:
            raise NotFoundError(f"{self.name} does not list block {height}")
        return self.headers[height].raw


class ChainFile:
    """All headers from block 0 on, 80 bytes each: Bitcoin's whole chain of work in some 75 MB.

    A header is given out only after the chain from it to the end of the file has been checked, so a fake one has to be
    followed by as many more fakes, each with its own work. That the file begins with Bitcoin's first block only tells
    it from a file of another network. The check costs some 4 s for a million headers and is done
    once for each stretch.
    """

    def __init__(
        self, path: Path, *, genesis_hash: str = GENESIS_HASH, least_work: WorkFloor = minimum_work
    ) -> None:
        size_bytes = path.stat().st_size
        if size_bytes % HEADER_BYTES or not size_bytes:
            raise FormatError(f"{path}: expected whole headers of {HEADER_BYTES} bytes each")
        self._path = path
        self._least_work = least_work
        self._count = size_bytes // HEADER_BYTES
        self._checked_from = self._count
        first = next(self._read(0, 1))
        if first.hash_hex != genesis_hash:
            raise IntegrityError(f"{path}: does not begin with block {genesis_hash}")

    def header(self, height: int) -> bytes:
        """Return the header at `height`, once the chain from there on holds."""
        if height >= self._count:
            raise NotFoundError(f"{self._path} ends at block {self._count - 1}")
        try:
            return self._checked(height)
        except OSError as error:
            raise ExternalServiceError(f"{self._path} cannot be read: {error.strerror}") from error

    def _checked(self, height: int) -> bytes:
        if height < self._checked_from:
            stop = min(
                self._checked_from + 1, self._count
            )  # one more: the link into what was checked
            verify_chain(self._read(height, stop), height, self._least_work)
            self._checked_from = height
        return next(self._read(height, height + 1)).raw

    def _read(self, start: int, stop: int) -> Iterator[BlockHeader]:
        with self._path.open("rb") as file:
            file.seek(start * HEADER_BYTES)
            for _ in range(start, stop):
                yield BlockHeader.parse(file.read(HEADER_BYTES))


def headers_file(path: Path) -> HeaderSource:
    """Open a file of headers: the whole chain (binary), or lines of a height and a header in hex.

    Raises:
        NotFoundError: There is no such file, or it cannot be read.
        FormatError: It is neither.
        IntegrityError: It is a chain, but not Bitcoin's.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
            if b"\0" in head:
                return ChainFile(path)
            text = head + file.read(MAX_LISTED_HEADERS_BYTES)
    except OSError as error:
        raise NotFoundError(f"headers file {path} cannot be read: {error.strerror}") from error
    return ListedHeaders(parse_listed_headers(text), str(path))
