"""The forms in which one CID can be written, and the names of the numbers in it."""

from typing import TYPE_CHECKING, Any

from muniment.content import multibase, varint
from muniment.content.cid import CID, DAG_PB, RAW, SHA2_256
from muniment.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

# Names of https://github.com/multiformats/multicodec/blob/master/table.csv
CODECS = {
    "raw": RAW,
    "dag-pb": DAG_PB,
    "dag-cbor": 0x71,
    "dag-json": 0x0129,
    "cbor": 0x51,
    "json": 0x0200,
    "libp2p-key": 0x72,
}
HASHES = {
    "identity": 0x00,
    "sha2-256": SHA2_256,
    "sha2-512": 0x13,
    "blake3": 0x1E,
    "blake2b-256": 0xB220,
}
BASES: "dict[str, Callable[[bytes], str]]" = {
    "base32": multibase.encode_base32,
    "base36": multibase.encode_base36,
    "base58btc": lambda raw: "z" + multibase.encode_base58(raw),
    "base16": lambda raw: "f" + raw.hex(),
}


def cid_view(cid: CID) -> dict[str, Any]:
    """Describe a CID: what it says of its block, and its other forms."""
    return {
        "cid": str(cid),
        "version": cid.version,
        "codec": _name(cid.codec, CODECS),
        "hash": _name(cid.hash_function, HASHES),
        "digest_hex": cid.digest.hex(),
        "v0": str(to_v0(cid)) if can_be_v0(cid) else None,
        "v1": str(cid.to_v1()),
        "base36": multibase.encode_base36(cid.to_v1().raw),
    }


def convert(cid: CID, *, version: int | None, codec: str | None, base: str | None) -> str:
    """Write a CID in another form.

    Raises:
        UsageError: There is no such form of it.
    """
    if codec is not None:
        number = CODECS[codec]
        if number != cid.codec:
            cid = CID.from_bytes(b"\x01" + varint.encode(number) + cid.multihash)
    if version == 0:
        if base not in (None, "base58btc"):
            raise UsageError("a CIDv0 is always written in base58btc")
        return str(to_v0(cid))
    if version is None and base in (None, "base58btc") and cid.version == 0:
        return str(cid)
    return BASES[base or "base32"](cid.to_v1().raw)


def can_be_v0(cid: CID) -> bool:
    """Tell whether there is a CIDv0 of the same block: those are dag-pb, hashed by SHA-256."""
    return cid.codec == DAG_PB and cid.hash_function == SHA2_256


def to_v0(cid: CID) -> CID:
    """Return the CIDv0 of the same block.

    Raises:
        UsageError: There is none.
    """
    if not can_be_v0(cid):
        raise UsageError(f"{cid} has no CIDv0: only dag-pb blocks hashed by SHA-256 have")
    return CID(cid.multihash)


def _name(number: int, names: dict[str, int]) -> str:
    return next((name for name, known in names.items() if known == number), f"0x{number:x}")
