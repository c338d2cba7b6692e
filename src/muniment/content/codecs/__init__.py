"""Codecs: between the bytes of a block and a value of the IPLD data model.

`decode` is strict: of all the bytes that could mean a value it accepts one form, which `encode` writes, so what was decoded and
encoded again still has its CID. Blocks of others need not be so; `decode(..., strict=False)` reads them, for showing and for following
links, and their CID stays that of the bytes received. Plain CBOR and JSON have no strict form. Whatever the bytes, the only error is
FormatError, and size, depth and memory are bounded.
"""

from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.codecs.cbor import decode_cbor, encode_cbor
from muniment.content.codecs.dag_pb_form import decode_dag_pb, encode_dag_pb
from muniment.content.codecs.json_text import decode_json, encode_json
from muniment.content.codecs.values import MAX_DEPTH, Value, check_size, links, resolve_path
from muniment.errors import FormatError

__all__ = [
    "CBOR",
    "CID",
    "DAG_CBOR",
    "DAG_JSON",
    "DAG_PB",
    "JSON",
    "KNOWN",
    "LINKING",
    "MAX_DEPTH",
    "RAW",
    "Value",
    "decode",
    "encode",
    "links",
    "resolve_path",
]

# Numbers of https://github.com/multiformats/multicodec/blob/master/table.csv
CBOR = 0x51
DAG_CBOR = 0x71
JSON = 0x0200
DAG_JSON = 0x0129

KNOWN = frozenset((RAW, DAG_PB, DAG_CBOR, DAG_JSON, CBOR, JSON))
"""The codecs that can be decoded and encoded here."""
LINKING = frozenset((DAG_PB, DAG_CBOR, DAG_JSON))
"""Those whose blocks can have links."""


def decode(codec: int, data: bytes, *, strict: bool = True) -> Value:
    """Read a block of `codec` (a multicodec number).

    Args:
        codec: One of `KNOWN`.
        data: The block, at most 2 MiB.
        strict: Whether DAG-CBOR and DAG-JSON must be in their one form; it changes nothing for the others.

    Raises:
        FormatError: The bytes are not that, or the codec is not known here.
    """
    try:
        return _decode(codec, data, is_strict=strict)
    except (
        RecursionError
    ):  # deeper than the interpreter lets JSON be, or than a caller's own depth leaves room for
        raise FormatError(_TOO_DEEP) from None


def encode(codec: int, value: Value) -> bytes:
    """Return the bytes of `value` in `codec`: for equal values (maps in any order) equal bytes.

    Raises:
        FormatError: The codec cannot say it or is not known here, or it is not of the data model, too deep or too large.
    """
    try:
        return _encode(codec, value)
    except RecursionError:
        raise FormatError(_TOO_DEEP) from None


_TOO_DEEP = f"expected a value of at most {MAX_DEPTH} levels, got more"


def _decode(codec: int, data: bytes, *, is_strict: bool) -> Value:
    if codec in (DAG_CBOR, CBOR):
        is_dag = codec == DAG_CBOR
        return decode_cbor(data, strict=is_strict and is_dag, with_links=is_dag)
    if codec in (DAG_JSON, JSON):
        is_dag = codec == DAG_JSON
        return decode_json(data, strict=is_strict and is_dag, with_links=is_dag)
    if codec == DAG_PB:
        return decode_dag_pb(data)
    _check_raw(codec)
    check_size(data, "a raw block")
    return bytes(data)


def _encode(codec: int, value: Value) -> bytes:
    if codec in (DAG_CBOR, CBOR):
        return encode_cbor(value, with_links=codec == DAG_CBOR)
    if codec in (DAG_JSON, JSON):
        return encode_json(value, with_links=codec == DAG_JSON)
    if codec == DAG_PB:
        return encode_dag_pb(value)
    _check_raw(codec)
    if not isinstance(value, bytes):
        raise FormatError(f"expected bytes for a raw block, got {type(value).__name__}")
    check_size(value, "a raw block")
    return value


def _check_raw(codec: int) -> None:
    if codec != RAW:
        raise FormatError(f"codec 0x{codec:x} is not known here")
