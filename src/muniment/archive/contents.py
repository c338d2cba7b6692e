"""Opening contents: from a member of a commit's tar to the bytes of a file, checked."""

from collections.abc import Callable, Iterator

from blake3 import blake3

from muniment.archive import compression, sealed_stream
from muniment.archive.catalog import ContentPlace
from muniment.errors import IntegrityError

SMALL_BYTES = 1 << 20


def open_small(
    member: bytes, key: bytes, place: ContentPlace, size: int, digest: bytes, *, what: str
) -> bytes:
    """Open a content of at most `SMALL_BYTES` from its member's bytes.

    Raises:
        IntegrityError: It does not open, or has another size or digest.
    """
    padded = sealed_stream.open_sealed(key, member, what=what)
    packed = sealed_stream.split_padding(padded, place.packed_size, what=what)
    plain = (
        packed
        if place.compression == "none"
        else compression.unpack(packed, place.compression, size, what=what)
    )
    if len(plain) != size:
        raise IntegrityError(f"{what} has {len(plain)} bytes, expected {size}")
    if blake3(plain).digest() != digest:
        raise IntegrityError(f"{what} has another digest than its record says")
    return plain


def open_content(
    read: Callable[[int], bytes],
    key: bytes,
    place: ContentPlace,
    size: int,
    digest: bytes,
    *,
    what: str,
) -> Iterator[bytes]:
    """Open a content piece by piece, in bounded memory; the digest is checked after the last piece.

    Args:
        read: Returns the next so many bytes of the member.
        key: The content key.
        place: Where it lies.
        size: Plaintext bytes.
        digest: BLAKE3 of the plaintext.
        what: What this is, for errors' messages.

    Raises:
        IntegrityError: It does not open, or has another size or digest: what was yielded must be thrown away.
    """
    padded = sealed_stream.open_stream(key, read, place.sealed_size, what=what)
    packed = _without_padding(padded, place.packed_size, what=what)
    hasher = blake3()
    for plain in compression.unpack_stream(packed, place.compression, size, what=what):
        hasher.update(plain)
        yield plain
    for _rest in packed:  # a decompressor may stop before the padding was checked
        raise IntegrityError(f"{what} has bytes behind its end")
    if hasher.digest() != digest:
        raise IntegrityError(f"{what} has another digest than its record says")


def open_part(
    read_at: Callable[[int, int], bytes],
    key: bytes,
    place: ContentPlace,
    start: int,
    end: int,
    *,
    what: str,
) -> Iterator[bytes]:
    """Open the bytes from `start` to `end` of a content that is not compressed, from the message on that holds the first of them.

    Each byte was authenticated under the content's key, at its place; the digest of the whole is not compared.

    Args:
        read_at: Returns so many bytes of the member (the second argument) from an offset on (the first).
        key: The content key.
        place: Where it lies.
        start: The first byte.
        end: The byte behind the last one.
        what: What this is, for errors' messages.

    Raises:
        IntegrityError: It does not open: what was yielded before is right.
    """
    first, skipped = divmod(start, sealed_stream.MESSAGE_BYTES)
    left = end - start
    for message in sealed_stream.open_stream_from(
        key, read_at, place.sealed_size, first, what=what
    ):
        piece = message[skipped : skipped + left]
        skipped, left = 0, left - len(piece)
        yield piece
        if not left:
            return
    raise IntegrityError(f"{what} ends {left} bytes too early")


def check_empty(member: bytes, key: bytes, *, what: str) -> None:
    """Check that a member holds nothing but padding.

    Raises:
        IntegrityError: It does not open, or holds something.
    """
    sealed_stream.check_padding(sealed_stream.open_sealed(key, member, what=what), 0, what=what)


def _without_padding(pieces: Iterator[bytes], size: int, *, what: str) -> Iterator[bytes]:
    left = size
    for piece in pieces:
        if len(piece) <= left:
            left -= len(piece)
            yield piece
            continue
        sealed_stream.check_padding(piece, left, what=what)
        if left:
            yield piece[:left]
        left = 0
    if left:
        raise IntegrityError(f"{what} ends {left} bytes too early")
