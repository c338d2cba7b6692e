"""The sealed stream: sizes at the edges, and refusal of everything that is not exactly what was sealed."""

import io
from math import floor, log2

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium

from muniment.archive import sealed_stream as streams
from muniment.errors import FormatError, IntegrityError

MIB = streams.MESSAGE_BYTES
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
EDGES = sorted(
    {
        max(0, base + delta)
        for base in (0, 471, 512, 455, MIB, MIB + 17, 2 * MIB, 3 * MIB)
        for delta in (-513, -42, -18, -17, -1, 0, 1, 17, 41, 512)
    }
)


def opened(sealed, key=KEY):
    return b"".join(
        streams.open_stream(key, io.BytesIO(sealed).read, len(sealed), what="the sample")
    )


def raw(messages, tags, key=KEY):
    """A stream of any messages under any tags."""
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    parts = [sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)]
    for message, tag in zip(messages, tags, strict=True):
        parts.append(sodium.crypto_secretstream_xchacha20poly1305_push(state, message, None, tag))
    return b"".join(parts)


def padme_by_definition(n):
    """Nikitin et al., PETS 2019, algorithm 1."""
    e = floor(log2(n))
    s = floor(log2(e)) + 1 if e else 1
    granule = 2 ** max(0, e - s)
    return -(-n // granule) * granule


@given(st.integers(2, 1 << 50))
@example(2)
@example(3)
@example(1 << 49)
def test_padme_is_that_of_the_paper(size):
    padded = streams.padme(size)
    if size < 1 << 45:  # log2 of floats is exact enough
        assert padded == padme_by_definition(size)
    assert size <= padded <= size * 1.12
    assert streams.padme(padded) == padded
    kept = padded >> max(0, padded.bit_length() - 1 - (padded.bit_length() - 1).bit_length())
    assert kept.bit_length() <= (padded.bit_length() - 1).bit_length() + 1  # O(log log n) bits


@given(st.integers(0, 1 << 45), st.sampled_from([(512, 512), (256, 512)]))
def test_a_bucket_is_a_stream_of_that_size(size, bucket):
    unit, least = bucket
    padded = streams.padded_size(size, unit, least)
    total = streams.sealed_size(size, unit, least)
    assert padded >= size
    assert total == streams.stream_size(padded)
    assert total % unit == 0
    assert total >= max(least, streams.stream_size(size))
    assert total <= max(least, streams.stream_size(size) * 1.12) + 2 * unit
    # What shares a bucket cannot be told apart: the size tells no more than padme's few bits.
    if size > streams.MESSAGE_BYTES:
        assert streams.sealed_size(streams.padme(size), unit, least) == total
    elif padded <= streams.MESSAGE_BYTES:
        assert streams.sealed_size(padded, unit, least) == total


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_sizes_of_streams_keep_the_order_of_sizes(one, two):
    small, large = sorted((one, two))
    assert streams.sealed_size(small) <= streams.sealed_size(large)


@pytest.mark.parametrize("size", EDGES)
def test_sizes_around_the_edges_open_again(size):
    data = (bytes(range(1, 256)) * (size // 255 + 1))[:size]
    sealed = streams.seal(KEY, data)
    assert len(sealed) == streams.sealed_size(size)
    padded = opened(sealed)
    assert streams.split_padding(padded, size, what="the sample") == data
    assert streams.open_sealed(KEY, sealed, what="the sample") == padded


@settings(max_examples=30)
@given(st.lists(st.integers(0, MIB + 40), max_size=4))
def test_piece_by_piece_is_the_same_stream_as_at_once(sizes):
    data = b"".join(bytes([index + 1]) * size for index, size in enumerate(sizes))
    sealer, position = streams.StreamSealer(KEY), 0
    parts = [sealer.start()]
    for size in sizes:
        parts += sealer.update(data[position : position + size])
        position += size
    parts += sealer.finish()
    sealed = b"".join(parts)
    assert len(sealed) == streams.sealed_size(len(data))
    assert streams.split_padding(opened(sealed), len(data), what="the sample") == data


@pytest.mark.parametrize("data", [b"", b"hello", b"x" * 5000])
def test_every_truncation_and_extension_is_refused(data):
    sealed = streams.seal(KEY, data)
    for cut in range(len(sealed)):
        for open_it in (opened, lambda s: streams.open_sealed(KEY, s, what="the sample")):
            with pytest.raises(IntegrityError, match="the sample"):
                open_it(sealed[:cut])
    for more in (b"\0", b"x", bytes(16), bytes(17), sealed):
        for open_it in (opened, lambda s: streams.open_sealed(KEY, s, what="the sample")):
            with pytest.raises(IntegrityError, match="the sample"):
                open_it(sealed + more)


@given(st.integers(0, 8 * 536 - 1))
def test_every_changed_bit_is_refused(bit):
    sealed = bytearray(streams.seal(KEY, b"x" * 490))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError, match="does not open"):
        opened(bytes(sealed))


def test_messages_cannot_be_cut_swapped_repeated_or_dropped():
    data = b"a" * MIB + b"b" * MIB + b"c" * 100
    sealed = streams.seal(KEY, data)
    wire = MIB + streams.OVERHEAD_BYTES
    head, body = sealed[:24], sealed[24:]
    messages = [body[at : at + wire] for at in range(0, len(body), wire)]
    assert len(messages) == 3
    for order in ([1, 0, 2], [0, 0, 2], [0, 2], [1, 2], [0, 1], [2], [0, 1, 1], [0, 1, 2, 2]):
        with pytest.raises(IntegrityError, match="the sample"):
            opened(head + b"".join(messages[index] for index in order))
    for cut in (23, 24, 40, 24 + wire - 1, 24 + wire, 24 + wire + 17, 24 + 2 * wire):
        with pytest.raises(IntegrityError, match="the sample"):
            opened(sealed[:cut])


@pytest.mark.parametrize(
    ("messages", "tags"),
    [
        ([b"x" * 100], [0]),
        ([b"x" * 100], [1]),
        ([b"x" * 100], [2]),
        ([b"x" * MIB, b""], [3, 3]),
        ([b"x" * MIB, b""], [1, 3]),
        ([b"x" * MIB, b""], [2, 3]),
        ([b"x" * MIB, b""], [0, 0]),
        ([b"x" * 100, b"y"], [0, 3]),
    ],
)
def test_other_tags_and_message_sizes_are_refused(messages, tags):
    with pytest.raises(IntegrityError, match="the sample"):
        opened(raw(messages, tags))
    with pytest.raises(IntegrityError, match="the sample"):
        streams.open_sealed(KEY, raw(messages, tags), what="the sample")


def test_an_empty_last_message_is_allowed():
    assert opened(raw([b"x" * MIB, b""], [0, 3])) == b"x" * MIB


def test_another_key_opens_nothing():
    sealed = streams.seal(KEY, b"hello")
    with pytest.raises(IntegrityError, match="sealed under another key"):
        opened(sealed, OTHER)


def test_a_reader_that_ends_early_is_refused():
    sealed = streams.seal(KEY, b"hello")
    with pytest.raises(FormatError, match="cut short"):
        list(streams.open_stream(KEY, io.BytesIO(sealed[:-1]).read, len(sealed), what="x"))


def test_padding_must_be_zero_and_whole():
    with pytest.raises(FormatError, match="padding that is not zero"):
        streams.split_padding(b"data\0\0\1", 4, what="x")
    with pytest.raises(FormatError, match="padding that is not zero"):
        streams.split_padding(b"data\1\0\0", 4, what="x")
    with pytest.raises(FormatError, match="holds 4 bytes, expected at least 5"):
        streams.split_padding(b"data", 5, what="x")
    assert streams.split_padding(b"data", 4, what="x") == b"data"


def test_the_same_content_never_looks_the_same():
    assert streams.seal(KEY, b"hello") != streams.seal(KEY, b"hello")


def opened_from(sealed, first, key=KEY, reads=None):
    def read_at(offset, count):
        if reads is not None:
            reads.append(count)
        return sealed[offset : offset + count]

    return b"".join(streams.open_stream_from(key, read_at, len(sealed), first, what="the sample"))


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB, 3 * MIB + 17])
def test_from_any_message_on_it_is_the_rest_of_the_same_stream(size):
    sealed = streams.seal(KEY, bytes(range(256)) * (size // 256) + bytes(size % 256))
    whole = opened(sealed)
    messages = max(1, -(-len(whole) // MIB))
    for first in range(messages):
        reads = []
        assert opened_from(sealed, first, reads=reads) == whole[first * MIB :]
        assert sum(reads) == len(sealed) - first * (MIB + 1)  # of those before, their tags alone
    with pytest.raises(ValueError, match="no message"):
        opened_from(sealed, messages)


def test_a_later_message_opens_only_behind_those_that_were_sealed_before_it():
    sealed = streams.seal(KEY, b"a" * MIB + b"b" * MIB + b"c" * 100)
    wire = MIB + streams.OVERHEAD_BYTES
    head, one, two, three = (
        sealed[:24],
        *(sealed[24:][at : at + wire] for at in (0, wire, 2 * wire)),
    )
    for order, first in [
        ((two, one, three), 1),
        ((one, one, three), 2),
        ((two, two, three), 2),
    ]:
        with pytest.raises(IntegrityError, match="the sample"):
            opened_from(head + b"".join(order), first)
    for place in (0, 23, 24 + wire - 16, 24 + wire, 24 + 2 * wire - 1):  # header, tag, message
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(IntegrityError, match="does not open"):
            opened_from(bytes(changed), 1)
    with pytest.raises(IntegrityError, match="does not open"):
        opened_from(sealed, 1, key=OTHER)
