"""A chain of cheap blocks, and the two protocols by which clients ask for its headers.

The blocks take no work to make, so nothing accepts them by default: a verifier has to be given `no_work` as its floor.
"""

import hashlib
import json
import struct
from typing import Any

from muniment.archive.bitcoin import BlockHeader
from muniment.testing.loopback import LoopbackServer, Response

_EASIEST_BITS = 0x207FFFFF
"""The target of Bitcoin's regtest network, which every second hash meets."""
_BLOCK_INTERVAL_S = 600


def no_work(height: int) -> int:
    """Accept the blocks of this module, as a floor of work. Never use it for anything real."""
    del height
    return 0


def make_header(previous: bytes, merkle_root: bytes, time_s: int) -> BlockHeader:
    """Return a header that meets the easiest target there is."""
    for nonce in range(1 << 16):
        raw = struct.pack("<i32s32sIII", 1, previous, merkle_root, time_s, _EASIEST_BITS, nonce)
        header = BlockHeader.parse(raw)
        if int.from_bytes(header.hash, "little") <= header.target:
            return header
    raise AssertionError("no nonce of 65,536 met a target that every second hash meets")


class LocalChain:
    """A chain of blocks of which only the headers exist; it is a `HeaderSource` too."""

    def __init__(self, start_s: int = 1_500_000_000) -> None:
        self._start_s = start_s
        self.headers = [make_header(bytes(32), hashlib.sha256(b"genesis").digest(), start_s)]

    def append(self, merkle_root: bytes) -> int:
        """Add a block with that Merkle root; return its height."""
        time_s = self._start_s + _BLOCK_INTERVAL_S * len(self.headers)
        self.headers.append(make_header(self.headers[-1].hash, merkle_root, time_s))
        return len(self.headers) - 1

    def header(self, height: int) -> bytes:
        """Return the header at `height`."""
        return self.headers[height].raw

    def to_bytes(self) -> bytes:
        """Return all headers one after another, as a file of headers holds them."""
        return b"".join(header.raw for header in self.headers)


class LocalNode(LoopbackServer):
    """Serves a chain like Bitcoin Core (`rpc_url`) and like an Esplora explorer (`esplora_url`)."""

    def __init__(self, chain: LocalChain) -> None:
        super().__init__(self._respond)
        self.chain = chain
        self.rpc_url = self.url.replace("//", "//user:password@")
        self.esplora_url = f"{self.url}/esplora"

    def _respond(self, method: str, path: str, body: bytes) -> Response:
        if method == "POST":
            error, result = self._call(json.loads(body))
            answer = {"result": result, "error": error, "id": "x"}
            return (500 if error else 200), {}, [json.dumps(answer).encode()]
        text = self._explore(path.removeprefix("/esplora/").split("/"))
        return (200, {}, [text.encode()]) if text else (404, {}, [b"Block not found"])

    def _call(self, request: dict[str, Any]) -> tuple[object, object]:
        match request["method"], request["params"]:
            case "getblockcount", []:
                return None, len(self.chain.headers) - 1
            case "getblockhash", [height] if 0 <= height < len(self.chain.headers):
                return None, self.chain.headers[height].hash_hex
            case "getblockheader", [block_hash, False] if block_hash in self._by_hash():
                return None, self._by_hash()[block_hash].raw.hex()
            case _:
                return {"code": -8, "message": "Block height out of range"}, None

    def _explore(self, parts: list[str]) -> str | None:
        match parts:
            case ["block-height", height] if int(height) < len(self.chain.headers):
                return self.chain.headers[int(height)].hash_hex
            case ["block", block_hash, "header"] if block_hash in self._by_hash():
                return self._by_hash()[block_hash].raw.hex()
            case _:
                return None

    def _by_hash(self) -> dict[str, BlockHeader]:
        return {header.hash_hex: header for header in self.chain.headers}
