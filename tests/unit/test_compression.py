"""Compression: round trips, bombs, and frames of other tools."""

import contextlib
import os
import subprocess
import sys

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from muniment.archive import compression
from muniment.errors import FormatError, UsageError

NAMES = ("zstd", "lz4")
MIB = 1 << 20
SAMPLES = [b"", b"x", b"text " * 30, b"text " * 400_000, os.urandom(3000), os.urandom(1000) * 3000]


def unpacked(packed, name, size):
    return compression.unpack(packed, name, size, what="the sample")


def in_pieces(data, size):
    return iter([data[at : at + size] for at in range(0, len(data), size)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", SAMPLES, ids=len)
def test_what_is_compressed_comes_back(name, data):
    assert unpacked(compression.compress(data, name), name, len(data)) == data
    streamed = b"".join(compression.compress_stream(in_pieces(data, MIB), name))
    assert unpacked(streamed, name, len(data)) == data
    for size in (1, 7, 4096):
        packed = compression.compress(data, name)
        if len(packed) / size < 20_000:
            pieces = compression.unpack_stream(in_pieces(packed, size), name, len(data), what="x")
            assert b"".join(pieces) == data


@given(st.binary(max_size=400), st.sampled_from(["none", *NAMES]))
def test_packing_never_grows_and_says_what_it_did(data, name):
    used, packed = compression.pack(data, name)
    assert used in ("none", name)
    assert len(packed) <= len(data)
    assert used == "none" or len(packed) + compression.SAVING_BYTES_MIN <= len(data)
    assert unpacked(packed, used, len(data)) == data


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", SAMPLES[1:], ids=len)
def test_another_size_is_refused(name, data):
    packed = compression.compress(data, name)
    for wrong in (0, len(data) - 1, len(data) + 1, 2**53 - 1):
        if wrong != len(data):
            with pytest.raises(FormatError, match="the sample"):
                unpacked(packed, name, wrong)


@pytest.mark.parametrize("name", NAMES)
def test_every_cut_and_trailing_byte_is_refused(name):
    data = b"text " * 100
    packed = compression.compress(data, name)
    for bad in [packed[:cut] for cut in range(len(packed))] + [packed + b"\0", packed + b"xxxxx"]:
        with pytest.raises(FormatError, match="the sample"):
            unpacked(bad, name, len(data))


def test_frames_of_zstd_may_be_several_and_of_lz4_only_one():
    two = compression.compress(b"a" * 100, "zstd") + compression.compress(b"b" * 50, "zstd")
    assert unpacked(two, "zstd", 150) == b"a" * 100 + b"b" * 50
    two = compression.compress(b"a" * 100, "lz4") + compression.compress(b"b" * 50, "lz4")
    with pytest.raises(FormatError, match="behind it"):
        unpacked(two, "lz4", 150)


def zstd_bomb(size_mib):
    press = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join([*(press.compress(bytes(MIB)) for _ in range(size_mib)), press.flush()])


def lz4_bomb(size_mib):
    press = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    return b"".join([press.begin(), *(press.compress(bytes(MIB)) for _ in range(size_mib)), press.flush()])  # fmt: skip


BOMBS = {
    "zstd of 8 GiB": ("zstd", lambda: zstd_bomb(128) * 64, 5 * MIB),
    "zstd of 128 MiB for a byte": ("zstd", lambda: zstd_bomb(128), 1),
    "zstd of 128 MiB in the small way": ("zstd", lambda: zstd_bomb(128), MIB - 1),
    "lz4 of 128 MiB": ("lz4", lambda: lz4_bomb(128), 5 * MIB),
    "lz4 of 128 MiB for a byte": ("lz4", lambda: lz4_bomb(128), 1),
    # magic, single segment with an 8-byte content size of 2^60, one empty last block
    "zstd that claims 2^60": ("zstd", lambda: bytes.fromhex("28b52ffde00000000000000010010000"), 1 << 60),
    # magic, no single segment, window of 2 GiB, one empty last block
    "zstd with a window of 2 GiB": ("zstd", lambda: bytes.fromhex("28b52ffd00a8010000"), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_bounded_memory(name):
    """In a process of its own, whose address space is bounded while it unpacks."""
    method, make, size = BOMBS[name]
    packed = make()
    program = (
        "import resource, sys\n"
        "from muniment.archive import compression\n"
        "from muniment.errors import FormatError\n"
        "packed = sys.stdin.buffer.read()\n"
        f"compression.unpack(compression.compress(b'x' * 100, {method!r}), {method!r}, 100, what='x')\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20),) * 2)\n"
        "try:\n"
        f"    for _ in compression.unpack_stream(iter([packed]), {method!r}, {size}, what='x'): pass\n"
        f"    compression.unpack(packed, {method!r}, {size}, what='x')\n"
        "except FormatError:\n"
        "    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=packed, capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 7, done.stderr.decode()


@given(st.binary(max_size=200), st.sampled_from(NAMES), st.integers(0, 3000))
def test_any_bytes_are_refused_or_of_that_size(data, name, size):
    with contextlib.suppress(FormatError):
        assert len(unpacked(data, name, size)) == size


@given(st.integers(0, 10_000), st.sampled_from(NAMES))
def test_changed_frames_never_do_worse_than_a_format_error(bit, name):
    data = b"some text, and more text, " * 20
    packed = bytearray(compression.compress(data, name))
    packed[bit // 8 % len(packed)] ^= 1 << bit % 8
    with contextlib.suppress(FormatError):
        assert len(unpacked(bytes(packed), name, len(data))) == len(data)


def test_unknown_compressions_are_refused():
    for call in (
        lambda: compression.compress(b"x", "gzip"),
        lambda: list(compression.compress_stream(iter([b"x"]), "gzip")),
    ):
        with pytest.raises(UsageError, match="compression must be"):
            call()


def test_helping_is_judged_by_samples():
    assert compression.helps([b"text " * 1000], "zstd")
    assert not compression.helps([os.urandom(5000)], "zstd")
    assert not compression.helps([b"text " * 1000], "none")
    assert not compression.helps([b""], "zstd")
