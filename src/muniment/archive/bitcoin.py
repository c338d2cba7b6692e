"""Bitcoin block headers: their 80 bytes, their proof of work, and files of them.

A header is all that a timestamp needs of Bitcoin: the Merkle root that it commits to, and the time. That a header is
Bitcoin's own cannot be seen from the header, but what it cost to make can: its hash has to be below a target, and
`minimum_work` says how much work a header at some height must show at least. Faking one header at a height of today
takes more than 2**76 hashes: some 20,000 US dollars of electricity at 20 J per 10**12 hashes and 0.05 dollars per
kWh. That is a price, not a proof: who needs more compares the block's hash with a node or several explorers, or
keeps a file of all headers, where a fake has to be buried under as many more headers as followed the true one.

Source: Bitcoin developer reference, "Block Headers" and "Target nBits".
"""

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from muniment.errors import FormatError, IntegrityError

HEADER_BYTES = 80

WorkFloor = Callable[[int], int]
"""The least work, in expected hashes, that the header at a height must show."""

_WORK_FLOORS = ((800_000, 1 << 76), (600_000, 1 << 74), (500_000, 1 << 70), (350_000, 1 << 64))
"""From a height on: between a third and a twelfth of the least that Bitcoin's own headers have shown since."""


def minimum_work(height: int) -> int:
    """Return the least work, in expected hashes, that Bitcoin's own header at `height` shows."""
    for since, work in _WORK_FLOORS:
        if height >= since:
            return work
    return 1 << 32  # difficulty 1, the network's own minimum


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """One header. Hashes are in the order of the bytes, explorers show them reversed (`*_hex` does)."""

    raw: bytes
    previous: bytes
    merkle_root: bytes
    time_s: int
    """Seconds since 1970 by the miner's clock: off by up to two hours."""
    bits: int

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read the 80 bytes of a header.

        Raises:
            FormatError: They are not 80 bytes.
        """
        if len(raw) != HEADER_BYTES:
            raise FormatError(f"expected a block header of {HEADER_BYTES} bytes, got {len(raw)}")
        _version, previous, merkle_root, time_s, bits, _nonce = struct.unpack("<i32s32sIII", raw)
        return cls(bytes(raw), previous, merkle_root, time_s, bits)

    @property
    def hash(self) -> bytes:
        """The double SHA-256 that names the block."""
        return hashlib.sha256(hashlib.sha256(self.raw).digest()).digest()

    @property
    def hash_hex(self) -> str:
        """The block's hash as explorers and nodes write it."""
        return self.hash[::-1].hex()

    @property
    def merkle_root_hex(self) -> str:
        """The Merkle root as explorers and nodes write it."""
        return self.merkle_root[::-1].hex()

    @property
    def time(self) -> datetime:
        """The time in the header, UTC."""
        return datetime.fromtimestamp(self.time_s, UTC)

    @property
    def target(self) -> int:
        """The number that the hash must not exceed; 0, which no hash meets, if `bits` encodes none."""
        exponent, mantissa = self.bits >> 24, self.bits & 0x7FFFFF
        if self.bits & 0x800000 or exponent > 32:  # negative, or beyond 256 bits
            return 0
        return mantissa << 8 * (exponent - 3) if exponent >= 3 else mantissa >> 8 * (3 - exponent)

    @property
    def work(self) -> int:
        """How many hashes it takes on average to meet the target."""
        return (1 << 256) // (self.target + 1)


def verify_work(header: BlockHeader, least_work: int) -> None:
    """Check that `header` meets its own target, and that meeting it takes `least_work` hashes at least.

    Raises:
        IntegrityError: It does not: the header was never Bitcoin's.
    """
    if int.from_bytes(header.hash, "little") > header.target:
        raise IntegrityError(f"block header {header.hash_hex} does not meet its own target")
    if header.work < least_work:
        raise IntegrityError(
            f"block header {header.hash_hex} shows too little work: expected at least "
            f"2**{least_work.bit_length() - 1} hashes, got 2**{header.work.bit_length() - 1}"
        )


def verify_chain(headers: Iterable[BlockHeader], height: int, least_work: WorkFloor) -> None:
    """Check that each header, the first being at `height`, shows its work and names the one before it.

    Raises:
        IntegrityError: A header shows too little work or does not follow the one before it.
    """
    previous: bytes | None = None
    for at, header in enumerate(headers, start=height):
        verify_work(header, least_work(at))
        if previous is not None and header.previous != previous:
            raise IntegrityError(f"block header {at} does not follow the header before it")
        previous = header.hash


MAX_LISTED_HEADERS_BYTES = 1 << 20


def parse_listed_headers(text: bytes) -> dict[int, BlockHeader]:
    """Read a small file of lines `height header-in-hex`, such as goes with a proof; `#` starts a comment.

    Raises:
        FormatError: It is too large, a line is anything else, or two lines give the same height.
    """
    if len(text) > MAX_LISTED_HEADERS_BYTES:
        raise FormatError(
            f"expected a list of headers of at most {MAX_LISTED_HEADERS_BYTES} bytes, got {len(text)}"
        )
    headers: dict[int, BlockHeader] = {}
    for number, line in enumerate(text.split(b"\n"), start=1):
        fields = line.split(b"#")[0].split()
        if not fields:
            continue
        try:
            height_text, header_hex = (field.decode("ascii") for field in fields)
            height, raw = _decimal(height_text), bytes.fromhex(header_hex)
        except ValueError as error:
            raise FormatError(f"line {number}: expected a height and a header in hex") from error
        if height in headers:
            raise FormatError(f"line {number}: height {height} is given twice")
        headers[height] = BlockHeader.parse(raw)
    return headers


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ValueError
    return int(text)
