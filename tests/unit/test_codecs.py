"""Codecs: what is read and written, what is refused, links, paths, limits."""

import inspect
import math
import sys

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content import codecs
from muniment.content.cid import CID, RAW
from muniment.content.codecs import CBOR, DAG_CBOR, DAG_JSON, DAG_PB, JSON, MAX_DEPTH
from muniment.content.codecs.cbor import MAX_CONTAINERS
from muniment.content.dag_pb import MAX_BLOCK_BYTES, PBLink, encode_node
from muniment.content.links import block_links, has_links
from muniment.errors import FormatError, NotFoundError

LEAF = CID.of(RAW, b"leaf")
V0 = CID.parse("QmNPWHBrVQiiV8FpyNuEPhB9E2rbvdy9Yx79EY1EJuyf9o")
LINK = "d82a582500" + LEAF.raw.hex()


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "cbor"),
    [
        # RFC 8949, appendix A, as far as DAG-CBOR has them.
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (255, "18ff"),
        (256, "190100"),
        (1000000000000, "1b000000e8d4a51000"),
        (18446744073709551615, "1bffffffffffffffff"),
        (-18446744073709551616, "3bffffffffffffffff"),
        (-1, "20"),
        (1.1, "fb3ff199999999999a"),
        (-0.0, "fb8000000000000000"),
        (1.0e300, "fb7e37e43c8800759c"),
        (False, "f4"),
        (True, "f5"),
        (None, "f6"),
        (b"\x01\x02\x03\x04", "4401020304"),
        ("\u6c34", "63e6b0b4"),
        ("\U00010151", "64f0908591"),
        ([1, [2, 3], [4, 5]], "8301820203820405"),
        ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
        (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
        # Keys by length, then by their bytes.
        ({"b": 0, "aa": 1, "\u00e9": 2, "": 3}, "a460036162006261610162c3a902"),
        ({"link": LEAF}, "a1646c696e6b" + LINK),
    ],
)
def test_dag_cbor(value, cbor):
    block = bytes.fromhex(cbor)
    assert codecs.encode(DAG_CBOR, value) == block
    decoded = codecs.decode(DAG_CBOR, block)
    assert decoded == value
    assert type(decoded) is type(value)


OTHER_FORMS = {
    "long integer": ("1817", 23),
    "long integer of 4 bytes": ("1a0000ffff", 65535),
    "long integer of 8 bytes": ("1b00000000ffffffff", (1 << 32) - 1),
    "long negative integer": ("3800", -1),
    "long length": ("780161", "a"),
    "long count of a list": ("980101", [1]),
    "long count of a map": ("b801616101", {"a": 1}),
    "float of 16 bits": ("f93c00", 1.0),
    "float of 32 bits": ("fa3f800000", 1.0),
    "keys by bytes": ("a262616101616202", {"aa": 1, "b": 2}),
    "keys in reverse": ("a2616201616102", {"b": 1, "a": 2}),
    "list without length": ("9f0102ff", [1, 2]),
    "map without length": ("bf616101ff", {"a": 1}),
    "text without length": ("7f61616162ff", "ab"),
    "bytes without length": ("5f41014102ff", b"\x01\x02"),
}


