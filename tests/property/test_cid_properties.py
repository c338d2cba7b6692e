"""CIDs, varints and multibase under arbitrary input."""

from hypothesis import given
from hypothesis import strategies as st

from muniment.content import multibase, varint
from muniment.content.cid import CID
from muniment.errors import FormatError

integers = st.integers(0, (1 << 63) - 1)


@given(integers)
def test_varint_round_trip(value):
    data = varint.encode(value)
    assert varint.decode(b"x" + data + b"y", 1) == (value, 1 + len(data))


@given(st.binary(max_size=12))
def test_varint_has_one_form(data):
    try:
        value, end = varint.decode(data)
    except FormatError:
        return
    assert varint.encode(value) == data[:end]


@given(st.binary(max_size=60))
def test_multibase_round_trip(data):
    assert multibase.decode(multibase.encode_base32(data)) == data
    assert multibase.decode("z" + multibase.encode_base58(data)) == data
    assert multibase.decode(multibase.encode_base36(data)) == data
    assert multibase.decode("f" + data.hex()) == data


@given(integers, integers, st.binary(max_size=128))
def test_cid_round_trip(codec, function, digest):
    raw = (
        b"\x01"
        + varint.encode(codec)
        + varint.encode(function)
        + varint.encode(len(digest))
        + digest
    )
    try:
        cid = CID.from_bytes(raw)
    except FormatError:
        assert function == 0x12
        assert len(digest) != 32
        return
    assert (cid.codec, cid.hash_function, cid.digest, cid.version) == (codec, function, digest, 1)
    assert CID.parse(str(cid)) == cid
    assert CID.read(raw + b"more") == (cid, len(raw))


@given(
    st.text(max_size=80)
    | st.from_regex(
        r"(b[a-z2-7]{10,70}|Qm[1-9A-HJ-NP-Za-km-z]{44}|f[0-9a-f]{4,80})", fullmatch=True
    )
)
def test_any_text_is_a_cid_or_a_format_error(text):
    try:
        cid = CID.parse(text)
    except FormatError:
        return
    assert CID.from_bytes(bytes(cid)) == cid


@given(st.binary(max_size=80))
def test_any_bytes_are_a_cid_or_a_format_error(data):
    try:
        cid = CID.from_bytes(data)
    except FormatError:
        return
    assert bytes(cid) == data
    assert CID.parse(str(cid)) == cid
