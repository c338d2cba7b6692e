"""The sealed stream: XChaCha20-Poly1305 secretstream over padded content (`docs/spec/commit.md`, section 3).

The cipher does not commit to its key, so nothing opened here is to be believed before its digest was checked.
"""

from collections.abc import Callable, Iterator, Sequence

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from muniment.errors import FormatError, IntegrityError

MESSAGE_BYTES = 1 << 20
HEADER_BYTES = sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES
OVERHEAD_BYTES = sodium.crypto_secretstream_xchacha20poly1305_ABYTES
KEY_BYTES = sodium.crypto_secretstream_xchacha20poly1305_KEYBYTES
_MESSAGE = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_WIRE_BYTES = MESSAGE_BYTES + OVERHEAD_BYTES
_MAC_BYTES = 16  # at the end of a message
_CHAINED_BYTES = 8
_ZEROS = bytes(MESSAGE_BYTES)

CONTENT_UNIT = CONTENT_LEAST = 512  # a tar block: members then need no filler
RECORD_UNIT, RECORD_LEAST = 256, 512


def stream_size(plain_size: int) -> int:
    """Return the length of the stream over `plain_size` bytes."""
    messages = max(1, -(-plain_size // MESSAGE_BYTES))
    return HEADER_BYTES + plain_size + OVERHEAD_BYTES * messages


def padme(size: int) -> int:
    """Round a size of at least 2 up so that only O(log log size) bits of it are told (Padmé, PETS 2019)."""
    exponent = size.bit_length() - 1
    kept_bits = exponent.bit_length()
    mask = (1 << (exponent - kept_bits)) - 1 if exponent > kept_bits else 0
    return (size + mask) & ~mask


def padded_size(plain_size: int, unit: int, least: int) -> int:
    """Return how long the plaintext is with its padding, so that the stream over it fills its bucket.

    Up to one message, what is rounded is the stream, so that small members waste least; beyond, the plaintext, so that files of
    whole MiB, which are common, need no padding.
    """
    if plain_size <= MESSAGE_BYTES:
        total = padme(max(stream_size(plain_size), least))
    else:
        total = stream_size(padme(plain_size))
    total = -(-total // unit) * unit
    while 0 < (total - HEADER_BYTES) % _WIRE_BYTES < OVERHEAD_BYTES:
        total += unit
    messages = -(-(total - HEADER_BYTES) // _WIRE_BYTES)
    return total - HEADER_BYTES - OVERHEAD_BYTES * messages


def sealed_size(plain_size: int, unit: int = CONTENT_UNIT, least: int = CONTENT_LEAST) -> int:
    """Return the length of the padded stream over `plain_size` bytes."""
    return stream_size(padded_size(plain_size, unit, least))


class StreamSealer:
    """Seals one stream piece by piece, in memory bounded by one message."""

    def __init__(self, key: bytes, unit: int = CONTENT_UNIT, least: int = CONTENT_LEAST) -> None:
        self._state = sodium.crypto_secretstream_xchacha20poly1305_state()
        self._header = sodium.crypto_secretstream_xchacha20poly1305_init_push(self._state, key)
        self._unit, self._least = unit, least
        self._held = (
            b""  # the last message is told from the others by its tag, so one is always held back
        )
        self._size = 0

    def _push(self, data: bytes, tag: int) -> bytes:
        sealed: bytes = sodium.crypto_secretstream_xchacha20poly1305_push(
            self._state, data, None, tag
        )
        return sealed

    def start(self) -> bytes:
        """Return the stream's first bytes."""
        return self._header

    def update(self, data: bytes) -> Iterator[bytes]:
        """Seal more plaintext; whole messages come out as they fill."""
        self._size += len(data)
        if self._held and len(data) == MESSAGE_BYTES == len(self._held):
            yield self._push(self._held, _MESSAGE)  # the usual case, without a copy
            self._held = data
            return
        held = self._held + data if self._held else data
        start = 0
        while len(held) - start > MESSAGE_BYTES:
            yield self._push(held[start : start + MESSAGE_BYTES], _MESSAGE)
            start += MESSAGE_BYTES
        self._held = held[start:] if start else held

    def finish(self) -> Iterator[bytes]:
        """Seal the padding and the end of the stream."""
        padding = padded_size(self._size, self._unit, self._least) - self._size
        while len(self._held) + padding > MESSAGE_BYTES:
            fill = MESSAGE_BYTES - len(self._held)
            yield self._push(self._held + _ZEROS[:fill], _MESSAGE)
            self._held = b""
            padding -= fill
        yield self._push(self._held + _ZEROS[:padding], _FINAL)


def seal(key: bytes, data: bytes, unit: int = CONTENT_UNIT, least: int = CONTENT_LEAST) -> bytes:
    """Return the whole stream over `data`, padded."""
    padding = padded_size(len(data), unit, least) - len(data)
    if len(data) + padding <= MESSAGE_BYTES:
        state = sodium.crypto_secretstream_xchacha20poly1305_state()
        header: bytes = sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)
        return header + sodium.crypto_secretstream_xchacha20poly1305_push(
            state, data + _ZEROS[:padding], None, _FINAL
        )
    sealer = StreamSealer(key, unit, least)
    return b"".join([sealer.start(), *sealer.update(data), *sealer.finish()])


def open_stream(
    key: bytes, read: Callable[[int], bytes], size: int, *, what: str
) -> Iterator[bytes]:
    """Open a stream message by message: yields its padded plaintext.

    Args:
        key: 32 bytes.
        read: Returns the next so many bytes of the stream.
        size: Length of the whole stream.
        what: What this is, for errors' messages.

    Raises:
        FormatError: `size` is not that of a stream, or the tags do not end with exactly one FINAL.
        IntegrityError: The stream was not sealed under this key, or was changed.
    """
    left = _messages_bytes(size, what)
    state = _start_opening(key, _exactly(read, HEADER_BYTES, what))
    yield from _open_messages(state, read, left, what)


def open_stream_from(
    key: bytes, read_at: Callable[[int, int], bytes], size: int, first: int, *, what: str
) -> Iterator[bytes]:
    """Open a stream from one of its messages on, without opening those before it; see `open_stream`.

    Each message is sealed under a nonce made of its number and of the authentication tags of all before it. These are read,
    16 bytes of each MiB, so whatever was moved, dropped or exchanged before still makes the message fail to open.

    Args:
        key: 32 bytes.
        read_at: Returns so many bytes of the stream (the second argument) from an offset on (the first).
        size: Length of the whole stream.
        first: Number of the message, counted from 0.
        what: What this is, for errors' messages.
    """
    left = _messages_bytes(size, what) - first * _WIRE_BYTES
    if left <= 0:
        raise ValueError(f"{what} has no message {first}")
    header = read_at(0, HEADER_BYTES)
    state = _start_opening(key, header)
    position = HEADER_BYTES + first * _WIRE_BYTES
    ends = range(HEADER_BYTES + _WIRE_BYTES, position + 1, _WIRE_BYTES)
    _skip(state, header, [read_at(end - _MAC_BYTES, _MAC_BYTES) for end in ends])

    def read(count: int) -> bytes:
        nonlocal position
        position += count
        return read_at(position - count, count)

    yield from _open_messages(state, read, left, what)


def _open_messages(
    state: sodium.crypto_secretstream_xchacha20poly1305_state,
    read: Callable[[int], bytes],
    left: int,
    what: str,
) -> Iterator[bytes]:
    """Open the messages that the last `left` bytes of a stream are."""
    while left:
        wire = _exactly(read, min(left, _WIRE_BYTES), what)
        left -= len(wire)
        try:
            plain, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, wire, None)
        except CryptoError as error:
            raise IntegrityError(
                f"{what} does not open: it was changed, or sealed under another key"
            ) from error
        if tag != (_MESSAGE if left else _FINAL):
            raise FormatError(f"{what} has a message of tag {tag} where that cannot be")
        del wire  # whoever takes its time with the plaintext need not hold both
        yield plain


def _messages_bytes(size: int, what: str) -> int:
    """Return how many bytes of a stream are messages."""
    left = size - HEADER_BYTES
    if left < OVERHEAD_BYTES or 0 < left % _WIRE_BYTES < OVERHEAD_BYTES:
        raise FormatError(f"{what} is not a sealed stream: {size} bytes cannot be one")
    return left


def _start_opening(key: bytes, header: bytes) -> sodium.crypto_secretstream_xchacha20poly1305_state:
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    return state


def _skip(
    state: sodium.crypto_secretstream_xchacha20poly1305_state,
    header: bytes,
    macs: Sequence[bytes],
) -> None:
    """Bring a state behind the messages that have these authentication tags, none of which asks for a new key.

    libsodium's state is a key of 32 bytes, then a nonce: a little-endian counter of 4 bytes, counted from 1, and the last 8 bytes of the header,
    to which the first 8 of each tag are added (XOR): https://doc.libsodium.org/secret-key_cryptography/secretstream#algorithm
    """
    chained = int.from_bytes(header[-_CHAINED_BYTES:], "little")
    for mac in macs:
        chained ^= int.from_bytes(mac[:_CHAINED_BYTES], "little")
    nonce = (len(macs) + 1).to_bytes(4, "little") + chained.to_bytes(_CHAINED_BYTES, "little")
    place = slice(KEY_BYTES, KEY_BYTES + len(nonce))
    state.statebuf[place] = nonce  # type: ignore[index]  # an array, whatever its annotation says


def open_sealed(key: bytes, sealed: bytes, *, what: str) -> bytes:
    """Open a stream that is held in memory; see `open_stream`."""
    if HEADER_BYTES + OVERHEAD_BYTES <= len(sealed) <= HEADER_BYTES + _WIRE_BYTES:
        state = _start_opening(key, sealed[:HEADER_BYTES])
        try:
            plain, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(
                state, sealed[HEADER_BYTES:], None
            )
        except CryptoError as error:
            raise IntegrityError(
                f"{what} does not open: it was changed, or sealed under another key"
            ) from error
        if tag != _FINAL:
            raise FormatError(f"{what} has a message of tag {tag} where that cannot be")
        opened: bytes = plain
        return opened
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        position += count
        return sealed[position - count : position]

    return b"".join(open_stream(key, read, len(sealed), what=what))


def split_padding(padded: bytes, plain_size: int, *, what: str) -> bytes:
    """Return the first `plain_size` bytes, after checking that all the rest are zero.

    Raises:
        FormatError: There are fewer bytes than that, or the padding is not zero.
    """
    if len(padded) < plain_size:
        raise FormatError(f"{what} holds {len(padded)} bytes, expected at least {plain_size}")
    check_padding(padded, plain_size, what=what)
    return padded[:plain_size]


def check_padding(padded: bytes, start: int, *, what: str) -> None:
    """Check that all bytes from `start` on are zero.

    Raises:
        FormatError: One is not.
    """
    if padded.count(0, start) != len(padded) - start:
        raise FormatError(f"{what} has padding that is not zero")


def _exactly(read: Callable[[int], bytes], count: int, what: str) -> bytes:
    data = read(count)
    if len(data) != count:
        raise FormatError(f"{what} is cut short")
    return data