@pytest.mark.parametrize(("cbor", "value"), OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_other_forms_are_read_only_if_asked(cbor, value):
    block = bytes.fromhex(cbor)
    with pytest.raises(FormatError):
        codecs.decode(DAG_CBOR, block)
    assert codecs.decode(DAG_CBOR, block, strict=False) == value
    assert codecs.decode(CBOR, block) == value


@pytest.mark.parametrize(
    "cbor",
    [
        "",
        "0000",  # two values
        "18",
        "1900",
        "1c",  # reserved
        "1f",  # an integer without length
        "3f",
        "df",
        "42aa",  # cut off
        "616161",
        "61ff",  # no UTF-8
        "63eda080",  # a surrogate in UTF-8
        "8201",
        "a16161",
        "a10101",  # a key that is no text
        "a1416101",
        "a2616101616102",  # a key twice
        "bf616101616102ff",
        "f7",  # undefined
        "f0",
        "f818",
        "f97e00",  # NaN in three widths, then the infinities
        "fa7fc00000",
        "fb7ff8000000000000",
        "fb7ff0000000000000",
        "fbfff0000000000000",
        "f97c00",
        "ff",
        "9f01",
        "7f4161ff",  # bytes within text
        "5f5f4101ffff",
        "c001",  # other tags
        "c249010000000000000000",
        "d82b4100",
        "d82a00",  # links that are none
        "d82a40",
        "d82a4100",
        "d82a6100",
        "d82a582501" + LEAF.raw.hex(),
        "d82a5825" + LEAF.raw.hex() + "00",
        "d82a582600" + LEAF.raw.hex() + "00",
        "9bffffffffffffffff",
        "bbffffffffffffffff",
        "5bffffffffffffffff",
        "7b7fffffffffffffff",
    ],
)
def test_cbor_that_nobody_accepts(cbor):
    for codec, strict in ((DAG_CBOR, True), (DAG_CBOR, False), (CBOR, True)):
        with pytest.raises(FormatError):
            codecs.decode(codec, bytes.fromhex(cbor), strict=strict)


def test_plain_cbor_and_json_have_no_links():
    for codec in (CBOR, JSON):
        with pytest.raises(FormatError, match="none"):
            codecs.encode(codec, [LEAF])
    with pytest.raises(FormatError, match="tag 42"):
        codecs.decode(CBOR, bytes.fromhex(LINK))
    with pytest.raises(FormatError):
        codecs.encode(JSON, b"bytes")
    text = b'{"/":"no CID","a":1}'
    assert codecs.decode(JSON, text) == {"/": "no CID", "a": 1}
    assert codecs.encode(JSON, codecs.decode(JSON, text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (LEAF, f'{{"/":"{LEAF}"}}'),
        (V0, f'{{"/":"{V0}"}}'),
        (b"", '{"/":{"bytes":""}}'),
        (b"\xa1", '{"/":{"bytes":"oQ"}}'),
        (b"\xff\xef", '{"/":{"bytes":"/+8"}}'),
        (
            {"b": 1, "aa": 2, "\uffee": 3, "\U00010151": 4},
            '{"aa":2,"b":1,"\uffee":3,"\U00010151":4}',
        ),
        ('"\\/\b\f\n\r\t\x00\x1f\x7f\u2028', '"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\u2028"'),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (1e16, "10000000000000000.0"),
        (123456789012345680000.0, "123456789012345680000.0"),
        (1e21, "1e+21"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        ({"/": 1}, '{"/":1}'),
        ({"/": {"bytes": 1}}, '{"/":{"bytes":1}}'),
        ({"!": 1, "/": "x"}, '{"!":1,"/":"x"}'),
        ({"bytes": "oQ"}, '{"bytes":"oQ"}'),
        (-(1 << 64), "-18446744073709551616"),
    ],
)
def test_dag_json(value, text):
    block = text.encode()
    assert codecs.encode(DAG_JSON, value) == block
    decoded = codecs.decode(DAG_JSON, block)
    assert decoded == value
    assert type(decoded) is type(value)
    assert (
        math.copysign(1, decoded) == math.copysign(1, value) if isinstance(value, float) else True
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (' {"b": 1,\n"a": 2}', {"a": 2, "b": 1}),
        ('"\\u00e9\\/"', "\u00e9/"),
        ('"\\ud800\\udd51"', "\U00010151"),
        ("1e2", 100.0),
        ("1E-07", 1e-7),
        ("-0", 0),
        (f'{{"/":"f{LEAF.raw.hex()}"}}', LEAF),
        ('{"/":{"bytes":"oR"}}', b"\xa1"),
    ],
)
def test_other_json_is_read_only_if_asked(text, value):
    block = text.encode()
    assert codecs.decode(DAG_JSON, block, strict=False) == value
    with pytest.raises(FormatError, match="strict form"):
        codecs.decode(DAG_JSON, block)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xef\xbb\xbf1",
        b"\xff",
        "1".encode("utf-16"),
        b"01",
        b"1.",
        b"+1",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e400",
        b"18446744073709551616",
        b"-18446744073709551617",
        b"1" * 5000,
        b"1." + b"1" * 5000,
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'"\n"',
        b"[1,]",
        b"1 1",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"/":"not a CID"}',
        b'{"/":""}',
        f'{{"/":"z{V0}"}}'.encode(),  # a CIDv0 has no multibase letter
        b'{"/":"Qm\xc3\xa9"}',
        f'{{"/":"{LEAF}","a":1}}'.encode(),
        b'{"/":{"bytes":"oQ","x":1}}',
        b'{"/":{"bytes":"oQ"},"x":1}',
        b'{"/":{"bytes":"oQ=="}}',
        b'{"/":{"bytes":"o"}}',
        b'{"/":{"bytes":"o-_A"}}',
        b'{"/":{"bytes":"oQ\\n"}}',
    ],
)
def test_json_that_nobody_accepts(text):
    for strict in (True, False):
        with pytest.raises(FormatError):
            codecs.decode(DAG_JSON, text, strict=strict)


