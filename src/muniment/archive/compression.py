"""Compression of contents where it helps: recorded per file, so that every reader knows."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from muniment.errors import FormatError, UsageError

# Zstandard's fastest strategy with longer matches (docs/decisions/0007-compression.md): on text as dense as level 3 within
# 2 %, and half again as fast.
_ZSTD_PARAMETERS = {"window_log": 19, "hash_log": 15, "min_match": 6}
SAVING_BYTES_MIN = 64  # less than this is not worth a reader's work
SAMPLE_BYTES = 64 << 10
_PIECE_BYTES = 1 << 20
# A frame may ask its reader for this much memory at most; ours need 512 KiB.
_WINDOW_BYTES_MAX = 128 << 20


@cache
def _zstd_compressor() -> Any:  # noqa: ANN401  # zstandard is untyped
    import zstandard  # noqa: PLC0415  # 14 ms that most commands never need

    return zstandard.ZstdCompressor(compression_params=_zstd_parameters())


def _zstd_parameters(threads: int = 0) -> Any:  # noqa: ANN401  # zstandard is untyped
    import zstandard  # noqa: PLC0415

    return zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST,
        threads=threads,
        write_content_size=True,
        **_ZSTD_PARAMETERS,
    )


@cache
def _zstd_decompressor() -> Any:  # noqa: ANN401  # zstandard is untyped
    import zstandard  # noqa: PLC0415

    return zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)


def pack(data: bytes, compression: str) -> tuple[str, bytes]:
    """Compress `data` if that helps; returns the compression used (`none` if it does not) and the bytes."""
    if compression == "none" or len(data) < SAVING_BYTES_MIN:
        return "none", data
    packed = compress(data, compression)
    return (compression, packed) if len(packed) + SAVING_BYTES_MIN <= len(data) else ("none", data)


def compress(data: bytes, compression: str) -> bytes:
    """Return `data` as one frame."""
    if compression == "zstd":
        packed: bytes = _zstd_compressor().compress(data)
    elif compression == "lz4":
        import lz4.frame  # noqa: PLC0415

        packed = lz4.frame.compress(data)
    else:
        raise UsageError(f"compression must be zstd, lz4 or none, got {compression!r}")
    return packed


def helps(samples: list[bytes], compression: str) -> bool:
    """Judge from samples of a large file whether compressing it is worth the time."""
    size = sum(map(len, samples))
    return (
        compression != "none"
        and sum(len(compress(sample, compression)) for sample in samples) < 0.95 * size
    )


def compress_stream(pieces: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """Compress piece by piece."""
    if compression == "zstd":
        import zstandard  # noqa: PLC0415

        compressor = zstandard.ZstdCompressor(compression_params=_zstd_parameters(2)).compressobj()
    elif compression == "lz4":
        import lz4.frame  # noqa: PLC0415

        compressor = lz4.frame.LZ4FrameCompressor()
        yield compressor.begin()
    else:
        raise UsageError(f"compression must be zstd or lz4, got {compression!r}")
    for piece in pieces:
        packed = compressor.compress(piece)
        if packed:
            yield packed
    yield compressor.flush()


def unpack(packed: bytes, compression: str, size: int, *, what: str) -> bytes:
    """Return exactly the `size` bytes that `packed` holds.

    Raises:
        FormatError: It does not decompress, or to another size.
    """
    if compression == "zstd" and len(packed) < _PIECE_BYTES and size < _PIECE_BYTES:
        plain = _unpack_small_zstd(packed, size)
        if plain is not None:
            return plain
    return b"".join(unpack_stream(iter([packed]), compression, size, what=what))


def _unpack_small_zstd(packed: bytes, size: int) -> bytes | None:
    """Unpack one whole frame in one call; None sends the caller to the slow, exact way."""
    import zstandard  # noqa: PLC0415

    try:
        if zstandard.frame_content_size(packed) != size:
            return None
        decompressor = _zstd_decompressor()
        plain: bytes = decompressor.decompress(packed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError:
        return None
    return plain if len(plain) == size else None


def unpack_stream(
    pieces: Iterator[bytes], compression: str, size: int, *, what: str
) -> Iterator[bytes]:
    """Decompress piece by piece to exactly `size` bytes, holding a few MiB at most whatever the input claims.

    Raises:
        FormatError: The bytes do not decompress, to too few bytes, or to too many.
    """
    done = 0
    for plain in _guarded(_unpackers(compression)(pieces), what):
        done += len(plain)
        if done > size:
            raise FormatError(f"{what} holds more than its {size} bytes")
        yield plain
    if done != size:
        raise FormatError(f"{what} holds {done} bytes, expected {size}")


def _unpackers(compression: str) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    by_name: dict[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
        "none": iter,
        "zstd": _unpack_zstd,
        "lz4": _unpack_lz4,
    }
    return by_name[compression]


def _guarded(plains: Iterator[bytes], what: str) -> Iterator[bytes]:
    try:
        yield from plains
    except (FormatError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # the decompressors raise RuntimeError, ValueError and their own classes
        raise FormatError(f"{what} does not decompress: {error}") from error


def _unpack_zstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    reader = _zstd_decompressor().stream_reader(_Reader(pieces), read_across_frames=True)
    while plain := reader.read(_PIECE_BYTES):
        yield plain


def _unpack_lz4(pieces: Iterator[bytes]) -> Iterator[bytes]:
    import lz4.frame  # noqa: PLC0415

    decompressor = lz4.frame.LZ4FrameDecompressor()
    for piece in pieces:
        if decompressor.eof:
            raise ValueError("bytes are behind the frame")
        yield decompressor.decompress(piece, max_length=_PIECE_BYTES)
        while not decompressor.needs_input and not decompressor.eof:
            yield decompressor.decompress(b"", max_length=_PIECE_BYTES)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("the frame is cut short, or bytes are behind it")


class _Reader:
    """The least of a file object that `zstandard` reads from: hands out pieces as they come."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def read(self, size: int) -> bytes:
        if not self._held:
            self._held = next(self._pieces, b"")
        given, self._held = self._held[:size], self._held[size:]
        return given
