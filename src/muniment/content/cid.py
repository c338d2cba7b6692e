"""Content identifiers (CIDs): the self-describing name of a block, which its bytes must hash to.

Formats: multiformats/cid for versions 0 and 1, multiformats/multihash for the digest. Reading is strict: every CID has one
accepted binary form, and one accepted text in each alphabet.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from muniment.content import multibase, varint
from muniment.errors import FormatError, IntegrityError

RAW = 0x55
"""Codec of a block that is just bytes."""
DAG_PB = 0x70
"""Codec of a MerkleDAG protobuf node: UnixFS files and directories."""

SHA2_256 = 0x12
IDENTITY = 0x00

MAX_DIGEST_BYTES = 128
"""Longest digest accepted: the limit of identity CIDs in IPIP-512, twice the longest hash in use."""

_SHA256_HEAD = bytes([SHA2_256, 32])
_V1_SHA256_HEADS = {codec: bytes([1, codec]) + _SHA256_HEAD for codec in (RAW, DAG_PB)}
_SHA256_CID_HEADS = frozenset(_V1_SHA256_HEADS.values())


@dataclass(frozen=True, slots=True, order=True, repr=False)
class CID:
    """A content identifier, held in its binary form.

    Equal bytes are equal CIDs; a CIDv0 and the CIDv1 of the same node differ (see `to_v1`). Make one with `parse`,
    `from_bytes`, `sha256` or `of`, which check what they are given.
    """

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> "CID":
        """Read a CID from text: CIDv0 (`Qm...`), or multibase b, z, k or f.

        Raises:
            FormatError: The text is not exactly one CID.
        """
        if len(text) == 46 and text.startswith("Qm"):
            return cls.from_bytes(multibase.decode_base58(text))
        cid = cls.from_bytes(multibase.decode(text))
        if cid.version == 0:
            raise FormatError(f"expected a CIDv0 without multibase letter, got {text!r}")
        return cid

    @classmethod
    def from_bytes(cls, data: bytes) -> "CID":
        """Read a binary CID that fills all of `data`.

        Raises:
            FormatError: The bytes are not exactly one CID.
        """
        if (
            len(data) == 36 and data[:4] in _SHA256_CID_HEADS
        ):  # nearly all there are, several times faster
            return cls(bytes(data))
        cid, end = cls.read(data)
        if end != len(data):
            raise FormatError(f"expected a CID of {end} bytes, got {len(data)}")
        return cid

    @classmethod
    def read(cls, data: bytes, offset: int = 0) -> tuple["CID", int]:
        """Read the binary CID that starts at `offset`; return it and the offset behind it.

        Raises:
            FormatError: No CID starts there, or it is cut off.
        """
        start = offset
        if data[offset : offset + 2] == _SHA256_HEAD:
            end = offset + 34
        else:
            version, offset = varint.decode(data, offset)
            if version != 1:
                raise FormatError(f"expected CID version 0 or 1, got {version}")
            _, offset = varint.decode(data, offset)
            end = _multihash_end(data, offset)
        if end > len(data):
            raise FormatError(
                f"CID is cut off: expected {end - start} bytes, got {len(data) - start}"
            )
        return cls(bytes(data[start:end])), end

    @classmethod
    def sha256(cls, codec: int, digest: bytes) -> "CID":
        """Return the CIDv1 of `codec` for a SHA-256 digest that is already known (32 bytes)."""
        if len(digest) != 32:
            raise ValueError(f"expected a SHA-256 digest of 32 bytes, got {len(digest)}")
        head = _V1_SHA256_HEADS.get(codec)
        return cls((head or b"\x01" + varint.encode(codec) + _SHA256_HEAD) + digest)

    @classmethod
    def of(cls, codec: int, data: bytes) -> "CID":
        """Hash `data` with SHA-256 and return its CIDv1 of `codec`."""
        return cls.sha256(codec, hashlib.sha256(data).digest())

    @property
    def version(self) -> int:
        """0 or 1."""
        return 0 if self.raw[:2] == _SHA256_HEAD else 1

    @property
    def codec(self) -> int:
        """The multicodec number of what the block holds; always dag-pb for CIDv0."""
        if self.raw[1] < 0x80:
            return DAG_PB if self.version == 0 else self.raw[1]
        return varint.decode(self.raw, 1)[0]

    @property
    def multihash(self) -> bytes:
        """The multihash: function, length, digest."""
        if self.version == 0:
            return self.raw
        return self.raw[varint.decode(self.raw, 1)[1] :]

    @property
    def hash_function(self) -> int:
        """The multicodec number of the hash function."""
        return varint.decode(self.multihash)[0]

    @property
    def digest(self) -> bytes:
        """The bare digest; for an identity CID, the block itself."""
        multihash = self.multihash
        _, offset = varint.decode(multihash)
        _, offset = varint.decode(multihash, offset)
        return multihash[offset:]

    def to_v1(self) -> "CID":
        """Return the CIDv1 of the same block: this one, unless it is a CIDv0."""
        return CID(_DAG_PB_V1 + self.raw) if self.version == 0 else self

    def to_bytes(self) -> bytes:
        """Return the binary form."""
        return self.raw

    def __bytes__(self) -> bytes:
        return self.raw

    def __str__(self) -> str:
        if self.version == 0:
            return multibase.encode_base58(self.raw)
        return multibase.encode_base32(self.raw)

    def __repr__(self) -> str:
        return f"CID({self})"


_DAG_PB_V1 = bytes([1, DAG_PB])


def verify_block(cid: CID, data: bytes) -> None:
    """Check that `data` is the block that `cid` names.

    Raises:
        IntegrityError: It is not, or the CID's hash function is unknown here (known: SHA-256, SHA-512, BLAKE2b-256, identity).
    """
    if cid.raw[:4] in _SHA256_CID_HEADS:
        actual, digest = hashlib.sha256(data).digest(), cid.raw[4:]
    else:
        function, digest = cid.hash_function, cid.digest
        if function not in _HASHES:
            raise IntegrityError(
                f"block {cid} cannot be checked: unknown hash function 0x{function:x}"
            )
        actual = _HASHES[function](data)
    if actual != digest:
        raise IntegrityError(
            f"block {cid} is damaged: its {len(data)} bytes do not hash to its name"
        )


_HASHES: dict[int, Callable[[bytes], bytes]] = {
    IDENTITY: bytes,
    SHA2_256: lambda data: hashlib.sha256(data).digest(),
    0x13: lambda data: hashlib.sha512(data).digest(),
    0xB220: lambda data: hashlib.blake2b(data, digest_size=32).digest(),
}
HASH_FUNCTIONS = frozenset(_HASHES)
"""The hash functions that blocks can be verified by."""


def _multihash_end(data: bytes, offset: int) -> int:
    function, offset = varint.decode(data, offset)
    length, offset = varint.decode(data, offset)
    if length > MAX_DIGEST_BYTES:
        raise FormatError(f"expected a digest of at most {MAX_DIGEST_BYTES} bytes, got {length}")
    if function == SHA2_256 and length != 32:
        raise FormatError(f"expected a SHA-256 digest of 32 bytes, got {length}")
    return offset + length