@pytest.mark.parametrize("codec", [DAG_CBOR, DAG_JSON, CBOR, JSON])
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        1 << 64,
        -(1 << 64) - 1,
        "\ud800",
        {"\ud800": 1},
        {1: 1},
        {None: 1},
        (1, 2),
        {1, 2},
        object(),
        bytearray(b"a"),
        nested(MAX_DEPTH + 1),
        ["x" * MAX_BLOCK_BYTES],
    ],
)
def test_values_outside_of_the_data_model(codec, value):
    with pytest.raises(FormatError):
        codecs.encode(codec, value)


@pytest.mark.parametrize(
    "value", [{"/": str(LEAF)}, {"/": "x", "a": 1}, {"/": {"bytes": "x", "c": 1}}]
)
def test_maps_that_dag_json_reserves(value):
    with pytest.raises(FormatError, match="reserve"):
        codecs.encode(DAG_JSON, [value])
    assert codecs.decode(DAG_CBOR, codecs.encode(DAG_CBOR, value)) == value


@pytest.mark.parametrize("codec", [DAG_CBOR, DAG_JSON, CBOR, JSON])
def test_depth(codec):
    deepest = nested(MAX_DEPTH)
    assert codecs.decode(codec, codecs.encode(codec, deepest)) == deepest
    opening, closing = (b"\x81", b"\x80") if codec in (DAG_CBOR, CBOR) else (b"[", b"]")
    for depth in (MAX_DEPTH + 1, MAX_BLOCK_BYTES // 2):
        block = opening * (depth - 1)
        block += closing if codec in (DAG_CBOR, CBOR) else b"[" + closing * depth
        with pytest.raises(FormatError, match="levels"):
            codecs.decode(codec, block)


def test_a_caller_that_is_deep_itself_gets_no_other_error():
    def call_from(depth):
        if depth:
            call_from(depth - 1)
            return
        for codec, block in (
            (DAG_CBOR, b"\x81" * 127 + b"\x80"),
            (DAG_JSON, b"[" * 128 + b"]" * 128),
        ):
            with pytest.raises(FormatError, match="levels"):
                codecs.decode(codec, block)
            with pytest.raises(FormatError, match="levels"):
                codecs.encode(codec, nested(MAX_DEPTH))

    used = len(inspect.stack(0))
    call_from(sys.getrecursionlimit() - used - 80)


def test_parts_and_size():
    codecs.decode(
        DAG_CBOR, b"\x9a" + (MAX_CONTAINERS - 1).to_bytes(4, "big") + b"\x80" * (MAX_CONTAINERS - 1)
    )
    with pytest.raises(FormatError, match="lists and maps"):
        codecs.decode(
            DAG_CBOR, b"\x9a" + MAX_CONTAINERS.to_bytes(4, "big") + b"\x80" * MAX_CONTAINERS
        )
    for codec in codecs.KNOWN:
        with pytest.raises(FormatError, match="at most"):
            codecs.decode(codec, bytes(MAX_BLOCK_BYTES + 1))


def test_raw_and_unknown_codecs():
    assert codecs.decode(RAW, b"\xff") == codecs.encode(RAW, b"\xff") == b"\xff"
    with pytest.raises(FormatError, match="expected bytes"):
        codecs.encode(RAW, "text")
    for call in (codecs.decode, codecs.encode):
        with pytest.raises(FormatError, match="codec 0x72 is not known"):
            call(0x72, b"")


def test_dag_pb():
    node = encode_node([PBLink(LEAF, b"a", 1), PBLink(V0, None, None)], b"data")
    value = codecs.decode(DAG_PB, node)
    assert value == {
        "Data": b"data",
        "Links": [{"Hash": V0}, {"Hash": LEAF, "Name": "a", "Tsize": 1}],
    }
    assert codecs.encode(DAG_PB, value) == node
    assert codecs.decode(DAG_PB, b"") == {"Links": []}
    with pytest.raises(FormatError, match="UTF-8"):
        codecs.decode(DAG_PB, encode_node([PBLink(LEAF, b"\xff", 1)], None))
    for bad in (
        {"Tsize": 1 << 63},
        {"Tsize": True},
        {"Tsize": -1},
        {"Name": "\ud800"},
        {"Name": None},
    ):
        with pytest.raises(FormatError):
            codecs.encode(DAG_PB, {"Links": [{"Hash": LEAF, **bad}]})


TREE = {"a": [LEAF, {"deep": V0}], "b": {"x": 1}, "0": LEAF}


@pytest.mark.parametrize(
    ("path", "found", "left"),
    [
        ("", TREE, ""),
        ("a/0", LEAF, ""),
        ("a/0/in/it", LEAF, "in/it"),
        ("a/1/deep/x", V0, "x"),
        ("b/x", 1, ""),
        ("0", LEAF, ""),
    ],
)
def test_paths(path, found, left):
    segments = path.split("/") if path else []
    rest = left.split("/") if left else []
    assert codecs.resolve_path(TREE, segments) == (found, rest)
    as_bytes = [segment.encode() for segment in segments]
    assert codecs.resolve_path(TREE, as_bytes) == (found, [name.encode() for name in rest])


@pytest.mark.parametrize(
    "path", ["c", "a/2", "a/-1", "a/00", "a/x", "a/\u0661", "a/", "b/x/y", "a/" + "9" * 5000]
)
def test_paths_that_lead_nowhere(path):
    with pytest.raises(NotFoundError, match="nothing is named"):
        codecs.resolve_path(TREE, path.split("/"))


@pytest.mark.parametrize("codec", [DAG_CBOR, DAG_JSON])
def test_links_of_a_block(codec):
    block = codecs.encode(codec, TREE)
    cid = CID.of(codec, block)
    assert has_links(cid)
    expected = [LEAF, LEAF, V0]
    assert block_links(cid, block) == expected
    loose = (
        b"\x9f" + bytes.fromhex(LINK) + b"\xff"
        if codec == DAG_CBOR
        else f'[ {{"/":"{LEAF}"}}]'.encode()
    )
    assert block_links(CID.of(codec, loose), loose) == [LEAF]
    with pytest.raises(FormatError):
        block_links(cid, block[:-1])


def test_codecs_without_links():
    for codec in (RAW, CBOR, JSON):
        cid = CID.of(codec, b"")
        assert not has_links(cid)
        assert block_links(cid, b"\xff not read") == ()


@pytest.mark.parametrize("codec", [DAG_CBOR, DAG_JSON])
def test_garbage_collection_follows_them(tmp_path, codec):
    leaf, garbage = b"leaf", b"garbage"
    block = codecs.encode(codec, {"entries": [{"tip": LEAF}]})
    root = CID.of(codec, block)
    with EmbeddedBlockStore(tmp_path / "store") as store:
        store.put_many([(LEAF, leaf), (root, block), (CID.of(RAW, garbage), garbage)])
        store.pin(root)
        assert store.gc().removed_blocks == 1
        assert store.get(LEAF) == leaf
        assert store.has(root)
